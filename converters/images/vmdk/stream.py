"""streamOptimized VMDK read forwards: markers say where each grain belongs. No I/O.

    parser = StreamParser("disk.vmdk")
    grains, consumed = parser.parse(buffer, filled, last=False)
    ...
    parser.finish(left)

What ESXi writes: header with the directory "at the end", descriptor, grains with their markers, a
grain table (with its marker) after its grains, the directory, a footer with the true header, and
an end-of-stream marker. What qemu-img writes: directory and tables in front, grain markers only, no
end marker, last sector perhaps not filled. Both are read here, without looking at the tables,
except that qemu-img's are counted: they tell a file that was cut between two grains.
"""

from __future__ import annotations

import mmap
import struct

from converters.errors import CorruptImage, UnsupportedImage
from converters.images.vmdk import descriptor as descriptors
from converters.images.vmdk import header as headers
from converters.images.vmdk.header import SECTOR, Header

Grain = tuple[int, int, int]  # offset on the disk, start in the buffer, compressed size; bytes

_MARKER = struct.Struct("<QII")  # sector or count of sectors, compressed size, type
_GRAIN_MARKER_BYTES = 12  # a grain's data begins where other markers have their type
_END, _TABLE, _DIRECTORY, _FOOTER = range(4)
_NAMES = ("end of stream", "grain table", "grain directory", "footer")
# Tables in front are kept, to be counted, only up to this size: those of a disk of 128 GiB.
_MOST_FRONT = 32 << 20


