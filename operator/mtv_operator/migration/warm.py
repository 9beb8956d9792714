"""The record of a VM's precopies and their snapshots (`vms[].warm`), and what it tells. Pure.

A precopy is recorded with the name of its snapshot before that is taken, and with the change ids of
all disks before it is removed: whoever was killed finds the snapshot by its name, and nothing that
was changed is missed. `removed` is set when the snapshot was seen to be gone, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from mtv import errors
from mtv.api import forklift
from mtv.api.mtv import Checkpoint, DiskTransfer
from mtv.planning import names
from mtv.providers.vsphere import snapshots
from mtv_operator.migration import conditions

INTERVAL_S = 3600  # between precopies, where the plan says nothing; Forklift's default
MOST_KEPT = 6  # precopies in the record: a VM may wait for weeks, and a plan have many of them
replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the last look at our snapshots of a source found, or what it failed with."""

    at: datetime
    name: str = ""  # of the one that is to be taken
    task: str = ""  # of vSphere: takes or removes a snapshot
    id: str = ""  # moref of the one that was taken
    change_ids: Mapping[str, str] = field(default_factory=dict)  # by base file of the disk
    quiesced: bool | None = None  # None: nobody knows
    why_not: str = ""  # the guest was not brought to rest
    left: tuple[str, ...] | None = None  # names of ours that are there; None: not looked for
    fault: errors.MigrationError | None = None
    failures: int = 0  # in a row


def identifier(plan_uid: str, vm_id: str) -> str:
    """Return what the names of all our snapshots of a VM have in common."""
    return names.digest(plan_uid, vm_id)


def prefix(plan_uid: str, vm_id: str) -> str:
    """Return what the names of all our snapshots of a VM begin with."""
    return snapshots.prefix_of(identifier(plan_uid, vm_id))


def of(vm: forklift.VMStatus) -> forklift.Warm:
    """Return the record of a VM; an empty one if there is none yet."""
    return vm.warm or forklift.Warm()


def last(vm: forklift.VMStatus) -> forklift.Precopy:
    """Return the newest precopy; an empty one if there is none."""
    return of(vm).precopies[-1] if of(vm).precopies else forklift.Precopy()


def begun(vm: forklift.VMStatus, plan_uid: str, now: datetime) -> forklift.VMStatus:
    """Return the VM with a precopy whose snapshot is about to be taken."""
    record = of(vm)
    numbers = [int((one.name or "-0").rpartition("-")[2]) for one in record.precopies]
    name = snapshots.name_of(identifier(plan_uid, vm.id or ""), max(numbers, default=0) + 1)
    precopy = forklift.Precopy(name=name, start=conditions.timestamp(now))
    old = tuple(replace(one, deltas=()) if one.removed else one for one in record.precopies[:-1])
    old = (*old, *record.precopies[-1:])
    while len(old) >= MOST_KEPT and old[0].removed:
        old = old[1:]
    return replace(vm, warm=replace(record, precopies=(*old, precopy), next_precopy_at=None))


def taken(vm: forklift.VMStatus, seen: Seen) -> forklift.VMStatus:
    """Return the VM with the snapshot of its newest precopy, and the change ids in it."""
    deltas = tuple(
        forklift.DiskDelta(disk=disk, delta_id=change_id)
        for disk, change_id in sorted(seen.change_ids.items())
    )
    return _with_last(
        vm,
        snapshot=seen.id,
        create_task_id=seen.task or last(vm).create_task_id,
        quiesced=seen.quiesced,
        deltas=deltas,
    )


def being_taken(vm: forklift.VMStatus, seen: Seen | None) -> forklift.VMStatus:
    """Return the VM with the task that takes its snapshot."""
    if seen is None or not seen.task or last(vm).create_task_id == seen.task:
        return vm
    return _with_last(vm, create_task_id=seen.task)


