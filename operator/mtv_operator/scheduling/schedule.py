"""A MigrationSchedule: is a run due, which plans are started, what became of them. Pure.

    due → for each group: its plans are started, at most `concurrency` at once, inside a window
        → all of them are over → the next group → the run goes into the history

The state of a run is `status.active` alone, and names of Migrations are made of the time at which
the run was due: a controller that is killed starts nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from mtv import errors
from mtv.api import conditions, forklift, meta
from mtv.api.meta import Condition
from mtv.api.mtv import (
    DiskTransfer,
    MigrationSchedule,
    MigrationScheduleStatus,
    ScheduledPlan,
    ScheduledRun,
    ScheduleGroup,
)
from mtv.planning import labels, names, plan_checks, schedule
from mtv_operator.reconciling import Decision
from mtv_operator.scheduling import actions

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED, SKIPPED = (
    "Pending", "Running", "Succeeded", "Failed", "Canceled", "Skipped"
)  # fmt: skip
FINAL = (SUCCEEDED, FAILED, CANCELED, SKIPPED)
VALID, MISSED = "Valid", "MissedRuns"
HISTORY = 10
LABEL = "mtv.dev/schedule"
PAUSED = "CopyingPaused"  # a warm VM between two precopies: it can be cut over
_LONGEST_S = 3600.0  # a clock that is set must be noticed
replace = msgspec.structs.replace

ScheduleDecision = Decision[actions.Action, MigrationScheduleStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A schedule, and its plans with their Migrations, by `namespace/name`."""

    schedule: MigrationSchedule
    plans: Mapping[str, forklift.Plan] = field(default_factory=dict)
    migrations: Mapping[str, forklift.Migration] = field(default_factory=dict)
    transfers: tuple[DiskTransfer, ...] = ()  # of these plans


def decide(observed: Observed, now: datetime) -> ScheduleDecision:
    """Return the status of a schedule, and what is started."""
    one = observed.schedule
    before = one.status or MigrationScheduleStatus()
    try:
        following = schedule.following(one.spec, now)
        _check(observed)
    except errors.BadInput as fault:
        return _invalid(one, before, fault, now)
    todo: list[actions.Action] = []
    status = replace(
        before,
        observed_generation=one.metadata.generation,
        next_schedule_time=None if one.spec.suspend else conditions.timestamp(following),
    )
    status = _with(status, now, Condition(type=VALID, status="True", reason="Valid"))
    if status.active is None and not one.spec.suspend:
        status, events = _begun(one, status, now)
        todo += events
    if status.active is not None:
        status, more = _advanced(observed, status, now)
        todo += more
    todo += _limits(observed, now)
    state = "Running" if status.active else "Suspended" if one.spec.suspend else "Waiting"
    status = replace(status, state=state)
    return Decision(
        status=status, actions=tuple(todo), requeue_after_s=_wait_s(one, following, now)
    )


def _check(observed: Observed) -> None:
    one = observed.schedule
    schedule.zone(one.spec)
    if not any(group.plans for group in one.spec.groups):
        raise errors.BadInput("no plan is named", field="spec.groups", hint="groups: [{plans: …}]")
    seen: set[str] = set()
    for at, group in enumerate(one.spec.groups):
        for number, reference in enumerate(group.plans):
            key = _key(one, reference)
            if key in seen:
                raise errors.BadInput(
                    f"plan {key} stands twice", field=f"spec.groups[{at}].plans[{number}]"
                )
            seen.add(key)


def _invalid(
    one: MigrationSchedule, before: MigrationScheduleStatus, fault: errors.BadInput, now: datetime
) -> ScheduleDecision:
    message = f"{fault}{f' ({fault.hint})' if fault.hint else ''}"
    said = Condition(type=VALID, status="False", reason="NotValid", message=message)
    status = _with(before, now, said)
    return Decision(
        status=replace(
            status,
            state="Invalid",
            next_schedule_time=None,
            observed_generation=one.metadata.generation,
        )
    )


def _with(
    status: MigrationScheduleStatus, now: datetime, *new: Condition, without: Sequence[str] = ()
) -> MigrationScheduleStatus:
    found = conditions.changed(status.conditions, now, new=new, without=without)
    return replace(status, conditions=found)


