"""Where things are in a qcow2 image that we write, worked out from the size of the disk alone.

    cluster 0      header
    then           L1 table, refcount table, room for all refcount blocks (a hole until used)
    then           L2 tables and data, in the order in which they are first written

As nothing but the order of data is a choice, an interrupted image can be gone on with: all clusters
below the end of the file are taken.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.images.qcow2 import header as headers

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
L2_ENTRIES = CLUSTER // 8
L2_SPAN = CLUSTER * L2_ENTRIES  # how much of the disk an L2 table covers: 512 MiB
COPIED = 1 << 63  # "refcount is exactly one"
READS_ZERO = 1
_REFCOUNTS = CLUSTER // 2  # of 16 bits in a block
_REFCOUNT_ORDER = 4
_HEADER_BYTES = 112  # with the compression type and its padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Places in bytes."""

    capacity_bytes: int
    l1_entries: int
    l1_place: int
    refcount_table_place: int
    refcount_table_clusters: int
    refcount_blocks_place: int
    first_free: int

    def header(self, *, dirty: bool) -> bytes:
        """Return the header; `dirty` says that the refcounts are not written yet."""
        packed = headers.V2.pack(
            headers.MAGIC, 3, 0, 0, CLUSTER_BITS, self.capacity_bytes, 0, self.l1_entries,
            self.l1_place, self.refcount_table_place, self.refcount_table_clusters, 0, 0,
        )  # fmt: skip
        # Lazy refcounts (a compatible feature) is what makes "dirty" repairable.
        packed += headers.V3.pack(
            headers.DIRTY if dirty else 0, 1, 0, _REFCOUNT_ORDER, _HEADER_BYTES
        )
        return packed.ljust(_HEADER_BYTES, b"\0") + struct.pack(">II", 0, 0)

    def refcounts(self, end: int) -> tuple[bytes, list[tuple[int, bytes]]]:
        """Return the refcount table, and place and content of each block, up to byte `end`.

        All clusters below `end` are taken once, except refcount blocks that are not needed.
        """
        clusters = -(-end // CLUSTER)
        needed = -(-clusters // _REFCOUNTS)
        spare = range(self.refcount_blocks_place // CLUSTER + needed, self.first_free // CLUSTER)
        table = struct.pack(
            f">{needed}Q", *(self.refcount_blocks_place + i * CLUSTER for i in range(needed))
        )
        blocks = []
        for number in range(needed):
            first = number * _REFCOUNTS
            block = bytearray(b"\0\1" * min(clusters - first, _REFCOUNTS)).ljust(CLUSTER, b"\0")
            low, high = max(spare.start, first), min(spare.stop, first + _REFCOUNTS)
            if low < high:
                block[(low - first) * 2 : (high - first) * 2] = bytes((high - low) * 2)
            blocks.append((self.refcount_blocks_place + number * CLUSTER, bytes(block)))
        return table.ljust(self.refcount_table_clusters * CLUSTER, b"\0"), blocks


def plan(capacity_bytes: int) -> Layout:
    """Return the layout for a disk of this size."""
    l1_entries = -(-capacity_bytes // L2_SPAN)
    l1_clusters = -(-l1_entries * 8 // CLUSTER)
    data = -(-capacity_bytes // CLUSTER) + l1_entries
    # The blocks count themselves and the tables, too; one round more settles it.
    blocks = table = 0
    for _ in range(3):
        total = 1 + l1_clusters + table + blocks + data
        blocks = -(-total // _REFCOUNTS)
        table = -(-blocks * 8 // CLUSTER)
    return Layout(
        capacity_bytes=capacity_bytes,
        l1_entries=l1_entries,
        l1_place=CLUSTER,
        refcount_table_place=(1 + l1_clusters) * CLUSTER,
        refcount_table_clusters=table,
        refcount_blocks_place=(1 + l1_clusters + table) * CLUSTER,
        first_free=(1 + l1_clusters + table + blocks) * CLUSTER,
    )
