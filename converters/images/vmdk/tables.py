"""Grain directory and grain tables of a sparse extent on a file that can be read anywhere.

Pure: the caller gives a function that reads. Entries are read lazily, so that neither a large disk
nor a lying header takes memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from converters.errors import CorruptImage
from converters.images.vmdk.header import SECTOR, Header

ReadAt = Callable[[int, int], bytes]  # (offset, length) -> exactly so many bytes

_ZERO_GRAIN = 1  # entry of a grain that reads as zeros, if the header's flag allows it
_DIRECTORY_STEP = 16 * 1024  # entries read at once


@dataclass(frozen=True, slots=True)
class PlacedGrain:
    """A grain that the file has. `sector` is where its data (or its marker) is in the file."""

    index: int
    sector: int


def placed_grains(
    header: Header, read_at: ReadAt, *, file: str, file_bytes: int
) -> Iterator[PlacedGrain]:
    """Yield the grains that are in the file, by their order on the disk.

    Raises CorruptImage for an entry that points outside the file, or when the tables name more
    grains than the file can hold (the same ones again and again, to fill the target).
    """
    count = 0
    room = file_bytes // SECTOR
    # A compressed grain takes at least one sector; others their size (the last may be cut).
    most = room if header.compressed else file_bytes // header.grain_bytes + 1
    limit = -(-header.capacity_sectors // header.grain_sectors)
    for table_index, table in _tables(header, read_at, file=file, file_bytes=file_bytes):
        first = table_index * header.table_entries
        entries = struct.unpack(
            f"<{header.table_entries}I", read_at(table * SECTOR, header.table_entries * 4)
        )
        if not any(entries):
            continue
        for number, sector in enumerate(entries[: max(limit - first, 0)]):
            if sector == 0 or (sector == _ZERO_GRAIN and header.zero_grains):
                continue
            if sector >= room:
                raise CorruptImage(
                    file=file, offset=table * SECTOR + 4 * number, field="grain table entry",
                    value=sector, expected=f"a sector below {room}",
                )  # fmt: skip
            count += 1
            if count > most:
                raise CorruptImage(
                    file=file, offset=table * SECTOR + 4 * number, field="number of grains",
                    value=count, expected=f"at most the {most} that fit into the file",
                )  # fmt: skip
            yield PlacedGrain(first + number, sector)


def _tables(
    header: Header, read_at: ReadAt, *, file: str, file_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yield index and sector of each grain table that exists."""
    start = header.directory * SECTOR
    if start + header.tables * 4 > file_bytes:
        raise CorruptImage(
            file=file, offset=56, field="gdOffset", value=header.directory,
            expected=f"a place for {header.tables * 4} bytes within the {file_bytes} of the file",
        )  # fmt: skip
    last = file_bytes - header.table_entries * 4
    most = file_bytes // (header.table_entries * 4)
    count = 0
    for first in range(0, header.tables, _DIRECTORY_STEP):
        step = min(_DIRECTORY_STEP, header.tables - first)
        raw = read_at(start + first * 4, step * 4)
        if raw.count(0) == len(raw):
            continue
        for number, table in enumerate(struct.unpack(f"<{step}I", raw)):
            if not table:
                continue
            count += 1
            if table * SECTOR > last or count > most:
                raise CorruptImage(
                    file=file, offset=start + 4 * (first + number), field="grain directory entry",
                    value=table, expected="the sector of a grain table of its own in the file",
                )  # fmt: skip
            yield first + number, table
