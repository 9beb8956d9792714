"""CustomResourceDefinitions, made from the types of this package: `make crds` writes them.

Structural schemas as Kubernetes wants them. What a type cannot say (enumerations, patterns) stands
in its annotation, see `meta.one_of`.
"""

from __future__ import annotations

import functools
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from mtv.api import cdi, forklift, installation, instancetype, kubevirt, meta, migrations, mtv

MANIFESTS = Path(__file__).parents[2] / "operator/manifests/crds"
DESCRIPTIONS = Path(__file__).with_name("descriptions.toml")
NOTE = "# Written by `make crds` from mtv/api; change the types instead.\n"
KINDS: tuple[type[meta.Object], ...] = (
    *forklift.KINDS,
    *kubevirt.KINDS,
    *instancetype.KINDS,
    *migrations.KINDS,
    installation.KubeVirt,
    *mtv.KINDS,
)
_FREE_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(kind: type[meta.Object]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    resource = kind.resource
    names: dict[str, Any] = {
        "kind": kind.kind_name(),
        "listKind": f"{kind.kind_name()}List",
        "plural": resource.plural,
        "singular": resource.singular,
    }
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    if resource.categories:
        names["categories"] = list(resource.categories)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [
                _version(kind, version) for version in (resource.version, *resource.also_served)
            ],
        },
    }


def _version(kind: type[meta.Object], version: str) -> dict[str, Any]:
    resource = kind.resource
    described: dict[str, Any] = {
        "name": version,
        "served": True,
        "storage": version == resource.version,
        "schema": {"openAPIV3Schema": object_schema(kind)},
    }
    subresources: dict[str, Any] = {"status": {}} if resource.status else {}
    if resource.scale:
        paths = {
            "specReplicasPath": resource.scale.spec,
            "statusReplicasPath": resource.scale.status,
            "labelSelectorPath": resource.scale.selector,
        }
        subresources["scale"] = {name: path for name, path in paths.items() if path}
    if subresources:
        described["subresources"] = subresources
    if resource.columns:
        described["additionalPrinterColumns"] = [_column(one) for one in resource.columns]
    return described


def _column(column: meta.Column) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.priority:
        shown["priority"] = column.priority
    if column.description:
        shown["description"] = column.description
    return shown


def object_schema(kind: type[meta.Object]) -> dict[str, Any]:
    """Return the structural schema of a kind."""
    schema = _struct(inspect.type_info(kind), top=True)
    schema["properties"]["metadata"] = {"type": "object"}
    summary = (kind.__doc__ or "").strip().splitlines()
    schema["description"] = (
        summary[0] if summary else f"{kind.kind_name()} of {kind.resource.group}"
    )
    return schema


def _struct(info: Any, *, top: bool = False) -> dict[str, Any]:  # noqa: ANN401 - msgspec.inspect's
    if info.cls is meta.ObjectMeta:  # of a template: the API server checks only an object's own
        return dict(_FREE_OBJECT)
    described = _descriptions(info.cls)
    properties = {
        field.encode_name: _described(_field(field), described.get(field.encode_name))
        for field in info.fields
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [
        field.encode_name
        for field in info.fields
        if _is_required(field) and not (top and field.encode_name in ("apiVersion", "kind"))
    ]
    if not properties:
        return dict(_FREE_OBJECT)
    if required:
        schema["required"] = required
    return schema


def _descriptions(cls: type) -> dict[str, str]:
    """Return what is said of the fields of a type, and of those that it has from its bases."""
    said: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        said |= descriptions().get(one.__module__.rpartition(".")[2], {}).get(one.__name__, {})
    return said


@functools.cache
def descriptions() -> dict[str, dict[str, dict[str, str]]]:
    """Return what `kubectl explain` says: by module, type and field."""
    return tomllib.loads(DESCRIPTIONS.read_text())


def _described(schema: dict[str, Any], text: str | None) -> dict[str, Any]:
    return {"description": text, **schema} if text else schema


def _is_required(field: Any) -> bool:  # noqa: ANN401
    """Tell whether a field must be there: without a default, or one that is always written."""
    made = field.default_factory
    return field.required or made not in (msgspec.NODEFAULT, dict, list)


def _field(field: Any) -> dict[str, Any]:  # noqa: ANN401
    schema = _type(field.type)
    if isinstance(field.default, bool) or (isinstance(field.default, str) and field.default):
        schema["default"] = field.default
    return schema


def _type(info: Any) -> dict[str, Any]:  # noqa: ANN401
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            if extra and "x-kubernetes-int-or-string" in extra:
                return dict(extra)
            return {**_type(inner), **(extra or {})}
        case inspect.UnionType(types=types):
            return _union(types)
        case inspect.StructType():
            return _struct(info)
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _type(item)}
        case inspect.DictType(value_type=inspect.AnyType()):
            return dict(_FREE_OBJECT)
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _type(value)}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", "format": "int64"}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.StrType():
            return {"type": "string"}
        case inspect.BytesType():
            return {"type": "string", "format": "byte"}
    raise TypeError(f"no schema for {info}")


def _union(types: Iterable[Any]) -> dict[str, Any]:
    """Return the schema of an optional type; other unions are annotated where they are declared."""
    real = [one for one in types if not isinstance(one, inspect.NoneType)]
    if len(real) == 1:
        return _type(real[0])
    kinds = {type(one) for one in real}
    if kinds <= {inspect.IntType, inspect.FloatType, inspect.StrType}:
        return {"x-kubernetes-int-or-string": True}
    raise TypeError(f"no schema for a union of {real}")


def definitions() -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of all our kinds."""
    return [definition(kind) for kind in KINDS]


def data_volume_definitions() -> list[dict[str, Any]]:
    """Return the definitions of what is CDI's, for a home where that is not installed."""
    return [definition(kind) for kind in cdi.KINDS]


def files() -> dict[str, str]:
    """Return the manifests: file name to text."""
    import yaml  # needed only here

    return {
        f"{one['metadata']['name']}.yaml": NOTE + yaml.safe_dump(one, sort_keys=False, width=100)
        for one in definitions()
    }


def write(folder: Path) -> None:
    """Write the manifests, and remove those of kinds that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = files()
    for path in folder.glob("*.yaml"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else MANIFESTS)
