"""FAT12, FAT16 and FAT32 with long names, read only: enough for an EFI system partition.

Source: Microsoft, "FAT32 File System Specification", version 1.03.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from converters.errors import CorruptGuest
from converters.guest import limits
from converters.guest.filesystems.contract import Node, NodeKind
from converters.guest.volumes.device import Device

_FOLDER, _LABEL, _LONG = 0x10, 0x08, 0x0F
_MOST_FOLDER = 2 << 20  # 65536 entries of 32 bytes
_ROOT = 0


class Fat:
    """A FAT file system. A node's number is where its entry lies; its root has 0."""

    kind = "vfat"
    free_bytes = 0  # not counted

    def __init__(self, device: Device) -> None:
        self._device = device
        block = device.read_at(0, 512)
        sector, per_cluster, reserved, copies, entries = struct.unpack_from("<HBHBH", block, 11)
        sectors = struct.unpack_from("<H", block, 19)[0] or struct.unpack_from("<I", block, 32)[0]
        fat_sectors = struct.unpack_from("<H", block, 22)[0]
        self._root_cluster = 0
        if not fat_sectors:
            fat_sectors = struct.unpack_from("<I", block, 36)[0]
            self._root_cluster = struct.unpack_from("<I", block, 44)[0]
        if sector not in (512, 1024, 2048, 4096) or not per_cluster or not copies:
            raise CorruptGuest("the boot sector of FAT makes no sense")
        self._cluster = sector * per_cluster
        self._root_at = (reserved + copies * fat_sectors) * sector
        self._root_size = entries * 32
        self._data_at = self._root_at + -(-self._root_size // sector) * sector
        clusters = (sectors * sector - self._data_at) // self._cluster
        self._bits = 12 if clusters < 4085 else 16 if clusters < 65525 else 32
        if self._root_cluster:
            self._bits = 32
        size = min(fat_sectors * sector, limits.MOST_MODULE * 4)
        self._table = device.read_at(reserved * sector, size)
        self._nodes: dict[int, tuple[int, Node]] = {}

    @property
    def root(self) -> Node:
        """The topmost folder."""
        return Node(number=_ROOT, kind=NodeKind.FOLDER, size_bytes=0, mode=0o755)

    def _next(self, cluster: int) -> int:
        """Return the cluster behind one, 0 behind the last."""
        if self._bits == 12:
            at = cluster * 3 // 2
            pair = int.from_bytes(self._table[at : at + 2], "little")
            value, last = (pair >> 4 if cluster & 1 else pair & 0xFFF), 0xFF8
        elif self._bits == 16:
            value, last = (
                int.from_bytes(self._table[cluster * 2 : cluster * 2 + 2], "little"),
                0xFFF8,
            )
        else:
            raw = int.from_bytes(self._table[cluster * 4 : cluster * 4 + 4], "little")
            value, last = raw & 0x0FFFFFFF, 0x0FFFFFF8
        return 0 if value < 2 or value >= last else value

    def _chain(self, cluster: int, most: int) -> bytes:
        out, seen = bytearray(), set[int]()
        while cluster >= 2:
            if cluster in seen or len(out) > most:
                raise CorruptGuest("a chain of clusters loops, or is too long")
            seen.add(cluster)
            place = self._data_at + (cluster - 2) * self._cluster
            out += self._device.read_at(place, self._cluster)
            cluster = self._next(cluster)
        return bytes(out)

    def _folder(self, node: Node) -> bytes:
        if node.number == _ROOT:
            if self._root_cluster:
                return self._chain(self._root_cluster, _MOST_FOLDER)
            return self._device.read_at(self._root_at, self._root_size)
        return self._chain(node.number, _MOST_FOLDER)

    def _entries(self, folder: Node) -> Iterator[tuple[str, Node]]:
        content, long = self._folder(folder), ""
        for at in range(0, len(content) - 31, 32):
            entry = content[at : at + 32]
            if not entry[0]:
                return
            if entry[0] == 0xE5:
                long = ""
                continue
            if entry[11] & 0x3F == _LONG:
                part = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le", "replace")
                long = part.split("\0")[0].rstrip("\uffff") + long
                continue
            name, long = long or _short(entry), ""
            if entry[11] & _LABEL or name in (".", ".."):
                continue
            high, low, size = struct.unpack_from("<H4xHI", entry, 20)
            folder_kind = NodeKind.FOLDER if entry[11] & _FOLDER else NodeKind.FILE
            number = (high << 16 if self._bits == 32 else 0) | low
            yield name, Node(number=number, kind=folder_kind, size_bytes=size, mode=0o755)

    def entries(self, folder: Node) -> dict[str, int]:
        """Return the names in a folder and their first clusters."""
        return {name: node.number for name, node in self._entries(folder)}

    def child(self, folder: Node, name: str) -> Node | None:
        """Return what a name stands for; case does not count."""
        for known, node in self._entries(folder):
            if known.lower() == name.lower():
                return node
        return None

    def read(self, node: Node, most: int) -> bytes:
        """Return the content of a file."""
        if node.size_bytes > most:
            raise CorruptGuest(f"a file has {node.size_bytes} bytes", expected=f"at most {most}")
        content = self._chain(node.number, node.size_bytes + self._cluster)[: node.size_bytes]
        if len(content) < node.size_bytes:
            raise CorruptGuest("a file is cut short")
        return content

    def target(self, node: Node) -> str:
        """FAT has no links."""
        raise CorruptGuest(f"cluster {node.number} is no link")

    def attribute(self, node: Node, name: str) -> bytes | None:
        """FAT has no attributes."""
        return None


def _short(entry: bytes) -> str:
    base = entry[:8].rstrip().decode("cp437")
    suffix = entry[8:11].rstrip().decode("cp437")
    base = base.lower() if entry[12] & 0x08 else base
    suffix = suffix.lower() if entry[12] & 0x10 else suffix
    return f"{base}.{suffix}" if suffix else base