def _begun(
    one: MigrationSchedule, status: MigrationScheduleStatus, now: datetime
) -> tuple[MigrationScheduleStatus, list[actions.Action]]:
    """Begin the run that is due, if there is one; say what was missed."""
    last = _moment(status.last_schedule_time or one.metadata.creation_timestamp) or now
    moment, missed = schedule.due(one.spec, last, now)
    told: list[actions.Action] = []
    if missed and moment is None:
        message = "the time has passed, and so has startingDeadlineSeconds: nothing was started"
        said = Condition(type=MISSED, status="True", reason="DeadlinePassed", message=message)
        if not conditions.is_true(status.conditions, MISSED):
            told.append(actions.Record(schedule=one, reason="MissSchedule", message=message))
        return _with(status, now, said), told
    if moment is None:
        return status, told
    run = ScheduledRun(
        scheduled=conditions.timestamp(moment),
        started=conditions.timestamp(now),
        plans=tuple(
            ScheduledPlan(plan=_key(one, reference), group=at, state=PENDING)
            for at, group in enumerate(one.spec.groups)
            for reference in group.plans
        ),
    )
    told.append(
        actions.Record(schedule=one, reason="Started", message=f"the run of {run.scheduled} begins")
    )
    status = _with(status, now, without=(MISSED,))
    return replace(status, active=run, last_schedule_time=run.scheduled), told


def _advanced(
    observed: Observed, status: MigrationScheduleStatus, now: datetime
) -> tuple[MigrationScheduleStatus, list[actions.Action]]:
    """See what became of the plans of the run, and start those whose turn it is."""
    one, run = observed.schedule, status.active
    assert run is not None
    plans = [_seen(observed, entry) for entry in run.plans]
    todo: list[actions.Action] = []
    for at, group in enumerate(one.spec.groups):
        mine = [entry for entry in plans if entry.group == at]
        if group.together:
            todo += _together(observed, mine, now)
        if all(entry.state in FINAL for entry in mine):
            if one.spec.on_failure == "Stop" and any(e.state in (FAILED, CANCELED) for e in mine):
                plans = [_skipped(entry) for entry in plans]
                break
            continue
        if not one.spec.suspend and schedule.is_open(one.spec, now):
            started = _started(observed, group, mine, run, todo)
            plans = [started.get(entry.plan, entry) for entry in plans]
        break
    run = replace(run, plans=tuple(plans))
    if all(entry.state in FINAL for entry in plans):
        return _over(one, status, run, now), todo
    return replace(status, active=run), todo


def _seen(observed: Observed, entry: ScheduledPlan) -> ScheduledPlan:
    """Return what became of a plan that was started."""
    if entry.state != RUNNING:
        return entry
    namespace = entry.plan.partition("/")[0]
    migration = observed.migrations.get(f"{namespace}/{entry.migration}")
    if migration is None:
        return replace(entry, state=CANCELED, message="its Migration was deleted")
    status = migration.status
    if status is None or not status.completed:
        return entry
    ended = next(
        (
            kind
            for kind in (FAILED, CANCELED, SUCCEEDED)
            if any(c.type == kind and c.status == "True" for c in status.conditions)
        ),
        FAILED,
    )
    reasons = [reason for vm in status.vms if vm.error for reason in vm.error.reasons]
    return replace(entry, state=ended, message="; ".join(reasons)[:1000] or None)


def _skipped(entry: ScheduledPlan) -> ScheduledPlan:
    if entry.state != PENDING:
        return entry
    return replace(entry, state=SKIPPED, message="an earlier group failed")


def _started(
    observed: Observed,
    group: ScheduleGroup,
    mine: Sequence[ScheduledPlan],
    run: ScheduledRun,
    todo: list[actions.Action],
) -> dict[str, ScheduledPlan]:
    """Start the plans of a group that may run, and return them as they are then."""
    free = (group.concurrency or len(mine)) - sum(1 for one in mine if one.state == RUNNING)
    changed: dict[str, ScheduledPlan] = {}
    for entry in mine:
        if entry.state != PENDING:
            continue
        plan = observed.plans.get(entry.plan)
        obstacle = _obstacle(plan)
        if obstacle:
            state = SUCCEEDED if obstacle == _DONE else FAILED
            changed[entry.plan] = replace(entry, state=state, message=obstacle)
        elif free > 0:
            assert plan is not None
            migration = _migration(observed.schedule, plan, run)
            todo.append(actions.Start(migration=migration))
            name = migration.metadata.name
            changed[entry.plan] = replace(entry, state=RUNNING, migration=name)
            free -= 1
    return changed


_DONE = "all of its VMs are migrated already"


def _obstacle(plan: forklift.Plan | None) -> str:
    """Say why a plan is not started."""
    if plan is None:
        return "there is no such plan"
    if plan.spec.archived:
        return "the plan is archived"
    found = plan.status.conditions if plan.status else ()
    true = {one.type for one in found if one.status == "True"}
    moved = plan.status.migration.vms if plan.status and plan.status.migration else ()
    if SUCCEEDED in true and len(moved) == len(plan.spec.vms):
        return _DONE
    blocking = [
        f"{one.type}: {one.message or one.reason or ''}"
        for one in found
        if one.category in ("Critical", "Error") and one.status == "True"
    ]
    return "; ".join(blocking)


