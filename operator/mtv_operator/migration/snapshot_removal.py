"""Our snapshots at a source are removed, and looked after until they are gone. Pure.

Asked for again and again: after a crash, after a failure with a growing pause, and when the run is
over. What is still there is in the record (`warm.unremoved`) and, once the VM has completed, in its
condition SnapshotsLeft.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import forklift
from mtv_operator.migration import actions, conditions, progress, vm_scene, warm
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.vm_scene import LOOK_S, Advance, Scene

LEFT = "SnapshotsLeft"
PATIENCE_S = 120.0  # so long a VM that is at its end waits for vSphere
MOST_LEFT = 2  # at a source, while precopies go on
BACK_OFF_S = (2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """How far it is. `wait_s`: until the next look; `fault`: why the last try came to nothing."""

    vm: forklift.VMStatus
    actions: tuple[actions.OfPlan, ...] = ()
    gone: bool = False
    wait_s: float | None = None
    fault: errors.MigrationError | None = None


def of(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Removal:
    """Have our snapshots of a VM removed, unless none is left."""
    if not warm.unremoved(vm):
        return Removal(vm=vm, gone=True)
    if scene.of(vm) is None and scene.current:  # they have gone with their VM
        return Removal(vm=warm.all_removed(vm, now), gone=True)
    seen = scene.snapshots.get(vm.id or "")
    fault = None
    if seen is not None and seen.left is not None:
        fault = seen.fault
        if not seen.left and fault is None:
            return Removal(vm=warm.all_removed(vm, now), gone=True)
        if fault is not None:
            pause_s = BACK_OFF_S[min(max(seen.failures, 1), len(BACK_OFF_S)) - 1]
            left_s = pause_s - (now - seen.at).total_seconds()
            if 0 < left_s <= pause_s:
                return Removal(vm=vm, wait_s=left_s, fault=fault)
    remove = actions.RemoveSnapshots(
        provider=scene.provider,
        vm_id=vm.id or "",
        prefix=warm.prefix(scene.owner.plan_uid, vm.id or ""),
    )
    return Removal(vm=warm.being_removed(vm, seen), actions=(remove,), wait_s=LOOK_S, fault=fault)


def at_the_end(scene: Scene, vm: forklift.VMStatus, now: datetime) -> tuple[Removal, bool]:
    """Remove them at the end of a VM's way; tell whether the VM may complete.

    It is not kept waiting for long: the removal goes on afterwards.
    """
    removal = of(scene, vm, now)
    if removal.gone:
        return _with(removal, progress.unnoted(removal.vm, LEFT, now)), True
    known = conditions.find(vm.conditions, LEFT)
    waited_s = conditions.seconds_since(known.last_transition_time, now) if known else 0.0
    ready = removal.fault is not None or waited_s > PATIENCE_S
    return _with(removal, noted(removal, now)), ready


def afterwards(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    """Go on with what was left when the VM completed."""
    if not warm.unremoved(vm):
        return Advance(vm=vm)
    removal, _ = at_the_end(scene, vm, now)
    return Advance(vm=removal.vm, actions=removal.actions, requeue_after_s=removal.wait_s)


def of_run(
    scene: Scene, status: forklift.PlanMigrationStatus, now: datetime
) -> tuple[forklift.PlanMigrationStatus, tuple[actions.OfPlan, ...], float | None]:
    """Go on for all VMs of a run that is over; return what is to be done, and when next."""
    steps = [afterwards(scene, vm, now) for vm in status.vms]
    todo = tuple(action for step in steps for action in step.actions)
    waits = [step.requeue_after_s for step in steps if step.requeue_after_s is not None]
    changed = msgspec.structs.replace(status, vms=tuple(step.vm for step in steps))
    return changed, todo, min(waits, default=None)


def may_stay(removal: Removal, *, cuts: bool) -> bool:
    """Tell whether another snapshot may be taken on top of those that are left.

    When vSphere refuses to remove them, and not too many of them: each makes the VM slower.
    """
    refused = isinstance(removal.fault, errors.NeedsOperator)
    return refused and len(warm.unremoved(removal.vm)) < MOST_LEFT + cuts


def noted(removal: Removal, now: datetime) -> forklift.VMStatus:
    """Say which snapshots are left, and why."""
    names = ", ".join(str(one.name) for one in warm.unremoved(removal.vm))
    text = f"these snapshots are being removed from the source: {names}"
    if removal.fault is not None:
        text = f"{text}; tried again: {vm_scene.sentence(removal.fault)}"
    return progress.noted(removal.vm, LEFT, "Removing", text, now, category=Category.WARN)


def _with(removal: Removal, vm: forklift.VMStatus) -> Removal:
    return Removal(
        vm=vm,
        actions=removal.actions,
        gone=removal.gone,
        wait_s=removal.wait_s,
        fault=removal.fault,
    )
