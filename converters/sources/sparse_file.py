"""A monolithicSparse VMDK in a local file, read by its grain tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from converters import extents
from converters.checksum import BLOCK
from converters.errors import CorruptImage, SourceBroken, UnsupportedImage
from converters.extents import Extent, Kind
from converters.images.vmdk import descriptor as descriptors
from converters.images.vmdk import header as headers
from converters.images.vmdk import tables
from converters.images.vmdk.header import SECTOR
from converters.images.vmdk.stream import refuse_delta
from converters.sources.byte_stream import open_regular
from converters.sources.contract import Batch, Capabilities, Intake, Piece, RawBatch, ZeroBatch

_BUFFER = 1 << 20


class SparseFile:
    """The disk in a sparse VMDK whose grains are not compressed."""

    def __init__(self, path: str) -> None:
        self.name = os.path.basename(path)
        self._file = open_regular(path)
        try:
            self._size = os.fstat(self._file).st_size
            self.header = headers.parse(os.pread(self._file, SECTOR, 0), file=self.name)
            if self.header.compressed:
                raise UnsupportedImage("the grains are compressed", file=self.name)
            self.descriptor = self._read_descriptor()
        except Exception:
            os.close(self._file)
            raise
        self.capacity_bytes = self.header.capacity_bytes
        self.block_bytes = min(self.header.grain_bytes, BLOCK)
        self.capabilities = Capabilities(seekable=True, buffer_bytes=_BUFFER)

    def _read_descriptor(self) -> descriptors.Descriptor | None:
        header = self.header
        if not header.descriptor_sectors:
            return None
        start = header.descriptor_offset * SECTOR
        text = os.pread(self._file, header.descriptor_sectors * SECTOR, start)
        descriptor = descriptors.parse(text, file=self.name, offset=start)
        refuse_delta(descriptor, self.name)
        return descriptor

    def grains(self) -> Iterator[tables.PlacedGrain]:
        """Yield the grains that the file has, in the order of the disk."""
        return tables.placed_grains(
            self.header, self._read_at, file=self.name, file_bytes=self._size
        )

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return one feed."""
        return [self._feed(wanted, intake)]

    def _feed(self, wanted: Sequence[Extent], intake: Intake) -> Iterator[Batch]:
        """Read grains until a buffer is full; what lies between them is zero."""
        settled = 0
        loading: _Loading | None = None
        for part, place in self._parts(wanted):
            zeros = [Extent(settled, part.offset - settled, Kind.ZERO)]
            if loading is None or loading.filled + part.length > _BUFFER:
                if loading is not None:
                    yield loading.batch(self, intake)
                loading = _Loading(intake.take_buffer())
            loading.settles.extend(extents.intersect(zeros, wanted))
            loading.add(part, place)
            settled = part.end
        if loading is not None:
            yield loading.batch(self, intake)
        rest = [Extent(settled, self.capacity_bytes - settled, Kind.ZERO)]
        yield ZeroBatch(list(extents.intersect(rest, wanted)))

    def _parts(self, wanted: Sequence[Extent]) -> Iterator[tuple[Extent, int]]:
        """Yield the parts of grains that are wanted, and where each is in the file."""
        size = self.header.grain_bytes
        for grain in self.grains():
            offset = grain.index * size
            whole = Extent(offset, min(size, self.capacity_bytes - offset))
            for part in extents.intersect([whole], wanted):
                yield part, grain.sector * SECTOR + part.offset - offset

    def read(self, buffer: memoryview, place: int, intake: Intake) -> None:
        """Fill `buffer` from `place` in the file."""
        done = 0
        while done < len(buffer):
            piece = buffer[done : done + intake.piece_bytes]
            try:
                count = os.preadv(self._file, [piece], place + done)
            except OSError as fault:
                raise SourceBroken(
                    str(fault.strerror), file=self.name, offset=place + done
                ) from fault
            if not count:
                raise CorruptImage(
                    "the file ends in the middle of a grain", file=self.name, offset=place + done,
                    hint="it was cut short: fetch it again",
                )  # fmt: skip
            done += count
            intake.came_in(count)

    def _read_at(self, offset: int, length: int) -> bytes:
        content = os.pread(self._file, length, offset)
        if len(content) < length:
            raise CorruptImage(
                "the file ends in the middle of a table", file=self.name, offset=offset,
                hint="it was cut short: fetch it again",
            )  # fmt: skip
        return content

    def interrupt(self) -> None:
        """Reads of a file do not wait for anybody."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class _Loading:
    """A buffer that is being filled with grains; neighbours in the file are read at once."""

    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer
        self.filled = 0
        self.settles: list[Extent] = []
        self._pieces: list[Piece] = []
        self._reads: list[tuple[int, int, int]] = []  # place in the file, start, length

    def add(self, part: Extent, place: int) -> None:
        """Add a part of the disk that is at `place` in the file."""
        self._pieces.append((part.offset, self.filled, part.length))
        self.settles.append(part)
        last = self._reads[-1] if self._reads else (0, 0, 0)
        if last[0] + last[2] == place and last[2]:
            self._reads[-1] = (last[0], last[1], last[2] + part.length)
        else:
            self._reads.append((place, self.filled, part.length))
        self.filled += part.length

    def batch(self, source: SparseFile, intake: Intake) -> RawBatch:
        """Read what was collected."""
        view = memoryview(self.buffer)
        for place, start, length in self._reads:
            source.read(view[start : start + length], place, intake)
        return RawBatch(intake, self.buffer, self._pieces, self.settles, source.block_bytes)