def done(vm: forklift.VMStatus, copies: list[DiskTransfer], now: datetime) -> forklift.VMStatus:
    """Return the VM whose newest precopy is wholly on the target, with what its copy has cost."""
    had = [one.status for one in copies if one.status and one.status.delta_seconds is not None]
    vm = _with_last(
        vm,
        end=conditions.timestamp(now),
        delta_bytes=sum(one.delta_bytes or 0 for one in had) if had else None,
        delta_seconds=max(one.delta_seconds or 0.0 for one in had) if had else None,
    )
    record = of(vm)
    return replace(vm, warm=replace(record, successes=record.successes + 1, consecutive_failures=0))


def failed(vm: forklift.VMStatus, again_after_s: float, now: datetime) -> forklift.VMStatus:
    """Return the VM whose newest precopy has come to nothing; the next one begins soon."""
    vm = _with_last(vm, end=conditions.timestamp(now))
    record = of(vm)
    return replace(
        vm,
        warm=replace(
            record,
            failures=record.failures + 1,
            consecutive_failures=record.consecutive_failures + 1,
            next_precopy_at=conditions.timestamp(now + timedelta(seconds=again_after_s)),
        ),
    )


def _with_last(vm: forklift.VMStatus, **changes: object) -> forklift.VMStatus:
    record = of(vm)
    precopy = replace(last(vm), **changes)
    return replace(vm, warm=replace(record, precopies=(*record.precopies[:-1], precopy)))


def has_succeeded(precopy: forklift.Precopy) -> bool:
    """Tell whether what a precopy's snapshot holds came to the target."""
    return bool(precopy.end and precopy.snapshot)


def unremoved(vm: forklift.VMStatus) -> tuple[forklift.Precopy, ...]:
    """Return the precopies whose snapshot may still be there."""
    return tuple(one for one in of(vm).precopies if one.name and not one.removed)


def all_removed(vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    """Return the VM none of whose snapshots is left."""
    if not unremoved(vm):
        return vm
    stamp = conditions.timestamp(now)
    record = of(vm)
    every = tuple(
        one if one.removed or not one.name else replace(one, removed=stamp)
        for one in record.precopies
    )
    return replace(vm, warm=replace(record, precopies=every))


def being_removed(vm: forklift.VMStatus, seen: Seen | None) -> forklift.VMStatus:
    """Return the VM with the task that removes its snapshots."""
    if seen is None or seen.left is None or not seen.task:
        return vm
    record = of(vm)
    every = tuple(
        replace(one, remove_task_id=seen.task) if one.name in seen.left and not one.removed else one
        for one in record.precopies
    )
    return vm if every == record.precopies else replace(vm, warm=replace(record, precopies=every))


def checkpoint_of(precopy: forklift.Precopy, wanted: DiskTransfer) -> Checkpoint | None:
    """Return the state of a disk in a precopy's snapshot; None for a disk that is not in it."""
    found = {one.disk: one.delta_id for one in precopy.deltas}
    base_file = wanted.spec.disk.base_file
    if base_file not in found or not precopy.snapshot:
        return None
    return Checkpoint(snapshot=precopy.snapshot, change_id=found[base_file])


def interval_s(plan: forklift.Plan) -> int:
    """Return how long after a precopy the next one begins."""
    return plan.spec.precopy_interval_seconds or INTERVAL_S


def wait_s(vm: forklift.VMStatus, now: datetime, longest_s: float) -> float:
    """Return how long it is until the next precopy, 0 if it is due.

    A time that lies further away than it can was made by another clock: it is due.
    """
    at = of(vm).next_precopy_at
    left_s = (conditions.moment(at) - now).total_seconds() if at else 0.0
    return left_s if 0 < left_s <= longest_s + 1 else 0.0


def kept(old: forklift.VMStatus | None) -> forklift.Warm:
    """Return what a new run is told of the precopies of an earlier one.

    Their names are not given again, and what was not removed still is.
    """
    record = of(old) if old is not None else forklift.Warm()
    return forklift.Warm(
        precopies=record.precopies,
        predicted_downtime_seconds=record.predicted_downtime_seconds,
        shutdown_seconds=record.shutdown_seconds,
    )
