"""Copies a disk in one pass: feeds read, workers decode, look for zeros, sum and write.

    with Copy(source, sink, Options(workers=2)) as copy:
        while not copy.wait(0.2):
            show(copy.progress())
    print(checksum.text(copy.sums.total))

Nothing is staged: memory is a fixed number of buffers, whatever the disk. A slow sink holds the
source back, because a feed must wait for a free buffer.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from converters import batching, checksum, extents
from converters.batching import Piece
from converters.crew import Crew, Finished, SharedFeed, WorkQueue
from converters.errors import Cancelled
from converters.extents import Extent, Kind
from converters.intake import LentBuffers
from converters.journal import Journal
from converters.sinks.contract import ScanningSink, Sink
from converters.sources.contract import Batch, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to copy. A limit of 0 is none; without `sums` there is no checksum.

    `block_bytes` is what the sums count by, where it is less than the source's own blocks.
    """

    workers: int = field(default_factory=lambda: min(os.cpu_count() or 1, 8))
    limit_bytes_per_s: int = 0
    sums: bool = True
    block_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a copy stands. `settled` counts the disk's bytes, holes included."""

    capacity_bytes: int
    settled_bytes: int
    read_bytes: int
    written_bytes: int
    elapsed_s: float


class Copy:
    """One copy of one disk, from `__enter__` to `__exit__`.

    Without `delta` the whole disk is copied, except what the journal says is settled; with it, only
    these extents, onto what the sink already has.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        options: Options | None = None,
        *,
        journal: Journal | None = None,
        delta: Sequence[Extent] | None = None,
    ) -> None:
        self._source, self._sink = source, sink
        self._options = options or Options()
        self.journal = journal or Journal()
        state = self.journal.state()
        self.sums = checksum.Sums(source.capacity_bytes, total=state.block_sum)
        disk = extents.whole(source.capacity_bytes)
        if delta is None:
            self._keep: Sequence[Extent] = state.extents
            area = disk
        else:
            self._keep = disk
            # Reading over a small gap costs some sources less than another request.
            near = extents.merge(delta, gap=source.capabilities.gap_bytes)
            area = extents.align(near, source.block_bytes, source.capacity_bytes)
        self._wanted = extents.subtract(area, state.extents)
        self._over_old_data = delta is not None
        # What a delta finds to be zero has to be zeroed, not left out.
        self._scanning = sink if isinstance(sink, ScanningSink) and delta is None else None
        if not source.capabilities.seekable and (self._over_old_data or self._wanted != disk):
            raise ValueError(f"{source.name} can be read only as a whole")
        self._block_bytes = min(self._options.block_bytes or source.block_bytes, source.block_bytes)
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._written = 0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        source, options = self._source, self._options
        self._sink.prepare(source.capacity_bytes, self._keep)
        self._crew = Crew(on_stop=self._stop)
        self._intake = LentBuffers(
            buffer_bytes=source.capabilities.buffer_bytes,
            count=source.capabilities.feeds * source.capabilities.feed_buffers
            + 2 * options.workers,
            stopping=self._crew.stopping,
            limit_bytes_per_s=options.limit_bytes_per_s,
        )
        feeds = source.feeds(self._wanted, self._intake) if self._wanted else ()
        filled: WorkQueue[Batch] = WorkQueue(4 * options.workers)
        self._queues: Sequence[WorkQueue[Batch] | SharedFeed[Batch]] = [filled] * options.workers
        if source.capabilities.direct and feeds:
            # One feed is shared by all workers; of several each has a worker of its own.
            times = options.workers if len(feeds) == 1 else 1
            self._queues, feeds = [SharedFeed(feed) for feed in feeds] * times, ()
        self._feeding, self._working = len(feeds), len(self._queues)
        if not feeds:
            filled.finish()
        self._stack.enter_context(self._crew)
        for number, feed in enumerate(feeds):
            self._crew.start(f"feed-{number}", functools.partial(self._feed, filled, feed))
        for number, queue in enumerate(self._queues):
            self._crew.start(f"worker-{number}", functools.partial(self._work, queue))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; return whether it came. Raises the first error of any thread."""
        return self._crew.wait(timeout_s)

    def cancel(self) -> None:
        """End early: `wait` raises Cancelled within a second."""
        self._crew.fail(Cancelled())

    def progress(self) -> Progress:
        """Return where the copy stands."""
        return Progress(
            capacity_bytes=self._source.capacity_bytes,
            settled_bytes=self.journal.settled_bytes,
            read_bytes=self._intake.read_bytes,
            written_bytes=self._written,
            elapsed_s=time.monotonic() - self._started,
        )

    def _stop(self) -> None:
        for queue in self._queues:
            queue.abort()
        self._intake.wake()
        self._source.interrupt()

    def _feed(self, queue: WorkQueue[Batch], feed: Iterator[Batch]) -> None:
        """Bring the batches of one feed into the queue; the last feed finishes it."""
        for batch in feed:
            queue.put(batch)
        with self._lock:
            self._feeding -= 1
            last = not self._feeding
        if last:
            queue.finish()

    def _work(self, queue: WorkQueue[Batch] | SharedFeed[Batch]) -> None:
        """Write batches until there are no more; the last worker flushes the sink."""
        while True:
            try:
                batch = queue.get()
            except Finished:
                break
            parts, written = self._write(batch)
            batch.release()
            with self._lock:
                self._written += written
            self.journal.settle(batch.settles, self.sums.add(parts))
        with self._lock:
            self._working -= 1
            last = not self._working
        if last:
            self._sink.flush()

    def _write(self, batch: Batch) -> tuple[dict[int, int], int]:
        """Write the data of a batch; return the sums of its blocks by extent, and bytes written."""
        sums: dict[int, int] = {}
        written = 0
        sink, stopping, zeroed = self._sink, self._crew.stopping.is_set, self._over_old_data
        scanning = self._scanning
        for buffer, pieces in batch.parts():
            if stopping():
                raise Cancelled
            if scanning is not None:
                count, found = scanning.write_scanned(
                    buffer, pieces, self._block_bytes, self._options.sums
                )
                written += count
                for extent, value in found:
                    sums[extent] = sums.get(extent, 0) + value
                continue
            runs, found = batching.scan(buffer, pieces, self._block_bytes, self._options.sums)
            view = memoryview(buffer)
            for offset, start, length in runs:
                sink.write(offset, [view[start : start + length]])
                written += length
            if zeroed:
                for gap in _gaps(pieces, runs):
                    sink.zero(gap)
            for extent, value in found:
                sums[extent] = sums.get(extent, 0) + value
        if zeroed:
            for settled in batch.settles:
                if settled.kind is Kind.ZERO:
                    sink.zero(settled)
        return sums, written


def _gaps(pieces: Sequence[Piece], runs: Sequence[Piece]) -> list[Extent]:
    """Return what of the pieces is no data; both are as `batching.scan` knows them."""
    areas = extents.merge(Extent(offset, length) for offset, _, length in pieces)
    data = extents.merge(Extent(offset, length) for offset, _, length in runs)
    return extents.subtract(areas, data)


def copy(
    source: Source, sink: Sink, options: Options | None = None, *, journal: Journal | None = None
) -> checksum.Sums:
    """Copy a whole disk and return its sums. Raises ConversionError."""
    with Copy(source, sink, options, journal=journal) as running:
        running.wait()
        return running.sums
