"""vmfsSparse ("COWD"): the snapshot deltas of ESXi up to VMFS 5, and up to 2 TiB.

Facts: "VMware Virtual Disk Format 5.0", "ESX Server Sparse Extents". Little-endian; a grain is one
sector unless the header says otherwise; a grain table has 4096 entries of 32 bits; entry 0 asks
the parent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.errors import CorruptImage, UnsupportedImage
from converters.images.layers import ImageBytes
from converters.images.vmdk import tables
from converters.images.vmdk.header import SECTOR

MAGIC = b"COWD"
HEADER_BYTES = 2048
TABLE_ENTRIES = 4096
# magic, version, flags, numSectors, grainSize, gdOffset, numGDEntries, freeSector
_LAYOUT = struct.Struct("<4s7I")
_UNCLEAN_AT = 1648  # uncleanShutdown: behind parent, generation, name, description, …
_MOST_GRAIN = 2048  # sectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A checked header; sizes in sectors."""

    version: int
    flags: int
    capacity_sectors: int
    grain_sectors: int
    directory: int
    directory_entries: int
    unclean: bool

    @property
    def capacity_bytes(self) -> int:
        """The size of the disk."""
        return self.capacity_sectors * SECTOR


def read_header(image: ImageBytes) -> Header:
    """Return the header. Raises CorruptImage or UnsupportedImage, naming the field."""
    raw = image.read_at(0, min(HEADER_BYTES, image.size_bytes))
    if len(raw) < _LAYOUT.size:
        raise CorruptImage(f"the image has {len(raw)} bytes", file=image.name, expected="a header")
    magic, version, flags, capacity, grain, directory, entries, _free = _LAYOUT.unpack_from(raw)

    def check(good: bool, at: int, field: str, value: object, expected: str) -> None:
        if not good:
            raise CorruptImage(
                file=image.name, offset=at, field=field, value=value, expected=expected
            )

    check(magic == MAGIC, 0, "magicNumber", magic, "b'COWD'")
    if version != 1:
        raise UnsupportedImage(
            file=image.name, offset=4, field="version", value=version, expected="1"
        )
    check(capacity > 0, 12, "numSectors", capacity, "at least 1")
    check(
        0 < grain <= _MOST_GRAIN and grain & (grain - 1) == 0, 16, "grainSize", grain,
        f"a power of two up to {_MOST_GRAIN} sectors",
    )  # fmt: skip
    needed = -(-capacity // (grain * TABLE_ENTRIES))
    check(
        needed <= entries and directory * SECTOR + entries * 4 <= image.size_bytes, 24,
        "numGDEntries", entries, f"at least {needed}, and room for them in the file",
    )  # fmt: skip
    check(directory > 0, 20, "gdOffset", directory, "a sector behind the header")
    unclean = raw[_UNCLEAN_AT : _UNCLEAN_AT + 4]
    return Header(
        version=version,
        flags=flags,
        capacity_sectors=capacity,
        grain_sectors=grain,
        directory=directory,
        directory_entries=needed,
        unclean=any(unclean),
    )


def layer(image: ImageBytes, header: Header) -> tables.GrainTables:
    """Return the layer of a vmfsSparse extent."""
    return tables.GrainTables(
        image,
        tables.Geometry(
            capacity_bytes=header.capacity_bytes,
            grain_bytes=header.grain_sectors * SECTOR,
            table_entries=TABLE_ENTRIES,
            entry_format="I",
            directory_place=header.directory * SECTOR,
            directory_entries=header.directory_entries,
            table_places=tables.sectors_to_places,
            grain_places=tables.sectors_to_places,
        ),
    )