class StreamParser:
    """Finds the grains in a stream of bytes that is given piece by piece.

    `header` and `descriptor` are None until they have been read.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.header: Header | None = None
        self.descriptor: descriptors.Descriptor | None = None
        self.expected_grains: int | None = None  # by the tables in front, if there are any
        self.position = 0  # in the stream: all before it was understood
        self.warnings: list[str] = []
        self._front = bytearray()
        self._records: _Records | None = None

    @property
    def most_record_bytes(self) -> int:
        """What a buffer must hold at least, so that each record fits."""
        grain = self.header.grain_bytes if self.header else headers.MOST_GRAIN * SECTOR
        return _most_compressed(grain) + 2 * SECTOR

    @property
    def ended(self) -> bool:
        """Whether the end-of-stream marker was seen."""
        return self._records is not None and self._records.ended

    @property
    def grains(self) -> int:
        """How many grains were found."""
        return self._records.grains if self._records else 0

    def parse(self, buffer: bytearray, filled: int, *, last: bool) -> tuple[list[Grain], int]:
        """Return the grains that are whole in `buffer[:filled]`, and how much was consumed.

        The rest is to be given again, in front of what follows. `last`: nothing follows.
        Raises CorruptImage or UnsupportedImage.
        """
        at = 0
        if self._records is None:
            at = self._take_front(buffer, filled)
        grains: list[Grain] = []
        if self._records is not None:
            at = self._records.take(buffer, at, filled, last, self.position, grains)
        self.position += at
        return grains, at

    def _take_front(self, buffer: bytearray, filled: int) -> int:
        """Collect what stands before the first grain; return how much was taken."""
        front = self._front
        at = 0
        if self.header is None:
            at += _append(front, buffer, at, filled, SECTOR)
            if len(front) < SECTOR:
                return at
            self.header = self._parse_header(bytes(front))
        overhead = self.header.overhead * SECTOR
        wanted = min(overhead, _MOST_FRONT)
        at += _append(front, buffer, at, filled, wanted)
        if len(front) == wanted:
            self._parse_front(self.header)
            self._records = _Records(self.file, self.header, skip=overhead - wanted)
            self._front = bytearray()
        return at

    def _parse_header(self, sector: bytes) -> Header:
        header = headers.parse(sector, file=self.file)
        if not (header.compressed and header.markers):
            raise UnsupportedImage(
                "a sparse VMDK without markers cannot be read forwards", file=self.file,
                hint="read it from a file instead of a pipe",
            )  # fmt: skip
        if header.unclean:
            self.warnings.append("the image was not closed cleanly")
        return header

    def _parse_front(self, header: Header) -> None:
        if header.descriptor_sectors:
            start = header.descriptor_offset * SECTOR
            text = self._front[start : start + header.descriptor_sectors * SECTOR]
            self.descriptor = descriptors.parse(text, file=self.file, offset=start)
            refuse_delta(self.descriptor, self.file)
            headers.check_capacity(
                header, self.descriptor.capacity_bytes, file=self.file, offset=start
            )
        if not header.directory_at_end:
            self.expected_grains = count_grains(header, self._front)

    def finish(self, left: int = 0) -> None:
        """Check that nothing is missing when the stream has ended with `left` bytes unused.

        Raises CorruptImage with the way out.
        """
        records, header = self._records, self.header
        if records is None or header is None:
            raise self._cut("before the first grain")
        if records.ended:
            return
        if left or not records.between_records:
            raise self._cut("in the middle of a record")
        if header.directory_at_end:
            raise self._cut("before the end-of-stream marker")
        if self.expected_grains is None:
            self.warnings.append("nothing in the image tells whether its end is missing")
        elif self.expected_grains != records.grains:
            raise self._cut(
                f"after {records.grains} grains of the {self.expected_grains} that its tables name"
            )

    def _cut(self, where: str) -> CorruptImage:
        return CorruptImage(
            f"the image ends {where}", file=self.file, offset=self.position,
            hint="it was cut short: fetch it again",
        )  # fmt: skip


class _Records:
    """What follows the front: grains, tables, directory, footer, end."""

    def __init__(self, file: str, header: Header, *, skip: int) -> None:
        self.file = file
        self.header = header
        self.grains = 0
        self.ended = False
        self._skip = skip
        self._footer_next = False
        # One bit per grain, in a mapping: untouched parts of a large disk take no memory.
        count = -(-header.capacity_sectors // header.grain_sectors)
        self._seen = mmap.mmap(-1, count // 8 + 1)

    @property
    def between_records(self) -> bool:
        """Whether a stream may end here. The padding of the last record may be missing."""
        return self._skip < SECTOR and not self._footer_next

    def take(
        self, buffer: bytearray, at: int, filled: int, last: bool, base: int, grains: list[Grain]
    ) -> int:
        """Collect the grains of `buffer[at:filled]`; return where the first unfinished record is.

        `base` is the position of the buffer in the stream.
        """
        while not self.ended:
            if self._skip:
                step = min(self._skip, filled - at)
                self._skip -= step
                at += step
                if self._skip:
                    break
            at = self._take_grains(buffer, at, filled, last, base, grains)
            if filled - at < SECTOR:
                break
            if self._footer_next:
                self._check_footer(memoryview(buffer)[at : at + SECTOR], base + at)
            else:
                sector, size, kind = _MARKER.unpack_from(buffer, at)
                if size:
                    break  # a grain that is not whole yet
                self._take_marker(sector, kind, base + at)
            at += SECTOR
        return at

    def _take_grains(
        self, buffer: bytearray, at: int, filled: int, last: bool, base: int, grains: list[Grain]
    ) -> int:
        """Collect grains up to a record that is none, or is not whole; return where."""
        capacity, step = self.header.capacity_sectors, self.header.grain_sectors
        most = _most_compressed(self.header.grain_bytes)
        seen, unpack = self._seen, _MARKER.unpack_from
        enough = _MARKER.size if last else SECTOR
        while filled - at >= enough and not self._footer_next:
            sector, size, _ = unpack(buffer, at)
            if not size:
                break
            index = sector // step
            if size > most or sector >= capacity or sector % step:
                self._refuse(sector, size, base + at)
            end = at + _GRAIN_MARKER_BYTES + size
            if end > filled:
                break
            bit = 1 << (index & 7)
            if seen[index >> 3] & bit:
                raise CorruptImage(
                    file=self.file, offset=base + at, field="sector of a grain", value=sector,
                    expected="each grain once",
                )  # fmt: skip
            seen[index >> 3] |= bit
            grains.append((sector * SECTOR, at + _GRAIN_MARKER_BYTES, size))
            self.grains += 1
            at += (_GRAIN_MARKER_BYTES + size + SECTOR - 1) & -SECTOR
            if at > filled:  # the padding has not come yet
                self._skip = at - filled
                return filled
        return at

    def _take_marker(self, count: int, kind: int, where: int) -> None:
        """Understand a marker that is not a grain's."""
        if kind >= len(_NAMES):
            raise CorruptImage(
                file=self.file, offset=where + 12, field="type of a marker", value=kind,
                expected="0 to 3",
            )  # fmt: skip
        header = self.header
        sectors = (0, header.table_sectors, header.directory_sectors, 1)[kind]
        if count != sectors:
            raise CorruptImage(
                file=self.file, offset=where, field=f"size of a marker ({_NAMES[kind]})",
                value=count, expected=f"{sectors} sectors",
            )  # fmt: skip
        if kind == _END:
            self.ended = True
        elif kind == _FOOTER:
            self._footer_next = True
        else:
            self._skip = count * SECTOR

    def _refuse(self, sector: int, size: int, where: int) -> None:
        most = _most_compressed(self.header.grain_bytes)
        if size > most:
            raise CorruptImage(
                file=self.file, offset=where + 8, field="compressed size of a grain", value=size,
                expected=f"at most {most}",
            )  # fmt: skip
        raise CorruptImage(
            file=self.file, offset=where, field="sector of a grain", value=sector,
            expected=f"a multiple of {self.header.grain_sectors} "
            f"below {self.header.capacity_sectors}",
        )  # fmt: skip

    def _check_footer(self, sector: memoryview, where: int) -> None:
        footer = headers.parse(sector, file=self.file, offset=where)
        for field in ("capacity_sectors", "grain_sectors", "table_entries"):
            if getattr(footer, field) != getattr(self.header, field):
                raise CorruptImage(
                    file=self.file, offset=where, field=f"{field} of the footer",
                    value=getattr(footer, field),
                    expected=f"the header's {getattr(self.header, field)}",
                )  # fmt: skip
        if footer.directory_at_end or footer.directory * SECTOR >= where:
            raise CorruptImage(
                file=self.file, offset=where + 56, field="gdOffset of the footer",
                value=footer.directory, expected="a sector before the footer",
            )  # fmt: skip
        self._footer_next = False


