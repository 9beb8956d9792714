"""A run of a plan: which Migration it is, which VMs may begin, when it is over. Pure.

The state of a run is `plan.status.migration` alone. At most one run of a plan is active; Migrations
made meanwhile wait for their turn. What is to be seen of a run stands in the plan's conditions
Executing, then Succeeded, Failed or Canceled, which stay until the next run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import forklift, meta
from mtv.api.forklift import Condition
from mtv.planning import adaptation, plan_checks, remedies
from mtv.planning.plan import PlannedPlan, PlannedVM
from mtv_operator.migration import (
    actions,
    conditions,
    hook_jobs,
    itinerary,
    progress,
    rollback,
    snapshot_removal,
    source_power,
    vm_run,
    warm,
)
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.progress import CANCELED, FAILED, SUCCEEDED
from mtv_operator.migration.rollback import Wishes
from mtv_operator.migration.vm_scene import Scene

EXECUTING = "Executing"
replace = msgspec.structs.replace

# Gone through with every precopy; what it has brought is told instead.
QUIET = frozenset(
    {
        Phase.COPYING_PAUSED,
        Phase.REMOVE_PREVIOUS_SNAPSHOT,
        Phase.WAIT_FOR_PREVIOUS_SNAPSHOT_REMOVAL,
        Phase.WAIT_FOR_SNAPSHOT,
        Phase.STORE_SNAPSHOT_DELTAS,
        Phase.ADD_CHECKPOINT,
    }
)

MESSAGES = {
    EXECUTING: "The plan is EXECUTING.",
    SUCCEEDED: "The plan execution has SUCCEEDED.",
    FAILED: "The plan execution has FAILED.",
    CANCELED: "The plan execution has been CANCELED.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The next state of a plan's runs, and what is to be done before it is stored."""

    status: forklift.PlanMigrationStatus | None
    set: tuple[str, ...] = ()  # conditions of the plan that are true from now on
    cleared: tuple[str, ...] = ()
    actions: tuple[actions.OfPlan, ...] = ()
    requeue_after_s: float | None = None


def active_uid(plan: forklift.Plan) -> str:
    """Return the uid of the Migration that runs; "" while none does."""
    status = plan.status.migration if plan.status else None
    if status is None or status.completed or not status.history:
        return ""
    return status.history[-1].migration.uid


def pending(
    plan: forklift.Plan, migrations: Sequence[forklift.Migration]
) -> forklift.Migration | None:
    """Return the Migration whose turn it is; None while one runs, or there is none.

    `migrations` are those of the plan, oldest first.
    """
    if active_uid(plan):
        return None
    status = plan.status.migration if plan.status else None
    had = {one.migration.uid for one in status.history} if status else set()
    for one in migrations:
        if one.metadata.uid in had:
            if not (one.status and one.status.completed) and not one.metadata.deletion_timestamp:
                return None  # its end has not been written to it yet
            continue
        if not one.metadata.deletion_timestamp:
            return one
    return None


def begin(
    plan: forklift.Plan,
    migration: forklift.Migration,
    planned: PlannedPlan,
    snapshot: forklift.Snapshot,
    now: datetime,
) -> Run:
    """Begin a run: VMs that were migrated stay as they are, all others start over."""
    before = plan.status.migration if plan.status else None
    known = {vm.id: vm for vm in before.vms} if before else {}
    vms = []
    for one in planned.vms:
        old = known.get(one.id)
        moved = old is not None and progress.outcome_of(old) == SUCCEEDED
        vms.append(old if old and moved else _began(plan, one, old))
    status = forklift.PlanMigrationStatus(
        started=conditions.timestamp(now),
        history=(*(before.history if before else ()), snapshot),
        vms=tuple(vms),
    )
    return Run(status=status, set=(EXECUTING,), cleared=(SUCCEEDED, FAILED, CANCELED))


