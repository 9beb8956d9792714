"""ext2, ext3 and ext4, read only, as the file system is after its journal was replayed.

Source: the Linux kernel's documentation, "ext4 Data Structures and Algorithms".
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from converters.errors import CorruptGuest, UnsupportedGuest
from converters.guest import limits
from converters.guest.filesystems import ext4_journal
from converters.guest.filesystems.contract import Node, NodeKind
from converters.guest.volumes.device import Device

_ROOT, _JOURNAL = 2, 8
_COMPAT_JOURNAL = 0x4
_FILETYPE, _RECOVER, _JOURNAL_DEV, _META_BG, _64BIT = 0x2, 0x4, 0x8, 0x10, 0x80
# filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir,
# inline_data, encrypt, casefold
_READABLE = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x38000
_SPARSE_SUPER = 0x1
_EXTENTS, _INLINE, _ENCRYPTED = 0x80000, 0x10000000, 0x800
_EXTENT_MAGIC, _XATTR_MAGIC = 0xF30A, 0xEA020000
_UNWRITTEN = 32768
_PREFIXES = {1: "user.", 4: "trusted.", 6: "security.", 7: "system."}
_KINDS = {0x8000: NodeKind.FILE, 0x4000: NodeKind.FOLDER, 0xA000: NodeKind.LINK}


@dataclass(frozen=True, slots=True)
class _Inode:
    """An inode as stored."""

    raw: bytes

    @property
    def mode(self) -> int:
        return int(struct.unpack_from("<H", self.raw, 0)[0])

    @property
    def size(self) -> int:
        low, high = struct.unpack_from("<I100xI", self.raw, 4)
        return int(low | high << 32)

    @property
    def flags(self) -> int:
        return int(struct.unpack_from("<I", self.raw, 32)[0])

    @property
    def owner(self) -> tuple[int, int]:
        uid, gid = (
            struct.unpack_from("<H", self.raw, 2)[0],
            struct.unpack_from("<H", self.raw, 24)[0],
        )
        high = struct.unpack_from("<HH", self.raw, 120)
        return int(uid | high[0] << 16), int(gid | high[1] << 16)

    @property
    def block(self) -> bytes:
        return self.raw[40:100]

    @property
    def attributes_block(self) -> int:
        low, high = (
            struct.unpack_from("<I", self.raw, 104)[0],
            struct.unpack_from("<H", self.raw, 118)[0],
        )
        return int(low | high << 32)


class Ext4:
    """An ext2, ext3 or ext4 file system."""

    kind = "ext4"

    def __init__(self, device: Device) -> None:
        self._device = device
        block = device.read_at(1024, 1024)
        if block[56:58] != b"\x53\xef":
            raise CorruptGuest("has no superblock of ext4")
        self._blocks = struct.unpack_from("<I", block, 4)[0]
        free, self._first = struct.unpack_from("<I4xI", block, 12)
        reserved = struct.unpack_from("<I", block, 8)[0]
        log_size = struct.unpack_from("<I", block, 24)[0]
        self._group_blocks, self._group_inodes = struct.unpack_from("<I4xI", block, 32)
        self._inodes = struct.unpack_from("<I", block, 0)[0]
        modern = struct.unpack_from("<I", block, 76)[0] > 0
        self._inode_size = struct.unpack_from("<H", block, 88)[0] if modern else 128
        compat, self._incompat, self._ro = (
            struct.unpack_from("<III", block, 92) if modern else (0, 0, 0)
        )
        self._block_size = 1024 << min(log_size, 16)
        if log_size > 6 or not self._group_blocks or not self._group_inodes:
            raise CorruptGuest("the superblock of ext4 makes no sense")
        if not 128 <= self._inode_size <= self._block_size or self._inode_size & 127:
            raise CorruptGuest(
                field="inode size", value=self._inode_size, expected="128 to a block"
            )
        if unknown := self._incompat & ~_READABLE:
            raise UnsupportedGuest(f"the file system has features {unknown:#x} of ext4")
        self._descriptor = 32
        if self._incompat & _64BIT:
            self._descriptor = struct.unpack_from("<H", block, 254)[0]
            high = struct.unpack_from("<III", block, 336)
            self._blocks |= high[0] << 32
            reserved |= high[1] << 32
            free |= high[2] << 32
            if not 64 <= self._descriptor <= 1024:
                raise CorruptGuest(field="descriptor size", value=self._descriptor)
        self._first_meta_group = struct.unpack_from("<I", block, 260)[0]
        self.free_bytes = max(free - reserved, 0) * self._block_size
        self._journal_map: dict[int, ext4_journal.Written] = {}
        self._journal_blocks: list[int] = []
        self._newer: dict[int, ext4_journal.Written] = {}
        self._newer_sorted: list[int] = []
        self.needed_recovery = bool(self._incompat & _RECOVER)
        if self.needed_recovery and compat & _COMPAT_JOURNAL:
            self._replay()
        self._folders: dict[int, dict[str, int]] = {}

    # -- blocks

    def _read(self, block: int, count: int = 1) -> bytes:
        """Return blocks as they are after the replay."""
        if block + count > self._blocks:
            raise CorruptGuest(f"block {block + count - 1} of {self._blocks} does not exist")
        size = self._block_size
        content = self._device.read_at(block * size, count * size)
        at = bisect.bisect_left(self._newer_sorted, block)
        if at == len(self._newer_sorted) or self._newer_sorted[at] >= block + count:
            return content
        patched = bytearray(content)
        while at < len(self._newer_sorted) and (number := self._newer_sorted[at]) < block + count:
            patched[(number - block) * size : (number - block + 1) * size] = self._newest(number)
            at += 1
        return bytes(patched)

    def _newest(self, block: int) -> bytes:
        written = self._newer[block]
        content = self._journal_block(written.journal_block)
        return b"\xc0\x3b\x39\x98" + content[4:] if written.escaped else content

    def _journal_block(self, index: int) -> bytes:
        if index >= len(self._journal_blocks) or not self._journal_blocks[index]:
            raise CorruptGuest(f"the journal has no block {index}")
        return self._device.read_at(
            self._journal_blocks[index] * self._block_size, self._block_size
        )

    def _replay(self) -> None:
        inode = self._inode(_JOURNAL)
        if inode.size > limits.MOST_JOURNAL:
            raise CorruptGuest(f"the journal has {inode.size} bytes")
        blocks = [0] * -(-inode.size // self._block_size)
        for logical, physical, count, _ in self._runs(inode):
            for step in range(min(count, max(len(blocks) - logical, 0))):
                blocks[logical + step] = physical + step
        self._journal_blocks = blocks
        self._newer = ext4_journal.replay(self._journal_block, self._block_size, len(blocks))
        self._newer_sorted = sorted(self._newer)

    # -- inodes

    def _descriptor_block(self, group: int) -> tuple[int, int]:
        """Return (block, offset in it) of a group's descriptor."""
        per_block = self._block_size // self._descriptor
        index, offset = group // per_block, group % per_block * self._descriptor
        if not self._incompat & _META_BG or index < self._first_meta_group:
            return self._first + 1 + index, offset
        first = index * per_block
        backup = _has_super(first) if self._ro & _SPARSE_SUPER else True
        return self._first + first * self._group_blocks + (1 if backup else 0), offset

    def _inode(self, number: int) -> _Inode:
        if not 0 < number <= self._inodes:
            raise CorruptGuest(f"inode {number} of {self._inodes} does not exist")
        group, index = divmod(number - 1, self._group_inodes)
        block, offset = self._descriptor_block(group)
        descriptor = self._read(block)[offset : offset + self._descriptor]
        table = struct.unpack_from("<I", descriptor, 8)[0]
        if self._descriptor >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        place, inside = divmod(index * self._inode_size, self._block_size)
        return _Inode(self._read(table + place)[inside : inside + self._inode_size])

    def _node(self, number: int) -> Node:
        inode = self._inode(number)
        uid, gid = inode.owner
        return Node(
            number=number,
            kind=_KINDS.get(inode.mode & 0xF000, NodeKind.OTHER),
            size_bytes=inode.size,
            mode=inode.mode & 0o7777,
            uid=uid,
            gid=gid,
        )

    # -- content

    def _runs(self, inode: _Inode) -> Iterator[tuple[int, int, int, bool]]:
        """Yield (logical, physical, count, written) of an inode's blocks."""
        if inode.flags & _EXTENTS:
            yield from self._extents(inode.block, 5, [0])
        else:
            yield from self._indirect(inode)

    def _extents(
        self, node: bytes, most_depth: int, seen: list[int]
    ) -> Iterator[tuple[int, int, int, bool]]:
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or 12 + count * 12 > len(node) or depth > most_depth:
            raise CorruptGuest("a tree of extents makes no sense")
        seen[0] += count
        if seen[0] > limits.MOST_EXTENTS:
            raise CorruptGuest("a file has too many extents")
        for at in range(12, 12 + count * 12, 12):
            if depth:
                low, high = struct.unpack_from("<4xIH", node, at)
                yield from self._extents(self._read(low | high << 32), depth - 1, seen)
            else:
                logical, length, high, low = struct.unpack_from("<IHHI", node, at)
                written = length <= _UNWRITTEN
                length -= 0 if written else _UNWRITTEN
                yield logical, low | high << 32, length, written

    def _indirect(self, inode: _Inode) -> Iterator[tuple[int, int, int, bool]]:
        numbers = struct.unpack("<15I", inode.block)
        last = -(-inode.size // self._block_size)
        for logical, number in enumerate(numbers[:12]):
            if number and logical < last:
                yield logical, number, 1, True
        per_block = self._block_size // 4
        logical = 12
        for depth, number in enumerate(numbers[12:], 1):
            if logical >= last:
                return
            if number:
                yield from self._below(number, depth, logical, last)
            logical += per_block**depth

    def _below(
        self, block: int, depth: int, logical: int, last: int
    ) -> Iterator[tuple[int, int, int, bool]]:
        per_block = self._block_size // 4
        step = per_block ** (depth - 1)
        for number in struct.unpack(f"<{per_block}I", self._read(block)):
            if logical >= last:
                return
            if number and depth == 1:
                yield logical, number, 1, True
            elif number:
                yield from self._below(number, depth - 1, logical, last)
            logical += step

    def _content(self, inode: _Inode, most: int) -> bytes:
        size = inode.size
        if size > most:
            raise CorruptGuest(f"a file has {size} bytes", expected=f"at most {most}")
        if inode.flags & _ENCRYPTED:
            raise UnsupportedGuest("a file is encrypted by the file system")
        if inode.flags & _INLINE:
            rest = self._attributes(inode).get("system.data", b"")
            return (inode.block + rest)[:size].ljust(size, b"\0")
        content = bytearray(size)
        for logical, physical, count, written in self._runs(inode):
            begin = logical * self._block_size
            if not written or begin >= size:
                continue
            needed = min(count, -(-(size - begin) // self._block_size))
            part = self._read(physical, needed)
            content[begin : begin + len(part)] = part[: size - begin]
        return bytes(content)

    # -- what is offered

    @property
    def root(self) -> Node:
        """The topmost folder."""
        return self._node(_ROOT)

    def entries(self, folder: Node) -> dict[str, int]:
        """Return the names in a folder and their inodes."""
        if folder.number not in self._folders:
            self._folders[folder.number] = dict(self._entries(self._inode(folder.number)))
        return self._folders[folder.number]

    def _entries(self, inode: _Inode) -> Iterator[tuple[str, int]]:
        if inode.mode & 0xF000 != 0x4000:
            return
        content = self._content(inode, limits.MOST_FOLDER_ENTRIES * 300)
        blocks = [
            content[at : at + self._block_size] for at in range(0, len(content), self._block_size)
        ]
        if inode.flags & _INLINE:
            blocks = [content[4:60], content[60:]]  # the parent's inode stands before
        count = 0
        for block in blocks:
            at = 0
            while at + 8 <= len(block):
                number, record, length, _ = struct.unpack_from("<IHBB", block, at)
                if not self._incompat & _FILETYPE:
                    length |= block[at + 7] << 8
                record = self._block_size if record in (0, 65535) else record
                if record < 8 or at + 8 + length > len(block):
                    break
                name = block[at + 8 : at + 8 + length]
                at += record
                if number and name not in (b".", b".."):
                    count += 1
                    if count > limits.MOST_FOLDER_ENTRIES:
                        raise CorruptGuest("a folder has too many names")
                    yield name.decode("utf-8", "surrogateescape"), number

    def child(self, folder: Node, name: str) -> Node | None:
        """Return what a name stands for."""
        number = self.entries(folder).get(name)
        return None if number is None else self._node(number)

    def read(self, node: Node, most: int) -> bytes:
        """Return the content of a file."""
        return self._content(self._inode(node.number), most)

    def target(self, node: Node) -> str:
        """Return where a link points to."""
        inode = self._inode(node.number)
        if inode.size > limits.MOST_NAME:
            raise CorruptGuest(f"a link has {inode.size} bytes")
        fast = inode.size < 60 and not inode.flags & (_EXTENTS | _INLINE)
        raw = inode.block[: inode.size] if fast else self._content(inode, limits.MOST_NAME)
        return raw.decode("utf-8", "surrogateescape")

    def attribute(self, node: Node, name: str) -> bytes | None:
        """Return an extended attribute."""
        return self._attributes(self._inode(node.number)).get(name)

    def _attributes(self, inode: _Inode) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        if self._inode_size > 132:
            begin = 128 + struct.unpack_from("<H", inode.raw, 128)[0]
            if begin + 4 <= self._inode_size and begin % 4 == 0:
                area = inode.raw[begin:]
                if struct.unpack_from("<I", area)[0] == _XATTR_MAGIC:
                    found.update(_attributes(area, 4, 4))
        if inode.attributes_block:
            block = self._read(inode.attributes_block)
            if struct.unpack_from("<I", block)[0] == _XATTR_MAGIC:
                found.update(_attributes(block, 32, 0))
        return found


def _attributes(area: bytes, at: int, values: int) -> Iterator[tuple[str, bytes]]:
    """Yield the attributes of an area; values are counted from byte `values` of it."""
    while at + 16 <= len(area) and area[at]:
        length, index, place, inode, size = struct.unpack_from("<BBHII", area, at)
        name = area[at + 16 : at + 16 + length].decode("ascii", "replace")
        begin = values + place
        if not inode and begin + size <= len(area):
            yield _PREFIXES.get(index, "") + name, area[begin : begin + size]
        at += 16 + -(-length // 4) * 4


def _has_super(group: int) -> bool:
    """Whether a group has a copy of the superblock, with the feature sparse_super."""
    if group < 2:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False
