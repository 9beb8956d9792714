"""The disks of the benchmarks: made once, kept in the work folder."""

from __future__ import annotations

import os
import random
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import disk_images  # noqa: E402

from converters import testing  # noqa: E402

MIB = 1 << 20
GRAIN = 65536
SECTOR = 512


def mixed(path: Path, *, virtual: int, files: int, noise: int, zeros: int, seed: int = 1) -> Path:
    """Make a raw disk: contents of /usr, random bytes, written zeros, holes; sizes in MiB."""
    if path.exists():
        return path
    chance = random.Random(seed)
    plan: list[tuple[str, int]] = []
    for kind, total in (("f", files), ("n", noise), ("z", zeros)):
        left = total * MIB
        while left:
            length = min(left, chance.choice([1, 2, 4, 8, 16, 32, 64, 128]) * GRAIN)
            plan.append((kind, length))
            left -= length
    chance.shuffle(plan)
    gap = (virtual * MIB - sum(length for _, length in plan)) // len(plan) // GRAIN * GRAIN
    contents, held = _contents(chance), bytearray()
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        out.truncate(virtual * MIB)
        at = 0
        for kind, length in plan:
            out.seek(at)
            if kind == "f":
                while len(held) < length:
                    held += next(contents)
                out.write(held[:length])
                del held[:length]
            else:
                out.write(chance.randbytes(length) if kind == "n" else bytes(length))
            at = min(at + length + chance.choice([0, gap, 2 * gap]), virtual * MIB - length)
    return part.rename(path)


def _contents(chance: random.Random) -> Iterator[bytes]:
    """Yield the contents of files below /usr, padded to 4 KiB, again and again."""
    paths = []
    for root in ("/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/share", "/usr/lib"):
        for folder, below, names in os.walk(root):
            below.sort()
            paths += [os.path.join(folder, name) for name in sorted(names)]
    chance.shuffle(paths)
    while True:
        for path in paths:
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                content = file.read(24 * MIB)
            yield content + bytes(-len(content) % 4096)


def grains(raw: Path) -> Iterator[tuple[int, bytes]]:
    """Yield index and content of each grain that the file has."""
    with raw.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // GRAIN * GRAIN
            except OSError:
                return
            high = os.lseek(file.fileno(), os.lseek(file.fileno(), at, os.SEEK_DATA), os.SEEK_HOLE)
            while at < high:
                yield at // GRAIN, os.pread(file.fileno(), GRAIN, at).ljust(GRAIN, b"\0")
                at += GRAIN


def streamed(raw: Path, path: Path) -> Path:
    """Make a streamOptimized VMDK as ESXi writes it."""
    if path.exists():
        return path
    sectors = raw.stat().st_size // SECTOR
    tables = -(-sectors // (128 * 512))
    directory = [0] * tables
    entries: list[int] = [0] * 512
    current = -1
    text = testing.descriptor_text(
        sectors, create_type="streamOptimized", extent='RDONLY {sectors} SPARSE "disk.vmdk"'
    )
    part = path.with_suffix(".part")
    with part.open("wb") as out:

        def close_table() -> None:
            if current >= 0:
                out.write(testing.marker(4, 1))
                directory[current] = out.tell() // SECTOR
                out.write(struct.pack("<512I", *entries))

        out.write((testing.header(sectors) + text).ljust(128 * SECTOR, b"\0"))
        for index, content in grains(raw):
            if index // 512 != current:
                close_table()
                current, entries[:] = index // 512, [0] * 512
            entries[index % 512] = out.tell() // SECTOR
            packed = zlib.compress(content, 1)
            record = struct.pack("<QI", index * 128, len(packed)) + packed
            out.write(record + bytes(-len(record) % SECTOR))
        close_table()
        size = -(-tables * 4 // SECTOR)
        out.write(testing.marker(size, 2))
        place = out.tell() // SECTOR
        out.write(struct.pack(f"<{tables}I", *directory).ljust(size * SECTOR, b"\0"))
        out.write(testing.marker(1, 3) + testing.header(sectors, directory=place))
        out.write(testing.marker(0, 0))
    return part.rename(path)


def delta_chain(raw: Path, folder: Path, *, kind: str, deltas: int = 3) -> Path:
    """Make a flat base, which is `raw`, and deltas that hold every so many grains of it again."""
    newest = folder / f"{kind}-{deltas}.vmdk"
    if newest.exists():
        return newest
    sectors = raw.stat().st_size // SECTOR
    base = folder / f"{kind}-flat.vmdk"
    base.unlink(missing_ok=True)
    os.link(raw, base)
    names = [f"{kind}-0.vmdk"]
    cid = 0x10
    text = disk_images.descriptor(
        create_type="vmfs", extents=[f'RW {sectors} VMFS "{base.name}"'], cid=f"{cid:08x}"
    )
    (folder / names[0]).write_text(text)
    for number in range(1, deltas + 1):
        held = dict(part for part in grains(raw) if part[0] % 8 == number)
        file = folder / f"{kind}-{number}-delta.vmdk"
        if kind == "seSparse":
            pieces = {
                index * 16 + step: content[step * 4096 : (step + 1) * 4096]
                for index, content in held.items()
                for step in range(16)
            }
            file.write_bytes(disk_images.se_sparse(sectors, pieces))
            line = f'RW {sectors} SESPARSE "{file.name}"'
        else:
            pieces = {
                index * 128 + step: content[step * SECTOR : (step + 1) * SECTOR]
                for index, content in held.items()
                for step in range(128)
            }
            file.write_bytes(disk_images.vmfs_sparse(sectors, pieces))
            line = f'RW {sectors} VMFSSPARSE "{file.name}"'
        names.append(f"{kind}-{number}.vmdk")
        text = disk_images.descriptor(
            create_type=kind, extents=[line], cid=f"{cid + number:08x}",
            parent_cid=f"{cid + number - 1:08x}", parent=names[-2],
        )  # fmt: skip
        (folder / names[-1]).write_text(text)
    return newest
