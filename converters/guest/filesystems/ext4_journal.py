"""The journal of ext3 and ext4, replayed in memory: a disk whose guest runs is read as it was.

Source: the Linux kernel's documentation, "Journal (jbd2)"; `include/linux/jbd2.h` for the tags.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from converters.errors import CorruptGuest, UnsupportedGuest
from converters.guest import limits

_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _REVOKE = 1, 2, 5
_SUPERBLOCKS = (3, 4)
_64BIT, _CSUM_V2, _CSUM_V3, _FAST_COMMIT = 0x2, 0x8, 0x10, 0x20
_KNOWN = 0x1 | _64BIT | 0x4 | _CSUM_V2 | _CSUM_V3 | _FAST_COMMIT
_ESCAPED, _SAME_UUID, _LAST = 0x1, 0x2, 0x8

ReadBlock = Callable[[int], bytes]  # number of a block within the journal -> content


@dataclass(frozen=True, slots=True)
class Written:
    """A block that the journal has newer than the file system does."""

    journal_block: int
    escaped: bool


@dataclass(slots=True)
class _Transaction:
    sequence: int
    blocks: dict[int, Written] = field(default_factory=dict)
    revoked: set[int] = field(default_factory=set)


def replay(read: ReadBlock, block_size: int, length: int) -> dict[int, Written]:
    """Return the file system's blocks that complete transactions of a journal have newer.

    `length` is the size of the journal in blocks. Raises CorruptGuest or UnsupportedGuest.
    """
    head = read(0)
    magic, kind, _ = struct.unpack_from(">III", head)
    if magic != _MAGIC or kind not in _SUPERBLOCKS:
        raise CorruptGuest("the journal has no superblock")
    size, most, first, sequence, start = struct.unpack_from(">IIIII", head, 12)
    features = struct.unpack_from(">I", head, 40)[0] if kind == 4 else 0
    if size != block_size or most > length or not 0 < first < most:
        raise CorruptGuest("the journal's superblock does not fit the file system")
    if features & ~_KNOWN:
        raise UnsupportedGuest(f"the journal has features {features:#x}")
    if not start:
        return {}
    if not first <= start < most:
        raise CorruptGuest(f"the journal begins at block {start} of {most}")
    transactions = list(_transactions(read, features, (first, most, start), sequence))
    revoked: dict[int, int] = {}
    for transaction in transactions:
        for block in transaction.revoked:
            revoked[block] = transaction.sequence
    newest: dict[int, Written] = {}
    for transaction in transactions:
        newest.update(
            (block, written)
            for block, written in transaction.blocks.items()
            if revoked.get(block, -1) < transaction.sequence
        )
    return newest


def _transactions(
    read: ReadBlock, features: int, ring: tuple[int, int, int], sequence: int
) -> Iterator[_Transaction]:
    """Yield the transactions that were committed, the oldest first."""
    first, most, place = ring
    left, blocks = most - first, 0
    current = _Transaction(sequence)

    def step(from_: int) -> int:
        return first if from_ + 1 >= most else from_ + 1

    while left > 0:
        head = read(place)
        magic, kind, number = struct.unpack_from(">III", head)
        if magic != _MAGIC or number != current.sequence:
            return
        place, left = step(place), left - 1
        if kind == _DESCRIPTOR:
            for target, flags in _tags(head, features):
                blocks += 1
                if blocks > limits.MOST_JOURNAL_BLOCKS:
                    raise CorruptGuest("the journal has too many blocks")
                current.blocks[target] = Written(place, bool(flags & _ESCAPED))
                place, left = step(place), left - 1
        elif kind == _REVOKE:
            current.revoked.update(_revoked(head, features))
        elif kind == _COMMIT:
            yield current
            current = _Transaction(current.sequence + 1 & 0xFFFFFFFF)
        else:
            return


def _tags(block: bytes, features: int) -> Iterator[tuple[int, int]]:
    """Yield (block of the file system, flags) of a descriptor."""
    if features & _CSUM_V3:
        size = 16
    else:
        size = 8 + (4 if features & _64BIT else 0) + (2 if features & _CSUM_V2 else 0)
    end = len(block) - (4 if features & (_CSUM_V2 | _CSUM_V3) else 0)
    at = 12
    while at + size <= end:
        if features & _CSUM_V3:
            low, flags, high = struct.unpack_from(">III", block, at)
        else:
            low, flags = struct.unpack_from(">I2xH", block, at)
            high = struct.unpack_from(">I", block, at + 8)[0] if features & _64BIT else 0
        yield (high << 32 if features & _64BIT else 0) | low, flags
        if flags & _LAST:
            return
        at += size + (0 if flags & _SAME_UUID else 16)


def _revoked(block: bytes, features: int) -> Iterator[int]:
    count = min(struct.unpack_from(">I", block, 12)[0], len(block))
    width = 8 if features & _64BIT else 4
    for at in range(16, count - width + 1, width):
        yield int.from_bytes(block[at : at + width], "big")
