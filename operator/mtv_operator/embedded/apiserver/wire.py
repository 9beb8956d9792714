"""Kubernetes' protobuf as a request's body: kubectl's typed clients send it. Pure.

Answers are JSON, which the same clients accept. The form is that of
https://protobuf.dev/programming-guides/encoding; what the numbers mean is in `wire_fields.txt`.
Go leaves nothing out that is no pointer, so a zero there means "not set" and is left out here.
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import status

MAGIC = b"k8s\0"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 40  # of objects in objects; Kubernetes' own types stay below 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: str
    shape: str  # "", "[]", "{}"
    pointer: bool
    inline: bool


class _Malformed(Exception):
    """The body is no protobuf of the type that it says."""


def decode(content: bytes) -> Document:
    """Return the object in a body. Raises Refusal (400)."""
    try:
        if not content.startswith(MAGIC):
            raise _Malformed("it does not begin as Kubernetes' protobuf does")
        envelope = _grouped(content[len(MAGIC) :])
        meta = _grouped(envelope.get(1, [b""])[-1])
        api_version, kind = (_text(meta.get(number, [b""])[-1]) for number in (1, 2))
        name = _type_name(api_version, kind)
        if name not in _types():
            raise _Malformed(f"{kind} of {api_version} is not known in this form; send JSON")
        document = _message(name, envelope.get(2, [b""])[-1], 0)
    except (_Malformed, IndexError, struct.error, UnicodeDecodeError) as error:
        raise status.bad_request(f"the body is not protobuf: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **document}


def _type_name(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    if kind in ("DeleteOptions",):
        return f"meta.v1.{kind}"
    return f"{group.partition('.')[0] or 'core'}.{version}.{kind}"


@functools.cache
def _types() -> dict[str, dict[int, _Field]]:
    text = resources.files(__package__).joinpath("wire_fields.txt").read_text()
    found: dict[str, dict[int, _Field]] = {}
    fields: dict[int, _Field] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.startswith(" "):
            fields = found[line] = {}
            continue
        number, name, kind = line.split()
        inline, kind = kind.startswith("+"), kind.removeprefix("+")
        shape = kind[:2] if kind[:2] in ("[]", "{}") else ""
        kind = kind.removeprefix(shape)
        fields[int(number)] = _Field(
            name, kind.removeprefix("*"), shape, kind.startswith("*"), inline
        )
    return found


def _pairs(content: bytes) -> Iterator[tuple[int, Any]]:
    """Return the numbers and raw values of a message, in order."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        form = tag & 7
        if form == _VARINT:
            value, at = _varint(content, at)
            yield tag >> 3, value
        elif form == _BYTES:
            size, at = _varint(content, at)
            if at + size > len(content):
                raise _Malformed("it ends in the middle of a field")
            yield tag >> 3, content[at : at + size]
            at += size
        elif form == _FIXED64:
            yield tag >> 3, struct.unpack_from("<d", content, at)[0]
            at += 8
        elif form == _FIXED32:
            yield tag >> 3, struct.unpack_from("<f", content, at)[0]
            at += 4
        else:
            raise _Malformed(f"wire type {form}")


def _grouped(content: bytes) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for number, value in _pairs(content):
        found.setdefault(number, []).append(value)
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _Malformed("a number is too long")


def _message(name: str, content: bytes, depth: int) -> Document:
    if depth > MAX_DEPTH:
        raise _Malformed("it is too deep")
    fields = _types()[name]
    document: Document = {}
    for number, raws in _grouped(content).items():
        field = fields.get(number)
        if field is None:
            continue
        if field.shape == "[]":
            document[field.name] = [_value(field.kind, raw, depth) for raw in raws]
        elif field.shape == "{}":
            entries = (_grouped(_octets(raw)) for raw in raws)
            document[field.name] = {
                _text(entry.get(1, [b""])[-1]): _value(field.kind, entry.get(2, [b""])[-1], depth)
                for entry in entries
            }
        elif field.inline:
            document.update(_message(field.kind, _octets(raws[-1]), depth + 1))
        else:
            value = _value(field.kind, raws[-1], depth)
            if field.pointer or value not in (None, "", 0, False):
                document[field.name] = value
    return document


def _value(kind: str, raw: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
    match kind:
        case "string":
            return _text(raw)
        case "bool":
            return bool(raw)
        case "int32" | "int64":
            return raw - (1 << 64) if raw >= 1 << 63 else raw
        case "double":
            return raw
        case "bytes":
            return base64.b64encode(_octets(raw)).decode()
        case "meta.v1.Time" | "meta.v1.MicroTime":
            return _time(_octets(raw), micro=kind.endswith("MicroTime"))
        case "Quantity":
            return _text(_grouped(_octets(raw)).get(1, [b""])[-1])
        case "IntOrString":
            return _int_or_string(_grouped(_octets(raw)))
        case "RawExtension" | "meta.v1.FieldsV1":
            return _json(_grouped(_octets(raw)).get(1, [b""])[-1])
        case _ if kind.endswith(".ExtraValue"):
            return [_text(one) for one in _grouped(_octets(raw)).get(1, [])]
        case _:
            return _message(kind, _octets(raw), depth + 1)


def _octets(raw: object) -> bytes:
    if not isinstance(raw, bytes):
        raise _Malformed("a number where a message should be")
    return raw


def _text(raw: object) -> str:
    return _octets(raw).decode()


def _int_or_string(fields: dict[int, list[Any]]) -> int | str:
    if fields.get(1, [0])[-1] == 1:
        return _text(fields.get(3, [b""])[-1])
    number: int = fields.get(2, [0])[-1]
    return number - (1 << 64) if number >= 1 << 63 else number


def _time(raw: bytes, *, micro: bool) -> str | None:
    fields = _grouped(raw)
    seconds = fields.get(1, [0])[-1]
    if not seconds or seconds >= 1 << 40:  # nothing, or before 1970: Go's zero time
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    if not micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{fields.get(2, [0])[-1] // 1000:06}Z"


def _json(raw: object) -> Any:  # noqa: ANN401 - any JSON
    try:
        return msgspec.json.decode(_octets(raw)) if raw else None
    except msgspec.DecodeError as error:
        raise _Malformed(f"JSON in it: {error}") from error
