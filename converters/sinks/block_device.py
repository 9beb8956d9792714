"""A raw disk on a block device, whose old content is unknown: zeros are made, not assumed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from converters import batching, extents
from converters.batching import Piece, Readable, Sum
from converters.errors import TargetBroken, TargetTooSmall
from converters.extents import Extent
from converters.sinks import allocation
from converters.sinks.contract import Buffer
from converters.sinks.raw_file import translated, write_all
from converters.sources.contract import Source
from converters.sources.raw_file import RawFile


class BlockDeviceSink:
    """A block device (a PVC of volumeMode Block). It may be larger than the disk."""

    def __init__(self, path: str) -> None:
        self.name = os.path.basename(path)
        self.path = path
        with translated(self.name):
            # O_EXCL: not while somebody has it mounted.
            self.file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_EXCL)
        if not stat.S_ISBLK(os.fstat(self.file).st_mode):
            os.close(self.file)
            raise TargetBroken("is not a block device", file=path)
        self._capacity = 0

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Zero what is outside `keep`, up to the size of the disk."""
        size = os.lseek(self.file, 0, os.SEEK_END)
        if size < capacity_bytes:
            raise TargetTooSmall(
                file=self.name, field="size of the device", value=size,
                expected=f"at least the disk's {capacity_bytes} bytes",
                hint="give the volume more space",
            )  # fmt: skip
        self._capacity = capacity_bytes
        with translated(self.name):
            for gap in extents.subtract(extents.whole(capacity_bytes), keep):
                # Pieces, so that a device without a zeroing command can be stopped.
                for piece in extents.split([gap], 1 << 30):
                    allocation.make_zero(self.file, piece)

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers from `offset` on."""
        with translated(self.name):
            write_all(self.file, offset, buffers)

    def write_scanned(
        self, buffer: Readable, pieces: Sequence[Piece], block_bytes: int, sums: bool
    ) -> tuple[int, list[Sum]]:
        """Write what of the pieces is not zero; return how much that was, and sums by extent."""
        with translated(self.name):
            return batching.scan_and_write(buffer, pieces, block_bytes, sums, self.file)

    def zero(self, extent: Extent) -> None:
        """Make an extent read as zeros."""
        with translated(self.name):
            allocation.make_zero(self.file, extent)

    def flush(self) -> None:
        """Return when all that was written survives a loss of power."""
        with translated(self.name):
            os.fdatasync(self.file)

    def reader(self) -> Source:
        """Return a source that reads the disk's part of the device."""
        return RawFile(self.path, length=self._capacity, from_medium=True)

    def close(self) -> None:
        """Close the device."""
        os.close(self.file)