def _began(
    plan: forklift.Plan, planned: PlannedVM, old: forklift.VMStatus | None
) -> forklift.VMStatus:
    """Return a VM that starts over; what is known of its snapshots is not forgotten."""
    course = itinerary.Course(
        warm=plan_checks.is_warm(plan.spec),
        adapts=adaptation.is_wanted(plan.spec),
        pre_hook=bool(hook_jobs.of_step(planned.entry, hook_jobs.PRE)),
        post_hook=bool(hook_jobs.of_step(planned.entry, hook_jobs.POST)),
    )
    vm = progress.began(planned.entry, planned, course)
    had = old is not None and old.warm is not None
    return replace(vm, warm=warm.kept(old)) if course.warm or had else vm


def is_under_way(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM counts among those that are on their way: not while it only waits."""
    return bool(vm.started) and not vm.completed and vm.phase != Phase.COPYING_PAUSED


def go_on(
    scene: Scene,
    status: forklift.PlanMigrationStatus,
    now: datetime,
    *,
    canceled: frozenset[str] | None,
    free: int,
    wishes: Wishes = Wishes(),  # noqa: B008 - frozen
) -> Run:
    """Advance every VM of the active run. `canceled` are ids or names; None means all.

    `free` is how many VMs may be on their way at once, of those that this plan has.
    """
    vms: list[forklift.VMStatus] = []
    status, back, wait_s = rollback.of_run(scene, status, wishes, now)
    todo: list[actions.OfPlan] = [*back]
    waits: list[float] = [] if wait_s is None else [wait_s]
    running = [vm.id or "" for vm in status.vms if vm.started and not vm.completed]
    busy = sum(is_under_way(vm) for vm in status.vms)
    for vm in status.vms:
        stop = canceled is None or bool({vm.id, vm.name} & canceled)
        if not vm.completed and not vm.started and not stop and not vm_run.is_ending(vm):
            planned = scene.of(vm)
            together = planned is not None and vm_run.shares_disks(planned, running)
            if busy >= free and not together:
                vms.append(vm)
                continue
            running.append(vm.id or "")
            busy += 1
        if vm.completed:
            step = snapshot_removal.afterwards(scene, vm, now)
        else:
            step = vm_run.advance(scene, vm, now, canceled=stop)
        vms.append(step.vm)
        todo += (*step.actions, *_told(scene.plan, vm, step.vm))
        if step.requeue_after_s is not None:
            waits.append(step.requeue_after_s)
    status = replace(status, vms=tuple(vms))
    if all(vm.completed for vm in vms):
        return _over(status, todo, now)
    return Run(
        status=status,
        set=(EXECUTING,),
        actions=tuple(todo),
        requeue_after_s=min(waits, default=None),
    )


def _told(
    plan: forklift.Plan, before: forklift.VMStatus, after: forklift.VMStatus
) -> tuple[actions.Record, ...]:
    """Return the events of a step: a phase that began is one, and so is an end."""
    name = after.name or after.id
    if before.completed:
        return ()
    if after.error is not None and before.error is None:
        remedy = remedies.of(after.error.phase)
        text = f"{'; '.join(after.error.reasons)} ({remedy.reason}: {remedy.sentence})"
        return (
            actions.Record(
                plan=plan, reason="VMFailed", message=f"VM {name}: {text}", warning=True
            ),
        )
    if after.completed:
        outcome = progress.outcome_of(after)
        return (actions.Record(plan=plan, reason=f"VM{outcome}", message=f"VM {name}: {outcome}"),)
    if after.phase != before.phase and after.phase not in QUIET:
        return (actions.Record(plan=plan, reason=after.phase, message=f"VM {name}: {after.phase}"),)
    return ()


def _over(
    status: forklift.PlanMigrationStatus, todo: Sequence[actions.OfPlan], now: datetime
) -> Run:
    outcome = progress.total(status.vms)
    last = status.history[-1]
    done = conditions.condition(outcome, Category.ADVISORY, MESSAGES[outcome], durable=True)
    snapshot = replace(last, conditions=conditions.merge(last.conditions, (done,), now))
    status = replace(
        status,
        completed=conditions.timestamp(now),
        history=(*status.history[:-1], snapshot),
    )
    return Run(status=status, set=(outcome,), cleared=(EXECUTING,), actions=tuple(todo))


def afterwards(
    scene: Scene,
    status: forklift.PlanMigrationStatus,
    now: datetime,
    wishes: Wishes = Wishes(),  # noqa: B008 - frozen
) -> Run:
    """Do what is still to be done when no run is active: ways back, late guests, old copies."""
    vms: list[forklift.VMStatus] = []
    before = status
    status, back, wait_s = rollback.of_run(scene, status, wishes, now)
    status, removals, look_s = snapshot_removal.of_run(scene, status, now)
    todo: list[actions.OfPlan] = [*back, *removals]
    waits = [one for one in (wait_s, look_s) if one is not None]
    for vm in status.vms:
        step = vm_run.late_restore(scene, vm, now)
        vms.append(step.vm)
        todo += step.actions
        if step.requeue_after_s is not None:
            waits.append(step.requeue_after_s)
    unfinished = [vm for vm in vms if progress.outcome_of(vm) in (FAILED, CANCELED)]
    todo += [one for one in source_power.stale_now(scene, unfinished) if one not in todo]
    outcome = progress.total(vms)
    changed = status.vms != before.vms and outcome != progress.total(before.vms)
    return Run(
        status=replace(status, vms=tuple(vms)),
        set=(outcome,) if changed else (),
        cleared=tuple({SUCCEEDED, FAILED, CANCELED} - {outcome}) if changed else (),
        actions=tuple(todo),
        requeue_after_s=min(waits, default=None),
    )


def last_migration(
    plan: forklift.Plan, migrations: Sequence[forklift.Migration]
) -> forklift.Migration | None:
    """Return the Migration of the newest run, active or not; None if it was deleted."""
    status = plan.status.migration if plan.status else None
    uid = status.history[-1].migration.uid if status and status.history else ""
    return next((one for one in migrations if one.metadata.uid == uid), None)


def snapshot_of(
    plan: forklift.Plan,
    migration: forklift.Migration,
    *,
    source: forklift.Provider | None,
    destination: forklift.Provider | None,
    network: forklift.NetworkMap | None,
    storage: forklift.StorageMap | None,
) -> forklift.Snapshot:
    """Return what a run is remembered by."""
    spec = plan.spec
    at = progress.reference
    return forklift.Snapshot(
        plan=at(plan, meta.reference_to(plan)),
        migration=at(migration, meta.reference_to(migration)),
        provider=forklift.SnapshotPair(
            source=at(source, spec.provider.source),
            destination=at(destination, spec.provider.destination),
        ),
        map=forklift.SnapshotMaps(
            network=at(network, spec.map.network), storage=at(storage, spec.map.storage)
        ),
    )


def conditions_of(run: Run) -> tuple[Condition, ...]:
    """Return the plan's conditions that a run sets."""
    return tuple(
        conditions.condition(kind, Category.ADVISORY, MESSAGES[kind], durable=True)
        for kind in run.set
    )


def canceled_by(plan: forklift.Plan, migration: forklift.Migration | None) -> frozenset[str] | None:
    """Return the VMs that are to be canceled, by id or name; None for all of them."""
    gone = migration is None or migration.metadata.deletion_timestamp
    if gone or plan.metadata.deletion_timestamp or plan.spec.archived:
        return None
    assert migration is not None
    refs = migration.spec.cancel
    return frozenset(one.id or one.name or "" for one in refs) - {""}


def by_id(vms: Sequence[forklift.VMStatus]) -> Mapping[str, forklift.VMStatus]:
    """Return VMs by their ids."""
    return {vm.id or "": vm for vm in vms}
