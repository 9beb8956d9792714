"""seSparse: the snapshot deltas of ESXi on VMFS 6, and of all disks above 2 TiB.

VMware has not published the format. Facts from the source of other readers and from images: a
constant header (sector 0) says where everything is, a volatile one (sector 1) whether a journal is
to be replayed. Little-endian, entries of 64 bits, grains of 4 KiB, tables of 4096 entries. The
highest four bits of an entry are its type.

    grain directory  0: no table; 1 << 60 | index of the table among the tables
    grain table      0: ask the parent; type 1: unmapped by the guest, and type 2: zeros (both
                     read as zeros); type 3: the grain's index among the grains, its low 12 bits
                     in bits 48–59 and the rest in bits 0–47
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.errors import CorruptImage, UnsupportedImage
from converters.images.layers import ImageBytes
from converters.images.vmdk import tables
from converters.images.vmdk.header import MOST_CAPACITY, SECTOR

MAGIC = 0xCAFEBABE
_VOLATILE_MAGIC = 0xCAFECAFE
_VERSION = 0x2_0000_0001
_GRAIN_SECTORS = 8
_TABLE_SECTORS = 64
_TABLE_ENTRIES = _TABLE_SECTORS * SECTOR // 8
_FIELDS = (
    "magic", "version", "capacity", "grain size", "grain table size", "flags", "reserved 1",
    "reserved 2", "reserved 3", "reserved 4", "volatile header offset", "volatile header size",
    "journal header offset", "journal header size", "journal offset", "journal size",
    "grain directory offset", "grain directory size", "grain tables offset", "grain tables size",
    "free bitmap offset", "free bitmap size", "backmap offset", "backmap size", "grains offset",
    "grains size",
)  # fmt: skip
_CONSTANT = struct.Struct(f"<{len(_FIELDS)}Q")
_VOLATILE = struct.Struct("<4Q")  # magic, free table number, next transaction, replay journal
_TABLE, _UNMAPPED, _ZERO, _GRAIN = 1, 1, 2, 3
_TYPE_SHIFT = 60
_LOW_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A checked header; in sectors."""

    capacity_sectors: int
    directory: int
    directory_sectors: int
    tables: int
    tables_sectors: int
    grains: int

    @property
    def capacity_bytes(self) -> int:
        """The size of the disk."""
        return self.capacity_sectors * SECTOR


def is_se_sparse(start: bytes) -> bool:
    """Return whether a file that begins so is one."""
    return len(start) >= 8 and int.from_bytes(start[:8], "little") == MAGIC


def read_header(image: ImageBytes) -> Header:
    """Return the header. Raises CorruptImage or UnsupportedImage, naming the field."""
    field = dict(zip(_FIELDS, _CONSTANT.unpack(image.read_at(0, _CONSTANT.size)), strict=True))
    room = image.size_bytes // SECTOR

    def check(good: bool, name: str, expected: str) -> None:
        if not good:
            raise CorruptImage(
                file=image.name, offset=_FIELDS.index(name) * 8, field=name, value=field[name],
                expected=expected,
            )  # fmt: skip

    check(field["magic"] == MAGIC, "magic", f"{MAGIC}")
    for name, known in (
        ("version", _VERSION),
        ("grain size", _GRAIN_SECTORS),
        ("grain table size", _TABLE_SECTORS),
        ("flags", 0),
    ):
        if field[name] != known:
            raise UnsupportedImage(
                file=image.name, offset=_FIELDS.index(name) * 8, field=name, value=field[name],
                expected=f"{known}",
            )  # fmt: skip
    check(0 < field["capacity"] <= MOST_CAPACITY, "capacity", f"1 to {MOST_CAPACITY} sectors")
    span = _GRAIN_SECTORS * _TABLE_ENTRIES
    entries = -(-field["capacity"] // span)
    least = -(-entries * 8 // SECTOR)
    check(field["grain directory size"] >= least, "grain directory size", f"at least {least}")
    for name, size in (
        ("grain directory offset", "grain directory size"),
        ("grain tables offset", ""),
        ("grains offset", ""),
        ("volatile header offset", ""),
    ):
        end = field[name] + (field[size] if size else 0)
        check(0 < field[name] <= room and end <= room, name, f"a sector below {room}")
    _refuse_replay(image, field["volatile header offset"] * SECTOR)
    return Header(
        capacity_sectors=field["capacity"],
        directory=field["grain directory offset"],
        directory_sectors=field["grain directory size"],
        tables=field["grain tables offset"],
        tables_sectors=field["grain tables size"],
        grains=field["grains offset"],
    )


def _refuse_replay(image: ImageBytes, at: int) -> None:
    magic, _, _, replay = _VOLATILE.unpack(image.read_at(at, _VOLATILE.size))
    if magic != _VOLATILE_MAGIC:
        raise CorruptImage(
            file=image.name, offset=at, field="magic of the volatile header", value=magic,
            expected=f"{_VOLATILE_MAGIC}",
        )  # fmt: skip
    if replay:
        raise UnsupportedImage(
            file=image.name, offset=at + 24, field="replay journal", value=replay, expected="0",
            hint="the host broke off while it wrote the delta; start the VM once and shut it down, "
            "or consolidate its snapshots, then copy it again",
        )  # fmt: skip


def layer(image: ImageBytes, header: Header) -> tables.GrainTables:
    """Return the layer of a seSparse extent."""
    first_table, first_grain = header.tables * SECTOR, header.grains * SECTOR

    def table_places(entries: tuple[int, ...]) -> list[int]:
        places = []
        for number, entry in enumerate(entries):
            if entry >> 32 == _TABLE << (_TYPE_SHIFT - 32):
                index = entry & 0xFFFF_FFFF
                places.append(first_table + index * _TABLE_SECTORS * SECTOR)
            elif entry:
                raise tables.BadEntry(number, "0, or 1 << 60 with the index of a table")
            else:
                places.append(tables.ABSENT)
        return places

    def grain_places(entries: tuple[int, ...]) -> list[int]:
        places = []
        for number, entry in enumerate(entries):
            match entry >> _TYPE_SHIFT:
                case 0 if not entry:
                    places.append(tables.ABSENT)
                case 1 | 2:
                    places.append(tables.ZERO)
                case 3:
                    index = (entry >> 48 & 0xFFF) | (entry & 0xFFFF_FFFF_FFFF) << _LOW_BITS
                    places.append(first_grain + index * _GRAIN_SECTORS * SECTOR)
                case _:
                    raise tables.BadEntry(number, "an entry of type 0, 1, 2 or 3")
        return places

    return tables.GrainTables(
        image,
        tables.Geometry(
            capacity_bytes=header.capacity_bytes,
            grain_bytes=_GRAIN_SECTORS * SECTOR,
            table_entries=_TABLE_ENTRIES,
            entry_format="Q",
            directory_place=header.directory * SECTOR,
            directory_entries=-(-header.capacity_sectors // (_GRAIN_SECTORS * _TABLE_ENTRIES)),
            table_places=table_places,
            grain_places=grain_places,
        ),
    )
