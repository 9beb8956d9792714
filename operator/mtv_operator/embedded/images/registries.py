"""Where the images of a registry are really fetched: mirrors and exceptions, as the machine says.

Read as containers-registries.conf(5), version 2: `[[registry]]` with `prefix` or `location`,
`insecure`, and `[[registry.mirror]]`. Ours first, then the machine's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from converters.oci import reference, registry
from converters.oci.reference import Reference
from converters.oci.registry import Place
from mtv import errors

FILE = "registries.conf"
MACHINE = Path("/etc/containers/registries.conf")


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """Another place that has the same images."""

    location: str
    insecure: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about images whose names begin with `prefix`."""

    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror: tuple[Mirror, ...] = ()

    @property
    def names(self) -> str:
        """What a name must begin with."""
        return self.prefix or self.location


def read(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of the first file that is there. Raises BadInput."""
    for path in (folder / FILE, MACHINE):
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            return msgspec.convert(document.get("registry", []), tuple[Entry, ...])
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, OSError) as fault:
            raise errors.BadInput(
                f"{path} cannot be read: {fault}", hint="see containers-registries.conf(5)"
            ) from fault
    return ()


def places(name: Reference, entries: Iterable[Entry]) -> list[tuple[Reference, Place]]:
    """Return where an image may be fetched, in the order in which to try. Pure."""
    full = f"{name.registry}/{name.repository}"
    fitting = [one for one in entries if one.names and _begins(full, one.names)]
    entry = max(fitting, key=lambda one: len(one.names), default=None)
    if entry is None:
        return [(name, registry.place_of(name.registry))]
    if entry.blocked:
        raise errors.BadInput(f"images of {entry.names} are blocked", hint=f"see {FILE}")
    rest = full.removeprefix(entry.names)
    found = [_moved(name, one.location + rest, insecure=one.insecure) for one in entry.mirror]
    own = (entry.location or entry.names) + rest
    return [*found, _moved(name, own, insecure=entry.insecure)]


def _begins(full: str, prefix: str) -> bool:
    return full == prefix or full.startswith(prefix.rstrip("/") + "/")


def _moved(name: Reference, full: str, *, insecure: bool) -> tuple[Reference, Place]:
    host, _, repository = full.partition("/")
    moved = Reference(registry=host, repository=repository, tag=name.tag, digest=name.digest)
    place = registry.place_of(host)
    if host == reference.HUB:
        return moved, place
    plain = insecure and not host.endswith(":443")
    return moved, Place(host=host, plain_http=place.plain_http or plain, verify=not insecure)


def logins_of(secrets: Iterable[Mapping[str, bytes]]) -> dict[str, Any]:
    """Return the users that pull secrets name, by registry."""
    found: dict[str, Any] = {}
    for values in secrets:
        for key in (".dockerconfigjson", "config.json"):
            if key in values:
                found |= registry.logins(values[key])
    return found
