# ruff: noqa: E501 - messages are whole, so that they can be searched for
from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import inspect

from mtv import errors
from mtv.api import core, meta
from mtv_operator.embedded.apiserver import definition_checks, kinds, schemas

MANIFESTS = Path(__file__).parents[4] / "operator/manifests/crds"
SCHEMA = {"type": "object", "properties": {"spec": {"type": "object"}}}


def crd(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wi"]},
            "versions": [version()],
            **spec,
        },
    }


def version(name: str = "v1", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        **more,
    }


def schema(**root: Any) -> dict[str, Any]:
    return crd(versions=[version(schema={"openAPIV3Schema": {"type": "object", **root}})])


def test_from_crd_describes_each_served_version() -> None:
    found = kinds.from_crd(
        crd(
            versions=[
                version(
                    "v2",
                    subresources={
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"},
                    },
                    additionalPrinterColumns=[
                        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1}
                    ],
                ),
                version("v1", storage=False, deprecated=True),
                version("v0", storage=False, served=False),
            ]
        )
    )
    two, one = found
    assert (two.api_version, two.kind, two.singular, two.list_kind) == (
        "example.com/v2",
        "Widget",
        "widget",
        "WidgetList",
    )
    assert two.subresources == ("status", "scale")
    assert two.scale == meta.Scale(spec=".spec.n", status=".status.n")
    assert two.columns == (meta.Column("N", ".spec.n", "integer", 1),)
    assert two.storage
    assert (one.version, one.storage, one.subresources) == ("v1", False, ())
    assert one.deprecation_warning == "example.com/v1 Widget is deprecated"


@pytest.mark.parametrize(
    ("definition", "path", "problem"),
    [
        ({}, "spec", "Required value"),
        (crd(group=""), "spec.group", "Required value"),
        (crd(group="Example.com"), "spec.group", "should be a domain"),
        (crd(scope="Galaxy"), "spec.scope", 'Unsupported value: "Galaxy"'),
        (crd(names={"plural": "widgets"}), "spec.names.kind", "Required value"),
        (crd(names={"plural": "Widgets", "kind": "W"}), "spec.names.plural", "must be a DNS-1035"),
        (crd(names={"plural": "gadgets", "kind": "G"}), "metadata.name", "must be spec.names.plural"),
        (crd(versions=[]), "spec.versions", "at least one version"),
        (crd(versions=[version(storage=False)]), "spec.versions", "exactly one version"),
        (crd(versions=[version(), version(storage=False)]), "spec.versions", "unique version names"),
        (crd(versions=[version("V1")]), "spec.versions[0].name", "must be a DNS-1035 label"),
        (crd(versions=[version(schema={})]), "spec.versions[0].schema.openAPIV3Schema", "schemas are required"),
        (
            crd(versions=[version(additionalPrinterColumns=[{"name": "N", "type": "int", "jsonPath": ".x"}])]),
            "spec.versions[0].additionalPrinterColumns[0].type",
            'Unsupported value: "int"',
        ),
        (
            crd(versions=[version(additionalPrinterColumns=[{"name": "N", "type": "string", "jsonPath": ".x[?(@"}])]),
            "spec.versions[0].additionalPrinterColumns[0].jsonPath",
            "is no subscript",
        ),
        (
            crd(versions=[version(subresources={"scale": {"specReplicasPath": ".a"}})]),
            "spec.versions[0].subresources.scale.statusReplicasPath",
            "Required value",
        ),
        (schema(properties={"a": {}}), "spec.versions[0].schema.openAPIV3Schema.properties[a].type", "must not be empty"),
        (schema(properties={"a": {"type": "text"}}), "spec.versions[0].schema.openAPIV3Schema.properties[a].type", "Unsupported value"),
        (schema(properties={"a": {"type": "array"}}), "spec.versions[0].schema.openAPIV3Schema.properties[a].items", "must be specified"),
        (
            schema(properties={"a": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}}),
            "spec.versions[0].schema.openAPIV3Schema.properties[a].x-kubernetes-list-map-keys",
            "must not be empty",
        ),
        (
            schema(properties={"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": True}}),
            "spec.versions[0].schema.openAPIV3Schema.properties[a].additionalProperties",
            "mutual exclusive",
        ),
        (
            schema(properties={"a": {"type": "integer", "default": "x"}}),
            "spec.versions[0].schema.openAPIV3Schema.properties[a].default",
            "must be of type integer",
        ),
        (schema(properties={"a": {"$ref": "#/x", "type": "object"}}), "spec.versions[0].schema.openAPIV3Schema.properties[a].$ref", "not supported"),
        (schema(properties={"a": 3}), "spec.versions[0].schema.openAPIV3Schema.properties[a]", "must be a schema"),
        (schema(type="string"), "spec.versions[0].schema.openAPIV3Schema.type", "must be object at the root"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)  # fmt: skip
def test_from_crd_refuses_and_names_the_field(definition: Any, path: str, problem: str) -> None:
    found = definition_checks.problems(definition)
    assert [one for one in found if one.path == path and problem in one.message], found
    with pytest.raises(errors.BadInput, match=r"."):
        kinds.from_crd(definition)


def test_from_crd_refuses_a_schema_without_bottom() -> None:
    part: dict[str, Any] = {"type": "string"}
    for _ in range(2000):
        part = {"type": "object", "properties": {"a": part}}
    with pytest.raises(errors.BadInput, match="more than 150 levels deep"):
        kinds.from_crd(crd(versions=[version(schema={"openAPIV3Schema": part})]))


def test_from_crd_accepts_our_own_definitions() -> None:
    for path in sorted(MANIFESTS.glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        for info in kinds.from_crd(definition):
            assert info.schema is not None
            schemas.compile(info.schema).errors({"spec": {}})


def test_definitions_themselves_are_described_so_that_any_schema_passes() -> None:
    info = next(one for one in kinds.BUILTIN if one.kind == "CustomResourceDefinition")
    assert info.schema is not None
    compiled = schemas.compile(info.schema)
    for path in sorted(MANIFESTS.glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        before = copy.deepcopy(definition)
        admitted, warnings = compiled.admit(definition)
        assert warnings == []
        assert compiled.errors(admitted) == []
        admitted["spec"].pop("conversion", None)
        assert admitted["spec"] == before["spec"]


def undeclared(type_: Any, part: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the fields of a type that a schema lacks."""
    match type_:
        case inspect.UnionType(types=types):
            for one in types:
                yield from undeclared(one, part, path)
        case inspect.Metadata(type=inner):
            yield from undeclared(inner, part, path)
        case inspect.VarTupleType(item_type=inner):
            yield from undeclared(inner, part.get("items", {}), f"{path}[]")
        case inspect.StructType(fields=fields):
            known = part.get("properties", {})
            for field in fields:
                name = f"{path}.{field.encode_name}"
                if field.encode_name in known:
                    yield from undeclared(field.type, known[field.encode_name], name)
                else:
                    yield name


@pytest.mark.parametrize(
    "kind",
    [kind for kind in meta.Object.__subclasses__() if kind.__module__ == core.__name__],
    ids=lambda kind: kind.__name__,
)
def test_builtin_kinds_have_every_field_that_we_write(kind: type[meta.Object]) -> None:
    resource = kind.resource
    info = next(
        one for one in kinds.BUILTIN if (one.group, one.plural) == (resource.group, resource.plural)
    )
    assert info.namespaced == resource.namespaced
    assert set(resource.short_names) <= set(info.short_names)
    assert ("status" in info.subresources) == resource.status
    assert list(undeclared(inspect.type_info(kind), info.schema or {}, kind.__name__)) == []
