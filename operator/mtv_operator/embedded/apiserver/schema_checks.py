"""The refusing half of structural schemas: closures that find what is wrong with a value. Pure.

Messages are those of apiextensions (`pkg/apiserver/validation`, over kube-openapi's validator), so
that people and tests that know Kubernetes read what they expect.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mtv_operator.embedded.apiserver import patterns

Document = dict[str, Any]
Path = tuple[Any, str | int] | None  # (path of the parent, name or index); None: the object itself


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One thing wrong with an object, in Kubernetes' words."""

    path: str  # spec.vms[0].name
    reason: str  # FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, ...
    message: str  # without the path


Check = Callable[[Any, Path, list[FieldError]], None]

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}
_JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}
_INTEGER_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def shown_path(path: Path) -> str:
    """Return the path as text: `spec.vms[0].name`, `spec.nodeSelector[kubernetes.io/os]`."""
    parts: list[str] = []
    while path is not None:
        path, name = path
        if isinstance(name, int) or "." in name or "/" in name:
            parts.append(f"[{name}]")
        else:
            parts.append(f".{name}")
    text = "".join(reversed(parts))
    return text[1:] if text.startswith(".") else text


def shown_value(value: object) -> str:
    """Return a value as messages show it: strings quoted, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(path: Path) -> FieldError:
    """Return the error of a field that is missing."""
    return FieldError(path=shown_path(path), reason="FieldValueRequired", message="Required value")


def invalid(path: Path, value: object, problem: str) -> FieldError:
    """Return the error of a value that breaks a rule."""
    message = f"Invalid value: {shown_value(value)}: {problem}"
    return FieldError(path=shown_path(path), reason="FieldValueInvalid", message=message)


def _in_body(path: Path, value: object, problem: str) -> FieldError:
    return invalid(path, value, f"{shown_path(path)} in body {problem}")


def _wrong_type(path: Path, value: object, wanted: str) -> FieldError:
    text, have = shown_path(path), _JSON_TYPES.get(type(value), "unknown")
    message = f'Invalid value: "{have}": {text} in body must be of type {wanted}: "{have}"'
    return FieldError(path=text, reason="FieldValueTypeInvalid", message=message)


def _too_many(path: Path, count: int, limit: int, what: str) -> FieldError:
    message = f"Too many: {count}: must have at most {limit} {what}"
    return FieldError(path=shown_path(path), reason="FieldValueTooMany", message=message)


def _duplicate(path: Path, value: object) -> FieldError:
    message = f"Duplicate value: {shown_value(value)}"
    return FieldError(path=shown_path(path), reason="FieldValueDuplicate", message=message)


def compile_root(schema: Document) -> Check:
    """Return the check of whole objects."""
    return _compiled(schema)


def _anything(value: object, path: Path, found: list[FieldError]) -> None:
    """Accept what nothing is said about."""


def _compiled(schema: Document) -> Check:
    """Return the check of values; `_anything` when none can fail."""
    kind = schema.get("type", "")
    rules = [*_rules(schema, kind), *_combined(schema)]
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
                found.append(_wrong_type(path, value, kind))
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
                found.append(_wrong_type(path, value, "integer"))
            return
        if not least <= value <= most:
            problem = (
                f"Checked value must be of type integer with format {form} in {shown_path(path)}"
            )
            found.append(invalid(path, value, problem))
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
            found += [required((path, name)) for name in sorted(needed - value.keys())]

    return check


def _wrong_types(schema: Document, kind: str) -> Check:
    nullable = bool(schema.get("nullable"))

    def wrong(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if not (value is None and nullable):
            found.append(_wrong_type(path, value, kind))

    return wrong


def _rules(schema: Document, kind: str) -> list[Check]:
    """Return the checks of everything but type and insides."""
    made: list[Check] = []
    if "enum" in schema:
        made.append(_enum(schema["enum"], nullable=bool(schema.get("nullable"))))
    if kind == "string" or "pattern" in schema:
        made += _string_rules(schema)
    if kind in ("integer", "number", ""):
        made += _number_rules(schema)
    if kind in ("array", ""):
        made += _list_rules(schema)
    if kind in ("object", ""):
        made += _object_rules(schema)
    if schema.get("x-kubernetes-embedded-resource"):
        made.append(_embedded)
    return made


def _enum(values: list[Any], *, nullable: bool) -> Check:
    listed = ", ".join(shown_value(value) for value in values)
    allowed = {shown_value(value) for value in values}

    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if shown_value(value) not in allowed and not (value is None and nullable):
            message = f"Unsupported value: {shown_value(value)}: supported values: {listed}"
            found.append(
                FieldError(path=shown_path(path), reason="FieldValueNotSupported", message=message)
            )

    strings = frozenset(value for value in values if isinstance(value, str))

    def quick(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is not str or value not in strings:
            check(value, path, found)

    return quick


def _string_rules(schema: Document) -> list[Check]:
    made: list[Check] = []
    text = schema.get("pattern")
    if text and (matches := patterns.compiled(text)) is not None:
        made.append(
            _rule(str, lambda value: bool(matches(value)), lambda _: f"should match '{text}'")
        )
    least = schema.get("minLength", 0)
    if least:
        made.append(
            _rule(
                str,
                lambda value: len(value) >= least,
                lambda _: f"should be at least {least} chars long",
            )
        )
    if "maxLength" in schema:
        made.append(_longest(schema["maxLength"]))
    form = schema.get("format", "")
    if form in patterns.FORMATS:
        holds = patterns.FORMATS[form]
        made.append(
            _rule(str, holds, lambda value: f"must be of type {form}: {shown_value(value)}")
        )
    return made


def _rule(
    kind: type | tuple[type, ...], holds: Callable[[Any], bool], problem: Callable[[Any], str]
) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if isinstance(value, kind) and not holds(value):
            found.append(_in_body(path, value, problem(value)))

    return check


def _longest(limit: int) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if isinstance(value, str) and len(value) > limit:
            message = f"Too long: may not be more than {limit} bytes"
            found.append(
                FieldError(path=shown_path(path), reason="FieldValueTooLong", message=message)
            )

    return check


def _number_rules(schema: Document) -> list[Check]:
    made: list[Check] = []
    number = (int, float)
    if (least := schema.get("minimum")) is not None:
        if schema.get("exclusiveMinimum"):
            made.append(
                _rule(
                    number, lambda value: value > least, lambda _: f"should be greater than {least}"
                )
            )
        else:
            made.append(
                _rule(
                    number,
                    lambda value: value >= least,
                    lambda _: f"should be greater than or equal to {least}",
                )
            )
    if (most := schema.get("maximum")) is not None:
        if schema.get("exclusiveMaximum"):
            made.append(
                _rule(number, lambda value: value < most, lambda _: f"should be less than {most}")
            )
        else:
            made.append(
                _rule(
                    number,
                    lambda value: value <= most,
                    lambda _: f"should be less than or equal to {most}",
                )
            )
    if factor := schema.get("multipleOf"):
        made.append(
            _rule(
                number,
                lambda value: math.isclose(value / factor, round(value / factor), abs_tol=1e-9),
                lambda _: f"should be a multiple of {factor}",
            )
        )
    return made


def _list_rules(schema: Document) -> list[Check]:
    made: list[Check] = []
    if least := schema.get("minItems"):
        made.append(
            _rule(
                list,
                lambda value: len(value) >= least,
                lambda _: f"should have at least {least} items",
            )
        )
    if (most := schema.get("maxItems")) is not None:
        made.append(_at_most(list, most, "items"))
    kind = schema.get("x-kubernetes-list-type")
    if schema.get("uniqueItems") is False:
        return made  # lists of Kubernetes' own kinds that are merged by key and may repeat it
    if kind == "map":
        made.append(_unique_by(tuple(schema.get("x-kubernetes-list-map-keys") or ()), schema))
    elif kind == "set" or schema.get("uniqueItems"):
        made.append(_unique)
    return made


def _object_rules(schema: Document) -> list[Check]:
    made: list[Check] = []
    if least := schema.get("minProperties"):
        made.append(
            _rule(
                dict,
                lambda value: len(value) >= least,
                lambda _: f"should have at least {least} properties",
            )
        )
    if (most := schema.get("maxProperties")) is not None:
        made.append(_at_most(dict, most, "properties"))
    return made


def _at_most(kind: type[list[Any]] | type[dict[str, Any]], limit: int, what: str) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if isinstance(value, kind) and len(value) > limit:
            found.append(_too_many(path, len(value), limit, what))

    return check


def _unique(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
    if type(value) is not list:
        return
    seen = set()
    for index, item in enumerate(value):
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            found.append(_duplicate((path, index), item))
        seen.add(text)


def _unique_by(keys: tuple[str, ...], schema: Document) -> Check:
    properties = (schema.get("items") or {}).get("properties") or {}
    defaults = [(properties.get(key) or {}).get("default") for key in keys]
    pairs = list(zip(keys, defaults, strict=True))

    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if type(value) is not list or len(value) < 2:
            return
        seen = set()
        for index, item in enumerate(value):
            if type(item) is not dict:
                continue
            own = {key: item.get(key, default) for key, default in pairs}
            identity = tuple(map(repr, own.values()))
            if identity in seen:
                named = {key: part for key, part in own.items() if part is not None}
                found.append(_duplicate((path, index), named))
            seen.add(identity)

    return check


def _embedded(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
    if type(value) is dict:
        found += [required((path, name)) for name in ("apiVersion", "kind") if not value.get(name)]


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
            found.append(invalid(path, value, problem))
            one = checks[0]
            one(value, path, found)

    return check


def _one_of(checks: list[Check]) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        count = sum(_holds(one, value, path) for one in checks)
        if count != 1:
            seen = f"Found {count} valid alternatives" if count else "Found none valid"
            problem = f'"{shown_path(path)}" must validate one and only one schema (oneOf). {seen}'
            found.append(invalid(path, value, problem))

    return check


def _none_of(one: Check) -> Check:
    def check(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
        if _holds(one, value, path):
            problem = f'"{shown_path(path)}" must not validate the schema (not)'
            found.append(invalid(path, value, problem))

    return check
