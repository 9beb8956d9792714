"""A Migration: asks for a run of a Plan, and shows how that run is. Pure.

The run itself is the Plan's (`run`); here its state is copied, as Forklift does, so that clients
find it in either place. A Migration that has completed is not touched again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mtv.api import forklift
from mtv.api.forklift import Condition
from mtv_operator.migration import conditions
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.progress import CANCELED, FAILED, SUCCEEDED
from mtv_operator.reconciling import Decision

RUNNING = "Running"
MESSAGES = {
    RUNNING: "The migration is RUNNING.",
    SUCCEEDED: "The migration has SUCCEEDED.",
    FAILED: "The migration has FAILED.",
    CANCELED: "The migration has been CANCELED.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Migration and its Plan."""

    migration: forklift.Migration
    plan: forklift.Plan | None


def decide(observed: Observed, now: datetime) -> Decision[None, forklift.MigrationStatus]:
    """Return the status of a Migration."""
    migration, plan = observed.migration, observed.plan
    before = migration.status or forklift.MigrationStatus()
    if before.completed or migration.metadata.deletion_timestamp:
        return Decision(status=before)
    snapshot = _snapshot(observed)
    found = tuple(_conditions(observed, snapshot))
    found = (*found, *conditions.ready(found, "The migration is ready."))
    state = plan.status.migration if plan and plan.status and snapshot else None
    last = state is not None and state.history[-1] == snapshot
    return Decision(
        status=forklift.MigrationStatus(
            conditions=conditions.merge(before.conditions, found, now, without=_over(found)),
            observed_generation=migration.metadata.generation,
            started=state.started if state and last else before.started,
            completed=_completed(found, state if last else None, now),
            vms=state.vms if state and last else before.vms,
        )
    )


def _snapshot(observed: Observed) -> forklift.Snapshot | None:
    """Return the run that belongs to this Migration, if it has begun."""
    status = observed.plan.status if observed.plan else None
    history = status.migration.history if status and status.migration else ()
    uid = observed.migration.metadata.uid
    return next((one for one in history if one.migration.uid == uid), None)


def _conditions(observed: Observed, snapshot: forklift.Snapshot | None) -> Iterator[Condition]:
    plan, reference = observed.plan, observed.migration.spec.plan
    if plan is None:
        where = f"{reference.namespace}/{reference.name}"
        yield _critical("PlanNotValid", "NotFound", f"there is no Plan {where}")
        return
    if snapshot is None:
        blockers = conditions.blocking(plan.status.conditions if plan.status else ())
        if plan.spec.archived:
            yield _critical("PlanNotReady", "NotValid", "the plan is archived")
        elif blockers:
            yield _critical(
                "PlanNotReady",
                "NotValid",
                f"the plan is not ready: {blockers[0].type}: {blockers[0].message}",
            )
        return
    outcome = next(
        (
            kind
            for kind in (SUCCEEDED, FAILED, CANCELED)
            if conditions.is_true(snapshot.conditions, kind)
        ),
        RUNNING,
    )
    yield conditions.condition(outcome, Category.ADVISORY, MESSAGES[outcome], durable=True)
    yield from _unknown_cancels(observed)


def _unknown_cancels(observed: Observed) -> Iterator[Condition]:
    plan = observed.plan
    assert plan is not None
    vms = plan.status.migration.vms if plan.status and plan.status.migration else ()
    known = {vm.id for vm in vms} | {vm.name for vm in vms}
    unknown = [
        one.id or one.name or "?"
        for one in observed.migration.spec.cancel
        if not {one.id, one.name} & known - {None, ""}
    ]
    if unknown:
        yield conditions.condition(
            "VMNotFound",
            Category.WARN,
            "spec.cancel names VMs that are not in the plan",
            reason="NotFound",
            items=unknown,
        )


def _over(found: tuple[Condition, ...]) -> tuple[str, ...]:
    ended = any(one.type in (SUCCEEDED, FAILED, CANCELED) for one in found)
    return (RUNNING,) if ended else ()


def _completed(
    found: tuple[Condition, ...], state: forklift.PlanMigrationStatus | None, now: datetime
) -> str | None:
    if not _over(found):
        return None
    return state.completed if state and state.completed else conditions.timestamp(now)


def _critical(kind: str, reason: str, message: str) -> Condition:
    return conditions.condition(kind, Category.CRITICAL, message, reason=reason)
