"""Builders of disk images for tests, written from the formats, not from our parsers.

Where another program reads a format (QEMU reads vmfsSparse and seSparse), tests let it check what
is built here.
"""

from __future__ import annotations

import io
import random
import struct
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from converters.errors import ConversionError

SECTOR = 512
NO_PARENT = "ffffffff"
UNMAPPED = b"unmapped"  # in place of a grain of seSparse


@contextmanager
def allowed_to_fail() -> Iterator[None]:
    """Let what reads a broken image end with one of our errors, which has a sentence to say."""
    try:
        yield
    except ConversionError as error:
        if not str(error):
            raise AssertionError(f"{error!r} says nothing") from error


def descriptor(
    *,
    create_type: str,
    extents: Sequence[str],
    cid: str = "fffffffe",
    parent_cid: str = NO_PARENT,
    parent: str = "",
) -> str:
    """Return the text of a VMDK descriptor."""
    lines = ["# Disk DescriptorFile", "version=1", f"CID={cid}", f"parentCID={parent_cid}"]
    lines.append(f'createType="{create_type}"')
    if parent:
        lines.append(f'parentFileNameHint="{parent}"')
    lines += ["# Extent description", *extents, "# The Disk Data Base", "#DDB"]
    lines.append('ddb.adapterType = "lsilogic"')
    return "\n".join(lines) + "\n"


def vmfs_sparse(
    capacity_sectors: int, grains: Mapping[int, bytes], *, grain_sectors: int = 1
) -> bytes:
    """Return a vmfsSparse extent that has these grains, by index, placed in the mapping's order."""
    size = grain_sectors * SECTOR
    entries = 4096
    tables = -(-capacity_sectors // (grain_sectors * entries))
    directory = [0] * tables
    body = bytearray(4 * SECTOR + -(-tables * 4 // SECTOR) * SECTOR)
    table_places: dict[int, int] = {}
    for index, content in grains.items():
        table = index // entries
        if table not in table_places:
            table_places[table] = len(body)
            directory[table] = len(body) // SECTOR
            body += bytes(entries * 4)
        at = table_places[table] + 4 * (index % entries)
        struct.pack_into("<I", body, at, len(body) // SECTOR)
        body += content.ljust(size, b"\0")
    struct.pack_into(f"<{tables}I", body, 4 * SECTOR, *directory)
    head = struct.pack(
        "<4s7I", b"COWD", 1, 3, capacity_sectors, grain_sectors, 4, tables, len(body) // SECTOR
    )
    body[: len(head)] = head
    return bytes(body)


def se_sparse(
    capacity_sectors: int, grains: Mapping[int, bytes | None], *, replay: int = 0
) -> bytes:
    """Return a seSparse extent; a grain of None is a zero grain, UNMAPPED one that was unmapped."""
    tables = -(-capacity_sectors // (8 * 4096))
    used = sorted({index // 4096 for index in grains})
    directory_sectors = -(-tables * 8 // SECTOR)
    tables_at = 4096 + directory_sectors
    tables_sectors = max(len(used), 1) * 64
    grains_at = -(-(tables_at + tables_sectors) // 8) * 8
    directory = [0] * tables
    for place, table in enumerate(used):
        directory[table] = 1 << 60 | place
    entries = [[0] * 4096 for _ in used]
    data = bytearray()
    for index, content in grains.items():
        if content is None:
            entry = 2 << 60
        elif content is UNMAPPED:
            entry = 1 << 60
        else:
            number = len(data) // 4096
            entry = 3 << 60 | (number & 0xFFF) << 48 | number >> 12
            data += content.ljust(4096, b"\0")
        entries[used.index(index // 4096)][index % 4096] = entry
    constant = struct.pack(
        "<26Q",
        *(0xCAFEBABE, 0x200000001, capacity_sectors, 8, 64, 0, 0, 0, 0, 0),
        *(1, 1, 2, 2, 2048, 2048, 4096, directory_sectors, tables_at, tables_sectors),
        *(0, 0, 0, 0, grains_at, len(data) // SECTOR),
    ).ljust(SECTOR, b"\0")
    volatile = struct.pack("<4Q", 0xCAFECAFE, len(used), 0, replay).ljust(SECTOR, b"\0")
    body = bytearray(grains_at * SECTOR)
    body[: 2 * SECTOR] = constant + volatile
    struct.pack_into(f"<{tables}Q", body, 4096 * SECTOR, *directory)
    for place, table_entries in enumerate(entries):
        struct.pack_into("<4096Q", body, (tables_at + 64 * place) * SECTOR, *table_entries)
    return bytes(body + data)


def tar(members: Sequence[tuple[str, bytes]], *, kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar of these files in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def ovf(href: str, size_bytes: int, capacity_bytes: int) -> bytes:
    """Return an OVF descriptor of one disk."""
    return (
        '<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">'
        f'<References><File ovf:id="f" ovf:href="{href}" ovf:size="{size_bytes}"/></References>'
        f'<DiskSection><Info/><Disk ovf:diskId="d" ovf:fileRef="f" '
        f'ovf:capacity="{capacity_bytes}"/></DiskSection></Envelope>'
    ).encode()


def chain_of(folder: Path, content: bytes, *, seed: int = 3) -> Path:
    """Write base, vmfsSparse delta and seSparse delta that make this disk; return the newest."""
    chance = random.Random(seed)
    sectors = len(content) // SECTOR
    base = bytearray(content)
    low, high = {}, {}
    for grain in range(-(-sectors // 8)):
        part = content[grain * 4096 : (grain + 1) * 4096]
        place = slice(grain * 4096, grain * 4096 + len(part))
        match chance.randrange(6):
            case 0:  # only in the newest; below it lies something else
                high[grain] = part
                base[place] = chance.randbytes(len(part))
            case 1 if not any(part):
                high[grain] = chance.choice([None, UNMAPPED])
                base[place] = b"old" * len(part)
                base[place.stop :] = content[place.stop :]
            case 2:  # some of its sectors in the older delta
                for number in range(len(part) // SECTOR):
                    if chance.random() < 0.5:
                        sector = grain * 8 + number
                        low[sector] = content[sector * SECTOR : (sector + 1) * SECTOR]
                        base[sector * SECTOR : (sector + 1) * SECTOR] = b"z" * SECTOR
    base = base[: len(content)]
    order = list(low.items())
    chance.shuffle(order)
    (folder / "web-flat.vmdk").write_bytes(base)
    (folder / "web-000001-delta.vmdk").write_bytes(vmfs_sparse(sectors, dict(order)))
    (folder / "web-000002-sesparse.vmdk").write_bytes(se_sparse(sectors, high))
    for name, kind, line, cid, parent_cid, parent in (
        ("web", "vmfs", 'VMFS "web-flat.vmdk"', "11111111", NO_PARENT, ""),
        ("web-000001", "vmfsSparse", 'VMFSSPARSE "web-000001-delta.vmdk"', "22222222", "11111111",
         "web.vmdk"),
        ("web-000002", "seSparse", 'SESPARSE "web-000002-sesparse.vmdk"', "33333333", "22222222",
         "web-000001.vmdk"),
    ):  # fmt: skip
        text = descriptor(
            create_type=kind, extents=[f"RW {sectors} {line}"], cid=cid, parent_cid=parent_cid,
            parent=parent,
        )  # fmt: skip
        (folder / f"{name}.vmdk").write_text(text)
    return folder / "web-000002.vmdk"
