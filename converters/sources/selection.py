"""Chosen parts of a disk that comes as one stream: all of it is read, the rest is left aside.

A delta by a transport without ranges costs the whole disk on the wire, but only what changed is
unpacked and written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from converters import extents
from converters.errors import UnsupportedImage
from converters.extents import Extent, Kind
from converters.sources.contract import Batch, Intake, Part, Source, ZeroBatch


class Stream(Source, Protocol):
    """A source that can be read once and as a whole, and says exactly where it has zeros."""

    @property
    def disordered(self) -> bool:
        """Whether something came behind its place on the disk: what was said of zeros is wrong."""
        ...


class Selection:
    """A stream of which any parts can be wanted. Raises UnsupportedImage where it is disordered."""

    def __init__(self, source: Stream) -> None:
        self._source = source
        self.name = source.name
        self.capacity_bytes = source.capacity_bytes
        self.block_bytes = source.block_bytes
        self.capabilities = dataclasses.replace(source.capabilities, seekable=True, gap_bytes=0)

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return feeds of the whole source that let pass what is wanted."""
        whole = extents.whole(self.capacity_bytes)
        return [self._feed(feed, wanted) for feed in self._source.feeds(whole, intake)]

    def _feed(self, feed: Iterator[Batch], wanted: Sequence[Extent]) -> Iterator[Batch]:
        for batch in feed:
            if self._source.disordered:
                raise UnsupportedImage(
                    "the stream is not in the order of the disk", file=self.name,
                    hint="copy the disk as a whole",
                )  # fmt: skip
            settles = list(extents.intersect(batch.settles, wanted))
            if all(extent.kind is Kind.ZERO for extent in settles):
                batch.release()
                if settles:
                    yield ZeroBatch(settles)
            else:
                data = [extent for extent in settles if extent.kind is Kind.DATA]
                yield _Selected(batch=batch, settles=settles, data=data)

    def interrupt(self) -> None:
        """Make reads that wait fail soon."""
        self._source.interrupt()

    def close(self) -> None:
        """Close the source."""
        self._source.close()


@dataclass(slots=True, eq=False)
class _Selected:
    """What is wanted of a batch."""

    batch: Batch
    settles: Sequence[Extent]
    data: Sequence[Extent]

    def parts(self) -> Iterator[Part]:
        """Yield what has data and is wanted."""
        for buffer, pieces in self.batch.parts():
            chosen = [
                (part.offset, start + part.offset - offset, part.length)
                for offset, start, length in pieces
                for part in extents.intersect((Extent(offset, length),), self.data)
            ]
            if chosen:
                yield buffer, chosen

    def release(self) -> None:
        """Give the buffer back."""
        self.batch.release()