def _migration(
    one: MigrationSchedule, plan: forklift.Plan, run: ScheduledRun
) -> forklift.Migration:
    base = names.label(f"{one.metadata.name}-{plan.metadata.name}", otherwise="run", limit=45)
    mark = names.digest(one.metadata.uid, plan.metadata.uid, run.scheduled)
    return forklift.Migration(
        metadata=meta.ObjectMeta(
            name=f"{base}-{mark}",
            namespace=plan.metadata.namespace,
            labels={LABEL: names.label_value(one.metadata.name)},
            owner_references=(meta.owner_of(plan, controller=False),),
        ),
        spec=forklift.MigrationSpec(
            plan=meta.ObjectReference(
                name=plan.metadata.name, namespace=plan.metadata.namespace, uid=plan.metadata.uid
            )
        ),
    )


def _together(
    observed: Observed, mine: Sequence[ScheduledPlan], now: datetime
) -> Iterator[actions.Action]:
    """Cut an application over at one moment; take all of it back when a part fails."""
    running = [
        migration
        for entry in mine
        if (migration := observed.migrations.get(_migration_key(entry))) is not None
    ]
    if any(entry.state in (FAILED, CANCELED) for entry in mine):
        for migration in running:
            back = [vm for vm in _moved(migration) if not _goes_back(migration, vm)]
            if back:
                yield actions.TakeBack(migration=migration, vms=tuple(back))
        return
    plans = [observed.plans.get(entry.plan) for entry in mine]
    warm = {one.metadata.uid for one in plans if one is not None and plan_checks.is_warm(one.spec)}
    theirs = [one for one in running if one.spec.plan.uid in warm]
    if any(entry.state == PENDING for entry in mine) or not theirs:
        return
    if not schedule.is_open(observed.schedule.spec, now):
        return
    waiting = all(
        one.status is not None
        and one.status.vms
        and all(vm.phase == PAUSED or vm.completed for vm in one.status.vms)
        for one in theirs
    )
    if waiting or any(one.spec.cutover for one in theirs):
        at = next((one.spec.cutover for one in theirs if one.spec.cutover), None)
        for migration in theirs:
            if not migration.spec.cutover:
                yield actions.CutOver(migration=migration, at=at or conditions.timestamp(now))


def _migration_key(entry: ScheduledPlan) -> str:
    return f"{entry.plan.partition('/')[0]}/{entry.migration}"


def _moved(migration: forklift.Migration) -> list[forklift.VMStatus]:
    vms = migration.status.vms if migration.status else ()
    return [
        vm
        for vm in vms
        if any(one.type == SUCCEEDED and one.status == "True" for one in vm.conditions)
    ]


def _goes_back(migration: forklift.Migration, vm: forklift.VMStatus) -> bool:
    return any(
        ref.id == vm.id or (ref.name and ref.name == vm.name) for ref in migration.spec.rollback
    )


def _over(
    one: MigrationSchedule, status: MigrationScheduleStatus, run: ScheduledRun, now: datetime
) -> MigrationScheduleStatus:
    states = {entry.state for entry in run.plans}
    outcome = FAILED if states & {FAILED, CANCELED} else SUCCEEDED
    run = replace(run, completed=conditions.timestamp(now), outcome=outcome)
    limit = HISTORY if one.spec.history_limit is None else max(one.spec.history_limit, 0)
    good = outcome == SUCCEEDED
    return replace(
        status,
        active=None,
        history=(run, *status.history)[:limit],
        last_successful_time=run.completed if good else status.last_successful_time,
    )


def _limits(observed: Observed, now: datetime) -> Iterator[actions.Action]:
    """Keep disks that are copied to the limit of this time of day."""
    if not observed.schedule.spec.bandwidth:
        return
    wanted = schedule.limit(observed.schedule.spec, now)
    uids = {plan.metadata.uid for plan in observed.plans.values()}
    for one in observed.transfers:
        over = one.status is not None and one.status.phase in (SUCCEEDED, FAILED)
        if over or one.metadata.labels.get(labels.PLAN) not in uids:
            continue
        if (one.spec.bandwidth_limit_bytes_per_second or 0) != wanted:
            yield actions.Limit(transfer=one, bytes_per_second=wanted)


def _wait_s(one: MigrationSchedule, following: datetime, now: datetime) -> float:
    moments = [following]
    change = schedule.changes(one.spec, now)
    if change is not None:
        moments.append(change)
    return min(max((min(moments) - now).total_seconds(), 0.1), _LONGEST_S)


def _key(one: MigrationSchedule, reference: meta.ObjectReference) -> str:
    return f"{reference.namespace or one.metadata.namespace}/{reference.name}"


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
