"""The warm way of one VM: copied while it runs, what changed again and again, the rest at the end.

    Started → CreateInitialSnapshot → WaitForInitialSnapshot → StoreInitialSnapshotDeltas
            → CreateDataVolumes → CopyDisks → CopyingPaused → RemovePreviousSnapshot
            → WaitForPreviousSnapshotRemoval ┬→ CreateSnapshot → WaitForSnapshot
                                             │  → StoreSnapshotDeltas → AddCheckpoint → CopyDisks …
                                             └→ StorePowerState → PowerOffSource → WaitForPowerOff
            → CreateFinalSnapshot → WaitForFinalSnapshot → AddFinalCheckpoint → Finalize
            → CreateVM → RemoveFinalSnapshot → WaitForFinalSnapshotRemoval → Completed

Pure. A snapshot is removed as soon as its state is on the target: in CopyingPaused already, while
the VM runs. Between power-off and the target VM no snapshot is removed.

Disks that are in no snapshot (independent, shared, physical RDM) are copied when the source is off.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import forklift
from mtv.inventory.model import PowerState
from mtv.planning import transfers
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import (
    actions,
    conversion,
    cutover,
    hook_jobs,
    itinerary,
    phases,
    progress,
    snapshot_removal,
    source_power,
    vm_scene,
    warm,
    warm_copies,
)
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.conversion_pod import REHEARSE
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.vm_scene import LOOK_S, WAIT_S, Advance, Scene

NOT_QUIESCED = "SnapshotNotQuiesced"
MOST_FAILURES = 5  # precopies in a row that came to nothing
MOST_FINAL_FAILURES = 3  # the source is off meanwhile
BACK_OFF_S = (5.0, 30.0, 60.0, 300.0, 300.0)
replace = msgspec.structs.replace


def _create_snapshot(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Record the name of the snapshot; it is taken when that is stored."""
    left_s = warm.wait_s(vm, now, BACK_OFF_S[-1])
    if left_s > 0:  # after one that came to nothing
        return Advance(vm=vm, requeue_after_s=left_s)
    return Advance(vm=vm_scene.onward(warm.begun(vm, scene.owner.plan_uid, now), now))


