"""The field types of Kubernetes' own kinds, read from `builtin_types.txt`, as schemas. Pure.

`inlined` gives the structural schema that objects are checked against, `definition` the same type
with references, as OpenAPI documents have it. What the file cannot say (defaults, enumerations)
is in `builtin_rules`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtv_operator.embedded.apiserver import builtin_rules

Document = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"
QUANTITY = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE]?)$"

_PACKAGES = (  # as Kubernetes names its definitions, longest first
    ("apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."),
    ("apiregistration.", "io.k8s.kube-aggregator.pkg.apis.apiregistration."),
    ("meta.", "io.k8s.apimachinery.pkg.apis.meta."),
    ("machinery.", "io.k8s.apimachinery.pkg."),
    ("", "io.k8s.api."),
)
_PRIMITIVES: Mapping[str, Document] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"x-kubernetes-int-or-string": True, "pattern": QUANTITY},
    "intstr": {"x-kubernetes-int-or-string": True},
    "any": {PRESERVE: True},
}
# What has a definition of its own in OpenAPI though it is a scalar.
SCALAR_DEFINITIONS: Mapping[str, tuple[str, Document]] = {
    "quantity": (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        {
            "type": "string",
            "description": "A number with an SI or binary suffix: 500m, 2, 4Gi.",
            "x-kubernetes-int-or-string": True,
        },
    ),
    "intstr": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {
            "type": "string",
            "format": "int-or-string",
            "description": "A number or a string.",
            "x-kubernetes-int-or-string": True,
        },
    ),
    "time": (
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        {"type": "string", "format": "date-time", "description": "A moment, RFC 3339."},
    ),
    "microtime": (
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        {"type": "string", "format": "date-time", "description": "A moment with microseconds."},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a type; `type` as the file has it: `[]core.v1.Container`."""

    name: str
    type: str
    required: bool
    marks: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type with fields."""

    name: str
    atomic: bool
    fields: tuple[Field, ...]


_MARK = re.compile(r"@(\w+)(?:\(([^)]*)\))?")


@functools.cache
def types() -> dict[str, Type]:
    """Return every type by its short name, `core.v1.Pod`."""
    text = Path(__file__).with_name("builtin_types.txt").read_text()
    found: dict[str, Type] = {}
    for name, atomic, lines in _paragraphs(text):
        fields = tuple(_parse_field(line) for line in lines)
        found[name] = Type(name=name, atomic=atomic, fields=fields)
    return found


def _paragraphs(text: str) -> Iterator[tuple[str, bool, list[str]]]:
    head, lines = "", list[str]()
    for line in text.splitlines():
        if line.startswith("  "):
            lines.append(line)
        elif not line.startswith("#"):
            if head:
                yield head.split()[0], "@atomic" in head, lines
            head, lines = line, []
    if head:
        yield head.split()[0], "@atomic" in head, lines


def _parse_field(line: str) -> Field:
    name, kind, *marks = line.split()
    found = {}
    for mark in marks:
        match = _MARK.fullmatch(mark)
        assert match is not None, line
        found[match[1]] = tuple(match[2].split(",")) if match[2] else ()
    return Field(name=name, type=kind.rstrip("!"), required=kind.endswith("!"), marks=found)


def full_name(name: str) -> str:
    """Return a type's name in OpenAPI: `io.k8s.api.core.v1.Pod` for `core.v1.Pod`."""
    for short, package in _PACKAGES:
        if name.startswith(short):
            return package + name[len(short) :]
    raise AssertionError(name)


@functools.cache
def inlined(name: str, *, lenient: bool = False) -> Document:
    """Return the structural schema of a type; parts that repeat are one and the same dict.

    Inside `status`, and everywhere in events, nothing is required: those are reports, written by
    clients that know only a part.
    """

    def refer(part: str, field: Field) -> Document:
        if part == name:  # JSONSchemaProps holds itself
            return {"type": "object", PRESERVE: True}
        return inlined(part, lenient=lenient or field.name == "status")

    return _schema(types()[name], refer, scalars=False, lenient=lenient)


def definition(name: str, prefix: str) -> Document:
    """Return the OpenAPI definition of a type; `prefix` is where others are found."""
    made = _schema(
        types()[name], lambda part, _: {"$ref": prefix + full_name(part)}, scalars=prefix
    )
    note = builtin_rules.note_of(name)
    return {"description": note, **made} if note else made


def references(name: str) -> Iterator[str]:
    """Yield the types that a type's fields are of."""
    for field in types()[name].fields:
        inner = field.type.lstrip("[]{}")
        if inner in types():
            yield inner


def _schema(
    kind: Type,
    refer: Callable[[str, Field], Document],
    *,
    scalars: str | bool,
    lenient: bool = False,
) -> Document:
    made: Document = {"type": "object", "properties": {}}
    for field in kind.fields:
        schema = _field_schema(field, field.type, refer, scalars)
        schema |= _marks(field)
        if scalars:
            note = builtin_rules.note_of(kind.name, field.name)
            schema = {"description": note, **schema} if note else schema
        else:
            schema |= builtin_rules.RULES.get(f"{kind.name}.{field.name}", {})
        made["properties"][field.name] = schema
    needed = [field.name for field in kind.fields if field.required]
    if needed and not lenient:
        made["required"] = needed
    if kind.atomic:
        made["x-kubernetes-map-type"] = "atomic"
    return made


def _field_schema(
    field: Field, kind: str, refer: Callable[[str, Field], Document], scalars: str | bool
) -> Document:
    if kind.startswith("[]"):
        return {"type": "array", "items": _field_schema(field, kind[2:], refer, scalars)}
    if kind.startswith("{}"):
        values = _field_schema(field, kind[2:], refer, scalars)
        return {"type": "object", "additionalProperties": values}
    if kind not in _PRIMITIVES:
        return dict(refer(kind, field))
    if scalars and kind in SCALAR_DEFINITIONS:
        return {"$ref": f"{scalars}{SCALAR_DEFINITIONS[kind][0]}"}
    if scalars and kind == "any":
        return {"type": "object"}
    return dict(_PRIMITIVES[kind])


def _marks(field: Field) -> Document:
    made: Document = {}
    marks = field.marks
    if "atomic" in marks:
        made["x-kubernetes-list-type" if field.type[0] == "[" else "x-kubernetes-map-type"] = (
            "atomic"
        )
    if "set" in marks:
        made["x-kubernetes-list-type"] = "set"
    if "map" in marks:
        made["x-kubernetes-list-type"] = "map"
        made["x-kubernetes-list-map-keys"] = list(marks["map"])
    if "patch" in marks:
        *strategies, last = marks["patch"]
        if last in ("merge", "replace", "retainKeys"):
            strategies.append(last)
        else:
            made["x-kubernetes-patch-merge-key"] = last
        made["x-kubernetes-patch-strategy"] = ",".join(strategies)
    return made
