"""A disk as layers: each says where its parts are, and asks the one below for the rest. Pure.

A layer is one image of a chain (a base disk, a snapshot's delta), or several extents side by side.
It maps any range of the disk to runs: stored as they are in a file, packed, zero, or absent here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from converters.extents import Extent


class ImageBytes(Protocol):
    """The bytes of an image, readable at any place."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes. Raises CorruptImage where the file ends before."""
        ...

    def read_into(self, room: memoryview, offset: int) -> None:
        """Fill `room` from `offset` on. Raises as `read_at`."""
        ...

    def data_extents(self, start: int, end: int) -> Iterator[Extent]:
        """Yield where there may be anything but zeros between `start` and `end`."""
        ...


class State(Enum):
    """What a layer knows of a part of the disk."""

    ABSENT = "absent"  # the layer below knows; without one it reads as zeros
    ZERO = "zero"
    STORED = "stored"
    PACKED = "packed"


class Packing(Protocol):
    """How units (grains, clusters) are packed in an image."""

    @property
    def unit_bytes(self) -> int:
        """The size of a unit that is unpacked."""
        ...

    @property
    def deflated(self) -> bool:
        """Whether `locate` finds a zlib stream, so that several can be inflated at once."""
        ...

    def locate(
        self, packed: memoryview, number: int, image: ImageBytes, place: int
    ) -> tuple[int, int]:
        """Return where in `packed` (which is at `place`) the unit's stream begins, and its size."""
        ...

    def damaged(self, number: int, image: ImageBytes, place: int, problem: str) -> Exception:
        """Return the error for a unit that cannot be unpacked."""
        ...

    def unpack(
        self, packed: memoryview, number: int, image: ImageBytes, place: int
    ) -> bytes | bytearray:
        """Return the content of a unit. Raises CorruptImage or UnsupportedImage."""
        ...


@dataclass(frozen=True, slots=True)
class Unit:
    """One packed unit, at most `most_bytes` in its image; `number` is what its format knows."""

    packing: Packing
    number: int
    most_bytes: int

    def __call__(self, image: ImageBytes, place: int) -> bytes | bytearray:
        """Read and unpack it. Raises CorruptImage or UnsupportedImage."""
        packed = image.read_at(place, min(self.most_bytes, image.size_bytes - place))
        return self.packing.unpack(memoryview(packed), self.number, image, place)


class Run(NamedTuple):
    """A part of the disk in one state.

    STORED: its first byte is at `place` of `image`. PACKED: it lies in the unit that
    `unpack(image, place)` returns, from byte `skip` of the unit on.
    """

    offset: int
    length: int
    state: State
    image: ImageBytes | None = None
    place: int = 0
    unpack: Unit | None = None
    skip: int = 0

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length

    def part(self, start: int, end: int) -> Run:
        """Return the part of it between `start` and `end`, which must lie in it."""
        step = start - self.offset
        return self._replace(
            offset=start,
            length=end - start,
            place=self.place + step if self.state is State.STORED else self.place,
            skip=self.skip + step if self.state is State.PACKED else 0,
        )


class Layer(Protocol):
    """One image of a disk."""

    @property
    def capacity_bytes(self) -> int:
        """The size of the disk, as this image says."""
        ...

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield the runs of `[start, end)` in order, without gaps. Both lie in the disk.

        Raises CorruptImage.
        """
        ...


def resolve(layers: Sequence[Layer], start: int, end: int) -> Iterator[Run]:
    """Yield the runs of a chain, its newest layer first; none of them is ABSENT.

    A layer that is shorter than the one above it reads as zeros behind its end.
    """
    known = min(end, layers[0].capacity_bytes) if layers else start
    if start < known:
        for run in layers[0].runs(start, known):
            if run.state is State.ABSENT:
                yield from resolve(layers[1:], run.offset, run.end)
            else:
                yield run
    if max(known, start) < end:
        zeros_from = max(known, start)
        yield Run(zeros_from, end - zeros_from, State.ZERO)


class Nothing:
    """A layer of zeros: an extent of type ZERO."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield one run of zeros."""
        yield Run(start, end - start, State.ZERO)


class Front:
    """The front of a layer: an extent whose header has more than its descriptor gives it."""

    def __init__(self, layer: Layer, length: int) -> None:
        self._layer = layer
        self.capacity_bytes = length

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield the layer's runs."""
        return self._layer.runs(start, end)


class Flat:
    """A layer that is a part of a file, byte for byte. Holes of the file are zeros."""

    def __init__(self, image: ImageBytes, *, start: int, length: int) -> None:
        self.image = image
        self.start = start
        self.capacity_bytes = length

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield data and holes as the file system knows them."""
        at = start
        for data in self.image.data_extents(self.start + start, self.start + end):
            low = data.offset - self.start
            if low > at:
                yield Run(at, low - at, State.ZERO)
            yield Run(low, data.length, State.STORED, self.image, data.offset)
            at = low + data.length
        if at < end:
            yield Run(at, end - at, State.ZERO)


class SideBySide:
    """A layer of several, one behind the other: the extents of a split disk."""

    def __init__(self, parts: Sequence[Layer]) -> None:
        self.parts = tuple(parts)
        self.capacity_bytes = sum(part.capacity_bytes for part in parts)

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield the runs of each part, moved to where the part is."""
        base = 0
        for part in self.parts:
            low, high = max(start - base, 0), min(end - base, part.capacity_bytes)
            if low < high:
                for run in part.runs(low, high):
                    yield run._replace(offset=run.offset + base)
            base += part.capacity_bytes
