"""Checks of single values: enumerations, patterns, limits, uniqueness. Pure.

What a schema says of a value besides its type and what is inside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from mtv_operator.embedded.apiserver import field_errors, patterns
from mtv_operator.embedded.apiserver.field_errors import FieldError, Path, shown_path, shown_value

Document = dict[str, Any]
Check = Callable[[Any, Path, list[FieldError]], None]


def of(schema: Document, kind: str) -> list[Check]:
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
            found.append(field_errors.in_body(path, value, problem(value)))

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
            found.append(field_errors.too_many(path, len(value), limit, what))

    return check


def _unique(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
    if type(value) is not list:
        return
    seen = set()
    for index, item in enumerate(value):
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            found.append(field_errors.duplicate((path, index), item))
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
                found.append(field_errors.duplicate((path, index), named))
            seen.add(identity)

    return check


def _embedded(value: Any, path: Path, found: list[FieldError]) -> None:  # noqa: ANN401 - any JSON
    if type(value) is dict:
        found += [
            field_errors.required((path, name))
            for name in ("apiVersion", "kind")
            if not value.get(name)
        ]
