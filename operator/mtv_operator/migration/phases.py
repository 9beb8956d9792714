"""What both ways of a VM, the cold and the warm one, go through. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mtv.api import core, forklift
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import PowerState
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import actions, conditions, conversion, progress, vm_scene
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.progress import FAILED, SUCCEEDED
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

replace = msgspec.structs.replace


def start(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Begin, unless something is in the way that planning did not see."""
    blockers = [str(one.message) for one in planned.problems if one.blocks]
    old = scene.rolled_back_of(vm)
    if old is not None:
        where = f"{old.metadata.namespace}/{old.metadata.name}"
        blockers.append(f"VM {where} is there from a migration that was rolled back: delete it")
    if blockers:
        return vm_scene.failed(vm, *blockers)
    vm = replace(vm, started=conditions.timestamp(now), new_name=planned.target_name)
    # Better refused now than when the source is off and hours of copying are done.
    before: tuple[actions.OfPlan, ...] = (
        actions.EnsureNamespace(name=scene.plan.spec.target_namespace),
        *((actions.TryVM(vm=planned.virtual_machine),) if planned.virtual_machine else ()),
    )
    vm = vm_scene.onward(progress.entered(vm, Phase.STARTED, now), now)
    return Advance(vm=vm, actions=before)


def create_vm(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Make the target VM; the source must be off."""
    target = scene.target_of(vm)
    if target is not None:
        return Advance(vm=vm_scene.onward(vm, now))
    if vm_scene.power_of(planned) is not PowerState.OFF:
        return vm_scene.failed(vm, "the source was switched on before its target was made")
    if planned.virtual_machine is None:
        return vm_scene.failed(vm, *(str(one.message) for one in planned.problems if one.blocks))
    create = actions.CreateVM(
        vm=conversion.marked(planned.virtual_machine, vm),
        claims=tuple(one.claim_name for one in planned.volumes),
    )
    return Advance(vm=vm_scene.onward(vm, now), actions=(create,))


def complete(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Say that it is done."""
    return Advance(vm=progress.completed(vm, SUCCEEDED, now))


def with_shared_disks(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Go on when disks that another VM of the plan has copied are there too."""
    own = {one.spec.target.claim_name for one in planned.transfers}
    for volume in planned.volumes:
        if volume.claim_name in own:
            continue
        transfer = scene.transfers.get(volume.claim_name)
        if transfer is not None and transfer.status and transfer.status.phase == SUCCEEDED:
            continue
        others = [one for one in scene.run.values() if one.id != vm.id and not one.completed]
        if others:
            return Advance(vm=vm, requeue_after_s=WAIT_S)
        return vm_scene.failed(
            vm, f"{volume.disk.file} is shared, and the VM it is copied with has failed"
        )
    return Advance(vm=vm_scene.onward(vm, now))


def running_sharers(scene: Scene, planned: PlannedVM) -> list[str]:
    """Return the VMs of this run that still run and have a disk in common with `planned`."""
    others = [
        one
        for one in scene.planned.vms
        if one.vm is not None and one.id != planned.id and one.id in scene.run
    ]
    files = {volume.disk.base_file for volume in planned.volumes}
    return [
        one.id
        for one in others
        if vm_scene.power_of(one) is PowerState.ON
        and not scene.run[one.id].completed
        and any(volume.disk.base_file in files for volume in one.volumes)
    ]


def has_failed(transfer: DiskTransfer) -> bool:
    """Tell whether a transfer has given up."""
    return transfer.status is not None and transfer.status.phase == FAILED


def delete(transfer: DiskTransfer) -> actions.DeleteTransfer:
    """Return what takes a transfer away."""
    return actions.DeleteTransfer(
        namespace=transfer.metadata.namespace,
        name=transfer.metadata.name,
        uid=transfer.metadata.uid,
    )


def too_small(scene: Scene, wanted: core.PersistentVolumeClaim) -> str:
    """Say that a claim of an earlier run is smaller than the disk is by now; "" if it is not."""
    there = scene.claims.get(wanted.metadata.name)
    if there is None or there.spec is None or wanted.spec is None:
        return ""
    has, needs = _request(there), _request(wanted)
    if has == needs or _mib(has) >= _mib(needs):
        return ""
    return (
        f"claim {there.metadata.namespace}/{there.metadata.name} asks for {has}, and {needs} are "
        "needed: the disk has grown since; delete the claim (it holds an old copy) and start again"
    )


def _request(claim: core.PersistentVolumeClaim) -> str:
    resources = claim.spec.resources if claim.spec else None
    return str((resources.requests if resources else {}).get("storage", ""))


def _mib(quantity: str) -> float:
    """Return a size in MiB; infinity for what planning does not write: somebody else did."""
    if quantity.endswith("Mi") and quantity[:-2].isdigit():
        return float(quantity[:-2])
    return float("inf")
