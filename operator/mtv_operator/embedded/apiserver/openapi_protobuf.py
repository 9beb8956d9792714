"""/openapi/v2 as protobuf, the only form in which kubectl and Helm read it. Pure.

Field numbers are those of gnostic's `openapiv2/OpenAPIv2.proto`. Extensions are written as YAML
inside, for which JSON serves. Only what `openapi.v2` uses is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

Document = dict[str, Any]

_LENGTH_DELIMITED = 2
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
_SCHEMA_STRINGS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}


def encoded(document: Document) -> bytes:
    """Return a document of `openapi.v2` as protobuf."""
    about = document["info"]
    return b"".join(
        (
            _text(1, document["swagger"]),
            _message(2, _text(1, about["title"]) + _text(2, about["version"])),
            _message(8, _named(2, document["paths"], _path_item)),
            _message(9, _named(1, document["definitions"], _schema)),
        )
    )


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _flag(field: int) -> bytes:
    return _varint(field << 3) + b"\x01"


def _named(field: int, values: Mapping[str, Any], encode: Callable[[Any], bytes]) -> bytes:
    """Return a map: a repeated message of name and value."""
    return b"".join(
        _message(field, _text(1, name) + _message(2, encode(value)))
        for name, value in values.items()
    )


def _extensions(field: int, holder: Mapping[str, Any]) -> bytes:
    found = {name: value for name, value in holder.items() if name.startswith("x-")}
    return _named(field, found, lambda value: _message(2, msgspec.json.encode(value)))


def _schema(schema: Document) -> bytes:
    parts = [
        _text(number, str(schema[name]))
        for name, number in _SCHEMA_STRINGS.items()
        if name in schema
    ]
    parts += [_text(19, name) for name in schema.get("required") or ()]
    rest = schema.get("additionalProperties")
    if isinstance(rest, dict):
        parts.append(_message(21, _message(1, _schema(rest))))
    if "type" in schema:
        parts.append(_message(22, _text(1, schema["type"])))
    if isinstance(schema.get("items"), dict):
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    if schema.get("properties"):
        parts.append(_message(25, _named(1, schema["properties"], _schema)))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _path_item(item: Document) -> bytes:
    return b"".join(
        _message(number, _operation(item[method]))
        for method, number in _METHODS.items()
        if method in item
    )


def _operation(operation: Document) -> bytes:
    parts = [_text(7, kind) for kind in operation.get("consumes") or ()]
    parts += _parameters(operation["parameters"])
    parts.append(_extensions(13, operation))
    return b"".join(parts)


def _parameters(parameters: Iterable[Document]) -> list[bytes]:
    made = []
    for one in parameters:
        place = _text(2, one["in"]) + _text(3, one.get("description", "")) + _text(4, one["name"])
        if one["in"] == "query":
            inner = _message(2, _message(3, place + _text(6, one["type"])))
        elif one["in"] == "path":
            inner = _message(2, _message(4, _flag(1) + place + _text(5, one["type"])))
        else:
            body = _text(2, one["name"]) + _text(3, "body") + _message(5, _schema(one["schema"]))
            inner = _message(1, body)
        made.append(_message(8, _message(1, inner)))
    return made
