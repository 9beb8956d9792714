"""A hosted sparse extent read by its tables: monolithicSparse, twoGbMaxExtentSparse, and
streamOptimized in a file, whose grains are packed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.errors import CorruptImage
from converters.images.layers import ImageBytes
from converters.images.vmdk import header as headers
from converters.images.vmdk import tables
from converters.images.vmdk.header import SECTOR, Header
from converters.inflate import InflateError, inflate

_MOST_BEHIND_FOOTER = 64 * 1024
_MARKER = struct.Struct("<QI")  # sector of the disk, packed size


def read_header(image: ImageBytes) -> Header:
    """Return the header that counts: that of the footer where the first one points to it."""
    header = headers.parse(image.read_at(0, SECTOR), file=image.name)
    if not header.directory_at_end:
        return header
    at = _footer_place(image)
    footer = headers.parse(image.read_at(at, SECTOR), file=image.name, offset=at)
    for field in ("capacity_sectors", "grain_sectors", "table_entries", "compressed"):
        if getattr(footer, field) != getattr(header, field):
            raise CorruptImage(
                file=image.name, offset=at, field=f"{field} of the footer",
                value=getattr(footer, field), expected=f"the header's {getattr(header, field)}",
            )  # fmt: skip
    if footer.directory_at_end:
        raise CorruptImage(
            file=image.name, offset=at + 56, field="gdOffset of the footer", value="at the end",
            expected="a sector before the footer",
        )  # fmt: skip
    return footer


def _footer_place(image: ImageBytes) -> int:
    """Return where the footer is: before the end-of-stream marker, and perhaps some padding."""
    size = image.size_bytes // SECTOR * SECTOR
    start = max(size - _MOST_BEHIND_FOOTER, SECTOR)
    tail = image.read_at(start, max(size - start, 0))
    for at in range(len(tail) - SECTOR, -1, -SECTOR):
        if tail.startswith(headers.MAGIC, at):
            return start + at
    raise CorruptImage(
        "the image has no footer at its end", file=image.name, offset=image.size_bytes,
        hint="it was cut short: fetch it again",
    )  # fmt: skip


def layer(image: ImageBytes, header: Header) -> tables.GrainTables:
    """Return the layer of a hosted sparse extent."""
    geometry = tables.Geometry(
        capacity_bytes=header.capacity_bytes,
        grain_bytes=header.grain_bytes,
        table_entries=header.table_entries,
        entry_format="I",
        directory_place=header.directory * SECTOR,
        directory_entries=header.tables,
        table_places=tables.sectors_to_places,
        grain_places=tables.sectors_with_zero_grains
        if header.zero_grains
        else tables.sectors_to_places,
    )
    if header.directory * SECTOR + header.tables * 4 > image.size_bytes:
        raise CorruptImage(
            file=image.name, offset=56, field="gdOffset", value=header.directory,
            expected=f"a place for {header.tables * 4} bytes within the {image.size_bytes} "
            "of the file",
        )  # fmt: skip
    packing = _Grains(header.grain_bytes, header.capacity_bytes) if header.compressed else None
    return tables.GrainTables(image, geometry, packing=packing)


@dataclass(frozen=True, slots=True)
class _Grains:
    """Grains packed by zlib behind a marker; a grain's number is its sector of the disk."""

    unit_bytes: int
    capacity_bytes: int
    deflated: bool = True

    def locate(
        self, packed: memoryview, number: int, image: ImageBytes, place: int
    ) -> tuple[int, int]:
        """Return start and size of the zlib stream. Raises CorruptImage."""
        if len(packed) < _MARKER.size:
            raise self._cut(image, place + len(packed))
        said, size = _MARKER.unpack_from(packed)
        if said != number:
            raise CorruptImage(
                file=image.name, offset=place, field="sector of a grain", value=said,
                expected=f"{number}, for which a table names this place",
            )  # fmt: skip
        if not 0 < size <= 2 * self.unit_bytes:
            raise CorruptImage(
                file=image.name, offset=place + 8, field="compressed size of a grain", value=size,
                expected=f"1 to {2 * self.unit_bytes}",
            )  # fmt: skip
        if _MARKER.size + size > len(packed):
            if place + _MARKER.size + size > image.size_bytes:
                raise self._cut(image, image.size_bytes)
            raise CorruptImage(
                file=image.name, offset=place + 8, field="compressed size of a grain", value=size,
                expected="an end before the next grain",
            )  # fmt: skip
        return _MARKER.size, size

    def unpack(
        self, packed: memoryview, number: int, image: ImageBytes, place: int
    ) -> bytes | bytearray:
        """Return the grain whose marker is at `place`."""
        start, size = self.locate(packed, number, image, place)
        try:
            content = inflate(packed[start : start + size], self.unit_bytes)
        except InflateError as fault:
            raise self.damaged(number, image, place, str(fault)) from fault
        # Of the last grain, some write only what lies on the disk, others all of it.
        if len(content) < min(self.unit_bytes, self.capacity_bytes - number * SECTOR):
            raise self.damaged(number, image, place, f"inflates to {len(content)} bytes")
        return content

    def damaged(self, number: int, image: ImageBytes, place: int, problem: str) -> CorruptImage:
        """Return the error for a grain that cannot be inflated."""
        return CorruptImage(
            f"the grain at sector {number} {problem}", file=image.name,
            offset=place + _MARKER.size, hint="the image is damaged: fetch it again",
        )  # fmt: skip

    def _cut(self, image: ImageBytes, offset: int) -> CorruptImage:
        return CorruptImage(
            "the file ends in the middle of a grain", file=image.name, offset=offset,
            hint="it was cut short: fetch it again",
        )  # fmt: skip
