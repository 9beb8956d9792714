"""Snapshots of our own, and what has changed between two of them.

A snapshot is known by its name, which its maker chooses and stores before it is taken: whoever was
killed finds it again. Names of ours begin with PREFIX, so that none is left over unseen.

Changed block tracking: each disk of a snapshot has a change id, `uuid/number`. What changed since
an id is asked of a later snapshot, in pages (VDDK 8.0 Programming Guide, "Changed Block Tracking on
Virtual Disks"). Another uuid means that tracking was reset and that the ids before say nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from converters import extents
from converters.extents import Extent
from mtv import errors
from mtv.inventory.model import Disk, Moref, Snapshot
from mtv.providers.vsphere import faults, tasks, virtual_machine

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)

PREFIX = "mtv-precopy-"
DESCRIPTION = "Taken by mtv for a migration, and removed by it."
EVERYTHING = "*"  # instead of a change id: all areas that were ever written
CREATE_TIMEOUT_S = 900.0
REMOVE_TIMEOUT_S = 7200.0  # consolidation of a large delta; Forklift waits as long


class TrackingLost(errors.SourceRefused):
    """vSphere cannot say what changed: the disk has to be compared, or copied as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A snapshot, and whether the guest's file systems were at rest for it."""

    id: Moref
    quiesced: bool


def name_of(identifier: str, number: int) -> str:
    """Return the name of the snapshot `number` of what `identifier` names: a migrated VM's run."""
    return f"{prefix_of(identifier)}{number}"


def prefix_of(identifier: str) -> str:
    """Return what the names of all snapshots begin with that are taken in this name."""
    return f"{PREFIX}{identifier}-"


def of_vm(session: Session, vm_id: Moref) -> tuple[Snapshot, ...]:
    """Return all snapshots of a VM, parents first."""
    read = session.read(vm_id, vim.VirtualMachine, ("snapshot",))
    return tuple(virtual_machine.snapshots_of(read.get("snapshot")))


def find(session: Session, vm_id: Moref, name: str) -> Moref | None:
    """Return the snapshot of a VM with this name."""
    return next((one.id for one in of_vm(session, vm_id) if one.name == name), None)


def create(
    session: Session, vm_id: Moref, name: str, *, quiesce: bool, timeout_s: float = CREATE_TIMEOUT_S
) -> Taken:
    """Take a snapshot without memory, if there is none of this name, and wait for it.

    A guest that cannot be brought to rest is taken as it is. Of one that is found `quiesced` is
    False: nobody knows.
    """
    found = find(session, vm_id, name)
    if found is not None:
        return Taken(id=found, quiesced=False)
    doing = f"taking the snapshot {name} of {vm_id}"
    for at_rest in (True, False) if quiesce else (False,):
        try:
            _create(session, vm_id, name, at_rest, doing, timeout_s)
        except errors.SourceRefused as fault:
            if not at_rest:
                raise
            _LOG.warning("%s without bringing the guest to rest: %s", doing, fault)
        else:
            found = find(session, vm_id, name)
            if found is None:
                raise errors.SourceUnavailable(f"{session.server}: {doing}: it is not there")
            return Taken(id=found, quiesced=at_rest)
    raise AssertionError("the last attempt returns or raises")


def _create(
    session: Session, vm_id: Moref, name: str, quiesce: bool, doing: str, timeout_s: float
) -> None:
    task = tasks.running(session, vm_id, "CreateSnapshot_Task")
    try:
        if task is None:
            vm = vim.VirtualMachine(vm_id, session.stub)
            task = vm.CreateSnapshot_Task(name, DESCRIPTION, False, quiesce)
        tasks.wait_for(session, task, doing, timeout_s=timeout_s)
    except (errors.Retryable, faults.Gone):
        # The answer was lost, or the task is forgotten: what counts is whether it is there.
        if find(session, vm_id, name) is None:
            raise


def remove(
    session: Session, vm_id: Moref, snapshot: Moref, *, timeout_s: float = REMOVE_TIMEOUT_S
) -> None:
    """Remove a snapshot, but not those taken after it, and wait; one that is gone is fine."""
    doing = f"removing the snapshot {snapshot} of {vm_id}"
    if not any(one.id == snapshot for one in of_vm(session, vm_id)):
        return
    task = tasks.running(session, vm_id, "RemoveSnapshot_Task")
    try:
        if task is None:
            task = vim.vm.Snapshot(snapshot, session.stub).RemoveSnapshot_Task(False, True)
        tasks.wait_for(session, task, doing, timeout_s=timeout_s)
    except (errors.Retryable, faults.Gone):
        if any(one.id == snapshot for one in of_vm(session, vm_id)):
            raise


def begin_taking(session: Session, vm_id: Moref, name: str, *, quiesce: bool) -> str:
    """Have a snapshot without memory taken; return the task, at once."""
    vm = vim.VirtualMachine(vm_id, session.stub)
    return tasks.id_of(vm.CreateSnapshot_Task(name, DESCRIPTION, False, quiesce))


def begin_removal(session: Session, snapshot: Moref) -> str:
    """Have a snapshot removed, but not those taken after it; return the task, at once."""
    return tasks.id_of(vim.vm.Snapshot(snapshot, session.stub).RemoveSnapshot_Task(False, True))


def leftovers(session: Session, vm_id: Moref, identifier: str) -> tuple[Snapshot, ...]:
    """Return the snapshots that were taken in the name of `identifier`, oldest first."""
    start = prefix_of(identifier)
    return tuple(one for one in of_vm(session, vm_id) if one.name.startswith(start))


def disks_of(session: Session, snapshot: Moref) -> dict[int, Disk]:
    """Return the disks as a snapshot holds them, by key: with their change ids and files."""
    read = session.read(snapshot, vim.vm.Snapshot, ("config.hardware.device",))
    found = virtual_machine.disks_of(read.get("config.hardware.device") or (), {})
    return {disk.key: disk for disk in found}


def is_same_epoch(earlier: str, later: str) -> bool:
    """Tell whether the tracking was not reset between two change ids. Pure."""
    return bool(earlier) and earlier.partition("/")[0] == later.partition("/")[0]


def changed_areas(
    session: Session, vm_id: Moref, snapshot: Moref, disk: Disk, since: str = EVERYTHING
) -> list[Extent]:
    """Return what of a disk, as `snapshot` holds it, changed since a change id; sorted.

    Raises TrackingLost where vSphere does not know.
    """
    if since != EVERYTHING and not is_same_epoch(since, disk.change_id):
        raise TrackingLost(
            f"the change tracking of {disk.base_file} was reset",
            hint="the disk is compared as a whole",
        )
    try:
        return extents.merge(_pages(session, vm_id, snapshot, disk, since))
    except errors.SourceRefused as fault:
        raise TrackingLost(
            f"{session.server} does not say what changed in {disk.base_file}: {fault}",
            hint="the disk is compared as a whole",
        ) from fault


def _pages(
    session: Session, vm_id: Moref, snapshot: Moref, disk: Disk, since: str
) -> Iterator[Extent]:
    vm = vim.VirtualMachine(vm_id, session.stub)
    at, reference = 0, vim.vm.Snapshot(snapshot, session.stub)
    while at < disk.capacity_bytes:
        page: Any = vm.QueryChangedDiskAreas(reference, disk.key, at, since)
        for area in page.changedArea or ():
            yield Extent(int(area.start), int(area.length))
        end = int(page.startOffset) + int(page.length)
        if end <= at:
            raise TrackingLost(f"{session.server} says nothing of {disk.base_file} from {at} on")
        at = end
