"""Extents: parts of a disk, in bytes, half-open. Pure.

Lists of extents are sorted by offset and do not overlap, unless a function says that it makes them
so. Kinds matter to maps only; sets of extents ignore them.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is known about an extent before it is read."""

    DATA = "data"
    ZERO = "zero"  # reads as zeros


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes from `offset` on."""

    offset: int
    length: int
    kind: Kind = Kind.DATA

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length


def whole(capacity_bytes: int) -> list[Extent]:
    """Return the extents of a whole disk: one, or none for an empty disk."""
    return [Extent(0, capacity_bytes)] if capacity_bytes else []


def total(extents: Iterable[Extent]) -> int:
    """Return how many bytes the extents have."""
    return sum(extent.length for extent in extents)


def merge(extents: Iterable[Extent], *, gap: int = 0) -> list[Extent]:
    """Return the extents sorted and joined, also over gaps of up to `gap` bytes.

    The input may be in any order and overlap. Kinds are dropped.
    """
    merged: list[Extent] = []
    for extent in sorted(extents, key=lambda extent: extent.offset):
        if extent.length <= 0:
            continue
        if merged and extent.offset <= merged[-1].end + gap:
            last = merged[-1]
            merged[-1] = Extent(last.offset, max(last.end, extent.end) - last.offset)
        else:
            merged.append(Extent(extent.offset, extent.length))
    return merged


def subtract(extents: Sequence[Extent], holes: Sequence[Extent]) -> list[Extent]:
    """Return the parts of `extents` that no hole covers. O(n + m)."""
    left: list[Extent] = []
    first = 0
    for extent in extents:
        offset = extent.offset
        while first < len(holes) and holes[first].end <= offset:
            first += 1
        at = first
        while at < len(holes) and holes[at].offset < extent.end:
            if holes[at].offset > offset:
                left.append(Extent(offset, holes[at].offset - offset, extent.kind))
            offset = max(offset, holes[at].end)
            at += 1
        if offset < extent.end:
            left.append(Extent(offset, extent.end - offset, extent.kind))
    return left


def intersect(extents: Iterable[Extent], window: Sequence[Extent]) -> Iterator[Extent]:
    """Yield the parts of `extents` that lie in `window`, with the kinds of `extents`. Lazy."""
    starts = [extent.offset for extent in window]
    for extent in extents:
        at = max(bisect.bisect_right(starts, extent.offset) - 1, 0)
        while at < len(window) and window[at].offset < extent.end:
            offset = max(extent.offset, window[at].offset)
            end = min(extent.end, window[at].end)
            if offset < end:
                yield Extent(offset, end - offset, extent.kind)
            at += 1


def split(extents: Iterable[Extent], size: int) -> Iterator[Extent]:
    """Yield the extents cut at each multiple of `size`, so that no piece crosses one."""
    for extent in extents:
        offset = extent.offset
        while offset < extent.end:
            end = min((offset // size + 1) * size, extent.end)
            yield Extent(offset, end - offset, extent.kind)
            offset = end


def align(extents: Iterable[Extent], unit: int, capacity_bytes: int) -> list[Extent]:
    """Return the extents widened to multiples of `unit`, cut at the capacity, and joined."""
    return merge(
        Extent(start, min(-(-extent.end // unit) * unit, capacity_bytes) - start)
        for extent in extents
        if extent.length > 0 and extent.offset < capacity_bytes
        for start in [extent.offset // unit * unit]
    )


class ExtentSet:
    """A set of bytes that grows; neighbours are joined at once. Not thread-safe."""

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        joined = merge(extents)
        self._starts = [extent.offset for extent in joined]
        self._ends = [extent.end for extent in joined]
        self._total = total(joined)

    def add(self, extent: Extent) -> None:
        """Add an extent; what is in already changes nothing."""
        if extent.length <= 0:
            return
        # All extents that touch the new one become one with it.
        low = bisect.bisect_left(self._ends, extent.offset)
        high = bisect.bisect_right(self._starts, extent.end)
        start, end = extent.offset, extent.end
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
            for at in range(low, high):
                self._total -= self._ends[at] - self._starts[at]
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
        self._total += end - start

    @property
    def total_bytes(self) -> int:
        """How many bytes are in."""
        return self._total

    def extents(self) -> list[Extent]:
        """Return the set as a list of extents."""
        return [
            Extent(start, end - start) for start, end in zip(self._starts, self._ends, strict=True)
        ]
