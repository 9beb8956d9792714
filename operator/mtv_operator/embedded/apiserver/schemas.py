"""Structural schemas: what is pruned, defaulted and refused in an object. Pure.

A schema is compiled into closures, part by part as objects need them: a big definition costs what
is used of it. `admit` walks an object once and changes it in place; `errors` walks it once more.
Both know paths only as nested pairs, which become text when there is something to say.

After apiextensions' `pkg/apiserver/schema` (pruning, defaulting, objectmeta, listtype). CEL rules
(`x-kubernetes-validations`) are stored and not evaluated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mtv_operator.embedded.apiserver import schema_checks
from mtv_operator.embedded.apiserver.field_errors import FieldError, Path, shown_path
from mtv_operator.embedded.apiserver.value_rules import Check

__all__ = ["FieldError", "Schema", "compile"]

Document = dict[str, Any]
_Admit = Callable[[Any, Path, list[str]], None]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
# What every resource has: never pruned, whatever its schema says.
_IDENTITY: Mapping[str, Document] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        PRESERVE: True,
        "properties": {
            name: {PRESERVE: True}  # known, so that nulls are dropped
            for name in ("creationTimestamp", "deletionTimestamp", "labels", "annotations")
        },
    },
}
_SCALARS = frozenset({"string", "integer", "number", "boolean"})


@dataclass(frozen=True, slots=True)
class Schema:
    """A compiled schema. `source` is the OpenAPI v3 it was made of."""

    source: Document
    _admit: _Admit
    _check: Check

    def admit(self, obj: Document) -> tuple[Document, list[str]]:
        """Prune and default an object in place; return it and a warning for each unknown field.

        Nulls are dropped where the schema does not allow them, and defaults are filled in.
        """
        warnings: list[str] = []
        self._admit(obj, None, warnings)
        return obj, warnings

    def errors(self, obj: Document) -> list[FieldError]:
        """Return everything that is wrong with an object, in the order of its fields."""
        found: list[FieldError] = []
        self._check(obj, None, found)
        return found


def compile(schema: Document) -> Schema:  # noqa: A001 - as re.compile
    """Return the schema, ready for use on whole objects."""
    root = {**schema, EMBEDDED: True}
    return Schema(schema, _object(root), schema_checks.compile_root(schema))


def _leaf(value: object, path: Path, warnings: list[str]) -> None:
    """Admit what has no inside."""


def _compiled(schema: Document) -> _Admit:
    if "properties" in schema or schema.get(EMBEDDED):
        return _object(schema)
    if isinstance(schema.get("additionalProperties"), dict):
        return _map(schema)
    if isinstance(schema.get("items"), dict):
        return _array(schema)
    if schema.get("type") == "object" and not schema.get(PRESERVE):
        if schema.get("additionalProperties"):
            return _leaf
        return _object(schema)  # no field is known: all are pruned
    return _leaf


class _Properties(dict[str, Any]):
    """The compiled properties of an object, each made when it is first met."""

    __slots__ = ("schemas",)

    def __init__(self, schemas: Mapping[str, Document]) -> None:
        super().__init__()
        self.schemas = schemas

    def __missing__(self, name: str) -> _Admit | None:
        schema = self.schemas.get(name)
        if schema is None:
            return None  # not remembered: clients may invent any number of names
        made = self[name] = _compiled(schema)
        return made


def _object(schema: Document) -> _Admit:
    schemas = dict(schema.get("properties") or {})
    if schema.get(EMBEDDED):
        schemas |= _IDENTITY
    children = _Properties(schemas)
    nullable = frozenset(name for name, one in schemas.items() if one.get("nullable"))
    defaults = [
        (name, one["default"], one.get("type") in _SCALARS)
        for name, one in schemas.items()
        if one.get("default") is not None
    ]
    preserve = bool(schema.get(PRESERVE)) or schema.get("additionalProperties") is True
    rest = schema.get("additionalProperties")
    other = _compiled(rest) if isinstance(rest, dict) else None

    def admit(value: Any, path: Path, warnings: list[str]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is not dict:
            return
        dropped: list[str] | None = None
        for name, item in value.items():
            child = children[name] or other
            if child is None:
                if preserve:
                    continue
                warnings.append(f'unknown field "{shown_path((path, name))}"')
            elif item is None:
                if name in nullable:
                    continue
            else:
                if child is not _leaf:
                    child(item, (path, name), warnings)
                continue
            dropped = [name] if dropped is None else [*dropped, name]
        if dropped is not None:
            for name in dropped:
                del value[name]
        for name, default, scalar in defaults:
            if name not in value:
                value[name] = made = default if scalar else copy.deepcopy(default)
                if not scalar and (child := children[name]):
                    child(made, (path, name), warnings)

    return admit


def _map(schema: Document) -> _Admit:
    values = schema["additionalProperties"]
    child = _compiled(values)
    nullable = bool(values.get("nullable"))

    def admit(value: Any, path: Path, warnings: list[str]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is not dict:
            return
        if not nullable and None in value.values():
            for name in [name for name, item in value.items() if item is None]:
                del value[name]
        if child is not _leaf:
            for name, item in value.items():
                child(item, (path, name), warnings)

    return admit


def _array(schema: Document) -> _Admit:
    child = _compiled(schema["items"])
    if child is _leaf:
        return _leaf

    def admit(value: Any, path: Path, warnings: list[str]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is list:
            for index, item in enumerate(value):
                child(item, (path, index), warnings)

    return admit
