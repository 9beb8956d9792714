"""What a plan would do, before it does: `mtv plan check` and `mtv import --dry-run`.

Everything is computed by `mtv.planning` from the source as it is now and the target as it is now;
the controller computes the same. Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtv.cli import options, sources
from mtv.cli.follow import size
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.api.forklift import Plan, Provider
    from mtv.inventory.model import Inventory
    from mtv.planning.plan import PlannedPlan, PlannedVM
    from mtv.planning.problems import Problem
    from mtv.planning.target import Target
    from mtv_operator.objects import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A stored Plan, its source, and what it would do."""

    plan: Plan
    provider: Provider
    inventory: Inventory
    planned: PlannedPlan


def of_plan(client: Client, name: str, namespace: str) -> PlannedPlan:
    """Plan what a stored Plan would do. Raises NotFound for it or its provider."""
    return look(client, name, namespace).planned


def look(client: Client, name: str, namespace: str) -> Look:
    """Plan what a stored Plan would do, and return what that was told from."""
    import dataclasses

    from mtv.api import forklift
    from mtv.cli.plan import read_plan
    from mtv.planning import plan as planning

    plan = read_plan(client, name, namespace)
    reference = plan.spec.provider.source
    provider = sources.find(client, reference.name, reference.namespace or namespace)
    maps = plan.spec.map
    moved = plan.status.migration.vms if plan.status and plan.status.migration else ()
    names = {vm.id: vm.new_name for vm in moved if vm.id and vm.new_name and vm.started}
    on = {vm.id: vm.restore_power_state == "On" for vm in moved if vm.id and vm.restore_power_state}
    inventory = sources.inventory(client, provider)
    planned = planning.build(
        inventory,
        plan,
        client.find(forklift.NetworkMap, maps.network.name, maps.network.namespace or namespace)
        if maps.network.name
        else None,
        client.find(forklift.StorageMap, maps.storage.name, maps.storage.namespace or namespace)
        if maps.storage.name
        else None,
        provider=provider,
        target=dataclasses.replace(target(client), names=names),
        was_on=on,
    )
    return Look(plan=plan, provider=provider, inventory=inventory, planned=planned)


def target(client: Client) -> Target:
    """Return what is known of the target cluster."""
    from mtv.api import core, forklift, kubevirt
    from mtv.planning.target import Target
    from mtv_operator.migration import world

    return Target(
        storage_classes={one.metadata.name: one for one in client.list(core.StorageClass)},
        network_attachments=world.read_attachments(client),
        virtual_machines=tuple(client.list(kubevirt.VirtualMachine)),
        claims=tuple(client.list(core.PersistentVolumeClaim)),
        hooks={
            f"{one.metadata.namespace}/{one.metadata.name}": one
            for one in client.list(forklift.Hook)
        },
    )


def document(planned: PlannedPlan) -> dict[str, Any]:
    """Return everything as JSON values."""
    import msgspec

    return {
        "plan": {"name": planned.name, "namespace": planned.namespace},
        "targetNamespace": planned.target_namespace,
        "ready": not planned.blocked,
        "bytesToCopy": {
            "atMost": planned.estimate.capacity_bytes,
            "likely": planned.estimate.used_bytes,
        },
        "problems": [_problem(one) for one in planned.problems],
        "vms": [_vm(one) for one in planned.vms],
        "objects": [msgspec.to_builtins(one) for one in planned.objects()],
    }


def _problem(one: Problem) -> dict[str, Any]:
    fields = ("type", "category", "reason", "message", "item", "field", "suggestion")
    return {name: str(value) for name in fields if (value := getattr(one, name))}


def _vm(one: PlannedVM) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "targetName": one.target_name,
        "blocked": one.blocked,
        "bytesToCopy": {
            "atMost": one.estimate.capacity_bytes,
            "likely": one.estimate.used_bytes,
        },
        "concerns": [
            {
                "id": concern.id,
                "category": concern.category.value,
                "label": concern.label,
                "assessment": concern.assessment,
            }
            for concern in one.concerns
        ],
    }


