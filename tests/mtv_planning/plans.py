"""A plan, its maps and its provider, to plan with."""

from __future__ import annotations

from typing import Any

import msgspec

from mtv.api import core, forklift, kubevirt, meta
from mtv.inventory.model import VM, Inventory
from mtv.planning import plan as planning
from mtv.planning.plan import PlannedPlan, PlannedVM, Target

NAMESPACE = "mtv"
PLAN_UID = "0a1b2c3d-0000-0000-0000-000000000001"


def reference(name: str) -> dict[str, str]:
    return {"name": name, "namespace": NAMESPACE}


def provider() -> forklift.Provider:
    return msgspec.convert(
        {
            "metadata": {"name": "vcenter", "namespace": NAMESPACE, "uid": "p-1"},
            "spec": {
                "type": "vsphere",
                "url": "https://vcenter.example.org/sdk",
                "secret": reference("vcenter"),
            },
        },
        forklift.Provider,
    )


def network_map(*entries: dict[str, Any]) -> forklift.NetworkMap:
    return msgspec.convert(
        {
            "metadata": {"name": "nets", "namespace": NAMESPACE},
            "spec": {"provider": _pair(), "map": list(entries)},
        },
        forklift.NetworkMap,
    )


def storage_map(*entries: dict[str, Any]) -> forklift.StorageMap:
    return msgspec.convert(
        {
            "metadata": {"name": "disks", "namespace": NAMESPACE},
            "spec": {"provider": _pair(), "map": list(entries)},
        },
        forklift.StorageMap,
    )


POD = {"source": {"name": "VM Network"}, "destination": {"type": "pod"}}
PROD = {
    "source": {"name": "prod"},
    "destination": {"type": "multus", "namespace": "nets", "name": "vlan100"},
}
DS1 = {"source": {"name": "ds1"}, "destination": {"storageClass": "local"}}


def plan(*vms: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    """A cold plan that takes the guests as they are, on native devices; None takes a field away."""
    defaults = {
        "targetNamespace": "prod",
        "provider": _pair(),
        "map": {"network": reference("nets"), "storage": reference("disks")},
        "skipGuestConversion": True,
        "useCompatibilityMode": False,
        "preserveStaticIPs": False,
        "vms": list(vms),
    }
    return msgspec.convert(
        {
            "metadata": {
                "name": "move",
                "namespace": NAMESPACE,
                "uid": PLAN_UID,
                "annotations": annotations or {},
            },
            "spec": {key: value for key, value in (defaults | spec).items() if value is not None},
        },
        forklift.Plan,
    )


def _pair() -> dict[str, Any]:
    return {"source": reference("vcenter"), "destination": reference("host")}


def migration(uid: str = "m-1") -> forklift.Migration:
    return forklift.Migration(
        metadata=meta.ObjectMeta(name="run", namespace=NAMESPACE, uid=uid),
        spec=forklift.MigrationSpec(plan=meta.ObjectReference(name="move", namespace=NAMESPACE)),
    )


def build(inventory: Inventory, plan: forklift.Plan, **more: Any) -> PlannedPlan:
    """Plan with one network map for both networks, and one entry for ds1."""
    return planning.build(
        inventory,
        plan,
        more.pop("network_map", network_map(POD, PROD)),
        more.pop("storage_map", storage_map(DS1)),
        provider=provider(),
        **more,
    )


def build_one(inventory: Inventory, vm: VM, **spec: Any) -> PlannedVM:
    """Plan one VM."""
    entry = spec.pop("entry", {})
    return build(inventory, plan({"id": vm.id, **entry}, **spec)).vms[0]


def target_vm(name: str, **more: Any) -> kubevirt.VirtualMachine:
    """A VM that is in the target already."""
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "prod", **more.get("metadata", {})},
            "spec": {
                "template": {
                    "spec": {
                        "domain": {
                            "devices": {
                                "interfaces": [
                                    {"name": "net-0", "macAddress": mac}
                                    for mac in more.get("macs", ())
                                ]
                            }
                        }
                    }
                }
            },
        },
        kubevirt.VirtualMachine,
    )


def target(**more: Any) -> Target:
    """A target with one storage class."""
    local = core.StorageClass(metadata=meta.ObjectMeta(name="local"), provisioner="mtv.dev/local")
    return Target(**{"storage_classes": {"local": local}, **more})


def types(planned: PlannedPlan | PlannedVM) -> dict[str, str]:
    """Return problem types with their categories."""
    return {problem.type: str(problem.category) for problem in planned.problems}
