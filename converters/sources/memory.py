"""A disk in memory, with extents that are known to be zero. For tests, and for small images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters import extents
from converters.checksum import BLOCK
from converters.extents import Extent, Kind
from converters.sources.contract import Batch, Capabilities, Intake, RawBatch, ZeroBatch


class MemorySource:
    """A raw disk in memory. `holes` are promised to be zero, and not read."""

    block_bytes = BLOCK

    def __init__(
        self, content: bytes | bytearray, *, holes: Sequence[Extent] = (), name: str = "memory"
    ) -> None:
        self.name = name
        self._content = content
        self.capacity_bytes = len(content)
        disk = extents.whole(len(content))
        data = extents.subtract(disk, extents.merge(holes))
        self._data = extents.align(data, BLOCK, len(content))
        self._zeros = extents.subtract(disk, self._data)
        self.capabilities = Capabilities(seekable=True, buffer_bytes=4 * BLOCK)

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return one feed."""
        return [self._feed(wanted, intake)]

    def _feed(self, wanted: Sequence[Extent], intake: Intake) -> Iterator[Batch]:
        for extent in extents.intersect(self._zeros, wanted):
            yield ZeroBatch([Extent(extent.offset, extent.length, Kind.ZERO)])
        data = extents.intersect(self._data, wanted)
        for extent in extents.split(data, self.capabilities.buffer_bytes):
            buffer = intake.take_buffer()
            buffer[: extent.length] = self._content[extent.offset : extent.end]
            intake.came_in(extent.length)
            yield RawBatch(intake, buffer, [(extent.offset, 0, extent.length)], [extent])

    def interrupt(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is held."""
