"""What is wrong with a CustomResourceDefinition. Pure.

After apiextensions' `pkg/apis/apiextensions/validation` and `pkg/apiserver/schema/validation.go`,
as far as a definition could otherwise mislead or stop the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mtv import errors
from mtv_operator.embedded.apiserver import jsonpath, schema_checks
from mtv_operator.embedded.apiserver.field_errors import FieldError, shown_value

Document = dict[str, Any]

MAX_DEPTH = 150  # of a schema; every walk through it is a recursion

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_LIST_TYPES = ("atomic", "map", "set")
_FORBIDDEN = ("$ref", "definitions", "dependencies", "patternProperties", "deprecated", "id")
_JUNCTIONS = ("allOf", "anyOf", "oneOf")
# What a schema below allOf, anyOf, oneOf and not may not say, since pruning does not see it there.
_NOT_IN_JUNCTION = ("default", "description", "nullable", "title", "x-kubernetes-list-type")


def problems(crd: Document) -> list[FieldError]:
    """Return everything wrong with a definition, by field."""
    spec = crd.get("spec")
    if not isinstance(spec, dict):
        return [_required("spec")]
    return [
        *_identity(crd, spec),
        *_versions(spec),
        *(found for index, one in _each(spec.get("versions")) for found in _version(index, one)),
    ]


def _required(path: str, detail: str = "") -> FieldError:
    message = f"Required value: {detail}" if detail else "Required value"
    return FieldError(path=path, reason="FieldValueRequired", message=message)


def _invalid(path: str, value: object, problem: str) -> FieldError:
    message = f"Invalid value: {shown_value(value)}: {problem}"
    return FieldError(path=path, reason="FieldValueInvalid", message=message)


def _unsupported(path: str, value: object, allowed: tuple[str, ...]) -> FieldError:
    listed = ", ".join(f'"{one}"' for one in allowed)
    message = f"Unsupported value: {shown_value(value)}: supported values: {listed}"
    return FieldError(path=path, reason="FieldValueNotSupported", message=message)


def _forbidden(path: str, problem: str) -> FieldError:
    return FieldError(path=path, reason="FieldValueForbidden", message=f"Forbidden: {problem}")


def _each(values: object) -> Iterator[tuple[int, Document]]:
    if isinstance(values, list):
        yield from ((index, one) for index, one in enumerate(values) if isinstance(one, dict))


def _identity(crd: Document, spec: Document) -> Iterator[FieldError]:
    group, names = spec.get("group"), spec.get("names")
    if not group:
        yield _required("spec.group")
    elif not isinstance(group, str) or not _GROUP.fullmatch(group):
        yield _invalid("spec.group", group, "should be a domain with at least one dot")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield _unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced"))
    if not isinstance(names, dict):
        yield _required("spec.names")
        return
    for field in ("plural", "kind"):
        if not names.get(field):
            yield _required(f"spec.names.{field}")
    for field in ("plural", "singular"):
        name = names.get(field)
        if name and not _LABEL.fullmatch(str(name)):
            yield _invalid(f"spec.names.{field}", name, "must be a DNS-1035 label")
    for field in ("kind", "listKind"):
        name = names.get(field)
        if name and not _LABEL.fullmatch(str(name).lower()):
            problem = "may have mixed case, but should otherwise match a DNS-1035 label"
            yield _invalid(f"spec.names.{field}", name, problem)
    for field in ("shortNames", "categories"):
        for index, name in enumerate(names.get(field) or ()):
            if not _LABEL.fullmatch(str(name)):
                yield _invalid(f"spec.names.{field}[{index}]", name, "must be a DNS-1035 label")
    wanted = f"{names.get('plural')}.{group}"
    name = (crd.get("metadata") or {}).get("name")
    if group and names.get("plural") and name != wanted:
        yield _invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _versions(spec: Document) -> Iterator[FieldError]:
    versions = [one for _, one in _each(spec.get("versions"))]
    if not versions:
        yield _required("spec.versions", "must have at least one version")
        return
    if sum(bool(one.get("storage")) for one in versions) != 1:
        problem = "must have exactly one version marked as storage version"
        yield _invalid("spec.versions", [one.get("name") for one in versions], problem)
    names = [one.get("name") for one in versions]
    if len(set(map(str, names))) != len(names):
        yield _invalid("spec.versions", names, "must contain unique version names")
    strategy = (spec.get("conversion") or {}).get("strategy", "None")
    if strategy not in ("None", "Webhook"):
        yield _unsupported("spec.conversion.strategy", strategy, ("None", "Webhook"))


def _version(index: int, version: Document) -> Iterator[FieldError]:
    path = f"spec.versions[{index}]"
    name = version.get("name")
    if not name:
        yield _required(f"{path}.name")
    elif not _LABEL.fullmatch(str(name)):
        yield _invalid(f"{path}.name", name, "must be a DNS-1035 label")
    holder = version.get("schema")
    schema = holder.get("openAPIV3Schema") if isinstance(holder, dict) else None
    if isinstance(schema, dict) and _is_too_deep(schema):
        problem = f"is nested more than {MAX_DEPTH} levels deep"
        yield _invalid(f"{path}.schema.openAPIV3Schema", "", problem)
    elif isinstance(schema, dict):
        yield from _root(schema, f"{path}.schema.openAPIV3Schema")
    else:
        yield _required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    for number, column in _each(version.get("additionalPrinterColumns")):
        yield from _column(column, f"{path}.additionalPrinterColumns[{number}]")
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        yield from _scale(scale, f"{path}.subresources.scale")


def _is_too_deep(schema: Document) -> bool:
    level: list[object] = [schema]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)  # type: ignore[attr-defined]
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _column(column: Document, path: str) -> Iterator[FieldError]:
    if not column.get("name"):
        yield _required(f"{path}.name")
    if column.get("type") not in _COLUMN_TYPES:
        yield _unsupported(f"{path}.type", column.get("type", ""), _COLUMN_TYPES)
    yield from _path(column.get("jsonPath"), f"{path}.jsonPath", needed=True)


def _scale(scale: Document, path: str) -> Iterator[FieldError]:
    yield from _path(scale.get("specReplicasPath"), f"{path}.specReplicasPath", needed=True)
    yield from _path(scale.get("statusReplicasPath"), f"{path}.statusReplicasPath", needed=True)
    yield from _path(scale.get("labelSelectorPath"), f"{path}.labelSelectorPath", needed=False)


def _path(text: object, path: str, *, needed: bool) -> Iterator[FieldError]:
    if not text:
        if needed:
            yield _required(path)
        return
    try:
        jsonpath.parse(str(text))
    except errors.BadInput as error:
        yield _invalid(path, text, error.message)


def _root(schema: Document, path: str) -> Iterator[FieldError]:
    if schema.get("type") != "object":
        yield _invalid(f"{path}.type", schema.get("type", ""), "must be object at the root")
    if schema.get("nullable"):
        yield _forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    yield from _schema(schema, path, root=True)


def _schema(schema: Document, path: str, *, root: bool = False) -> Iterator[FieldError]:
    kind = schema.get("type", "")
    anything = schema.get("x-kubernetes-preserve-unknown-fields")
    if kind:
        if kind not in _TYPES:
            yield _unsupported(f"{path}.type", kind, _TYPES)
    elif not anything and not schema.get("x-kubernetes-int-or-string") and not root:
        yield _required(f"{path}.type", "must not be empty for specified object fields")
    for name in _FORBIDDEN:
        if name in schema:
            yield _forbidden(f"{path}.{name}", f"{name} is not supported")
    if schema.get("uniqueItems"):
        yield _forbidden(f"{path}.uniqueItems", "uniqueItems cannot be set to true")
    yield from _list_type(schema, path)
    yield from _values(schema, path)
    yield from _parts(schema, path)


def _list_type(schema: Document, path: str) -> Iterator[FieldError]:
    list_type = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys")
    if list_type is not None and list_type not in _LIST_TYPES:
        yield _unsupported(f"{path}.x-kubernetes-list-type", list_type, _LIST_TYPES)
    if list_type == "map" and not keys:
        problem = "must not be empty if x-kubernetes-list-type is map"
        yield _required(f"{path}.x-kubernetes-list-map-keys", problem)
    if list_type != "map" and keys:
        problem = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield _invalid(f"{path}.x-kubernetes-list-type", list_type or "", problem)
    if list_type == "map" and isinstance(schema.get("items"), dict):
        known = schema["items"].get("properties") or {}
        for index, key in enumerate(keys or ()):
            if key not in known:
                problem = "entries must all be names of item properties"
                yield _invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, problem)


def _values(schema: Document, path: str) -> Iterator[FieldError]:
    pattern = schema.get("pattern")
    if pattern is not None and not isinstance(pattern, str):
        yield _invalid(f"{path}.pattern", pattern, "must be a regular expression")
    for name in (
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    ):
        value = schema.get(name)
        if value is not None and (not isinstance(value, int) or value < 0):
            yield _invalid(f"{path}.{name}", value, "must be a number of 0 or more")
    for name in ("minimum", "maximum", "multipleOf"):
        value = schema.get(name)
        if value is not None and not isinstance(value, int | float):
            yield _invalid(f"{path}.{name}", value, "must be a number")
    if "enum" in schema and not isinstance(schema["enum"], list):
        yield _invalid(f"{path}.enum", schema["enum"], "must be a list")
    default = schema.get("default")
    if default is not None:
        found: list[FieldError] = []
        schema_checks.compile_root(schema)(default, None, found)
        for one in found:
            inner = f"{path}.default.{one.path}" if one.path else f"{path}.default"
            yield FieldError(path=inner, reason=one.reason, message=one.message)


def _parts(schema: Document, path: str) -> Iterator[FieldError]:
    properties, rest, items = (
        schema.get(name) for name in ("properties", "additionalProperties", "items")
    )
    if properties and rest:
        problem = "additionalProperties and properties are mutual exclusive"
        yield _forbidden(f"{path}.additionalProperties", problem)
    if isinstance(items, list):
        yield _forbidden(f"{path}.items", "items must be a schema object and not an array")
    if schema.get("type") == "array" and not isinstance(items, dict | list):
        yield _required(f"{path}.items", "must be specified")
    if properties is not None and not isinstance(properties, dict):
        yield _invalid(f"{path}.properties", properties, "must be an object")
        properties = None
    for name, one in (properties or {}).items():
        yield from _part(one, f"{path}.properties[{name}]")
    if isinstance(rest, dict):
        yield from _schema(rest, f"{path}.additionalProperties")
    if isinstance(items, dict):
        yield from _schema(items, f"{path}.items")
    for name in _JUNCTIONS:
        for index, one in _each(schema.get(name)):
            yield from _junction(one, f"{path}.{name}[{index}]")
    if isinstance(schema.get("not"), dict):
        yield from _junction(schema["not"], f"{path}.not")


def _part(schema: object, path: str) -> Iterator[FieldError]:
    if isinstance(schema, dict):
        yield from _schema(schema, path)
    else:
        yield _invalid(path, schema, "must be a schema")


def _junction(schema: Document, path: str) -> Iterator[FieldError]:
    for name in _NOT_IN_JUNCTION:
        if name in schema:
            yield _forbidden(f"{path}.{name}", f"{name} is forbidden in nested value validations")
