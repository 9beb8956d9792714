"""Reads what was written again, and compares it with the sums of the copy.

A whole disk is compared by its one sum. A sample is compared extent by extent, and can only be
taken from what this process has copied: of what an earlier one has copied only the sum is known. If
that leaves nothing to choose from, the whole disk is read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from converters import checksum, extents, pipeline, verification
from converters.extents import Extent
from converters.sinks.contract import Sink
from mtv.planning import verify
from mtv_operator.transfer.ways import Way

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


def check_delta(way: Way, sums: checksum.Sums, sink: Sink, *, look: Look) -> tuple[str, int]:
    """Compare what a delta has written with what was read; return as `check`. Raises as it."""
    expected = (sums.total - way.rest.block_sum) & checksum.MASK
    verification.verify_areas(
        expected, sink, way.areas, capacity_bytes=sums.capacity_bytes, on_progress=look
    )
    return verify.SAMPLE, extents.total(way.areas)
