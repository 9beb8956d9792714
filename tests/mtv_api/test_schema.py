"""The CRDs are those of the types, and have every field that upstream's have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mtv.api import cdi, core, forklift, installation, kubevirt, meta, mtv, schema

DATA = Path(__file__).parent / "data"
FORKLIFT = json.loads((DATA / "forklift-fields.json").read_text())["kinds"]
KUBEVIRT = json.loads((DATA / "kubevirt-fields.json").read_text())["types"]


def test_the_manifests_are_those_of_the_types():
    committed = {path.name: path.read_text() for path in schema.MANIFESTS.glob("*.yaml")}

    assert committed == schema.files(), "run `make crds`"


@pytest.mark.parametrize("module", [forklift, kubevirt, mtv], ids=lambda one: one.__name__)
def test_every_description_is_of_a_field_that_there_is(module):
    for name, fields in schema.descriptions()[module.__name__.rpartition(".")[2]].items():
        known = {one.encode_name for one in msgspec.structs.fields(getattr(module, name))}
        assert set(fields) <= known, name


def test_a_field_is_explained_where_upstream_readers_look_for_it():
    plan = schema.object_schema(forklift.Plan)["properties"]["spec"]["properties"]

    assert plan["targetNamespace"]["description"].startswith("Where the new VMs are made")
    of_vm = plan["vms"]["items"]["properties"]["id"]["description"]  # a field of its base
    assert of_vm.startswith("The source's own id")


def _paths(fields: Any, prefix: str = "") -> Iterator[str]:
    """Upstream's fields as paths; a list is described by its one element."""
    if isinstance(fields, list):
        fields = fields[0]
    if not isinstance(fields, dict):
        return
    for name, inner in fields.items():
        if name == "<key>":
            continue
        path = f"{prefix}.{name.rstrip('*')}"
        yield path
        yield from _paths(inner, path)


def _schema_paths(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    node = node.get("items", node)
    for name, inner in node.get("properties", {}).items():
        yield f"{prefix}.{name}"
        yield from _schema_paths(inner, f"{prefix}.{name}")


@pytest.mark.parametrize("kind", forklift.KINDS, ids=lambda kind: kind.__name__)
def test_forklift_kind_has_every_field_of_upstream(kind):
    upstream = FORKLIFT[kind.__name__]
    ours = schema.object_schema(kind)
    expected = {path for part in ("spec", "status") for path in _paths(upstream[part], f".{part}")}

    assert expected - set(_schema_paths(ours)) == set()
    assert kind.resource.plural == upstream["plural"]
    assert [[one.name, one.path] for one in kind.resource.columns] == upstream["printerColumns"]


def _upstream_types() -> list[str]:
    modules = {"kubevirt": kubevirt, "installation": installation, "cdi": cdi, "core": core}
    return [
        f"{module}:{name}"
        for name in KUBEVIRT
        for module, found in modules.items()
        if isinstance(getattr(found, name.rsplit(".", 1)[1], None), type)
        and name.startswith({"core": "k8s.io.api.core", "cdi": "v1beta1."}.get(module, "v1."))
    ]


@pytest.mark.parametrize("name", _upstream_types())
def test_kubevirt_type_has_every_field_of_upstream(name):
    module, _, full = name.partition(":")
    modules = {"kubevirt": kubevirt, "installation": installation, "cdi": cdi, "core": core}
    kind = getattr(modules[module], full.rsplit(".", 1)[1])
    upstream = KUBEVIRT[full]
    fields = {field.encode_name for field in msgspec.structs.fields(kind)}

    assert issubclass(kind, meta.Part)
    if isinstance(upstream, dict):
        assert {field.rstrip("*") for field in upstream} - fields == set()


def test_objects_keep_kind_and_false_and_leave_out_what_is_empty():
    vm = kubevirt.VirtualMachine(
        metadata=meta.ObjectMeta(name="a"),
        spec=kubevirt.VirtualMachineSpec(
            running=False, template=kubevirt.VirtualMachineInstanceTemplateSpec()
        ),
    )

    assert json.loads(msgspec.json.encode(vm)) == {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "a"},
        "spec": {"running": False, "template": {}},
    }
