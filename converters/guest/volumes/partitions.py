"""Partition tables: MBR with logical partitions, and GPT. Numbers are those that Linux gives.

Sources: UEFI specification 2.10, "GUID Partition Table (GPT) Disk Layout"; the Linux kernel's
`block/partitions/msdos.c` numbers logical partitions from 5 on.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from converters.errors import CorruptGuest
from converters.guest import limits
from converters.guest.volumes.device import Device

SECTOR = 512
_EXTENDED = {0x05, 0x0F, 0x85}
_PROTECTIVE = 0xEE
_GPT_SIGNATURE = b"EFI PART"

ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LDM_TYPES = {  # dynamic disks of Windows
    "0x42",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
    "af9b60a0-1431-4f62-bc68-3311714a69ad",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition. `type` is a GUID in lower case, or `0x83` of an MBR."""

    number: int
    start: int
    size_bytes: int
    type: str
    uuid: str
    name: str = ""
    bootable: bool = False

    @property
    def is_esp(self) -> bool:
        """Whether firmware looks for boot loaders here."""
        return self.type in (ESP_TYPE, "0xef")

    @property
    def is_dynamic(self) -> bool:
        """Whether it belongs to a dynamic disk of Windows."""
        return self.type in LDM_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A partition table. `label` is dos, gpt, or none: then the disk is one file system."""

    label: str
    partitions: tuple[Partition, ...]


def read(disk: Device) -> Table:
    """Return the partition table of a disk. Raises CorruptGuest."""
    if disk.size_bytes < 2 * SECTOR:
        return Table(label="none", partitions=())
    first = disk.read_at(0, SECTOR)
    if first[510:512] != b"\x55\xaa":
        return Table(label="none", partitions=())
    entries = list(_entries(first))
    if any(entry.type == _PROTECTIVE for entry in entries):
        return Table(label="gpt", partitions=tuple(_gpt(disk)))
    if not any(entry.size for entry in entries) or any(
        entry.status not in (0, 0x80) for entry in entries
    ):
        return Table(label="none", partitions=())  # the boot sector of a file system
    return Table(label="dos", partitions=tuple(_mbr(disk, first)))


@dataclass(frozen=True, slots=True)
class _Entry:
    status: int
    type: int
    start: int  # in sectors
    size: int


def _entries(sector: bytes) -> Iterator[_Entry]:
    for at in range(446, 510, 16):
        status, kind, start, size = struct.unpack_from("<B3xB3xII", sector, at)
        yield _Entry(status, kind, start, size)


def _mbr(disk: Device, first: bytes) -> Iterator[Partition]:
    signature = struct.unpack_from("<I", first, 440)[0]
    extended = []
    for number, entry in enumerate(_entries(first), 1):
        if not entry.size or not entry.type:
            continue
        if entry.type in _EXTENDED:
            extended.append(entry.start)
            continue
        yield _partition(number, entry, entry.start, signature, disk)
    number = 5
    for base in extended:
        for start, entry in _logical(disk, base):
            yield _partition(number, entry, start, signature, disk)
            number += 1


def _logical(disk: Device, base: int) -> Iterator[tuple[int, _Entry]]:
    """Follow the chain of extended boot records; one that loops ends with an error."""
    at, seen = base, set[int]()
    while at not in seen:
        if len(seen) >= limits.MOST_PARTITIONS:
            raise CorruptGuest(f"has more than {limits.MOST_PARTITIONS} logical partitions")
        seen.add(at)
        record = disk.read_at(at * SECTOR, SECTOR)
        if record[510:512] != b"\x55\xaa":
            return
        entry, following = list(_entries(record))[:2]
        if entry.size and entry.type:
            yield at + entry.start, entry
        if not following.size or following.type not in _EXTENDED:
            return
        at = base + following.start
    raise CorruptGuest("the chain of logical partitions loops", offset=at * SECTOR)


def _partition(number: int, entry: _Entry, start: int, signature: int, disk: Device) -> Partition:
    offset = start * SECTOR
    if offset >= disk.size_bytes:
        raise CorruptGuest(
            f"partition {number} begins at byte {offset}",
            expected=f"a place on the disk of {disk.size_bytes} bytes",
        )
    return Partition(
        number=number,
        start=offset,
        size_bytes=min(entry.size * SECTOR, disk.size_bytes - offset),
        type=f"0x{entry.type:02x}",
        uuid=f"{signature:08x}-{number:02x}",
        bootable=entry.status == 0x80,
    )


def _gpt(disk: Device) -> Iterator[Partition]:
    header = disk.read_at(SECTOR, SECTOR)
    if header[:8] != _GPT_SIGNATURE:
        header = disk.read_at(disk.size_bytes // SECTOR * SECTOR - SECTOR, SECTOR)
        if header[:8] != _GPT_SIGNATURE:
            raise CorruptGuest("its GPT has neither a first nor a second header")
    place, count, size = struct.unpack_from("<QII", header, 72)
    if not 128 <= size <= 4096 or count > 4 * limits.MOST_PARTITIONS:
        raise CorruptGuest(f"its GPT has {count} entries of {size} bytes")
    table = disk.read_at(place * SECTOR, count * size)
    for index in range(count):
        entry = table[index * size : (index + 1) * size]
        if not any(entry[:16]):
            continue
        first, last, flags = struct.unpack_from("<QQQ", entry, 32)
        offset, length = first * SECTOR, (last - first + 1) * SECTOR
        if last < first or offset + length > disk.size_bytes:
            raise CorruptGuest(
                f"partition {index + 1} reaches to byte {offset + length}",
                expected=f"a part of the disk of {disk.size_bytes} bytes",
            )
        yield Partition(
            number=index + 1,
            start=offset,
            size_bytes=length,
            type=str(uuid.UUID(bytes_le=entry[:16])),
            uuid=str(uuid.UUID(bytes_le=entry[16:32])),
            name=entry[56:128].decode("utf-16-le", "replace").split("\0")[0],
            bootable=bool(flags & 4),
        )
