"""How a state of a disk comes to its target: as a whole, as a delta, or by comparison. Pure.

`status.checkpoint` is the state that is wholly there. A delta that was begun may have left some of
its areas newer than that: `status.pendingDelta` names them before the first byte is written, and
every delta after it brings them, too. So it does not matter where a delta was killed, or whether it
ever went on.

The sum of the disk is kept over deltas: before areas are written, what they hold is read and taken
out of it; the sum of what is left is a part of `pendingDelta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from converters import checksum, extents, journal
from converters.errors import ConversionError
from converters.extents import Extent
from converters.journal import State
from mtv.api.meta import Condition
from mtv.api.mtv import Checkpoint, DiskTransferStatus

SUM_PREFIX = "xxh3:"
MOST_AREAS = 4000  # each is some 20 bytes of the status, in two fields
READ_WHOLE = "ReadWhole"  # type of the condition that says what a delta costs


class Course(StrEnum):
    """What is read of the source, and what is written."""

    WHOLE = "whole"  # onto a target that is made zero
    DELTA = "delta"  # what has changed, onto the state before
    COMPARISON = "comparison"  # all is read, what differs from the target is written


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way. `revision` tells whether a journal is of it; `rest` is what need not be brought."""

    course: Course = Course.WHOLE
    revision: str = ""
    rest: State = field(default_factory=State)
    areas: Sequence[Extent] = ()  # of a delta
    is_kept: bool = (
        False  # `rest` was copied by a first copy that was not finished, else it is zero
    )

    @property
    def is_onto_old(self) -> bool:
        """Whether the target has a state already: its zeros have to be made."""
        return self.course is not Course.WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the status says of the target's state."""

    checkpoint: Checkpoint | None
    areas: Sequence[Extent]  # perhaps newer than the checkpoint
    rest_sum: int | None  # of all others; None: not known


def known(status: DiskTransferStatus, capacity_bytes: int) -> Known:
    """Return what is there. What cannot be understood is not believed."""
    there = status.checkpoint
    if there is None:
        return Known(checkpoint=None, areas=(), rest_sum=None)
    if status.pending_delta:
        try:
            pending = journal.decode(status.pending_delta, capacity_bytes=capacity_bytes)
        except ConversionError:
            return Known(checkpoint=there, areas=(), rest_sum=None)
        return Known(checkpoint=there, areas=pending.extents, rest_sum=pending.block_sum)
    text = (status.checksum or "").removeprefix(SUM_PREFIX)
    try:
        return Known(checkpoint=there, areas=(), rest_sum=int(text, 16))
    except ValueError:
        return Known(checkpoint=there, areas=(), rest_sum=None)


def against_delta(there: Known, wanted: Checkpoint, capacity_bytes: int) -> str:
    """Return why the changes since the state that is there cannot be asked for, or ""."""
    assert there.checkpoint is not None
    if not wanted.change_id:
        return "changes of the disk are not tracked"
    if not there.checkpoint.change_id:
        return "changes of the disk were not tracked when it was last copied"
    if there.rest_sum is None:
        return "the checksum of what is on the target is not known"
    if extents.total(there.areas) == capacity_bytes:
        return "a comparison of the disk was not finished"
    return ""


def whole(wanted: Checkpoint, areas: Sequence[Extent], capacity_bytes: int) -> Way:
    """Return the way of a first copy; `areas` are those that may have data."""
    needed = _few(areas, 0, capacity_bytes)
    rest = extents.subtract(extents.whole(capacity_bytes), needed)
    return Way(revision=f"{Course.WHOLE} {_named(wanted)}", rest=State(extents=tuple(rest)))


def unfinished(journals: Sequence[tuple[State, str]]) -> tuple[State, str]:
    """Return what a first copy of some other snapshot has settled, and the change id in that."""
    found: tuple[State, str] = State(), ""
    for state, revision in journals:
        kind, _, named = revision.partition(" ")
        _, _, change_id = named.partition(" ")
        more = extents.total(state.extents) > extents.total(found[0].extents)
        if kind == Course.WHOLE and change_id and more:
            found = state, change_id
    return found


