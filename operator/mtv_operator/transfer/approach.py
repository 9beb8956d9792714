"""Finds the way to a checkpoint: asks the source what changed, and sums what is about to go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from converters import checksum, extents, pipeline, verification
from converters.extents import Extent
from converters.journal import State
from converters.sinks.contract import Sink
from mtv import errors
from mtv.api.meta import Condition
from mtv.api.mtv import Checkpoint, DiskTransferStatus
from mtv.providers.vsphere import disks, snapshots
from mtv_operator.transfer import ways
from mtv_operator.transfer.ways import Way

Look = Callable[[pipeline.Progress], None]

log = logging.getLogger(__name__)


def find(
    disk: object,
    wanted: Checkpoint,
    status: DiskTransferStatus,
    sink: Sink,
    look: Look,
    journals: Sequence[tuple[State, str]] = (),
) -> tuple[Way, Condition | None]:
    """Return the way, and what is to be said about what it costs. Raises MigrationError.

    `journals` are those that were found, with the revisions that they are of.
    """
    if not isinstance(disk, disks.OpenDisk) or disk.changed_since is None:
        raise errors.BadInput("this source has no snapshots", field="spec.checkpoint")
    capacity = disk.source.capacity_bytes
    there = ways.known(status, capacity)
    if there.checkpoint is None:
        new = ways.whole(wanted, _allocated(disk, wanted), capacity)
        if any(state.extents and revision == new.revision for state, revision in journals):
            return new, None
        return _going_on(disk, wanted, journals, sink, look) or new, None
    why = ways.against_delta(there, wanted, capacity)
    changed: Sequence[Extent] = ()
    if not why:
        try:
            changed = disk.changed_since(there.checkpoint.change_id)
        except snapshots.TrackingLost as fault:
            why = str(fault)
    if why:
        return ways.comparison(wanted), ways.compared(disk.source.name, why, capacity)
    areas = ways.delta_areas(there, changed, disk.source.capabilities.gap_bytes, capacity)
    rest_sum = _rest_sum(there, areas, sink, capacity, look)
    way = ways.delta(there, wanted, areas, rest_sum, capacity)
    if disk.source.capabilities.seekable:
        return way, None
    needed = extents.total(areas)
    return way, ways.streamed(disk.source.name, disk.why, needed, capacity)


def _going_on(
    disk: disks.OpenDisk,
    wanted: Checkpoint,
    journals: Sequence[tuple[State, str]],
    sink: Sink,
    look: Look,
) -> Way | None:
    """Return the way that goes on from the first copy of another snapshot, if there is one."""
    capacity = disk.source.capacity_bytes
    state, change_id = ways.unfinished(journals)
    if not change_id or not disk.changed_since or not disk.source.capabilities.seekable:
        return None
    try:
        changed = disk.changed_since(change_id)
    except snapshots.TrackingLost as fault:
        log.info("%s is copied from its beginning again: %s", disk.source.name, fault)
        return None
    gone = ways.outdated(state, changed, capacity)
    return ways.rebased(wanted, state, gone, _sum_of(gone, sink, capacity, look))


def _sum_of(areas: Sequence[Extent], sink: Sink, capacity_bytes: int, look: Look) -> int:
    """Return the sum of what these areas of the target hold."""
    if not areas:
        return 0
    sink.prepare(capacity_bytes, extents.whole(capacity_bytes))
    return verification.sum_of(sink, areas, capacity_bytes=capacity_bytes, on_progress=look)


def _allocated(disk: disks.OpenDisk, wanted: Checkpoint) -> Sequence[Extent]:
    """Return what may have data; all of the disk where nobody knows, or none of it is left out."""
    whole = extents.whole(disk.source.capacity_bytes)
    if not disk.source.capabilities.seekable or not wanted.change_id or not disk.changed_since:
        return whole
    try:
        return disk.changed_since(snapshots.EVERYTHING)
    except snapshots.TrackingLost as fault:
        log.info("%s is read as a whole: %s", disk.source.name, fault)
        return whole


def _rest_sum(
    there: ways.Known,
    areas: Sequence[Extent],
    sink: Sink,
    capacity_bytes: int,
    look: Look,
) -> int:
    """Return the sum of the target's blocks outside the areas.

    Those areas that an earlier delta was about to write are out of the sum already.
    """
    assert there.rest_sum is not None
    fresh = extents.subtract(areas, there.areas)
    return (there.rest_sum - _sum_of(fresh, sink, capacity_bytes, look)) & checksum.MASK
