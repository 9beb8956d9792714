"""One number for the content of a disk, whatever way and in whatever order it was read.

The disk is cut into blocks of 64 KiB (the last may be shorter). A block of zeros counts 0, any
other its XXH3 (64 bits) with the block's index as seed; the checksum is the sum modulo 2**64. So
holes cost nothing, written zeros and holes are the same, blocks may come in any order from any
number of threads, and a part that was copied before a restart keeps its sum.

Sums are also kept per extent of 1 MiB, so that a difference can be located. XXH3 guards against
mistakes, not against malice.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Mapping

import xxhash

BLOCK = 64 * 1024  # a VMDK grain, so that no block has to be put together
EXTENT = 1024 * 1024
ALGORITHM = "xxh3-64k"  # XXH3 of 64 KiB blocks, summed
MASK = (1 << 64) - 1

block_sum = xxhash.xxh3_64_intdigest  # block_sum(buffer, index of the block)


class Sums:
    """The checksum of a disk while it grows, and the sums of its extents. Thread-safe.

    The table takes 8 bytes per MiB of disk, and memory only where the disk has data: its pages are
    those of an anonymous mapping and untouched ones do not exist.
    """

    def __init__(self, capacity_bytes: int, *, total: int = 0) -> None:
        self.capacity_bytes = capacity_bytes
        count = max(-(-capacity_bytes // EXTENT), 1)
        self._table = memoryview(mmap.mmap(-1, count * 8)).cast("Q")
        self._total = total
        self._lock = threading.Lock()

    def add(self, parts: Mapping[int, int]) -> int:
        """Add sums of blocks by extent index; return their sum modulo 2**64."""
        added = 0
        with self._lock:
            for extent, value in parts.items():
                self._table[extent] = (self._table[extent] + value) & MASK
                added += value
            self._total = (self._total + added) & MASK
        return added & MASK

    @property
    def total(self) -> int:
        """The checksum of what was added so far, with what was given at the start."""
        return self._total

    def extent_sum(self, extent: int) -> int:
        """Return the sum of the blocks of the extent with this index, added since the start."""
        return self._table[extent]


def text(total: int) -> str:
    """Return a checksum as people compare it."""
    return f"{total:016x}"