def refuse_delta(descriptor: descriptors.Descriptor, file: str) -> None:
    """Raise UnsupportedImage if a part of the disk is in another image."""
    if descriptor.has_parent:
        raise UnsupportedImage(
            f"the disk is a delta: the rest of it is in {descriptor.parent_file or 'its parent'}",
            file=file,
            hint="consolidate the snapshots of the VM, or export the whole disk",
        )


def count_grains(header: Header, front: bytearray) -> int | None:
    """Return how many grains the tables in `front` name, or None where they are not all in it."""
    start = header.directory * SECTOR
    end = start + header.tables * 4
    if end > len(front):
        return None
    total = 0
    size = header.table_entries * 4
    for (table,) in struct.iter_unpack("<I", memoryview(front)[start:end]):
        if not table:
            continue
        at = table * SECTOR
        if at + size > len(front):
            return None
        entries = struct.unpack_from(f"<{header.table_entries}I", front, at)
        total += len(entries) - entries.count(0)
        if header.zero_grains:
            total -= entries.count(1)
    return total


def _most_compressed(grain_bytes: int) -> int:
    """Return the largest compressed size that is believed.

    Incompressible grains grow a little (65562 bytes seen for 65536); twice the size is a lie.
    """
    return 2 * grain_bytes


def _append(front: bytearray, buffer: bytearray, at: int, filled: int, wanted: int) -> int:
    """Append to `front` up to `wanted` bytes in all; return how many came from the buffer."""
    step = min(wanted - len(front), filled - at)
    if step <= 0:
        return 0
    front += memoryview(buffer)[at : at + step]
    return step
