"""What a guest agent says, as data. Pure. The guest is not trusted: all is bounded text."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtv_operator.virt_launcher.protocol import (
    GuestFileSystem,
    GuestInfo,
    GuestInterface,
    GuestUser,
)

MOST_LISTED = 64  # users, file systems and NICs that the guest may list
MOST_OUTPUT = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command of the guest that has ended."""

    exit_code: int
    output: str


def answer(text: str) -> object:
    """Return what the agent answered; None for what is not an answer."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found.get("return") if isinstance(found, dict) else None


def started(answered: object) -> int:
    """Return the number of the process in the answer to `guest-exec`; 0: there is none."""
    return _number(_mapping(answered).get("pid"))


def ended(answered: object) -> Ended | None:
    """Return how a command ended, from the answer to `guest-exec-status`; None: it runs."""
    found = _mapping(answered)
    if found.get("exited") is not True:
        return None
    killed = _number(found.get("signal"))
    code = 128 + killed if killed else _number(found.get("exitcode"))
    output = _decoded(found.get("out-data")) + _decoded(found.get("err-data"))
    return Ended(exit_code=code, output=output)


def _decoded(value: object) -> str:
    try:
        content = base64.b64decode(str(value or "")[: 2 * MOST_OUTPUT])
    except (binascii.Error, ValueError):
        return ""
    return content[:MOST_OUTPUT].decode("utf-8", "replace")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def info(found: dict[str, Any], interfaces: dict[str, Any]) -> GuestInfo:
    """Return libvirt's collection of the agent's answers."""

    def text(key: str) -> str:
        return str(found.get(key, ""))[:256]

    listed = []
    for name, interface in list(interfaces.items())[:MOST_LISTED]:
        addresses = [str(entry.get("addr", "")) for entry in interface.get("addrs") or []]
        listed.append(
            GuestInterface(
                name=str(name)[:64],
                mac=str(interface.get("hwaddr") or "").lower(),
                addresses=tuple(address for address in addresses[:32] if address),
            )
        )
    return GuestInfo(
        hostname=text("hostname"),
        os_id=text("os.id"),
        os_name=text("os.name"),
        os_pretty_name=text("os.pretty-name"),
        os_version=text("os.version"),
        os_version_id=text("os.version-id"),
        kernel_release=text("os.kernel-release"),
        kernel_version=text("os.kernel-version"),
        machine=text("os.machine"),
        timezone=text("timezone.name"),
        interfaces=tuple(listed),
        users=tuple(
            GuestUser(
                name=text(f"user.{number}.name"),
                domain=text(f"user.{number}.domain"),
                login_ms=_number(found.get(f"user.{number}.login-time")),
            )
            for number in range(min(_number(found.get("user.count")), MOST_LISTED))
        ),
        file_systems=tuple(
            GuestFileSystem(
                name=text(f"fs.{number}.name"),
                mount_point=text(f"fs.{number}.mountpoint"),
                kind=text(f"fs.{number}.fstype"),
                used_bytes=_number(found.get(f"fs.{number}.used-bytes")),
                total_bytes=_number(found.get(f"fs.{number}.total-bytes")),
            )
            for number in range(min(_number(found.get("fs.count")), MOST_LISTED))
        ),
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 63 else 0


def commands(about: object) -> tuple[str, ...]:
    """Return the commands that are switched on in the answer to `guest-info`."""
    listed = _mapping(about).get("supported_commands")
    if not isinstance(listed, list):
        return ()
    named = (_mapping(one) for one in listed[: 4 * MOST_LISTED])
    return tuple(sorted(str(one.get("name", ""))[:64] for one in named if one.get("enabled")))


def version(about: object) -> str:
    """Return the version in the answer to `guest-info`."""
    return str(_mapping(about).get("version", ""))[:64]