def outdated(state: State, changed: Sequence[Extent], capacity_bytes: int) -> list[Extent]:
    """Return what of the settled parts has changed since; whole blocks."""
    areas = extents.align(changed, checksum.BLOCK, capacity_bytes)
    return list(extents.intersect(areas, state.extents))


def rebased(wanted: Checkpoint, state: State, gone: Sequence[Extent], gone_sum: int) -> Way:
    """Return the way of a first copy that goes on from another snapshot's, without `gone`."""
    kept = State(
        extents=tuple(extents.subtract(state.extents, gone)),
        block_sum=(state.block_sum - gone_sum) & checksum.MASK,
    )
    return Way(revision=f"{Course.WHOLE} {_named(wanted)}", rest=kept, is_kept=True)


def delta_areas(
    there: Known, changed: Sequence[Extent], gap_bytes: int, capacity_bytes: int
) -> list[Extent]:
    """Return what a delta brings: what changed, and what an earlier one may have left newer."""
    return _few([*changed, *there.areas], gap_bytes, capacity_bytes)


def _few(areas: Sequence[Extent], gap_bytes: int, capacity_bytes: int) -> list[Extent]:
    """Return the areas by whole blocks, joined over larger gaps until they fit into a status."""
    while True:
        near = extents.merge(areas, gap=gap_bytes)
        found = extents.align(near, checksum.BLOCK, capacity_bytes)
        if len(found) <= MOST_AREAS:
            return found
        gap_bytes = max(2 * gap_bytes, checksum.BLOCK)


def delta(
    there: Known, wanted: Checkpoint, areas: Sequence[Extent], rest_sum: int, capacity_bytes: int
) -> Way:
    """Return the way of a delta; `rest_sum` is that of all blocks outside the areas."""
    assert there.checkpoint is not None
    rest = extents.subtract(extents.whole(capacity_bytes), areas)
    return Way(
        course=Course.DELTA,
        revision=f"delta {_named(there.checkpoint)} to {_named(wanted)}",
        rest=State(extents=tuple(rest), block_sum=rest_sum),
        areas=tuple(areas),
    )


def comparison(wanted: Checkpoint) -> Way:
    """Return the way of a comparison."""
    return Way(course=Course.COMPARISON, revision=f"comparison to {_named(wanted)}")


def pending(way: Way, capacity_bytes: int) -> str | None:
    """Return what has to be noted before the target is written to."""
    match way.course:
        case Course.WHOLE:
            return None
        case Course.DELTA:
            return State(extents=way.areas, block_sum=way.rest.block_sum).encode()
    return State(extents=extents.whole(capacity_bytes)).encode()


def _named(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.snapshot} {checkpoint.change_id}".strip()


def encoded(checkpoint: Checkpoint) -> dict[str, str | None]:
    """Return a checkpoint for a merge patch: no change id takes away one that was there."""
    return {"snapshot": checkpoint.snapshot, "changeId": checkpoint.change_id or None}


def compared(name: str, why: str, capacity_bytes: int) -> Condition:
    """Return the condition that says that a disk is compared, and what that costs."""
    return _read_whole(
        "ChangesUnknown",
        f"{why}: all {_size(capacity_bytes)} of {name} are read from the source and compared with "
        "the target; what differs is written",
    )


def streamed(name: str, why: str, needed_bytes: int, capacity_bytes: int) -> Condition:
    """Return the condition that says that a delta needs a stream of the whole disk."""
    return _read_whole(
        "NoRanges",
        f"nfc gives {name} only as a whole: its data, of a disk of {_size(capacity_bytes)}, is "
        f"read for {_size(needed_bytes)} that changed ({why})",
    )


def _read_whole(reason: str, message: str) -> Condition:
    return Condition(type=READ_WHOLE, status="True", reason=reason, message=message)


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
