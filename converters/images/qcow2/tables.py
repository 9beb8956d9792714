"""L1 and L2 tables of qcow2: where the clusters are in the file."""

from __future__ import annotations

import array
import functools
import struct
import sys
import threading
from collections.abc import Iterator

from converters.errors import CorruptImage
from converters.images.layers import ImageBytes, Run, State, Unit
from converters.images.qcow2.header import Header
from converters.images.qcow2.packing import Clusters

_OFFSET = 0x00FF_FFFF_FFFF_FE00  # bits 9 to 55
_PACKED = 1 << 62
_READS_ZERO = 1
_KEPT_BYTES = 1 << 20  # of tables, as the file has them; five times that in memory
_SUBCLUSTERS = 32
_ALL = (1 << _SUBCLUSTERS) - 1

# State and place of a part of a cluster; PACKED keeps the entry in place of the place.
_Part = tuple[State, int]


class ClusterTables:
    """The layer of a qcow2 image: its active state, not its internal snapshots."""

    def __init__(self, image: ImageBytes, header: Header) -> None:
        self._image = image
        self._header = header
        self._packing = Clusters(header.cluster_bits, header.compression)
        self.capacity_bytes = header.capacity_bytes
        self._lock = threading.Lock()
        kept = max(_KEPT_BYTES // header.cluster_bytes, 2)
        self._l2 = functools.lru_cache(maxsize=min(kept, 64))(self._read_l2)
        span = header.cluster_bytes * header.l2_entries
        count = -(-header.capacity_bytes // span)
        self._span = span
        self._l1 = array.array("Q", image.read_at(header.l1_place, count * 8))
        if sys.byteorder == "little":
            self._l1.byteswap()

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield the runs of `[start, end)`: neighbouring clusters are one run."""
        cluster, span = self._header.cluster_bytes, self._span
        while start < end:
            index = start // span
            place = self._l1[index] & _OFFSET
            high = min((index + 1) * span, end)
            if not place:
                while high < end and not self._l1[high // span] & _OFFSET:
                    high = min(high + span, end)
                yield Run(start, high - start, State.ABSENT)
            else:
                with self._lock:
                    table = self._l2(place, index)
                base = index * span
                first, last = (start - base) // cluster, -(-(high - base) // cluster)
                find = self._subclusters if self._header.extended else self._clusters
                for run in find(table, first, last, base):
                    low, stop = max(run.offset, start), min(run.end, high)
                    if low < stop:
                        yield run if (low, stop) == (run.offset, run.end) else run.part(low, stop)
            start = high

    def _clusters(self, table: tuple[int, ...], first: int, last: int, base: int) -> Iterator[Run]:
        cluster = self._header.cluster_bytes
        at = first
        while at < last:
            entry = table[at]
            state, place = self._meaning(entry)
            until = at + 1
            if state is State.STORED:
                # The flag in bit 63 may differ between neighbours; bits 0 and 62 may not.
                following = place + cluster
                while until < last and self._meaning(table[until]) == (state, following):
                    until += 1
                    following += cluster
            elif state is not State.PACKED:
                while until < last and self._meaning(table[until])[0] is state:
                    until += 1
            yield from self._found(base + at * cluster, (until - at) * cluster, state, place)
            at = until

    def _subclusters(
        self, table: tuple[int, ...], first: int, last: int, base: int
    ) -> Iterator[Run]:
        cluster = self._header.cluster_bytes
        step = cluster // _SUBCLUSTERS
        for at in range(first, last):
            entry, bits = table[2 * at], table[2 * at + 1]
            offset, place = base + at * cluster, entry & _OFFSET
            if entry & _PACKED:
                yield from self._found(offset, cluster, State.PACKED, entry)
                continue
            allocated, zero = bits & _ALL, bits >> _SUBCLUSTERS
            if allocated & zero or (allocated and not place):
                raise CorruptImage(
                    file=self._image.name, field="subcluster bitmap", value=bits,
                    expected="no subcluster both allocated and zero",
                )  # fmt: skip
            number = 0
            while number < _SUBCLUSTERS:
                state = _subcluster_state(allocated, zero, number)
                until = number + 1
                while until < _SUBCLUSTERS and _subcluster_state(allocated, zero, until) is state:
                    until += 1
                yield from self._found(
                    offset + number * step, (until - number) * step, state, place + number * step
                )
                number = until

    def _meaning(self, entry: int) -> _Part:
        if entry & _PACKED:
            return State.PACKED, entry
        if entry & _READS_ZERO and self._header.version >= 3:
            return State.ZERO, 0
        place = entry & _OFFSET
        return (State.STORED, place) if place else (State.ABSENT, 0)

    def _found(self, offset: int, length: int, state: State, place: int) -> Iterator[Run]:
        """Yield the run for a state and place of the file; what is behind its end is zero."""
        if state is State.PACKED:
            at, most = self._packing.place(place)
            yield Run(offset, length, state, self._image, at, Unit(self._packing, place, most))
        elif state is State.STORED:
            size = self._image.size_bytes
            # The last cluster of a file need not be written to its end.
            inside = min(length, size - place)
            if inside <= 0 or length - inside >= self._header.cluster_bytes:
                raise CorruptImage(
                    file=self._image.name, offset=size, field="L2 entry", value=place,
                    expected=f"a place for {length} bytes within the file's {size}",
                    hint="it was cut short, or is damaged: fetch it again",
                )  # fmt: skip
            yield Run(offset, inside, state, self._image, place)
            if inside < length:
                yield Run(offset + inside, length - inside, State.ZERO)
        else:
            yield Run(offset, length, state)

    def _read_l2(self, place: int, index: int) -> tuple[int, ...]:
        cluster = self._header.cluster_bytes
        if place % cluster or place + cluster > self._image.size_bytes:
            raise CorruptImage(
                file=self._image.name, offset=self._header.l1_place + 8 * index, field="L1 entry",
                value=place,
                expected=f"the start of a cluster within the file's {self._image.size_bytes}",
            )  # fmt: skip
        return struct.unpack(f">{cluster // 8}Q", self._image.read_at(place, cluster))


def _subcluster_state(allocated: int, zero: int, number: int) -> State:
    if allocated >> number & 1:
        return State.STORED
    return State.ZERO if zero >> number & 1 else State.ABSENT
