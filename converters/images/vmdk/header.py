"""The 512 bytes that open a hosted sparse extent (and close a streamOptimized one)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.errors import CorruptImage, UnsupportedImage

SECTOR = 512
MAGIC = b"KDMV"
GD_AT_END = 0xFFFF_FFFF_FFFF_FFFF  # the footer says where the grain directory is

# SparseExtentHeader of the specification; 79 bytes, padded to a sector.
_LAYOUT = struct.Struct("<4sIIQQQQIQQQB4sH")
_LINE_ENDS = b"\n \r\n"

_FLAG_LINE_ENDS = 1 << 0
_FLAG_REDUNDANT = 1 << 1
_FLAG_ZERO_GRAINS = 1 << 2
_FLAG_COMPRESSED = 1 << 16
_FLAG_MARKERS = 1 << 17

# vSphere's largest disk has 62 TiB; twice that is refused as a lie, not as a disk.
MOST_CAPACITY = (128 << 40) // SECTOR
# "The grain size must be a power of 2 and greater than 8" (sectors); everybody writes 128. Bounded
# from above because a grain is what is held in memory.
LEAST_GRAIN, MOST_GRAIN = 8, 2048
MOST_TABLE_ENTRIES = 512  # as qemu; the specification knows only 512
MOST_DESCRIPTOR = 2048  # sectors: 1 MiB, where 20 are usual
_SLACK = 4096  # sectors that may lie between the tables and the first grain


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A checked header; in sectors, as in the file, where the name does not say bytes."""

    version: int
    capacity_sectors: int
    grain_sectors: int
    descriptor_offset: int
    descriptor_sectors: int
    table_entries: int
    redundant_directory: int
    directory: int
    overhead: int
    unclean: bool
    compressed: bool
    markers: bool
    zero_grains: bool
    redundant: bool

    @property
    def capacity_bytes(self) -> int:
        """The size of the disk."""
        return self.capacity_sectors * SECTOR

    @property
    def grain_bytes(self) -> int:
        """The size of a grain, inflated."""
        return self.grain_sectors * SECTOR

    @property
    def tables(self) -> int:
        """How many grain tables a complete directory has."""
        return -(-self.capacity_sectors // (self.grain_sectors * self.table_entries))

    @property
    def directory_sectors(self) -> int:
        """The size of the grain directory."""
        return -(-self.tables * 4 // SECTOR)

    @property
    def table_sectors(self) -> int:
        """The size of a grain table."""
        return -(-self.table_entries * 4 // SECTOR)

    @property
    def directory_at_end(self) -> bool:
        """Whether only the footer knows where the grain directory is."""
        return self.directory == GD_AT_END


def parse(sector: bytes | bytearray | memoryview, *, file: str, offset: int = 0) -> Header:
    """Return the header in `sector`; `offset` is where it stands in the file (a footer's is not 0).

    Raises CorruptImage or UnsupportedImage, naming the field.
    """
    if len(sector) < SECTOR:
        raise CorruptImage(
            f"the image has {offset + len(sector)} bytes", file=file, expected="a header of 512"
        )
    # fmt: off
    (magic, version, flags, capacity, grain, descriptor_offset, descriptor_sectors, entries,
     redundant_directory, directory, overhead, unclean, line_ends,
     algorithm) = _LAYOUT.unpack_from(sector)
    # fmt: on
    check = _Check(file, offset)
    check(bytes(magic) == MAGIC, 0, "magicNumber", bytes(magic), "b'KDMV'")
    if not 1 <= version <= 3:
        raise UnsupportedImage(
            file=file, offset=offset + 4, field="version", value=version, expected="1, 2 or 3"
        )
    if flags & _FLAG_LINE_ENDS:
        check(
            line_ends == _LINE_ENDS, 73, "line ends", line_ends, f"{_LINE_ENDS!r}",
            hint="the file was sent as text; fetch it again in binary mode",
        )  # fmt: skip
    check(0 < capacity <= MOST_CAPACITY, 12, "capacity", capacity, f"1 to {MOST_CAPACITY} sectors")
    check(
        LEAST_GRAIN <= grain <= MOST_GRAIN and grain & (grain - 1) == 0, 20, "grainSize", grain,
        f"a power of two from {LEAST_GRAIN} to {MOST_GRAIN} sectors",
    )  # fmt: skip
    check(
        0 < entries <= MOST_TABLE_ENTRIES, 44, "numGTEsPerGT", entries, f"1 to {MOST_TABLE_ENTRIES}"
    )
    check(
        descriptor_sectors <= MOST_DESCRIPTOR, 36, "descriptorSize", descriptor_sectors,
        f"at most {MOST_DESCRIPTOR} sectors",
    )  # fmt: skip
    if algorithm > 1:
        raise UnsupportedImage(
            file=file, offset=offset + 77, field="compressAlgorithm", value=algorithm,
            expected="0 (none) or 1 (deflate)",
        )  # fmt: skip
    compressed = bool(flags & _FLAG_COMPRESSED)
    check(
        compressed == bool(algorithm), 77, "compressAlgorithm", algorithm,
        "1" if compressed else "0 with the flags that say uncompressed",
    )  # fmt: skip
    header = Header(
        version=version,
        capacity_sectors=capacity,
        grain_sectors=grain,
        descriptor_offset=descriptor_offset,
        descriptor_sectors=descriptor_sectors,
        table_entries=entries,
        redundant_directory=redundant_directory,
        directory=directory,
        overhead=overhead,
        unclean=bool(unclean),
        compressed=compressed,
        markers=bool(flags & _FLAG_MARKERS),
        zero_grains=bool(flags & _FLAG_ZERO_GRAINS),
        redundant=bool(flags & _FLAG_REDUNDANT),
    )
    _check_places(header, check)
    return header


def _check_places(header: Header, check: _Check) -> None:
    """Check where the descriptor, the tables and the first grain are said to be."""
    tables = header.directory_sectors + header.tables * header.table_sectors
    most = 1 + MOST_DESCRIPTOR + 2 * tables + header.grain_sectors + _SLACK
    check(1 <= header.overhead <= most, 64, "overHead", header.overhead, f"1 to {most} sectors")
    if header.descriptor_sectors:
        place = header.descriptor_offset
        check(
            1 <= place <= header.overhead - header.descriptor_sectors
            if header.compressed
            else 1 <= place <= most,
            28, "descriptorOffset", place, "a sector between the header and the first grain",
        )  # fmt: skip
    if header.directory_at_end:
        check(
            header.compressed and header.markers, 56, "gdOffset", "at the end",
            "a sector, as the image is not streamOptimized",
        )  # fmt: skip
    else:
        check(header.directory >= 1, 56, "gdOffset", header.directory, "a sector behind the header")


def check_capacity(header: Header, described_bytes: int, *, file: str, offset: int) -> None:
    """Refuse an image whose descriptor and header say different sizes.

    A header may round its size up to a grain. Raises CorruptImage.
    """
    if described_bytes and not 0 <= header.capacity_bytes - described_bytes < header.grain_bytes:
        raise CorruptImage(
            file=file, offset=offset, field="size of the extents in the descriptor",
            value=described_bytes, expected=f"the header's {header.capacity_bytes} bytes",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Check:
    """Raises CorruptImage for a field that is not what it must be."""

    file: str
    base: int

    def __call__(
        self, good: bool, at: int, field: str, value: object, expected: str, hint: str = ""
    ) -> None:
        if not good:
            raise CorruptImage(
                file=self.file, offset=self.base + at, field=field, value=value,
                expected=expected, hint=hint,
            )  # fmt: skip
