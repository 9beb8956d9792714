"""The controller of MigrationSchedules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import forklift, meta
from mtv.api.mtv import DiskTransfer, MigrationSchedule, MigrationScheduleStatus
from mtv.planning import labels
from mtv_operator.objects import Cache, Client, Key, key_of
from mtv_operator.scheduling import actions, schedule
from mtv_operator.scheduling.schedule import Observed, ScheduleDecision

NAME = "migrationschedule"
Enqueue = Callable[[str, Key], None]


class Schedules:
    """Starts plans by the clock."""

    name = NAME

    def __init__(
        self,
        client: Client,
        schedules: Cache[MigrationSchedule],
        plans: Cache[forklift.Plan],
        migrations: Cache[forklift.Migration],
        transfers: Cache[DiskTransfer],
    ) -> None:
        self._client, self._schedules = client, schedules
        self._plans, self._migrations, self._transfers = plans, migrations, transfers

    def observe(self, key: Key) -> Observed | None:
        """Return a schedule, and its plans with their Migrations."""
        one = self._schedules.get(*key)
        if one is None or one.metadata.deletion_timestamp:
            return None
        plans = {
            str(found): plan
            for found in _named(one)
            if (plan := self._plans.get(*found)) is not None
        }
        uids = {plan.metadata.uid for plan in plans.values()}
        return Observed(
            schedule=one,
            plans=plans,
            migrations={f"{each.metadata.namespace}/{each.metadata.name}": each
                        for each in self._migrations.list() if each.spec.plan.uid in uids},
            transfers=tuple(each for each in self._transfers.list()
                            if each.metadata.labels.get(labels.PLAN) in uids)
            if one.spec.bandwidth else (),
        )  # fmt: skip

    def decide(self, observed: Observed, now: datetime) -> ScheduleDecision:
        """Decide."""
        return schedule.decide(observed, now)

    def perform(self, observed: Observed, action: actions.Action) -> None:
        """Carry out one action."""
        client = self._client
        match action:
            case actions.Start(migration=migration):
                with contextlib.suppress(errors.AlreadyExists):
                    client.create(migration)
            case actions.CutOver(migration=migration, at=at):
                self._patch(migration, {"spec": {"cutover": at}})
            case actions.TakeBack(migration=migration, vms=vms):
                there = [msgspec.to_builtins(ref) for ref in migration.spec.rollback]
                more = [{"id": vm.id, "name": vm.name} for vm in vms]
                self._patch(migration, {"spec": {"rollback": [*there, *more]}})
            case actions.Limit(transfer=transfer, bytes_per_second=limit):
                found = transfer.metadata
                body = {"spec": {"bandwidthLimitBytesPerSecond": limit or None}}
                with contextlib.suppress(errors.NotFound):
                    client.patch(DiskTransfer, found.name, found.namespace, body)
            case actions.Record():
                client.record(action.schedule, action.reason, action.message, component=NAME)
            case _:
                assert_never(action)

    def _patch(self, migration: forklift.Migration, body: dict[str, object]) -> None:
        there = migration.metadata
        with contextlib.suppress(errors.NotFound):
            self._client.patch(forklift.Migration, there.name, there.namespace, body)

    def write_status(self, observed: Observed, status: MigrationScheduleStatus) -> None:
        """Store the status."""
        if status != observed.schedule.status:
            changed = msgspec.structs.replace(observed.schedule, status=status)
            self._client.replace_status(changed)

    def wire(self, enqueue: Enqueue) -> None:
        """Have a schedule looked at when it, one of its plans, or a Migration of these changes."""
        self._schedules.on_change(lambda key, _: enqueue(NAME, key))
        self._plans.on_change(lambda key, _: self._plan_changed(enqueue, key))
        self._migrations.on_change(lambda _key, one: self._migration_changed(enqueue, one))
        self._transfers.on_change(lambda _key, one: self._transfer_changed(enqueue, one))

    def _plan_changed(self, enqueue: Enqueue, key: Key) -> None:
        for one in self._schedules.list():
            if key in _named(one):
                enqueue(NAME, key_of(one))

    def _migration_changed(self, enqueue: Enqueue, one: forklift.Migration | None) -> None:
        if one is None:
            for each in self._schedules.list():
                enqueue(NAME, key_of(each))
        else:
            reference = one.spec.plan
            namespace = reference.namespace or one.metadata.namespace
            self._plan_changed(enqueue, Key(namespace, reference.name))

    def _transfer_changed(self, enqueue: Enqueue, one: DiskTransfer | None) -> None:
        """Have a new transfer limited; its progress is nothing to a schedule."""
        if one is not None and one.status is None:
            for each in self._schedules.list():
                if each.spec.bandwidth:
                    enqueue(NAME, key_of(each))


def _named(one: MigrationSchedule) -> list[Key]:
    def key(reference: meta.ObjectReference) -> Key:
        return Key(reference.namespace or one.metadata.namespace, reference.name)

    return [key(reference) for group in one.spec.groups for reference in group.plans]
