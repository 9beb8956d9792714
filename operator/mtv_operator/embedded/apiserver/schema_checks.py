"""The refusing half of structural schemas: closures that find what is wrong with a value. Pure.

Messages are those of apiextensions (`pkg/apiserver/validation`, over kube-openapi's validator), so
that people and tests that know Kubernetes read what they expect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtv_operator.embedded.apiserver import field_errors, value_rules
from mtv_operator.embedded.apiserver.field_errors import FieldError, Path, shown_path
from mtv_operator.embedded.apiserver.value_rules import Check

Document = dict[str, Any]

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}
_INTEGER_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def compile_root(schema: Document) -> Check:
    """Return the check of whole objects."""
    return _compiled(schema)


def _anything(value: object, path: Path, found: list[FieldError]) -> None:
    """Accept what nothing is said about."""


def _compiled(schema: Document) -> Check:
    """Return the check of values; `_anything` when none can fail."""
    kind = schema.get("type", "")
    rules = [*value_rules.of(schema, kind), *_combined(schema)]
    if schema.get("x-kubernetes-int-or-string"):
        return _typed("integer,string", (int, str, float), schema, rules)
    if kind not in _PYTHON_TYPES:
        inside = _inside(schema)
        rules = [*([inside] if inside else []), *rules]
        return _untyped(rules) if rules else _anything
    inside = _inside(schema)
    if inside is not None:
        if kind == "object" and not rules:
            return inside
        rules = [inside, *rules]
    if kind in ("string", "boolean") and not rules and not schema.get("nullable"):
        return _CHECKS[_PYTHON_TYPES[kind][0]]
    if kind == "integer":
        return _integer(schema, rules)
    return _typed(kind, _PYTHON_TYPES[kind], schema, rules)


def _untyped(rules: list[Check]) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        for rule in rules:
            rule(value, path, found)

    return check


def _typed(kind: str, types: tuple[type, ...], schema: Document, rules: list[Check]) -> Check:
    nullable = bool(schema.get("nullable"))
    first = types[0]
    single = rules[0] if len(rules) == 1 else None

    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        have = type(value)
        if have is not first and have not in types:
            if not (value is None and nullable):
                found.append(field_errors.wrong_type(path, value, kind))
        elif single is not None:
            single(value, path, found)
        else:
            for rule in rules:
                rule(value, path, found)

    return check


# Checks of nothing but a type, and the type for which they can be skipped.
_CHECKS: dict[type, Check] = {
    str: _typed("string", (str,), {}, []),
    bool: _typed("boolean", (bool,), {}, []),
}
_PLAIN: dict[Check, type] = {check: kind for kind, check in _CHECKS.items()}


def _integer(schema: Document, rules: list[Check]) -> Check:
    nullable = bool(schema.get("nullable"))
    form = schema.get("format", "")
    least, most = _INTEGER_RANGES.get(form, (-math.inf, math.inf))

    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is not int and not (type(value) is float and value.is_integer()):
            if not (value is None and nullable):
                found.append(field_errors.wrong_type(path, value, "integer"))
            return
        if not least <= value <= most:
            problem = (
                f"Checked value must be of type integer with format {form} in {shown_path(path)}"
            )
            found.append(field_errors.invalid(path, value, problem))
        for rule in rules:
            rule(value, path, found)

    return check


class _Properties(dict[str, Check | type | None]):
    """The checks of an object's fields, each made when it is first met.

    None: nothing to check. A type: values of exactly that type are right; `checked` tells of the
    others.
    """

    __slots__ = ("other", "schemas")

    def __init__(self, schemas: Mapping[str, Document], other: Check | None) -> None:
        super().__init__()
        self.schemas = schemas
        self.other = other

    def __missing__(self, name: str) -> Check | type | None:
        schema = self.schemas.get(name)
        if schema is None:
            return self.other  # not remembered: clients may invent any number of names
        made = _compiled(schema)
        kept = self[name] = None if made is _anything else _PLAIN.get(made, made)
        return kept


def _inside(schema: Document) -> Check | None:
    """Return the check of an object's fields or a list's items, but not of its type."""
    if schema.get("properties") or schema.get("required") or "additionalProperties" in schema:
        return _fields(schema)
    items = schema.get("items")
    if not isinstance(items, dict):
        return None
    each = _compiled(items)

    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is list:
            for index, item in enumerate(value):
                each(item, (path, index), found)

    return None if each is _anything else check


def _fields(schema: Document) -> Check:
    rest = schema.get("additionalProperties")
    other = _compiled(rest) if isinstance(rest, dict) else None
    children = _Properties(schema.get("properties") or {}, None if other is _anything else other)
    needed = frozenset(schema.get("required") or ())
    wrong = _wrong_types(schema, "object") if schema.get("type") == "object" else _anything

    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is not dict:
            wrong(value, path, found)
            return
        for name, item in value.items():
            child = children[name]
            if child is None or child is type(item):
                continue
            if isinstance(child, type):
                child = _CHECKS[child]
            child(item, (path, name), found)
        if needed and not needed <= value.keys():
            found += [field_errors.required((path, name)) for name in sorted(needed - value.keys())]

    return check


def _wrong_types(schema: Document, kind: str) -> Check:
    nullable = bool(schema.get("nullable"))

    def wrong(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if not (value is None and nullable):
            found.append(field_errors.wrong_type(path, value, kind))

    return wrong


def _holds(check: Check, value: object, path: Path) -> bool:
    found: list[FieldError] = []
    check(value, path, found)
    return not found


def _combined(schema: Document) -> list[Check]:
    """Return the checks of allOf, anyOf, oneOf and not."""
    made: list[Check] = [_compiled(one) for one in schema.get("allOf") or ()]
    if schema.get("x-kubernetes-int-or-string"):
        made = []  # `allOf: [{anyOf: [integer, string]}]` only repeats it
    elif "anyOf" in schema:
        made.append(_any_of([_compiled(one) for one in schema["anyOf"]]))
    if "oneOf" in schema:
        made.append(_one_of([_compiled(one) for one in schema["oneOf"]]))
    if "not" in schema:
        made.append(_none_of(_compiled(schema["not"])))
    return [one for one in made if one is not _anything]


def _any_of(checks: list[Check]) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if not any(_holds(one, value, path) for one in checks):
            problem = f'"{shown_path(path)}" must validate at least one schema (anyOf)'
            found.append(field_errors.invalid(path, value, problem))
            one = checks[0]
            one(value, path, found)

    return check


def _one_of(checks: list[Check]) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        count = sum(_holds(one, value, path) for one in checks)
        if count != 1:
            seen = f"Found {count} valid alternatives" if count else "Found none valid"
            problem = f'"{shown_path(path)}" must validate one and only one schema (oneOf). {seen}'
            found.append(field_errors.invalid(path, value, problem))

    return check


def _none_of(one: Check) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if _holds(one, value, path):
            problem = f'"{shown_path(path)}" must not validate the schema (not)'
            found.append(field_errors.invalid(path, value, problem))

    return check
