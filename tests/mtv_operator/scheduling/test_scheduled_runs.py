"""Runs of a schedule: which plans are started when, and what a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mtv.api import conditions, forklift, meta
from mtv.api.mtv import MigrationSchedule, MigrationScheduleSpec, ScheduleGroup, TimeRange
from mtv_operator.scheduling import actions, schedule

BEGIN = datetime(2026, 1, 9, 12, tzinfo=UTC)  # a Friday


def condition(kind: str) -> forklift.Condition:
    return forklift.Condition(
        type=kind, status="True", category="Advisory", last_transition_time=""
    )


def plan(name: str, **spec: Any) -> forklift.Plan:
    here = meta.ObjectReference(name="x", namespace="mtv")
    return forklift.Plan(
        metadata=meta.ObjectMeta(name=name, namespace="mtv", uid=f"u-{name}"),
        spec=forklift.PlanSpec(
            target_namespace="prod",
            provider=forklift.ProviderPair(source=here, destination=here),
            map=forklift.PlanMap(network=here, storage=here),
            vms=(forklift.PlanVM(id="vm-1", name="one"),),
            **spec,
        ),
        status=forklift.PlanStatus(conditions=(condition("Ready"),)),
    )


@dataclass
class World:
    """Plans, and Migrations that end when they are told to."""

    one: MigrationSchedule
    plans: dict[str, forklift.Plan]
    now: datetime = BEGIN
    migrations: dict[str, forklift.Migration] = field(default_factory=dict)
    done: list[actions.Action] = field(default_factory=list)

    def look(self, *, crash: bool = False) -> float | None:
        decision = schedule.decide(
            schedule.Observed(
                schedule=self.one, plans=self.plans, migrations=dict(self.migrations)
            ),
            self.now,
        )
        for action in decision.actions:
            self.done.append(action)
            if isinstance(action, actions.Start):
                there = action.migration.metadata
                self.migrations.setdefault(f"{there.namespace}/{there.name}", action.migration)
            if isinstance(action, actions.CutOver):
                self._change(action.migration, cutover=action.at)
        if not crash and decision.status is not None:
            self.one = msgspec.structs.replace(self.one, status=decision.status)
        return decision.requeue_after_s

    def _change(self, one: forklift.Migration, **spec: Any) -> None:
        key = f"mtv/{one.metadata.name}"
        found = self.migrations[key]
        self.migrations[key] = msgspec.structs.replace(
            found, spec=msgspec.structs.replace(found.spec, **spec)
        )

    def end(self, plan_name: str, outcome: str) -> None:
        self.say(plan_name, phase="Completed", outcome=outcome)

    def say(self, plan_name: str, *, phase: str, outcome: str = "") -> None:
        for key, one in self.migrations.items():
            if one.spec.plan.name != plan_name:
                continue
            ended = (condition(outcome),) if outcome else ()
            vm = forklift.VMStatus(id="vm-1", name="one", phase=phase, conditions=ended)
            status = forklift.MigrationStatus(
                conditions=ended,
                completed=conditions.timestamp(self.now) if outcome else None,
                vms=(vm,),
            )
            self.migrations[key] = msgspec.structs.replace(one, status=status)

    def later(self, **gap: float) -> None:
        self.now += timedelta(**gap)

    def running(self) -> set[str]:
        return {
            one.spec.plan.name
            for one in self.migrations.values()
            if not (one.status and one.status.completed)
        }

    @property
    def status(self) -> Any:
        return self.one.status


def world(*groups: ScheduleGroup, plans: tuple[forklift.Plan, ...], **spec: Any) -> World:
    one = MigrationSchedule(
        metadata=meta.ObjectMeta(
            name="nights",
            namespace="mtv",
            uid="s",
            creation_timestamp=conditions.timestamp(BEGIN),
        ),
        spec=MigrationScheduleSpec(**{"schedule": "0 22 * * *", "groups": groups, **spec}),
    )
    return World(one=one, plans={f"mtv/{each.metadata.name}": each for each in plans})


def group(*names: str, **more: Any) -> ScheduleGroup:
    return ScheduleGroup(plans=tuple(meta.ObjectReference(name=name) for name in names), **more)


def test_groups_run_one_after_the_other_and_as_many_at_once_as_they_may() -> None:
    there = world(
        group("a", "b", "c", concurrency=2),
        group("d"),
        plans=tuple(plan(name) for name in "abcd"),
    )
    there.look()
    assert there.running() == set()
    assert there.status.next_schedule_time == "2026-01-09T22:00:00Z"
    there.later(hours=10)
    there.look()
    assert there.running() == {"a", "b"}
    there.end("a", "Succeeded")
    there.look()
    assert there.running() == {"b", "c"}
    there.end("b", "Succeeded")
    there.end("c", "Succeeded")
    there.look()
    assert there.running() == {"d"}
    there.end("d", "Succeeded")
    there.look()
    (run,) = there.status.history
    assert (run.outcome, there.status.active) == ("Succeeded", None)
    assert there.status.last_successful_time == run.completed


def test_a_group_that_fails_keeps_the_next_from_starting() -> None:
    there = world(group("a"), group("b"), plans=(plan("a"), plan("b")))
    there.later(hours=10)
    there.look()
    there.end("a", "Failed")
    there.look()
    (run,) = there.status.history
    assert [one.state for one in run.plans] == ["Failed", "Skipped"]
    assert run.outcome == "Failed"


def test_a_controller_that_is_killed_starts_nothing_twice() -> None:
    there = world(group("a"), plans=(plan("a"),))
    there.later(hours=10)
    there.look(crash=True)
    there.later(minutes=3)
    there.look()
    assert len(there.migrations) == 1


def test_suspended_schedule_starts_nothing_and_says_so() -> None:
    there = world(group("a"), plans=(plan("a"),), suspend=True)
    there.later(hours=10)
    there.look()
    assert there.migrations == {}
    assert there.status.state == "Suspended"


def test_plans_wait_for_the_window() -> None:
    night = TimeRange(start="23:00", end="05:00")
    there = world(group("a"), plans=(plan("a"),), windows=(night,))
    there.later(hours=10)
    assert there.look() == 3600.0
    assert there.migrations == {}
    there.later(hours=1)
    there.look()
    assert there.running() == {"a"}


def test_missed_run_is_said_once_and_the_next_is_on_time() -> None:
    there = world(group("a"), plans=(plan("a"),), starting_deadline_seconds=60)
    there.later(hours=12)
    there.look()
    there.look()
    told = [one for one in there.done if isinstance(one, actions.Record)]
    assert [one.reason for one in told] == ["MissSchedule"]
    there.later(hours=22, seconds=10)
    there.look()
    assert there.running() == {"a"}


def test_application_is_cut_over_together_when_all_of_it_is_ready() -> None:
    warm = (plan("a", type="warm"), plan("b", type="warm"))
    there = world(group("a", "b", together=True), plans=warm)
    there.later(hours=10)
    there.look()
    there.say("a", phase="CopyingPaused")
    there.say("b", phase="CopyDisks")
    there.look()
    assert {one.spec.cutover for one in there.migrations.values()} == {None}
    there.say("b", phase="CopyingPaused")
    there.look()
    assert {one.spec.cutover for one in there.migrations.values()} == {"2026-01-09T22:00:00Z"}


def test_application_goes_back_when_a_part_of_it_fails() -> None:
    there = world(group("a", "b", together=True), plans=(plan("a"), plan("b")))
    there.later(hours=10)
    there.look()
    there.end("a", "Succeeded")
    there.end("b", "Failed")
    there.look()
    (back,) = [one for one in there.done if isinstance(one, actions.TakeBack)]
    assert back.migration.spec.plan.name == "a"
    assert [vm.id for vm in back.vms] == ["vm-1"]


def test_schedule_that_cannot_be_read_is_invalid_with_a_reason() -> None:
    there = world(group("a"), plans=(plan("a"),), schedule="often")
    there.look()
    assert there.status.state == "Invalid"
    (said,) = there.status.conditions
    assert (said.type, said.status, said.reason) == ("Valid", "False", "NotValid")
