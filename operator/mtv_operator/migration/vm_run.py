"""The cold way of one VM, one look at a time: where it is, what is seen → where it is next. Pure.

    Started → StorePowerState → PowerOffSource → WaitForPowerOff → CreateDataVolumes → CopyDisks
            → CreateVM → Completed

What must not be forgotten is stored before it matters: the power state before the source is
stopped, an error or a cancel before anything is undone. Everything that is done may be done twice.

A VM that failed or was canceled is *ending*: its unfinished transfers are taken away, and its
source is switched on again if it was on and we have stopped it. A guest that shuts down later than
that, because it was asked to, is switched on when it is seen to be off (`late_restore`).

The target VM is the point of no return: once it exists, the source stays off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from mtv.api import core, forklift
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import PowerState
from mtv.planning import labels, transfers
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import (
    actions,
    conditions,
    itinerary,
    progress,
    source_power,
    vm_scene,
)
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.progress import CANCELED, FAILED, SUCCEEDED
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

replace = msgspec.structs.replace


def advance(scene: Scene, vm: forklift.VMStatus, now: datetime, *, canceled: bool) -> Advance:
    """Return the next state of a VM that is on its way."""
    if is_ending(vm):
        return _end(scene, vm, now)
    if canceled and scene.target_of(vm) is None:
        why = "Canceled by the user."
        return Advance(vm=progress.noted(vm, "Canceling", "UserRequested", why, now))
    tolerated = {"PowerOn", *({"ShutDownGuest"} if scene.power_off.force else ())}
    refused = [one for kind, one in scene.faults_of(vm).items() if kind not in tolerated]
    if refused:
        return vm_scene.failed(vm, *(vm_scene.sentence(fault) for fault in refused))
    planned = scene.of(vm)
    if planned is None:
        if scene.target_of(vm) is not None:
            return Advance(vm=progress.completed(vm, SUCCEEDED, now))
        return vm_scene.failed(vm, f"the source has no VM {vm.id} ({vm.name}) any more")
    phase = Phase(vm.phase) if vm.phase in set(Phase) else Phase.STARTED
    return _PHASES[phase](scene, vm, planned, now)


def is_ending(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM that has not completed is being wound up."""
    return vm.error is not None or conditions.is_true(vm.conditions, "Canceling")


