"""Reads source and target again, and compares both with the sums of the copy.

A source that gives other bytes than before lies, or its change tracking does.

A whole disk is compared by its one sum. A sample is compared extent by extent, and can only be
taken from what this process has copied: of what an earlier one has copied only the sum is known. If
that leaves nothing to choose from, the whole disk is read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from converters import checksum, extents, pipeline, verification
from converters.errors import Mismatch
from converters.extents import Extent
from converters.sinks.contract import Sink
from converters.sources.contract import Source
from mtv.planning import verify
from mtv_operator.transfer.ways import Course, Way

Look = Callable[[pipeline.Progress], None]

SHARE = 20  # one extent of so many is read again
FEWEST = 64  # extents of 1 MiB


def choose(capacity_bytes: int, earlier: Sequence[Extent], chance: random.Random) -> list[int]:
    """Return indices of extents to be read again; none that was copied `earlier`. Pure."""
    count = -(-capacity_bytes // checksum.EXTENT)
    known = {
        index
        for one in earlier
        for index in range(one.offset // checksum.EXTENT, -(-one.end // checksum.EXTENT))
    }
    eligible = [index for index in range(count) if index not in known]
    wanted = min(max(count // SHARE, FEWEST), len(eligible))
    return sorted(chance.sample(eligible, wanted))


def check(
    how: str,
    sums: checksum.Sums,
    sink: Sink,
    options: pipeline.Options,
    *,
    block_bytes: int,
    earlier: Sequence[Extent],
    look: Look,
) -> tuple[str, int]:
    """Compare the target with the sums; return what was done, and how many bytes were read.

    Raises Mismatch, and whatever `look` raises meanwhile.
    """
    capacity = sums.capacity_bytes
    if how == verify.SAMPLE:
        chosen = choose(capacity, earlier, random.SystemRandom())
        if chosen:
            verification.verify_extents(
                sums, sink, options, chosen, block_bytes=block_bytes, on_progress=look
            )
            areas = [Extent(at * checksum.EXTENT, checksum.EXTENT) for at in chosen]
            read = extents.total(extents.intersect(areas, extents.whole(capacity)))
            return verify.SAMPLE, read
    verification.verify(
        sums, sink, options, block_bytes=block_bytes, whole=not earlier, on_progress=look
    )
    return verify.FULL, capacity


def check_source(
    how: str,
    way: Way,
    sums: checksum.Sums,
    source: Source,
    options: pipeline.Options,
    *,
    earlier: Sequence[Extent],
    is_running: bool,
    look: Look,
) -> None:
    """Compare what the source gives with what was copied: as `check` does it for the target.

    Of a delta all is compared. With `full` also what did not change, unless its VM is off: then
    somebody waits. A source that is a stream is not read twice. Raises Mismatch.
    """
    capacity = sums.capacity_bytes
    if not source.capabilities.seekable:
        return
    whole = how == verify.FULL and (way.course is not Course.DELTA or is_running)
    if way.course is Course.DELTA or whole:
        without = () if whole else way.rest.extents
        expected = sums.total if whole else (sums.total - way.rest.block_sum) & checksum.MASK
        found = verification.sums_of(source, options, without, on_progress=look).total
        if found != expected:
            raise _lied(source, found, expected)
        return
    chosen = choose(capacity, earlier, random.SystemRandom())
    areas = extents.merge(Extent(at * checksum.EXTENT, checksum.EXTENT) for at in chosen)
    rest = extents.subtract(extents.whole(capacity), areas)
    again = verification.sums_of(source, options, rest, on_progress=look)
    for at in chosen:
        if again.extent_sum(at) != sums.extent_sum(at):
            raise _lied(source, again.extent_sum(at), sums.extent_sum(at))


def _lied(source: Source, found: int, expected: int) -> Mismatch:
    return Mismatch(
        "the source gives other bytes than those that were copied", file=source.name,
        field="checksum", value=checksum.text(found),
        expected=f"{checksum.text(expected)}, as it was copied",
        hint="its storage, its change tracking or the network changes data: look into their logs, "
        "and copy again, by another transport",
    )  # fmt: skip


def check_delta(way: Way, sums: checksum.Sums, sink: Sink, *, look: Look) -> tuple[str, int]:
    """Compare what a delta has written with what was read; return as `check`. Raises as it."""
    expected = (sums.total - way.rest.block_sum) & checksum.MASK
    verification.verify_areas(
        expected, sink, way.areas, capacity_bytes=sums.capacity_bytes, on_progress=look
    )
    return verify.SAMPLE, extents.total(way.areas)
