"""What `mtv disk inspect` and `mtv disk adapt` share: NICs on the command line, facts as JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from converters.guest.decision import Nic
from converters.guest.inspection.network import is_name, mac
from mtv import errors

_NIC = re.compile(r"(?P<mac>[^=@,]+)(?:@(?P<slot>\d{1,4}))?(?:=(?P<name>[^=@,]+))?$")


def parse_nics(texts: Sequence[str]) -> tuple[Nic, ...]:
    """Return NICs from `MAC`, `MAC=NAME` or `MAC@SLOT`. Raises BadInput."""
    nics = []
    for text in texts:
        match = _NIC.match(text)
        if match is None or not mac(match["mac"]):
            raise errors.BadInput(
                f"is {text!r}, expected MAC, MAC=NAME or MAC@SLOT", field="--nic",
                hint="for instance 00:50:56:8a:12:34=ens192",
            )  # fmt: skip
        name = match["name"] or ""
        if name and not is_name(name):
            raise errors.BadInput(f"names a NIC {name!r}", field="--nic")
        nics.append(Nic(mac=mac(match["mac"]), name=name, slot=int(match["slot"] or 0)))
    if len({nic.mac for nic in nics}) != len(nics):
        raise errors.BadInput("names a MAC twice", field="--nic")
    return tuple(nics)


def camel(name: str) -> str:
    """Return a field's name as JSON has it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def document(value: Any) -> Any:  # noqa: ANN401 - any dataclass into any JSON value
    """Return a dataclass as a JSON value. Text that is not UTF-8 is escaped."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            camel(field.name): document(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {document(key): document(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [document(one) for one in value]
    if isinstance(value, StrEnum):
        return value.value
    return plain(value) if isinstance(value, str) else value


def plain(text: str) -> str:
    """Return a guest's text for a terminal or JSON: control characters and odd bytes escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )
