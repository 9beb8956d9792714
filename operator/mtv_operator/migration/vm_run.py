"""The way of one VM, one look at a time: where it is, what is seen → where it is next. Pure.

What is done in a phase stands in `cold_run` and `warm_run`; here is what holds in all of them.

What must not be forgotten is stored before it matters: the power state before the source is
stopped, an error or a cancel before anything is undone. Everything that is done may be done twice.

A VM that failed or was canceled is *ending*: its unfinished transfers are taken away, and its
source is switched on again if it was on and we have stopped it. A guest that shuts down later than
that, because it was asked to, is switched on when it is seen to be off (`late_restore`).

The target VM is the point of no return: once it exists, the source stays off.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mtv.api import forklift
from mtv.api.mtv import DiskTransfer
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import (
    actions,
    cold_run,
    conditions,
    conversion,
    hook_jobs,
    itinerary,
    phases,
    progress,
    snapshot_removal,
    source_power,
    vm_scene,
    warm_copies,
    warm_run,
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
    table = warm_run.PHASES if itinerary.is_warm(vm) else cold_run.PHASES
    phase = Phase(vm.phase) if vm.phase in table else Phase.STARTED
    return table[phase](scene, vm, planned, now)


def is_ending(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM that has not completed is being wound up."""
    return vm.error is not None or conditions.is_true(vm.conditions, "Canceling")


def _end(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    outcome = FAILED if vm.error is not None else CANCELED
    if scene.target_of(vm) is not None:
        # It was made before the cancel was seen; what runs there must not run at the source too.
        vm = progress.unnoted(vm, "Canceling", now)
        if hook_jobs.has_failed_after(vm):  # it is moved, and stays so
            return Advance(vm=progress.completed(vm, FAILED, now))
        return Advance(vm=progress.completed(replace(vm, error=None), SUCCEEDED, now))
    todo = tuple(_ended(one) for one in scene.transfers_of(vm) if not _has_ended(one))
    todo = (*todo, *conversion.ended(scene, vm), *hook_jobs.ended(scene, vm))
    vm, restore = source_power.restored(scene, vm, now)
    if restore is None:
        return Advance(vm=vm, actions=todo, requeue_after_s=WAIT_S)
    todo = (*todo, *restore)
    if any(_uses_snapshot(one) for one in scene.transfers_of(vm)):
        return Advance(vm=vm, actions=todo, requeue_after_s=WAIT_S)
    removal, ready = snapshot_removal.at_the_end(scene, vm, now)
    vm, todo = removal.vm, (*todo, *removal.actions)
    if not ready:
        return Advance(vm=vm, actions=todo, requeue_after_s=removal.wait_s)
    vm = progress.unnoted(vm, "Canceling", now)
    return Advance(vm=progress.completed(vm, outcome, now), actions=todo)


def _has_ended(one: DiskTransfer) -> bool:
    if one.metadata.deletion_timestamp or one.spec.suspend or phases.has_failed(one):
        return True
    return warm_copies.is_whole(one)


def _ended(one: DiskTransfer) -> actions.OfPlan:
    """Return what ends a transfer: one of a snapshot's state is gone on from with another's."""
    there = one.metadata
    if one.spec.checkpoint is not None:
        return actions.SuspendTransfer(namespace=there.namespace, name=there.name)
    return phases.delete(one)


def _uses_snapshot(one: DiskTransfer) -> bool:
    return (
        one.spec.checkpoint is not None and one.status is not None and one.status.phase == "Running"
    )


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


def shares_disks(planned: PlannedVM, other_ids: Sequence[str]) -> bool:
    """Tell whether a VM has a disk that another one of the plan copies, or has copied for it."""
    copied = {transfer.spec.target.claim_name for transfer in planned.transfers}
    return bool(other_ids) and (
        any(volume.claim_name not in copied for volume in planned.volumes)
        or any(volume.disk.shared for volume in planned.volumes)
    )