def print_planned(planned: PlannedPlan, output: Format) -> None:
    """Print on stdout: for people, or everything as one JSON or YAML document."""
    if output in (Format.JSON, Format.YAML):
        options.print_document(document(planned), output)
        return
    if output is Format.NAME:
        for one in planned.objects():
            print(f"{one.kind.lower()}/{one.metadata.name}")
        return
    for line in text(planned, wide=output is Format.WIDE):
        print(line)


def text(planned: PlannedPlan, *, wide: bool = False) -> list[str]:
    """Return what people read, line by line."""
    lines: list[str] = []
    if planned.general:
        lines += ["The plan as a whole:", *(_bullet(one) for one in planned.general), ""]
    for vm in planned.vms:
        lines += [*_vm_lines(vm, wide=wide), ""]
    lines += ["Objects that would be made:", *_object_lines(planned), ""]
    estimate = planned.estimate
    lines.append(
        f"To copy: {size(estimate.used_bytes)} likely, {size(estimate.capacity_bytes)} at most."
    )
    blockers = sum(one.blocks for one in planned.problems)
    if blockers:
        count = f"{blockers} problem{'s' if blockers > 1 else ''}"
        lines.append(f"Not ready: {count} must be solved first (marked with !!).")
    else:
        lines.append("Ready: nothing stands in the way.")
    return lines


def _vm_lines(vm: PlannedVM, *, wide: bool) -> list[str]:
    found = f" ({vm.id})" if vm.vm else ""
    becomes = f" becomes {vm.target_name}" if vm.target_name else ""
    lines = [f"VM {vm.name or vm.id}{found}{becomes}:"]
    lines += [_bullet(one) for one in vm.problems]
    for concern in vm.concerns:
        assessment = f": {concern.assessment}" if wide or concern.category != "Information" else ""
        lines.append(f"  {concern.category.value}: {concern.label}{assessment}  [{concern.id}]")
    if len(lines) == 1:
        lines.append("  nothing to say: it can move as it is")
    return lines


def _bullet(one: Problem) -> str:
    mark = "!!" if one.blocks else "  "
    where = f" ({one.field})" if one.field else ""
    advice = f"\n       → {one.suggestion}" if one.suggestion else ""
    return f"{mark}{one.category.value}: {one.type}: {one.message}{where}{advice}"


def _object_lines(planned: PlannedPlan) -> list[str]:
    from mtv.api import core
    from mtv.api.mtv import DiskTransfer

    lines = []
    for one in planned.objects():
        name = f"{one.metadata.namespace}/{one.metadata.name}"
        detail = ""
        if isinstance(one, core.PersistentVolumeClaim) and one.spec is not None:
            requests = one.spec.resources.requests if one.spec.resources else {}
            modes = ",".join(one.spec.access_modes)
            detail = f"{requests.get('storage')} {one.spec.storage_class_name} {modes}"
        elif isinstance(one, DiskTransfer):
            detail = f"{one.spec.disk.file}, {size(one.spec.disk.capacity_bytes)}"
        lines.append(f"  {one.kind:<22} {name}   {detail}".rstrip())
    return lines or ["  none"]


def missing_maps(planned: PlannedPlan, inventory: Inventory, classes: list[str]) -> list[str]:
    """Return the options of `mtv import` that would map what is not mapped."""
    chosen = classes[0] if classes else "CLASS"
    wanted: dict[str, None] = {}
    kinds = {one.type for one in planned.problems}
    for vm in planned.vms:
        if vm.vm is None:
            continue
        if "VMNetworksNotMapped" in kinds:
            ids = [nic.network for nic in vm.vm.nics if nic.network]
            for network in (inventory.networks.get(one) for one in ids):
                if network is not None and _unmapped(planned, network.name):
                    wanted[f'--network "{network.name}=pod"'] = None
        if "VMStorageNotMapped" in kinds:
            stores = [disk.datastore for disk in vm.vm.disks if disk.datastore]
            for store in (inventory.datastores.get(one) for one in stores):
                if store is not None and _unmapped(planned, store.name):
                    wanted[f'--storage "{store.name}={chosen}"'] = None
    return list(wanted)


def _unmapped(planned: PlannedPlan, name: str) -> bool:
    kinds = ("VMNetworksNotMapped", "VMStorageNotMapped")
    return any(one.type in kinds and repr(name) in one.message for one in planned.problems)
