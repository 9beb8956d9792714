"""A qcow2 image: what is zero takes no place in it.

Data goes into the next free clusters in the order of writing; the entries of a run are written with
one more call, so that memory is the L1 table only. Until `flush` the image is marked dirty, and its
refcounts are missing, as QEMU's "lazy refcounts" knows them.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence

from converters import extents
from converters.errors import TargetBroken
from converters.extents import Extent
from converters.images.qcow2 import header as headers
from converters.images.qcow2 import layout as layouts
from converters.images.qcow2 import tables
from converters.images.qcow2.layout import CLUSTER, COPIED, L2_SPAN, READS_ZERO, Layout
from converters.sinks import allocation
from converters.sinks.contract import Buffer
from converters.sinks.raw_file import open_target, translated, write_all
from converters.sources.contract import Source
from converters.sources.image_file import ImageFile
from converters.sources.layered_disk import LayeredDisk

_ENTRY = 8
_PLACE = ~(COPIED | READS_ZERO)


class Qcow2Sink:
    """A qcow2 image in a regular file, which is made if it is not there."""

    def __init__(self, path: str, *, mode: int = 0o660) -> None:
        self.name = os.path.basename(path)
        self.path = path
        self.file = open_target(path, mode)
        self._lock = threading.Lock()
        self._layout: Layout = layouts.plan(1)
        self._l1: list[int] = []
        self._free = 0

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Make it a disk of this size that is zero outside `keep`."""
        self._layout = layout = layouts.plan(capacity_bytes)
        self._l1 = [0] * layout.l1_entries
        with translated(self.name):
            if keep:
                self._go_on(layout)
                for gap in extents.subtract(extents.whole(capacity_bytes), keep):
                    self.zero(gap)
                return
            os.ftruncate(self.file, 0)
            os.ftruncate(self.file, layout.first_free)
            os.pwrite(self.file, layout.header(dirty=True), 0)
            self._free = layout.first_free

    def _go_on(self, layout: Layout) -> None:
        """Take over an image that was written here before. Raises TargetBroken for any other."""
        size = os.fstat(self.file).st_size
        start = os.pread(self.file, len(layout.header(dirty=True)), 0)
        if size < layout.first_free or start not in (
            layout.header(dirty=True),
            layout.header(dirty=False),
        ):
            raise TargetBroken(
                "is not an image that this copy began", file=self.name,
                hint="remove it and copy the whole disk",
            )  # fmt: skip
        os.pwrite(self.file, layout.header(dirty=True), 0)
        raw = os.pread(self.file, layout.l1_entries * _ENTRY, layout.l1_place)
        self._l1 = [entry & _PLACE for entry in struct.unpack(f">{layout.l1_entries}Q", raw)]
        self._free = -(-size // CLUSTER) * CLUSTER

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers from `offset` on."""
        total = sum(len(buffer) for buffer in buffers)
        if not total:
            return
        if offset < 0 or offset + total > self._layout.capacity_bytes:
            raise TargetBroken(
                file=self.name, field="offset", value=offset,
                expected=f"a place within {self._layout.capacity_bytes} bytes",
            )  # fmt: skip
        with translated(self.name):
            left = _Pieces(buffers)
            for place, length in self._allocate(offset, total):
                write_all(self.file, place, left.take(length))

    def _allocate(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Return where in the file the bytes go, as runs; clusters that are new are taken."""
        found: list[tuple[int, int]] = []
        with self._lock:
            end = offset + length
            while offset < end:
                high = min((offset // L2_SPAN + 1) * L2_SPAN, end)
                for place in self._clusters(offset // CLUSTER, -(-high // CLUSTER)):
                    step = min(CLUSTER - offset % CLUSTER, high - offset)
                    place += offset % CLUSTER
                    if found and sum(found[-1]) == place:
                        found[-1] = (found[-1][0], found[-1][1] + step)
                    else:
                        found.append((place, step))
                    offset += step
        return found

    def _clusters(self, first: int, last: int) -> list[int]:
        """Return the places of clusters that one L2 table has; new ones are entered."""
        entries = self._entries(first, last - first)
        places = []
        changed = False
        for number, entry in enumerate(entries):
            place = entry & _PLACE
            if not place:
                place, self._free = self._free, self._free + CLUSTER
            elif entry & READS_ZERO:
                # Old bytes must not show through where the new ones are shorter.
                allocation.make_zero(self.file, Extent(place, CLUSTER), free=False)
            if entry != place | COPIED:
                entries[number] = place | COPIED
                changed = True
            places.append(place)
        if changed:
            self._enter(first, entries)
        return places

    def _entries(self, first: int, count: int) -> list[int]:
        table = self._table(first)
        if table < 0:
            return [0] * count
        raw = os.pread(self.file, count * _ENTRY, table).ljust(count * _ENTRY, b"\0")
        return list(struct.unpack(f">{count}Q", raw))

    def _enter(self, first: int, entries: list[int]) -> None:
        table = self._table(first, make=True)
        os.pwrite(self.file, struct.pack(f">{len(entries)}Q", *entries), table)

    def _table(self, cluster: int, *, make: bool = False) -> int:
        """Return where the entry of a cluster is in the file, -1 where it has no L2 table."""
        index, number = divmod(cluster, layouts.L2_ENTRIES)
        place = self._l1[index]
        if not place:
            if not make:
                return -1
            place, self._free = self._free, self._free + CLUSTER
            # All of it, so that a file that ends here has it all.
            os.pwrite(self.file, bytes(CLUSTER), place)
            os.pwrite(
                self.file, struct.pack(">Q", place | COPIED), self._layout.l1_place + index * _ENTRY
            )
            self._l1[index] = place
        return place + number * _ENTRY

    def zero(self, extent: Extent) -> None:
        """Make an extent read as zeros: whole clusters by their entry, the rest by zeros."""
        with translated(self.name), self._lock:
            low = -(-extent.offset // CLUSTER) * CLUSTER
            high = extent.end // CLUSTER * CLUSTER
            if extent.end == self._layout.capacity_bytes:
                high = -(-extent.end // CLUSTER) * CLUSTER
            if low > high:
                self._zero_part(extent.offset, extent.end)
                return
            self._zero_part(extent.offset, min(low, extent.end))
            while low < high:
                stop = min((low // L2_SPAN + 1) * L2_SPAN, high)
                self._zero_clusters(low // CLUSTER, stop // CLUSTER)
                low = stop
            self._zero_part(high, extent.end)

    def _zero_clusters(self, first: int, last: int) -> None:
        if self._table(first) < 0:
            return
        entries = self._entries(first, last - first)
        for number, entry in enumerate(entries):
            if place := entry & _PLACE:
                entries[number] = place | COPIED | READS_ZERO
                allocation.make_zero(self.file, Extent(place, CLUSTER))
        self._enter(first, entries)

    def _zero_part(self, start: int, end: int) -> None:
        """Zero a part of one cluster."""
        if start >= end:
            return
        (entry,) = self._entries(start // CLUSTER, 1)
        if (place := entry & _PLACE) and not entry & READS_ZERO:
            at = place + start % CLUSTER
            allocation.make_zero(self.file, Extent(at, end - start), free=False)

    def flush(self) -> None:
        """Write the refcounts, and return when all survives a loss of power."""
        with translated(self.name), self._lock:
            layout = self._layout
            end = max(self._free, layout.first_free)
            os.ftruncate(self.file, end)
            table, blocks = layout.refcounts(end)
            for place, block in blocks:
                os.pwrite(self.file, block, place)
            os.pwrite(self.file, table, layout.refcount_table_place)
            os.fdatasync(self.file)
            os.pwrite(self.file, layout.header(dirty=False), 0)
            os.fdatasync(self.file)

    def reader(self) -> Source:
        """Return a source that reads the image from the medium."""
        return Qcow2Disk(self.path, from_medium=True)

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)


class Qcow2Disk(LayeredDisk):
    """The disk in one qcow2 image, which has no backing file."""

    def __init__(self, path: str, *, from_medium: bool = False) -> None:
        self._image = ImageFile(path, from_medium=from_medium)
        try:
            header = headers.read_header(self._image)
            layer = tables.ClusterTables(self._image, header)
        except Exception:
            self._image.close()
            raise
        super().__init__([layer], name=self._image.name)

    def close(self) -> None:
        """Close the image."""
        self._image.close()


class _Pieces:
    """Buffers that are taken piece by piece."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._left = [memoryview(buffer) for buffer in buffers]
        self._at = 0

    def take(self, length: int) -> list[memoryview]:
        """Return the next `length` bytes."""
        taken = []
        while length:
            piece = self._left[self._at]
            if len(piece) > length:
                self._left[self._at] = piece[length:]
                piece = piece[:length]
            else:
                self._at += 1
            taken.append(piece)
            length -= len(piece)
        return taken
