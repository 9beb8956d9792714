"""A streamOptimized VMDK that comes as a stream: one feed cuts it into grains, workers inflate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from converters import batching
from converters.checksum import BLOCK
from converters.errors import CorruptImage, SourceBroken
from converters.extents import Extent, Kind
from converters.images.vmdk.header import SECTOR
from converters.images.vmdk.stream import Grain, StreamParser
from converters.sources.byte_stream import ByteStream
from converters.sources.contract import Batch, Capabilities, Intake, Part, ZeroBatch

_BUFFER = 1 << 20
_UNPACKED = 1 << 20  # what is inflated at once: it is still in the cache when it is written
_MOST_BEHIND = 1 << 20  # what is read behind the end marker before it is left alone


class VmdkStream:
    """The disk in a streamOptimized VMDK. The header is read when this is made.

    `settles` of its batches follows the highest grain seen: streams come in the order of the disk.
    A display depends on that, and `Selection`, which checks it. Raises CorruptImage,
    UnsupportedImage or SourceError.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.name = stream.name
        self.parser = StreamParser(stream.name)
        self._first = bytearray(SECTOR)
        self._filled = _fill(stream, self._first, 0)
        _, used = self.parser.parse(self._first, self._filled, last=False)
        if self.parser.header is None:
            self.parser.finish(self._filled - used)
            raise AssertionError("finish() raises when there is no header")
        self.header = self.parser.header
        self.capacity_bytes = self.header.capacity_bytes
        self.block_bytes = min(self.header.grain_bytes, BLOCK)
        self.capabilities = Capabilities(
            seekable=False, buffer_bytes=max(_BUFFER, self.parser.most_record_bytes)
        )
        self.received_bytes = self._filled
        self.disordered = False  # a grain came behind its place on the disk
        self._rooms: list[bytearray] = []

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return the one feed there is; it can be read once."""
        intake.came_in(self._filled)
        return [self._feed(intake)]

    def _feed(self, intake: Intake) -> Iterator[Batch]:
        settled = 0
        left = b""
        last = False
        while not (last or self.parser.ended):
            buffer = intake.take_buffer()
            buffer[: len(left)] = left
            filled, last = self._read(buffer, len(left), intake)
            base = self.parser.position
            grains, used = self.parser.parse(buffer, filled, last=last)
            left = bytes(memoryview(buffer)[used:filled])
            if not grains:
                intake.give_back(buffer)
                continue
            settles = self._settled_by(grains, settled)
            yield _GrainBatch(self, intake, buffer, base, grains, settles)
            settled = settles[-1].end if settles else settled
        self.parser.finish(0 if self.parser.ended else len(left))
        self._drain(intake)
        if settled < self.capacity_bytes:
            yield ZeroBatch([Extent(settled, self.capacity_bytes - settled, Kind.ZERO)])

    def _settled_by(self, grains: Sequence[Grain], settled: int) -> list[Extent]:
        """Return what is known of the disk behind `settled`: grains, and zeros between them."""
        found: list[Extent] = []
        start = at = settled  # of the data that goes on now
        for offset, _, _ in grains:
            if offset > at:
                if at > start:
                    found.append(Extent(start, at - start))
                found.append(Extent(at, offset - at, Kind.ZERO))
                start = offset
            self.disordered |= offset < at
            at = max(at, min(offset + self.header.grain_bytes, self.capacity_bytes))
        if at > start:
            found.append(Extent(start, at - start))
        return found

    def _read(self, buffer: bytearray, filled: int, intake: Intake) -> tuple[int, bool]:
        """Fill the buffer; return how far, and whether the stream has ended."""
        room = memoryview(buffer)
        while filled < len(buffer):
            count = self._stream.readinto(room[filled : filled + intake.piece_bytes])
            if not count:
                return filled, True
            filled += count
            self.received_bytes += count
            intake.came_in(count)
        return filled, False

    def _drain(self, intake: Intake) -> None:
        """Read what follows the end marker, and compare the length with what was announced."""
        rest = bytearray(1 << 16)
        behind = 0
        while count := self._stream.readinto(memoryview(rest)):
            self.received_bytes += count
            behind += count
            intake.came_in(count)
            if behind > _MOST_BEHIND:
                self.parser.warnings.append("something follows the end of the image")
                return
        announced = self._stream.announced_bytes
        if announced is not None and announced != self.received_bytes:
            raise SourceBroken(
                f"{self.received_bytes} bytes came, expected the {announced} that were announced",
                file=self.name,
            )

    @contextlib.contextmanager
    def lent_room(self) -> Iterator[bytearray]:
        """Lend a buffer to inflate into; there are as many as workers use at once."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = bytearray(max(_UNPACKED, self.header.grain_bytes))
        try:
            yield room
        finally:
            self._rooms.append(room)

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        self._stream.interrupt()

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


@dataclass(slots=True, eq=False)
class _GrainBatch:
    """Compressed grains in a buffer that begins at byte `base` of the image."""

    source: VmdkStream
    intake: Intake
    buffer: bytearray
    base: int
    grains: Sequence[Grain]
    settles: Sequence[Extent]

    def parts(self) -> Iterator[Part]:
        """Inflate the grains, some at a time; the last is cut at the capacity of the disk."""
        grain_bytes = self.source.header.grain_bytes
        capacity = self.source.capacity_bytes
        together = max(_UNPACKED // grain_bytes, 1)
        with self.source.lent_room() as room:
            for first in range(0, len(self.grains), together):
                grains = self.grains[first : first + together]
                lengths = batching.inflate_grains(self.buffer, grains, room, grain_bytes)
                pieces = []
                for number, length in enumerate(lengths):
                    offset, start, _ = grains[number]
                    wanted = min(grain_bytes, capacity - offset)
                    # Of the last grain, some write only what lies on the disk, others all of it.
                    if length < wanted:
                        raise self._corrupt(offset, start, length)
                    pieces.append((offset, number * grain_bytes, wanted))
                yield room, pieces

    def _corrupt(self, offset: int, start: int, length: int) -> CorruptImage:
        most = self.source.header.grain_bytes
        damaged = f"damaged, or more than {most} bytes"
        problem = damaged if length == batching.BAD else f"inflates to {length} bytes"
        return CorruptImage(
            f"the grain at sector {offset // SECTOR} {problem}",
            file=self.source.name,
            offset=self.base + start,
            expected=f"a zlib stream of {self.source.header.grain_bytes} bytes",
            hint="the image is damaged: fetch it again",
        )

    def release(self) -> None:
        """Give the buffer back."""
        self.intake.give_back(self.buffer)


def _fill(stream: ByteStream, buffer: bytearray, filled: int) -> int:
    """Read until the buffer is full or the stream ends; return how much is in it."""
    room = memoryview(buffer)
    while filled < len(buffer) and (count := stream.readinto(room[filled:])):
        filled += count
    return filled
