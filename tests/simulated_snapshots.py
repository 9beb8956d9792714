"""Snapshots of simulated sources: taken and removed in their time, and what of a disk they hold.

The content of a VM's disks is a number that grows with each write. A snapshot holds the number of
its moment, and a transfer brings that to the target.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mtv import errors
from mtv.inventory.model import VM, Moref, Snapshot
from mtv_operator.migration import actions
from mtv_operator.migration.warm import Seen


@dataclass(kw_only=True)
class Taken:
    """One snapshot, from the moment on in which it is asked for."""

    name: str
    id: str
    content: int
    ready_at: datetime
    gone_at: datetime | None = None


@dataclass(kw_only=True)
class Snapshots:
    """Those of all sources, and what a controller has seen of them."""

    take_s: float = 2.0
    remove_s: float = 3.0
    refuses: dict[str, errors.MigrationError] = field(default_factory=dict)  # by action
    content: Counter[str] = field(default_factory=Counter)  # of the disks, by VM
    there: dict[str, list[Taken]] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)  # of all that were ever taken
    ids: Any = field(default_factory=lambda: itertools.count(1))

    def of(self, vm_id: str) -> list[Taken]:
        return self.there.setdefault(vm_id, [])

    def pass_time(self, now: datetime) -> None:
        for vm_id, every in self.there.items():
            self.there[vm_id] = [one for one in every if one.gone_at is None or one.gone_at > now]

    def in_inventory(self, vm: VM, now: datetime) -> tuple[Snapshot, ...]:
        return tuple(
            Snapshot(id=Moref(one.id), name=one.name)
            for one in self.of(vm.id)
            if one.ready_at <= now
        )

    def content_of(self, vm_id: str, snapshot: str) -> int:
        """What a snapshot holds; it must be there."""
        return next(one.content for one in self.of(vm_id) if one.id == snapshot)

    def has(self, vm_id: str, snapshot: str) -> bool:
        return any(one.id == snapshot and one.gone_at is None for one in self.of(vm_id))

    def perform(
        self, action: actions.TakeSnapshot | actions.RemoveSnapshots, vm: VM, now: datetime
    ) -> None:
        fault = self.refuses.get(type(action).__name__)
        before = self.seen.get(vm.id, Seen(at=now))
        if isinstance(action, actions.TakeSnapshot):
            self.seen[vm.id] = self._take(action, vm, now, fault, before)
        else:
            self.seen[vm.id] = self._remove(action, vm, now, fault, before)

    def _take(
        self,
        action: actions.TakeSnapshot,
        vm: VM,
        now: datetime,
        fault: errors.MigrationError | None,
        before: Seen,
    ) -> Seen:
        assert action.name.startswith(action.prefix)
        busy = [one for one in self.of(vm.id) if one.gone_at or one.ready_at > now]
        found = next((one for one in self.of(vm.id) if one.name == action.name), None)
        if found is not None and found.ready_at <= now:
            frozen = [disk for disk in vm.disks if not disk.mode.startswith("independent")]
            change_id = f"52 aa/{found.content}" if vm.change_tracking else ""
            return Seen(
                at=now,
                name=action.name,
                id=found.id,
                quiesced=action.quiesce,
                change_ids={disk.base_file: change_id for disk in frozen},
            )
        if busy:
            return Seen(at=now, name=action.name, task="task-1")
        if fault is not None:
            return Seen(at=now, name=action.name, fault=fault, failures=before.failures + 1)
        assert action.name not in self.names, "taken twice"
        self.names.append(action.name)
        self.of(vm.id).append(
            Taken(
                name=action.name,
                id=f"snapshot-{next(self.ids)}",
                content=self.content[vm.id],
                ready_at=now + timedelta(seconds=self.take_s),
            )
        )
        return Seen(at=now, name=action.name, task="task-1")

    def _remove(
        self,
        action: actions.RemoveSnapshots,
        vm: VM,
        now: datetime,
        fault: errors.MigrationError | None,
        before: Seen,
    ) -> Seen:
        ours = [one for one in self.of(vm.id) if one.name.startswith(action.prefix)]
        names = tuple(one.name for one in ours)
        if not ours:
            return Seen(at=now, left=())
        if fault is not None:
            return Seen(at=now, left=names, fault=fault, failures=before.failures + 1)
        if all(one.gone_at is None for one in ours):
            ours[-1].gone_at = now + timedelta(seconds=self.remove_s)
        return Seen(at=now, left=names, task="task-2")


def names_of(every: Sequence[Taken]) -> list[str]:
    return [one.name for one in every]