def _start(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
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


def _create_data_volumes(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    sharing = _running_sharers(scene, planned)
    if sharing:  # their guests still write to a disk of this VM
        return Advance(vm=vm, requeue_after_s=WAIT_S)
    too_small = [text for claim in planned.claims if (text := _too_small(scene, claim))]
    if too_small:
        return vm_scene.failed(vm, *too_small)
    before: list[actions.OfPlan] = [
        actions.EnsureNamespace(name=scene.plan.spec.target_namespace),
        *((actions.EnsureSecret(secret=scene.secret_copy),) if scene.secret_copy else ()),
        *(actions.EnsureClaim(claim=claim) for claim in planned.claims),
    ]
    going = False
    for wanted in planned.transfers:
        there = scene.transfers.get(wanted.metadata.name)
        if there is None:
            before.append(actions.EnsureTransfer(transfer=wanted))
        elif there.metadata.deletion_timestamp:
            going = True
        elif not is_worth_keeping(there, wanted):
            going = True
            before.append(_delete(there))
        elif has_failed(there):
            going = True
            before.append(
                actions.RetryTransfer(
                    namespace=there.metadata.namespace,
                    name=there.metadata.name,
                    uid=there.metadata.uid,
                )
            )
        else:
            before.append(actions.Relabel(transfer=there, labels=wanted.metadata.labels))
    if going:
        return Advance(vm=vm, actions=tuple(before), requeue_after_s=WAIT_S)
    return Advance(vm=vm_scene.onward(vm, now), actions=tuple(before))


def is_worth_keeping(there: DiskTransfer, wanted: DiskTransfer) -> bool:
    """Tell whether a transfer of an earlier run is one of the source as it is now."""
    marks = there.metadata.annotations
    return (
        labels.STALE not in marks
        and marks.get(labels.SOURCE_STATE) == wanted.metadata.annotations.get(labels.SOURCE_STATE)
        and there.spec.disk == wanted.spec.disk
    )


def has_failed(transfer: DiskTransfer) -> bool:
    """Tell whether a transfer has given up."""
    return transfer.status is not None and transfer.status.phase == FAILED


def _copy_disks(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    if vm_scene.power_of(planned) is not PowerState.OFF:
        return vm_scene.failed(
            vm, "the source was switched on while its disks were copied: the copy would be torn"
        )
    by_task = {
        transfers.task_name(disk): scene.transfers[one.metadata.name]
        for disk, one in zip(itinerary.copied_disks(planned), planned.transfers, strict=True)
        if one.metadata.name in scene.transfers
    }
    vm = progress.with_copies(vm, by_task, now)
    todo: list[actions.OfPlan] = []
    if scene.secret_copy is not None and not scene.secret_is_current:
        todo.append(actions.EnsureSecret(secret=scene.secret_copy))
    failed: list[str] = []
    left = False
    for wanted in planned.transfers:
        there = scene.transfers.get(wanted.metadata.name)
        if there is None:
            todo += [
                *(
                    actions.EnsureClaim(claim=claim)
                    for claim in planned.claims
                    if claim.metadata.name == wanted.spec.target.claim_name
                ),
                actions.EnsureTransfer(transfer=wanted),
            ]
            left = True
        elif there.metadata.deletion_timestamp:
            left = True
        elif there.spec.disk != wanted.spec.disk:  # a snapshot was made or removed meanwhile
            todo.append(_delete(there))
            left = True
        elif has_failed(there):
            failed.append(progress.reason_of(there))
        elif there.status is None or there.status.phase != SUCCEEDED:
            left = True
    if failed:
        return vm_scene.failed(vm, *failed)
    if left:
        return Advance(vm=vm, actions=tuple(todo), requeue_after_s=WAIT_S if todo else None)
    return _with_shared_disks(scene, replace(vm, disks_copied=True), planned, now)


def _with_shared_disks(
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


def _create_vm(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    target = scene.target_of(vm)
    if target is not None:
        return Advance(vm=progress.completed(vm, SUCCEEDED, now))
    if vm_scene.power_of(planned) is not PowerState.OFF:
        return vm_scene.failed(vm, "the source was switched on before its target was made")
    if planned.virtual_machine is None:
        return vm_scene.failed(vm, *(str(one.message) for one in planned.problems if one.blocks))
    create = actions.CreateVM(
        vm=planned.virtual_machine, claims=tuple(one.claim_name for one in planned.volumes)
    )
    return Advance(vm=vm_scene.onward(vm, now), actions=(create,))


def _complete(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    return Advance(vm=progress.completed(vm, SUCCEEDED, now))


_Phase = Callable[[Scene, forklift.VMStatus, PlannedVM, datetime], Advance]
_PHASES: dict[Phase, _Phase] = {
    Phase.STARTED: _start,
    Phase.PRE_HOOK: _start,  # plans with hooks are not Ready
    Phase.STORE_POWER_STATE: source_power.store_power_state,
    Phase.POWER_OFF_SOURCE: source_power.power_off_source,
    Phase.WAIT_FOR_POWER_OFF: source_power.wait_for_power_off,
    Phase.CREATE_DATA_VOLUMES: _create_data_volumes,
    Phase.COPY_DISKS: _copy_disks,
    Phase.CREATE_GUEST_CONVERSION_POD: _create_vm,
    Phase.CONVERT_GUEST: _create_vm,
    Phase.CREATE_VM: _create_vm,
    Phase.POST_HOOK: _complete,
    Phase.COMPLETED: _complete,
}


def _end(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    outcome = FAILED if vm.error is not None else CANCELED
    if scene.target_of(vm) is not None:
        # It was made before the cancel was seen; what runs there must not run at the source too.
        vm = progress.unnoted(vm, "Canceling", now)
        return Advance(vm=progress.completed(replace(vm, error=None), SUCCEEDED, now))
    todo: list[actions.OfPlan] = [
        _delete(one)
        for one in scene.transfers_of(vm)
        if not (one.status is not None and one.status.phase in (SUCCEEDED, FAILED))
    ]
    vm, restore = source_power.restored(scene, vm, now)
    if restore is None:
        return Advance(vm=vm, actions=tuple(todo), requeue_after_s=WAIT_S)
    vm = progress.unnoted(vm, "Canceling", now)
    return Advance(vm=progress.completed(vm, outcome, now), actions=(*todo, *restore))


def late_restore(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    """Return what is still to be done for a VM that failed or was canceled."""
    stopped = conditions.find(vm.conditions, source_power.STOPPED)
    if (
        stopped is None
        or stopped.reason == source_power.RESTORED
        or scene.target_of(vm) is not None
    ):
        return Advance(vm=vm)
    if progress.outcome_of(vm) not in (FAILED, CANCELED):
        return Advance(vm=vm)
    waited_s = conditions.seconds_since(stopped.last_transition_time, now)
    if waited_s > scene.power_off.timeout_s + source_power.LATE_RESTORE_S:
        return Advance(vm=vm)
    vm, restore = source_power.restored(scene, vm, now)
    return Advance(
        vm=vm, actions=restore or (), requeue_after_s=WAIT_S if restore is None else None
    )


def _delete(transfer: DiskTransfer) -> actions.DeleteTransfer:
    return actions.DeleteTransfer(
        namespace=transfer.metadata.namespace,
        name=transfer.metadata.name,
        uid=transfer.metadata.uid,
    )


def shares_disks(planned: PlannedVM, other_ids: Sequence[str]) -> bool:
    """Tell whether a VM has a disk that another one of the plan copies, or has copied for it."""
    copied = {transfer.spec.target.claim_name for transfer in planned.transfers}
    return bool(other_ids) and (
        any(volume.claim_name not in copied for volume in planned.volumes)
        or any(volume.disk.shared for volume in planned.volumes)
    )


def _running_sharers(scene: Scene, planned: PlannedVM) -> list[str]:
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


def _too_small(scene: Scene, wanted: core.PersistentVolumeClaim) -> str:
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
