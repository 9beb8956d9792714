"""Bytes that can be read at any place: a disk, a part of one, or parts in a row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from converters.errors import CorruptGuest
from converters.images.layers import ImageBytes, Run, State, resolve
from converters.opening import Chain


class Device(Protocol):
    """What a partition table, a volume group or a file system is read from."""

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes. Raises CorruptGuest outside of the device."""
        ...


def within(device: Device, offset: int, length: int) -> None:
    """Raise CorruptGuest unless the range lies in the device."""
    if offset < 0 or length < 0 or offset + length > device.size_bytes:
        raise CorruptGuest(
            f"names {length} bytes from byte {offset} on",
            expected=f"a range within {device.size_bytes} bytes",
        )


class ChainDevice:
    """A disk image of any format that `converters.opening` reads, with its parents."""

    def __init__(self, chain: Chain) -> None:
        self._layers = [image.layer for image in chain.images]
        self.size_bytes = chain.images[0].capacity_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes that the newest image which has them says."""
        within(self, offset, length)
        out = bytearray(length)
        for run in resolve(self._layers, offset, offset + length):
            if run.state is State.ZERO or run.image is None:
                continue
            at = run.offset - offset
            out[at : at + run.length] = _content(run.image, run)
        return bytes(out)


def _content(image: ImageBytes, run: Run) -> bytes:
    if run.state is State.STORED:
        return image.read_at(run.place, run.length)
    assert run.unpack is not None
    return bytes(run.unpack(image, run.place)[run.skip : run.skip + run.length])


class FileDevice:
    """A file that is the device byte for byte: a raw disk, or a view of a partition."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.lseek(self._file, 0, os.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes."""
        within(self, offset, length)
        content = os.pread(self._file, length, offset)
        while len(content) < length:
            more = os.pread(self._file, length - len(content), offset + len(content))
            if not more:
                raise CorruptGuest(f"ends at byte {offset + len(content)}")
            content += more
        return content

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Part:
    """A contiguous part of a device: a partition."""

    def __init__(self, device: Device, start: int, size_bytes: int) -> None:
        within(device, start, size_bytes)
        self._device = device
        self.start = start
        self.size_bytes = size_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of the part."""
        within(self, offset, length)
        return self._device.read_at(self.start + offset, length)


class Segment(NamedTuple):
    """A run of a logical volume: from `start` of the device `device` on."""

    device: Device
    start: int
    size_bytes: int


class Row:
    """Parts of devices one behind the other: a linear logical volume."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            within(segment.device, segment.start, segment.size_bytes)
        self._segments = tuple(segments)
        self.size_bytes = sum(segment.size_bytes for segment in segments)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of the row."""
        within(self, offset, length)
        out, begin = b"", 0
        for segment in self._segments:
            end = begin + segment.size_bytes
            if begin < offset + length and offset < end:
                low, high = max(offset, begin), min(offset + length, end)
                out += segment.device.read_at(segment.start + low - begin, high - low)
            begin = end
        return out
