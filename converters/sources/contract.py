"""What a source is, and what passes between a source and the pipeline.

A source gives the content of one disk as batches, through one feed or several; each feed is read by
one thread of the pipeline. `converters.testing.SourceTests` is the suite that every source passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from converters.batching import Piece as Piece
from converters.extents import Extent

# Decoded content: a buffer, and which parts of it lie where on the disk. A piece begins at a
# multiple of the source's `block_bytes`, and ends at one or at the end of the disk.
Part = tuple[bytes | bytearray, Sequence[Piece]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a source can do; the pipeline asks this, never the type."""

    seekable: bool  # any extents, in any order: a copy can go on where it stopped, deltas work
    feeds: int = 1  # how many threads may read at once
    buffer_bytes: int = 1 << 20  # the size of the buffers that it fills
    feed_buffers: int = 1  # how many of them a feed fills at once: requests in flight
    direct: bool = False  # workers read from its feeds themselves: no thread hands batches on
    gap_bytes: int = 0  # what is rather read over than left out, as a request costs as much


class Intake(Protocol):
    """What the pipeline lends to a feed. All calls raise Cancelled when the copy shall end."""

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once, so that a bandwidth limit is kept smoothly."""
        ...

    def take_buffer(self) -> bytearray:
        """Return a buffer of `capabilities.buffer_bytes`, as soon as one is free."""
        ...

    def give_back(self, buffer: bytearray) -> None:
        """Return a buffer that is no longer used."""
        ...

    def came_in(self, count: int) -> None:
        """Say that `count` bytes came in; waits where there is a bandwidth limit."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait, before a retry."""
        ...


class Batch(Protocol):
    """A part of a disk, found by a feed. What is left to read and to decode a worker does."""

    @property
    def settles(self) -> Sequence[Extent]:
        """What is known of the disk when this batch is written; kind ZERO where it has no data."""
        ...

    def parts(self) -> Iterator[Part]:
        """Yield what has data, decoded; a part is valid until the next one is asked for."""
        ...

    def release(self) -> None:
        """Give the buffer back."""
        ...


class Source(Protocol):
    """A disk that can be read."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def capacity_bytes(self) -> int:
        """The size of the disk."""
        ...

    @property
    def block_bytes(self) -> int:
        """The size of the blocks in its batches: a power of two from 4 KiB to 64 KiB."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return iterators that together give all of `wanted`, each part once.

        `wanted` begins and ends at multiples of `block_bytes` (or at the capacity). A source that
        is not seekable is asked for the whole disk only.
        """
        ...

    def interrupt(self) -> None:
        """Make reads that wait return or fail soon. May be called from any thread, also twice."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(slots=True, eq=False)
class RawBatch:
    """Data as it is on the disk: pieces of one buffer, in any places of the disk."""

    intake: Intake
    buffer: bytearray
    pieces: Sequence[Piece]
    settles: Sequence[Extent]

    def parts(self) -> Iterator[Part]:
        """Yield the buffer as it is."""
        yield self.buffer, self.pieces

    def release(self) -> None:
        """Give the buffer back."""
        self.intake.give_back(self.buffer)


@dataclass(frozen=True, slots=True)
class ZeroBatch:
    """Parts of the disk that read as zeros; nothing was read for them."""

    settles: Sequence[Extent] = field(default=())

    def parts(self) -> Iterator[Part]:
        """Yield nothing."""
        return iter(())

    def release(self) -> None:
        """Do nothing."""
