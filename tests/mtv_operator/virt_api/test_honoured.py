"""Which fields have an effect, and what is said of the others."""

import typing

import msgspec
import pytest
from kubevirt_objects import instance_spec, vm_document

from mtv.api import kubevirt
from mtv_operator.virt_api import honoured


def _inner(annotation):
    """Return the struct in an annotation, and whether it is inside a list; None for a scalar."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation, False
    for part in typing.get_args(annotation):
        found = _inner(part)
        if found is not None:
            return found[0], typing.get_origin(annotation) is tuple or found[1]
    return None


def _unknown(struct, tree, at):
    """Yield the names in the table that the API type does not have."""
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, below in tree.items():
        if name == "*":
            continue
        if name not in known:
            yield f"{at}.{name}"
            continue
        inner = _inner(known[name].type)
        below = below.get("[]", below)
        if inner is not None:
            yield from _unknown(inner[0], below, f"{at}.{name}")
        elif set(below) - {"*"}:
            yield f"{at}.{name} has nothing below"


def test_every_name_in_the_table_is_a_field():
    assert list(_unknown(kubevirt.VirtualMachineSpec, honoured.VM_SPEC, "spec")) == []


def test_plain_vm_is_honoured_wholly():
    assert honoured.warnings(vm_document()["spec"], honoured.VM_SPEC) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (
            lambda spec: spec["domain"]["devices"].update(gpus=[{"name": "g"}]),
            "spec.template.spec.domain.devices.gpus",
        ),
        (
            lambda spec: spec["domain"]["devices"]["disks"][0].update(dedicatedIOThread=True),
            "spec.template.spec.domain.devices.disks[0].dedicatedIOThread",
        ),
        (
            lambda spec: spec["volumes"].append({"name": "x", "memoryDump": {"claimName": "c"}}),
            "spec.template.spec.volumes[1].memoryDump",
        ),
        (
            lambda spec: spec["domain"].update(ioThreadsPolicy="auto"),
            "spec.template.spec.domain.ioThreadsPolicy",
        ),
        (
            lambda spec: spec["domain"].update(launchSecurity={"sev": {}}),
            "spec.template.spec.domain.launchSecurity",
        ),
    ],
    ids=["a device", "a field of a disk", "a kind of volume", "a scalar", "a map"],
)
def test_field_without_effect_is_named(change, path):
    document = vm_document()
    change(document["spec"]["template"]["spec"])
    assert honoured.warnings(document["spec"], honoured.VM_SPEC) == [
        f"{path}: stored, has no effect yet"
    ]


def test_nothing_asked_for_is_nothing_said():
    spec = instance_spec()
    spec["accessCredentials"] = []
    spec["domain"]["devices"]["disableHotplug"] = False
    spec["domain"]["ioThreadsPolicy"] = None
    assert honoured.warnings(spec, honoured.INSTANCE_SPEC) == []
