"""Reads a target again and compares its sums with those of the copy: by extents of 1 MiB."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from converters import checksum
from converters.errors import Mismatch
from converters.pipeline import Copy, Options, Progress
from converters.sinks.contract import Sink
from converters.sinks.memory import NullSink

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
    source = sink.reader()
    try:
        reading = dataclasses.replace(options, block_bytes=block_bytes, limit_bytes_per_s=0)
        with Copy(source, NullSink(), reading) as running:
            while not running.wait(0.1):
                on_progress(running.progress())
            on_progress(running.progress())
            found = running.sums
    finally:
        source.close()
    if found.total == sums.total:
        return
    different = []
    if whole:
        count = -(-sums.capacity_bytes // checksum.EXTENT)
        different = [i for i in range(count) if found.extent_sum(i) != sums.extent_sum(i)]
    places = ", ".join(f"byte {index * checksum.EXTENT}" for index in different[:_MOST_NAMED])
    where = f"; {len(different)} extents of 1 MiB differ, from {places}" if different else ""
    raise Mismatch(
        f"what was written is not what was read{where}", file=sink.name,
        field="checksum", value=checksum.text(found.total),
        expected=f"{checksum.text(sums.total)}, as it was read",
        hint="the target's storage lost or changed data: look into its log, and copy again",
    )  # fmt: skip
