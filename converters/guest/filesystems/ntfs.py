"""NTFS, read only: enough to say which Windows is there and whether it was shut down.

Source: Microsoft's "NTFS technical reference"; the layout of records as ntfs-3g's `layout.h` names
it. Compressed, encrypted and very fragmented files are not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from converters.errors import CorruptGuest, UnsupportedGuest
from converters.guest import limits
from converters.guest.filesystems.contract import Node, NodeKind
from converters.guest.volumes.device import Device

_VOLUME, _ROOT = 3, 5
_INFORMATION, _DATA, _INDEX_ROOT, _INDEX_ALLOCATION = 0x70, 0x80, 0x90, 0xA0
_DIRTY, _IS_FOLDER, _DOS_NAME = 0x1, 0x2, 2
_LAST_ENTRY = 0x2
_END = 0xFFFFFFFF
_FOLDER_NAME = "$I30"


class Ntfs:
    """An NTFS file system. A node's number is its record in the MFT."""

    kind = "ntfs"
    free_bytes = 0  # not counted

    def __init__(self, device: Device) -> None:
        self._device = device
        block = device.read_at(0, 512)
        if block[3:11] != b"NTFS    ":
            raise CorruptGuest("has no boot sector of NTFS")
        sector, per_cluster = struct.unpack_from("<HB", block, 11)
        if sector not in (512, 1024, 2048, 4096) or not per_cluster:
            raise CorruptGuest("the boot sector of NTFS makes no sense")
        self._sector = sector
        self._cluster = sector * (per_cluster if per_cluster < 0x80 else 1 << (256 - per_cluster))
        mft = struct.unpack_from("<Q", block, 48)[0]
        size = struct.unpack_from("<b", block, 64)[0]
        self._record_size = 1 << -size if size < 0 else size * self._cluster
        if not 512 <= self._record_size <= 65536 or self._cluster > 2 << 20:
            raise CorruptGuest("the boot sector of NTFS makes no sense")
        first = self._fixed(device.read_at(mft * self._cluster, self._record_size), b"FILE")
        self._mft = self._runs(self._attribute(first, _DATA, ""))

    def _fixed(self, raw: bytes, magic: bytes) -> bytes:
        """Return a record with the ends of its sectors put back, which NTFS swaps for a number."""
        if raw[:4] != magic:
            raise CorruptGuest(f"a record of NTFS is damaged, expected {magic.decode()}")
        place, count = struct.unpack_from("<HH", raw, 4)
        record = bytearray(raw)
        if place + 2 * count > len(raw) or not count or (count - 1) * 512 > len(raw):
            raise CorruptGuest("a record of NTFS is damaged")
        for index in range(1, count):
            end = index * 512 - 2
            if record[end : end + 2] != raw[place : place + 2]:
                raise CorruptGuest("a record of NTFS was written in part")
            record[end : end + 2] = raw[place + 2 * index : place + 2 * index + 2]
        return bytes(record)

    def _record(self, number: int) -> bytes:
        place = number * self._record_size
        raw = self._read_runs(self._mft, place, self._record_size)
        return self._fixed(raw, b"FILE")

    def _attributes(self, record: bytes) -> Iterator[tuple[int, str, bytes]]:
        at = struct.unpack_from("<H", record, 20)[0]
        while at + 16 <= len(record):
            kind, length = struct.unpack_from("<II", record, at)
            if kind == _END:
                return
            if length < 24 or at + length > len(record):
                raise CorruptGuest("an attribute of NTFS is damaged")
            attribute = record[at : at + length]
            count, place = struct.unpack_from("<BH", attribute, 9)
            name = attribute[place : place + 2 * count].decode("utf-16-le", "replace")
            yield kind, name, attribute
            at += length

    def _attribute(self, record: bytes, kind: int, name: str) -> bytes:
        for found, called, attribute in self._attributes(record):
            if (found, called) == (kind, name):
                return attribute
        raise UnsupportedGuest(f"a record of NTFS has no attribute {kind:#x} of its own")

    def _value(self, attribute: bytes, most: int) -> bytes:
        """Return an attribute's content."""
        flags = struct.unpack_from("<H", attribute, 12)[0]
        if not attribute[8]:
            size, place = struct.unpack_from("<IH", attribute, 16)
            return attribute[place : place + size]
        if flags & 0x40FF:
            raise UnsupportedGuest("a file is compressed or encrypted by NTFS")
        if len(attribute) < 64:
            raise CorruptGuest("an attribute of NTFS is damaged")
        size = struct.unpack_from("<Q", attribute, 48)[0]
        if size > most:
            raise CorruptGuest(f"a file has {size} bytes", expected=f"at most {most}")
        return self._read_runs(self._runs(attribute), 0, size)

    def _runs(self, attribute: bytes) -> list[tuple[int, int]]:
        """Return (cluster or -1, count) of an attribute that is not resident."""
        if not attribute[8] or len(attribute) < 64:
            raise CorruptGuest("an attribute of NTFS is damaged")
        at = struct.unpack_from("<H", attribute, 32)[0]
        runs, cluster = [], 0
        while at < len(attribute) and attribute[at]:
            count_size, place_size = attribute[at] & 0xF, attribute[at] >> 4
            middle = at + 1 + count_size
            count = int.from_bytes(attribute[at + 1 : middle], "little")
            if place_size:
                step = attribute[middle : middle + place_size]
                cluster += int.from_bytes(step, "little", signed=True)
            runs.append((cluster if place_size else -1, count))
            at = middle + place_size
            if len(runs) > limits.MOST_EXTENTS:
                raise CorruptGuest("a file has too many extents")
        return runs

    def _read_runs(self, runs: list[tuple[int, int]], offset: int, length: int) -> bytes:
        out, begin = bytearray(length), 0
        for cluster, count in runs:
            end = begin + count * self._cluster
            low, high = max(begin, offset), min(end, offset + length)
            if low < high and cluster >= 0:
                place = cluster * self._cluster + low - begin
                out[low - offset : high - offset] = self._device.read_at(place, high - low)
            begin = end
        if begin < offset + length:
            raise CorruptGuest("a file of NTFS is cut short")
        return bytes(out)

    # -- what is offered

    @property
    def dirty(self) -> bool:
        """Whether Windows left it without closing it, or asked for a check."""
        value = self._value(self._attribute(self._record(_VOLUME), _INFORMATION, ""), 64)
        return bool(struct.unpack_from("<H", value.ljust(12, b"\0"), 10)[0] & _DIRTY)

    @property
    def root(self) -> Node:
        """The topmost folder."""
        return self._node(_ROOT)

    def _node(self, number: int) -> Node:
        record = self._record(number)
        folder = struct.unpack_from("<H", record, 22)[0] & _IS_FOLDER
        size = 0
        if not folder:
            attribute = self._attribute(record, _DATA, "")
            size = struct.unpack_from("<Q", attribute, 48)[0] if attribute[8] else len(attribute)
        kind = NodeKind.FOLDER if folder else NodeKind.FILE
        return Node(number=number, kind=kind, size_bytes=size)

    def entries(self, folder: Node) -> dict[str, int]:
        """Return the names in a folder and their records."""
        record = self._record(folder.number)
        root = self._value(self._attribute(record, _INDEX_ROOT, _FOLDER_NAME), self._record_size)
        found = dict(_index(root, 16))
        size = struct.unpack_from("<I", root, 8)[0]
        for kind, name, attribute in self._attributes(record):
            if (kind, name) != (_INDEX_ALLOCATION, _FOLDER_NAME) or not 512 <= size <= 65536:
                continue
            content = self._value(attribute, limits.MOST_FOLDER_ENTRIES * 100)
            for at in range(0, len(content) - size + 1, size):
                if content[at : at + 4] == b"INDX":
                    found.update(_index(self._fixed(content[at : at + size], b"INDX"), 24))
        return found

    def child(self, folder: Node, name: str) -> Node | None:
        """Return what a name stands for; case does not count."""
        for known, number in self.entries(folder).items():
            if known.lower() == name.lower():
                return self._node(number)
        return None

    def read(self, node: Node, most: int) -> bytes:
        """Return the content of a file."""
        return self._value(self._attribute(self._record(node.number), _DATA, ""), most)

    def start(self, node: Node, length: int) -> bytes:
        """Return the first bytes of a file of any size."""
        attribute = self._attribute(self._record(node.number), _DATA, "")
        if not attribute[8]:
            return self._value(attribute, self._record_size)[:length]
        return self._read_runs(self._runs(attribute), 0, min(length, self._cluster))

    def target(self, node: Node) -> str:
        """Links of NTFS are not followed."""
        raise CorruptGuest(f"record {node.number} is no link")

    def attribute(self, node: Node, name: str) -> bytes | None:
        """Extended attributes of NTFS are not read."""
        return None


def _index(block: bytes, at: int) -> Iterator[tuple[str, int]]:
    """Yield the names of an index whose header stands at byte `at`."""
    first, size = struct.unpack_from("<II", block, at)
    place, end = at + first, min(at + size, len(block))
    while place + 16 <= end:
        reference, length, key, flags = struct.unpack_from("<QHHH", block, place)
        if flags & _LAST_ENTRY or length < 16:
            return
        if key >= 66 and place + 16 + key <= len(block):
            count, space = block[place + 80], block[place + 81]
            raw = block[place + 82 : place + 82 + 2 * count]
            if space != _DOS_NAME:
                yield raw.decode("utf-16-le", "replace"), reference & 0xFFFFFFFFFFFF
        place += length