def _create_initial_snapshot(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    removal = snapshot_removal.of(scene, vm, now)  # what a run before this one has left
    if not removal.gone and not snapshot_removal.may_stay(removal, cuts=False):
        return Advance(vm=removal.vm, actions=removal.actions, requeue_after_s=removal.wait_s)
    return _create_snapshot(scene, removal.vm, planned, now)


def _create_final_snapshot(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    return _create_snapshot(scene, cutover.with_shutdown(vm, now), planned, now)


def _wait_for_snapshot(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    name = warm.last(vm).name or ""
    seen = scene.snapshots.get(vm.id or "")
    if seen is not None and seen.name != name:
        seen = None
    if seen is not None and seen.id:
        vm = _with_rest(warm.taken(vm, seen), seen, now)
        return Advance(vm=vm_scene.onward(vm, now))
    if seen is not None and isinstance(seen.fault, errors.NeedsOperator):
        why = f"no snapshot of the source could be taken: {vm_scene.sentence(seen.fault)}"
        return _precopy_failed(scene, vm, why, now)
    pause_s = LOOK_S
    if seen is not None and seen.fault is not None:
        pause_s = snapshot_removal.BACK_OFF_S[min(seen.failures, 3) - 1]
        left_s = pause_s - (now - seen.at).total_seconds()
        if 0 < left_s <= pause_s:
            return Advance(vm=vm, requeue_after_s=left_s)
    is_on = vm_scene.power_of(planned) is PowerState.ON
    take = actions.TakeSnapshot(
        provider=scene.provider,
        vm_id=vm.id or "",
        prefix=warm.prefix(scene.owner.plan_uid, vm.id or ""),
        name=name,
        quiesce=is_on and bool(planned.vm and planned.vm.tools_running),
    )
    return Advance(vm=warm.being_taken(vm, seen), actions=(take,), requeue_after_s=pause_s)


def _with_rest(vm: forklift.VMStatus, seen: warm.Seen, now: datetime) -> forklift.VMStatus:
    """Say that a guest was not brought to rest, where it was to be."""
    if not seen.why_not:
        return progress.unnoted(vm, NOT_QUIESCED, now) if seen.quiesced else vm
    text = (
        f"the guest was not brought to rest, so that the precopy is as after a crash: "
        f"{seen.why_not}; the final copy is of a guest that was shut down"
    )
    return progress.noted(vm, NOT_QUIESCED, "QuiesceFailed", text, now, category=Category.WARN)


def _precopy_failed(scene: Scene, vm: forklift.VMStatus, why: str, now: datetime) -> Advance:
    """Try again later; fail when it has come to nothing too often."""
    final = vm.phase == Phase.WAIT_FOR_FINAL_SNAPSHOT
    in_a_row = warm.of(vm).consecutive_failures + 1
    if in_a_row >= (MOST_FINAL_FAILURES if final else MOST_FAILURES):
        return vm_scene.failed(warm.failed(vm, 0, now), why)
    pause_s = 2.0 if final else BACK_OFF_S[in_a_row - 1]
    vm = warm.failed(vm, pause_s, now)
    back = {
        Phase.WAIT_FOR_INITIAL_SNAPSHOT: Phase.CREATE_INITIAL_SNAPSHOT,
        Phase.WAIT_FOR_FINAL_SNAPSHOT: Phase.CREATE_FINAL_SNAPSHOT,
    }
    phase = back.get(Phase(vm.phase), Phase.COPYING_PAUSED)
    text = f"VM {vm.name or vm.id}: {why}; tried again in {pause_s:.0f} s"
    told = actions.Record(plan=scene.plan, reason="PrecopyFailed", message=text, warning=True)
    return Advance(vm=progress.entered(vm, phase, now), actions=(told,), requeue_after_s=pause_s)


def _onward(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Go on: what is to be done was done when the phase was entered, and is stored by now."""
    return Advance(vm=vm_scene.onward(vm, now))


def _create_data_volumes(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    before: tuple[actions.OfPlan, ...] = (
        actions.EnsureNamespace(name=scene.plan.spec.target_namespace),
        *((actions.EnsureSecret(secret=scene.secret_copy),) if scene.secret_copy else ()),
        *(
            actions.Relabel(transfer=one, labels=scene.owner.of_vm(vm.id or ""))
            for one in scene.transfers_of(vm)
        ),
    )
    step = _add_checkpoint(scene, vm, planned, now)
    return Advance(
        vm=step.vm, actions=(*before, *step.actions), requeue_after_s=step.requeue_after_s
    )


def _add_checkpoint(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Have every transfer know the new state of its disk."""
    copies = warm_copies.of(scene, planned, warm.last(vm), at_last=False)
    if copies.unset:
        return Advance(vm=vm, actions=copies.to_set, requeue_after_s=LOOK_S)
    return Advance(vm=progress.entered(vm, Phase.COPY_DISKS, now))


def _add_final_checkpoint(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    if phases.running_sharers(scene, planned):  # their guests still write to a disk of this VM
        return Advance(vm=vm, requeue_after_s=WAIT_S)
    copies = warm_copies.of(scene, planned, warm.last(vm), at_last=True)
    if copies.unset:
        return Advance(vm=vm, actions=copies.to_set, requeue_after_s=LOOK_S)
    return Advance(vm=vm_scene.onward(vm, now))


def _copying(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime, *, at_last: bool
) -> tuple[forklift.VMStatus, Advance | None]:
    """Return the VM with the progress of its copies, and what to do while they are not there."""
    copies = warm_copies.of(scene, planned, warm.last(vm), at_last=at_last)
    by_task = {
        transfers.task_name(disk): scene.transfers[one.metadata.name]
        for disk, one in zip(itinerary.copied_disks(planned), planned.transfers, strict=True)
        if one.metadata.name in scene.transfers
    }
    vm = progress.with_copies(vm, by_task, now)
    if copies.failed:
        snapshot = warm.last(vm).snapshot
        there = {one.id for one in planned.vm.snapshots} if planned.vm else set()
        if not at_last and scene.current and snapshot not in there:
            why = f"the snapshot {snapshot} was removed by somebody else: {copies.failed[0]}"
            return vm, _precopy_failed(scene, vm, why, now)
        return vm, vm_scene.failed(vm, *copies.failed)
    todo = list(copies.to_set)
    if scene.secret_copy is not None and not scene.secret_is_current:
        todo.append(actions.EnsureSecret(secret=scene.secret_copy))
    if copies.left or copies.unset:
        return vm, Advance(vm=vm, actions=tuple(todo), requeue_after_s=WAIT_S if todo else None)
    return warm.done(vm, list(copies.there), now), None


def _copy_disks(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    vm, unfinished = _copying(scene, vm, planned, now, at_last=False)
    if unfinished is not None:
        return unfinished
    vm = cutover.with_prediction(scene, vm, planned, now)
    vm = cutover.with_next(scene, vm, now)
    told = actions.Record(plan=scene.plan, reason="Precopied", message=cutover.told(vm))
    return Advance(vm=vm_scene.onward(vm, now), actions=(told,), requeue_after_s=0.0)


def _pause(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Remove the snapshot that is no longer needed; wait for the next precopy or the cutover."""
    removal = snapshot_removal.of(scene, vm, now)
    vm = cutover.with_next(scene, removal.vm, now)
    vm = cutover.with_goal(scene, vm, planned, now)
    due_s = cutover.due_in_s(scene, vm, planned, now)
    trial = conversion.rehearse(scene, vm, planned, now) if warm.of(vm).successes else None
    if due_s <= 0 and (trial is None or cutover.may_cut(scene, vm, planned, now)):
        todo = (*removal.actions, *conversion.ended(scene, vm, REHEARSE))
        return Advance(vm=vm_scene.onward(vm, now), actions=todo, requeue_after_s=0.0)
    waits = [due_s if due_s > 0 else WAIT_S, *([removal.wait_s] if removal.wait_s else ())]
    if trial is None:
        return Advance(vm=vm, actions=removal.actions, requeue_after_s=min(waits))
    if trial.requeue_after_s is not None:
        waits.append(trial.requeue_after_s)
    todo = (*removal.actions, *trial.actions)
    return Advance(vm=trial.vm, actions=todo, requeue_after_s=min(waits))


def _wait_for_previous_snapshot_removal(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Wait until vSphere is done with it: it does one thing at a time, and no more at the end."""
    removal = snapshot_removal.of(scene, vm, now)
    vm = removal.vm
    cuts = cutover.may_cut(scene, vm, planned, now)
    if removal.gone:
        vm = progress.unnoted(vm, snapshot_removal.LEFT, now)
    elif not snapshot_removal.may_stay(removal, cuts=cuts):
        vm = snapshot_removal.noted(removal, now) if removal.fault else vm
        return Advance(vm=vm, actions=removal.actions, requeue_after_s=removal.wait_s)
    if cuts:
        vm = cutover.with_prediction(scene, vm, planned, now)
        return Advance(vm=progress.entered(vm, Phase.STORE_POWER_STATE, now))
    return Advance(vm=vm_scene.onward(vm, now))


def _finalize(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    if vm_scene.power_of(planned) is not PowerState.OFF:
        return vm_scene.failed(
            vm, "the source was switched on while its last changes were copied: they are not all"
        )
    vm, unfinished = _copying(scene, vm, planned, now, at_last=True)
    if unfinished is not None:
        return unfinished
    return phases.with_shared_disks(scene, replace(vm, disks_copied=True), planned, now)


def _create_conversion_pod(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Have the guest adapted; what is on the target is then of no state of the source any more."""
    marks = source_power.stale(scene, vm, adapted=True)
    if marks:  # before anything is written: a delta on top of that would tear file systems
        return Advance(vm=vm, actions=marks, requeue_after_s=LOOK_S)
    return conversion.create_pod(scene, vm, planned, now)


def _create_vm(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    step = phases.create_vm(scene, vm, planned, now)
    made = step.vm.phase != vm.phase
    return _with_vm(step, cutover.with_downtime(step.vm, now)) if made else step


def _with_vm(step: Advance, vm: forklift.VMStatus) -> Advance:
    return Advance(vm=vm, actions=step.actions, requeue_after_s=step.requeue_after_s)


def _remove_final_snapshot(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    removal, _ = snapshot_removal.at_the_end(scene, vm, now)
    return Advance(
        vm=vm_scene.onward(removal.vm, now), actions=removal.actions, requeue_after_s=LOOK_S
    )


def _wait_for_final_snapshot_removal(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    removal, ready = snapshot_removal.at_the_end(scene, vm, now)
    vm = vm_scene.onward(removal.vm, now) if ready else removal.vm
    return Advance(vm=vm, actions=removal.actions, requeue_after_s=removal.wait_s)


PHASES: dict[Phase, vm_scene.Of] = {
    Phase.STARTED: phases.start,
    Phase.PRE_HOOK: hook_jobs.before,
    Phase.CREATE_INITIAL_SNAPSHOT: _create_initial_snapshot,
    Phase.WAIT_FOR_INITIAL_SNAPSHOT: _wait_for_snapshot,
    Phase.STORE_INITIAL_SNAPSHOT_DELTAS: _onward,
    Phase.CREATE_DATA_VOLUMES: _create_data_volumes,
    Phase.COPY_DISKS: _copy_disks,
    Phase.COPYING_PAUSED: _pause,
    Phase.REMOVE_PREVIOUS_SNAPSHOT: _onward,
    Phase.WAIT_FOR_PREVIOUS_SNAPSHOT_REMOVAL: _wait_for_previous_snapshot_removal,
    Phase.CREATE_SNAPSHOT: _create_snapshot,
    Phase.WAIT_FOR_SNAPSHOT: _wait_for_snapshot,
    Phase.STORE_SNAPSHOT_DELTAS: _onward,
    Phase.ADD_CHECKPOINT: _add_checkpoint,
    Phase.STORE_POWER_STATE: source_power.store_power_state,
    Phase.POWER_OFF_SOURCE: source_power.power_off_source,
    Phase.WAIT_FOR_POWER_OFF: source_power.wait_for_power_off,
    Phase.CREATE_FINAL_SNAPSHOT: _create_final_snapshot,
    Phase.WAIT_FOR_FINAL_SNAPSHOT: _wait_for_snapshot,
    Phase.ADD_FINAL_CHECKPOINT: _add_final_checkpoint,
    Phase.FINALIZE: _finalize,
    Phase.CREATE_GUEST_CONVERSION_POD: _create_conversion_pod,
    Phase.CONVERT_GUEST: conversion.convert,
    Phase.CREATE_VM: _create_vm,
    Phase.REMOVE_FINAL_SNAPSHOT: _remove_final_snapshot,
    Phase.WAIT_FOR_FINAL_SNAPSHOT_REMOVAL: _wait_for_final_snapshot_removal,
    Phase.POST_HOOK: hook_jobs.after,
    Phase.COMPLETED: phases.complete,
}
