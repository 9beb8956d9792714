"""A raw disk in a local file (or a part of one), or on a block device."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from converters.checksum import BLOCK
from converters.errors import CorruptImage, SourceBroken, SourceChanged
from converters.extents import Extent, Kind, split
from converters.sources.byte_stream import open_regular
from converters.sources.contract import Batch, Capabilities, Intake, RawBatch, ZeroBatch


class RawFile:
    """A raw disk. Holes of the file are not read.

    `start` and `length` choose a part of the file. With `from_medium` the page cache is dropped
    first, so that a verification reads what the medium has.
    """

    block_bytes = BLOCK

    def __init__(
        self,
        path: str,
        *,
        start: int = 0,
        length: int | None = None,
        from_medium: bool = False,
        follow_links: bool = True,
    ) -> None:
        self.name = os.path.basename(path)
        self._file = open_regular(path, follow_links=follow_links)
        size = os.lseek(self._file, 0, os.SEEK_END)
        self._start = start
        self.capacity_bytes = size - start if length is None else length
        self.capabilities = Capabilities(seekable=True)
        if start + self.capacity_bytes > size or self.capacity_bytes <= 0:
            os.close(self._file)
            raise CorruptImage(
                f"the file has {size} bytes", file=self.name,
                expected=f"{self.capacity_bytes or 'at least one'} from byte {start} on",
            )  # fmt: skip
        if from_medium:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return one feed."""
        return [self._feed(wanted, intake)]

    def _feed(self, wanted: Sequence[Extent], intake: Intake) -> Iterator[Batch]:
        for area in wanted:
            at = area.offset
            for data in self._data_in(area):
                if data.offset > at:
                    yield ZeroBatch([Extent(at, data.offset - at, Kind.ZERO)])
                for extent in split([data], self.capabilities.buffer_bytes):
                    buffer = intake.take_buffer()
                    self._read(buffer, extent, intake)
                    yield RawBatch(intake, buffer, [(extent.offset, 0, extent.length)], [extent])
                at = data.end
            if at < area.end:
                yield ZeroBatch([Extent(at, area.end - at, Kind.ZERO)])

    def _data_in(self, area: Extent) -> Iterator[Extent]:
        """Yield where the file has data, widened to whole blocks."""
        at = area.offset
        while at < area.end:
            try:
                low = os.lseek(self._file, self._start + at, os.SEEK_DATA) - self._start
                high = os.lseek(self._file, self._start + low, os.SEEK_HOLE) - self._start
            except OSError as fault:
                if fault.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                low, high = at, area.end  # no maps here: all is data
            if low >= area.end:
                return
            low = max(low // BLOCK * BLOCK, at)
            high = min(-(-high // BLOCK) * BLOCK, area.end)
            yield Extent(low, high - low)
            at = high

    def _read(self, buffer: bytearray, extent: Extent, intake: Intake) -> None:
        room = memoryview(buffer)[: extent.length]
        done = 0
        while done < extent.length:
            piece = room[done : done + intake.piece_bytes]
            try:
                count = os.preadv(self._file, [piece], self._start + extent.offset + done)
            except OSError as fault:
                raise SourceBroken(
                    str(fault.strerror), file=self.name, offset=self._start + extent.offset + done
                ) from fault
            if not count:
                raise SourceChanged("the file became shorter while it was read", file=self.name)
            done += count
            intake.came_in(count)

    def interrupt(self) -> None:
        """Reads of a file do not wait for anybody."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
