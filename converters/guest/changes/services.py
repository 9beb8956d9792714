"""Services: VMware's are masked, the QEMU guest agent is installed at the first boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from converters.guest.changes.change import Change, link, write
from converters.guest.changes.initramfs import NOTE
from converters.guest.filesystems.tree import Tree

FOLDER = "/var/lib/mtv"
_UNIT = "mtv-first-boot.service"
_SYSTEM = "/etc/systemd/system"


def mask(tree: Tree, services: Sequence[str]) -> Iterator[Change]:
    """Yield the links that mask services: they stay installed, for a way back."""
    for service in services:
        path = f"{_SYSTEM}/{service}"
        if "\\" not in service and tree.link(path) != "/dev/null":
            yield link(path, "/dev/null", "serves VMware only")


def first_boot(tree: Tree, kind: str, packages: Mapping[str, bytes]) -> Iterator[Change]:
    """Yield what installs packages when the guest boots, by its own tools, without a network."""
    if not packages or tree.exists(f"{FOLDER}/installed"):
        return
    install = {
        "deb": "env DEBIAN_FRONTEND=noninteractive dpkg --force-confold --install",
        "rpm": "rpm --upgrade --replacepkgs",
        "apk": "apk add --allow-untrusted --no-network",
    }[kind]
    reason = "the QEMU guest agent, installed at the first boot"
    for name, content in packages.items():
        yield write(f"{FOLDER}/packages/{name}", content, reason)
    script = (
        f"#!/bin/sh\n{NOTE}set -e\n"
        f"{install} {FOLDER}/packages/*\n"
        f"mv {FOLDER}/packages {FOLDER}/installed\n"
        f"rm -f {FOLDER}/installed/* {_SYSTEM}/multi-user.target.wants/{_UNIT}\n"
        "systemctl start qemu-guest-agent || true\n"
    )
    unit = (
        f"{NOTE}[Unit]\nDescription=Finish the move from VMware\n"
        f"ConditionPathExists={FOLDER}/packages\n\n"
        # SELinux lets init start a shell, not a script below /var/lib.
        f"[Service]\nType=oneshot\nExecStart=/bin/sh {FOLDER}/first-boot\n"
    )
    yield write(f"{FOLDER}/first-boot", script.encode(), reason, mode=0o755)
    yield write(f"{_SYSTEM}/{_UNIT}", unit.encode(), reason)
    yield link(f"{_SYSTEM}/multi-user.target.wants/{_UNIT}", f"{_SYSTEM}/{_UNIT}", reason)
