"""Reads a target again and compares its sums with those of the copy: by extents of 1 MiB."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from converters import checksum, extents
from converters.errors import Mismatch
from converters.extents import Extent
from converters.journal import Journal, State
from converters.pipeline import Copy, Options, Progress
from converters.sinks.contract import Sink
from converters.sinks.memory import NullSink
from converters.sources.contract import Source

_MOST_NAMED = 3


def verify(
    sums: checksum.Sums,
    sink: Sink,
    options: Options,
    *,
    block_bytes: int,
    whole: bool = True,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Compare what the sink has with the sums of the copy that wrote it.

    `block_bytes` are those of the copy's source. Without `whole` (the copy went on where another
    had stopped) extents cannot be compared, only the disk's sum. Raises Mismatch, naming the first
    extents that differ.
    """
    found = _read(sums, sink, options, block_bytes, (), on_progress)
    if found.total == sums.total:
        return
    different = []
    if whole:
        count = -(-sums.capacity_bytes // checksum.EXTENT)
        different = [i for i in range(count) if found.extent_sum(i) != sums.extent_sum(i)]
    raise _mismatch(sink, found.total, sums.total, different)


def verify_extents(
    sums: checksum.Sums,
    sink: Sink,
    options: Options,
    chosen: Sequence[int],
    *,
    block_bytes: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Compare some extents of 1 MiB, given by index, with the sums of the copy that wrote them.

    Only extents that the copy wrote as a whole can be compared. Raises Mismatch.
    """
    areas = extents.merge(Extent(at * checksum.EXTENT, checksum.EXTENT) for at in chosen)
    rest = extents.subtract(extents.whole(sums.capacity_bytes), areas)
    found = _read(sums, sink, options, block_bytes, rest, on_progress)
    different = [at for at in chosen if found.extent_sum(at) != sums.extent_sum(at)]
    if different:
        first = different[0]
        raise _mismatch(sink, found.extent_sum(first), sums.extent_sum(first), different)


def verify_areas(
    expected: int,
    sink: Sink,
    areas: Sequence[Extent],
    *,
    capacity_bytes: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Compare areas of what the sink has with the sum of the blocks that were written to them.

    Raises Mismatch.
    """
    found = sum_of(sink, areas, capacity_bytes=capacity_bytes, on_progress=on_progress)
    if found != expected:
        raise _mismatch(sink, found, expected, ())


def sum_of(
    sink: Sink,
    areas: Sequence[Extent],
    *,
    capacity_bytes: int,
    block_bytes: int = checksum.BLOCK,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> int:
    """Return the sum of the blocks that lie in these areas of what a sink has.

    Areas begin and end at whole blocks, or at the end of the disk.
    """
    rest = extents.subtract(extents.whole(capacity_bytes), areas)
    empty = checksum.Sums(capacity_bytes)
    return _read(empty, sink, Options(), block_bytes, rest, on_progress).total


def _read(
    sums: checksum.Sums,
    sink: Sink,
    options: Options,
    block_bytes: int,
    without: Sequence[Extent],
    on_progress: Callable[[Progress], None],
) -> checksum.Sums:
    """Return the sums of what a sink has, but for some extents."""
    source = sink.reader()
    try:
        reading = dataclasses.replace(options, block_bytes=block_bytes, limit_bytes_per_s=0)
        return sums_of(source, reading, without, on_progress=on_progress)
    finally:
        source.close()


def sums_of(
    source: Source,
    options: Options,
    without: Sequence[Extent] = (),
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> checksum.Sums:
    """Return the sums of what a source gives, but for some extents; it can be read at any place."""
    journal = Journal(State(extents=without))
    with Copy(source, NullSink(), options, journal=journal) as running:
        while not running.wait(0.1):
            on_progress(running.progress())
        on_progress(running.progress())
        return running.sums


def _mismatch(sink: Sink, found: int, expected: int, different: Sequence[int]) -> Mismatch:
    places = ", ".join(f"byte {index * checksum.EXTENT}" for index in different[:_MOST_NAMED])
    where = f"; {len(different)} extents of 1 MiB differ, from {places}" if different else ""
    return Mismatch(
        f"what was written is not what was read{where}", file=sink.name,
        field="checksum", value=checksum.text(found),
        expected=f"{checksum.text(expected)}, as it was read",
        hint="the target's storage lost or changed data: look into its log, and copy again",
    )  # fmt: skip
