"""The table of Kubernetes' types: whole in itself, and the same as what Kubernetes publishes.

`python test_builtin_types.py SWAGGER.JSON` prints the table anew, from
`api/openapi-spec/swagger.json` of the Go module k8s.io/kubernetes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtv_operator.embedded.apiserver import builtin_rules, builtin_types, kinds

# Where the Go tool puts a module that was asked for: `go mod download k8s.io/kubernetes@v1.34.4`.
MODULE = "k8s.io/kubernetes@v1.34.4/api/openapi-spec/swagger.json"
ROOTS = (
    *(info.builtin_type for info in kinds.BUILTIN),
    "authentication.v1.TokenRequest",
    "autoscaling.v1.Scale",
    "core.v1.Binding",
    "meta.v1.DeleteOptions",
    "meta.v1.ListMeta",
    "meta.v1.Status",
    "policy.v1.Eviction",
)
SCALARS = {
    "Quantity": "quantity",
    "IntOrString": "intstr",
    "Time": "time",
    "MicroTime": "microtime",
}


def test_every_type_that_is_referred_to_is_there() -> None:
    known = builtin_types.types()
    primitives = {"any", "boolean", "bytes", "integer", "int32", "int64", "number", "string"}
    for kind in known.values():
        for field in kind.fields:
            inner = field.type.lstrip("[]{}")
            assert inner in known or inner in primitives | set(SCALARS.values()), (kind, field)


def test_rules_and_notes_are_about_fields_that_exist() -> None:
    known = builtin_types.types()
    fields = {f"{kind.name}.{field.name}" for kind in known.values() for field in kind.fields}
    assert set(builtin_rules.RULES) <= fields
    text = Path(builtin_rules.__file__).with_name("builtin_notes.txt").read_text()
    named = {line.split()[0] for line in text.splitlines() if line and line[0] not in "#*"}
    assert named <= fields | set(known)


def test_defaults_are_right_by_their_own_rules() -> None:
    for name, rule in builtin_rules.RULES.items():
        if "default" in rule and "enum" in rule:
            assert rule["default"] in rule["enum"], name


def swagger() -> Path | None:
    places = [os.environ.get("GOMODCACHE", ""), str(Path.home() / "go/pkg/mod")]
    return next((path for place in places if (path := Path(place) / MODULE).exists()), None)


@pytest.mark.skipif(swagger() is None, reason="the Go module k8s.io/kubernetes is not downloaded")
def test_table_is_what_kubernetes_publishes() -> None:
    path = swagger()
    assert path is not None
    committed = Path(builtin_types.__file__).with_name("builtin_types.txt").read_text()
    lines = [line for line in committed.splitlines() if not line.startswith("#")]
    assert lines == list(table(json.loads(path.read_text())["definitions"]))


def table(definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table, made from Kubernetes' own definitions."""
    todo = [builtin_types.full_name(name) for name in ROOTS]
    found = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [one for one in references(definitions[name]) if fields_of(definitions[one])]
    for name in sorted(found, key=short):
        definition = definitions[name]
        yield short(name) + (" @atomic" if is_atomic_map(definition) else "")
        required = definition.get("required", ())
        for field, schema in fields_of(definition).items():
            mark = "!" if field in required else ""
            yield f"  {field} {type_of(schema, definitions)}{mark}{marks(schema)}"


def fields_of(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition.get("properties", {})
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value and isinstance(value["$ref"], str):
            yield value["$ref"].rsplit("/", 1)[1]
        for one in value.values():
            yield from references(one)


def short(name: str) -> str:
    for start, package in builtin_types._PACKAGES:
        if name.startswith(package):
            return start + name[len(package) :]
    raise AssertionError(name)


def type_of(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if fields_of(definitions[name]):
            return short(name)
        return SCALARS.get(name.rsplit(".", 1)[1], "any")
    kind, form = schema.get("type"), schema.get("format")
    match kind:
        case "array":
            return f"[]{type_of(schema['items'], definitions)}"
        case "object" if "additionalProperties" in schema:
            return f"{{}}{type_of(schema['additionalProperties'], definitions)}"
        case "string":
            return {"byte": "bytes", "date-time": "time", "int-or-string": "intstr"}.get(
                form or "", "string"
            )
        case "integer":
            return form or "integer"
        case "number" | "boolean":
            return str(kind)
        case _:
            return "any"


def is_atomic_map(schema: dict[str, Any]) -> bool:
    return schema.get("x-kubernetes-map-type") == "atomic"


def marks(schema: dict[str, Any]) -> str:
    made = ""
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        made += f" @map({','.join(schema['x-kubernetes-list-map-keys'])})"
    elif kind:
        made += f" @{kind}"
    if is_atomic_map(schema):
        made += " @atomic"
    strategy = schema.get("x-kubernetes-patch-strategy")
    key = schema.get("x-kubernetes-patch-merge-key")
    if strategy or key:
        made += f" @patch({','.join(filter(None, (strategy or 'merge', key)))})"
    return made


if __name__ == "__main__":
    print("\n".join(table(json.loads(Path(sys.argv[1]).read_text())["definitions"])))
