"""The way back of a migrated VM: its target is stopped, its source switched on again. Pure.

    Succeeded ─ asked ─► RollingBack ─ target halted, no instance left, source on ─► RolledBack

Migration.spec.rollback asks for it, and Migration.spec.accept rules it out for good; an archived
plan is accepted. Nothing is deleted: the target VM stays, halted and marked, with its disks. A
source that was off before the migration stays off. Whoever wants to migrate the VM anew deletes
the target first.

The wish is stored in the VM's conditions before anything is stopped, so a crash in between goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import forklift, kubevirt
from mtv.inventory.model import PowerState
from mtv.planning import labels
from mtv_operator.migration import actions, conditions, progress, source_power, vm_scene
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.progress import CANCELED, SUCCEEDED
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

ROLLING_BACK, ROLLED_BACK, ACCEPTED, REFUSED = (
    "RollingBack",
    "RolledBack",
    "Accepted",
    "RollbackRefused",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The VMs, by id or name, that are to be rolled back, and those that are accepted."""

    rollback: frozenset[str] = frozenset()
    accept: frozenset[str] = frozenset()

    @classmethod
    def of(cls, migration: forklift.Migration | None) -> Wishes:
        """Return what a Migration asks for; nothing if there is none."""
        if migration is None:
            return cls()
        spec = migration.spec
        return cls(rollback=_named(spec.rollback), accept=_named(spec.accept))


def _named(refs: tuple[forklift.Ref, ...]) -> frozenset[str]:
    return frozenset(one.id or one.name or "" for one in refs) - {""}


def is_under_way(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM is on its way back."""
    return conditions.is_true(vm.conditions, ROLLING_BACK)


def advance(scene: Scene, vm: forklift.VMStatus, wishes: Wishes, now: datetime) -> Advance:
    """Return the next state of a VM that has completed."""
    if is_under_way(vm):
        return _go_on(scene, vm, now)
    if progress.outcome_of(vm) != SUCCEEDED:
        return Advance(vm=vm)
    known = {vm.id, vm.name}
    accepted = conditions.is_true(vm.conditions, ACCEPTED)
    if known & wishes.accept and not accepted:
        text = "The migrated VM was accepted: its source is given up."
        vm, accepted = progress.noted(vm, ACCEPTED, "UserRequested", text, now), True
    if not known & wishes.rollback:
        return Advance(vm=vm)
    if accepted:
        return Advance(vm=_refused(vm, "the migrated VM was accepted", now))
    if scene.of(vm) is None:
        return Advance(vm=_refused(vm, f"the source has no VM {vm.id} any more", now))
    text = "The target is stopped, and the source switched on again."
    return Advance(vm=progress.noted(vm, ROLLING_BACK, "UserRequested", text, now))


def _refused(vm: forklift.VMStatus, why: str, now: datetime) -> forklift.VMStatus:
    return progress.noted(vm, REFUSED, "NotValid", why, now, category=Category.WARN)


def _go_on(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    targets = [
        one for one in scene.vms.values() if scene.owner.selects(one.metadata.labels, vm.id or "")
    ]
    running = [one for one in targets if not is_stopped(one)]
    if running:
        stop = tuple(
            actions.StopTarget(namespace=one.metadata.namespace, name=one.metadata.name)
            for one in running
        )
        return Advance(vm=vm, actions=stop, requeue_after_s=WAIT_S)
    planned = scene.of(vm)
    if planned is None:
        text = f"the source has no VM {vm.id} any more; the target is stopped"
        return Advance(vm=progress.unnoted(_refused(vm, text, now), ROLLING_BACK, now))
    if not scene.current:
        return Advance(vm=vm, requeue_after_s=WAIT_S)
    wanted_on = vm.restore_power_state == "On"
    marked = all(labels.ROLLED_BACK in one.metadata.annotations for one in targets)
    is_on = vm_scene.power_of(planned) is PowerState.ON
    if not marked or (wanted_on and not is_on):
        back = actions.GiveBack(
            provider=scene.provider,
            vm_id=vm.id or "",
            namespace=scene.plan.spec.target_namespace,
            targets=tuple(one.metadata.name for one in targets),
            power_on=wanted_on,
        )
        # The target has written to the copies: they are of no state of the source any more.
        outdated = source_power.stale(scene, vm, adapted=True)
        return Advance(vm=vm, actions=(*outdated, back), requeue_after_s=WAIT_S)
    return Advance(vm=_rolled_back(vm, now))


def is_stopped(target: kubevirt.VirtualMachine) -> bool:
    """Tell whether a target is halted, and has no instance as far as its status tells."""
    halted = target.spec.run_strategy == "Halted" or target.spec.running is False
    return halted and not (target.status and target.status.created)


def _rolled_back(vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    was_on = vm.restore_power_state == "On"
    how = "its source is on again" if was_on else "its source is off, as before"
    vm = progress.noted(vm, ROLLED_BACK, "UserRequested", f"The target is stopped, {how}.", now)
    if conditions.find(vm.conditions, source_power.STOPPED) is not None:
        note = "the source was switched on again"
        vm = progress.noted(vm, source_power.STOPPED, source_power.RESTORED, note, now)
    for kind in (ROLLING_BACK, SUCCEEDED):
        vm = progress.unnoted(vm, kind, now)
    return progress.noted(vm, CANCELED, "RolledBack", "The VM migration was rolled back.", now)


def of_run(
    scene: Scene, status: forklift.PlanMigrationStatus, wishes: Wishes, now: datetime
) -> tuple[forklift.PlanMigrationStatus, tuple[actions.OfPlan, ...], float | None]:
    """Advance all VMs of a run that have completed; return what is to be done, and when next."""
    vms: list[forklift.VMStatus] = []
    todo: list[actions.OfPlan] = []
    waits: list[float] = []
    for vm in status.vms:
        step = advance(scene, vm, wishes, now) if vm.completed else Advance(vm=vm)
        vms.append(step.vm)
        todo += step.actions
        if step.vm is not vm:
            todo += _told(scene, vm, step.vm)
        if step.requeue_after_s is not None:
            waits.append(step.requeue_after_s)
    changed = msgspec.structs.replace(status, vms=tuple(vms))
    return changed, tuple(todo), min(waits, default=None)


def _told(
    scene: Scene, before: forklift.VMStatus, after: forklift.VMStatus
) -> tuple[actions.Record, ...]:
    """Return an event for each state that began."""
    found: list[actions.Record] = []
    for kind in (ROLLING_BACK, ROLLED_BACK, ACCEPTED, REFUSED):
        one = conditions.find(after.conditions, kind)
        if one is not None and conditions.find(before.conditions, kind) is None:
            text = f"VM {after.name or after.id}: {one.message}"
            found.append(
                actions.Record(plan=scene.plan, reason=kind, message=text, warning=kind == REFUSED)
            )
    return tuple(found)
