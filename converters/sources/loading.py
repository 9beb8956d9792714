"""A batch of a layered disk: which bytes of which images fill one buffer, and filling it.

What lies together in an image is read at once; grains that were read together are inflated
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from converters import batching
from converters.checksum import BLOCK
from converters.errors import CorruptImage
from converters.extents import Extent
from converters.images.layers import ImageBytes, Run, State, Unit
from converters.sources.contract import Intake, Part

BUFFER = 1 << 20
_SPAN = BUFFER + (256 << 10)  # of an image, read at once: grains that do not shrink fit, too
_ZEROS = bytes(BLOCK)

_Placed = tuple[int, Run]  # place in the buffer, run


@dataclass(slots=True, eq=False)
class _Span:
    """A part of an image, and the runs that lie in it, in order."""

    image: ImageBytes
    start: int
    end: int
    runs: list[_Placed]


class Loading:
    """A batch: blocks of the disk in one buffer, and the runs that fill them.

    Runs of an image that are at most `gap_bytes` apart are read at once, what is between them, too.
    """

    def __init__(self, intake: Intake, buffer: bytearray, *, gap_bytes: int = 0) -> None:
        self._intake = intake
        self._buffer = buffer
        self._gap_bytes = gap_bytes
        self._areas: list[tuple[int, int, int]] = []  # offset on the disk, in the buffer, length
        self._runs: list[_Placed] = []
        self._loaded = False
        self.filled = 0
        self.settles: list[Extent] = []

    def extend(self, low: int, high: int) -> None:
        """Make room for the blocks of `[low, high)` of the disk."""
        length = high - low
        last = self._areas[-1] if self._areas else None
        if last is not None and last[0] + last[2] == low:
            self._areas[-1] = (last[0], last[1], last[2] + length)
        else:
            self._areas.append((low, self.filled, length))
        self.settles.append(Extent(low, length))
        # The last block of a disk may be shorter; the next area still begins at a whole one.
        self.filled += -(-length // BLOCK) * BLOCK

    def add(self, run: Run) -> None:
        """Add a run that lies in the blocks that were made room for last."""
        low, start, _ = self._areas[-1]
        at = start + run.offset - low
        if self._runs and run.state is State.STORED:
            before, last = self._runs[-1]
            if (
                last.state is State.STORED
                and last.image is run.image
                and last.place + last.length == run.place
                and before + last.length == at
            ):
                self._runs[-1] = (before, last._replace(length=last.length + run.length))
                return
        self._runs.append((at, run))

    def load(self) -> None:
        """Read and unpack everything, unless that was done."""
        if self._loaded:
            return
        self._loaded = True
        view = memoryview(self._buffer)
        filled = 0
        for at, run in self._runs:
            _clear(view, filled, at)
            filled = at + run.length
        _clear(view, filled, self.filled)
        room = bytearray()
        for span in _spans(self._runs, self._gap_bytes):
            at, run = span.runs[0]
            if run.state is State.STORED and len(span.runs) == 1:
                self._read(view[at : at + run.length], span.image, run.place)
                continue
            if len(room) < span.end - span.start:
                room = bytearray(span.end - span.start)
            held = memoryview(room)[: span.end - span.start]
            self._read(held, span.image, span.start)
            self._take(view, span, held)

    def parts(self) -> Iterator[Part]:
        """Read and unpack the runs, then yield the buffer."""
        self.load()
        yield self._buffer, self._areas

    def _take(self, view: memoryview, span: _Span, held: memoryview) -> None:
        """Take the runs of a span out of what was read of it."""
        grains: list[_Placed] = []
        held_unit: tuple[Unit, bytes | bytearray] | None = None
        for at, run in span.runs:
            packed = held[run.place - span.start :]
            unit = run.unpack
            if unit is None:
                view[at : at + run.length] = packed[: run.length]
            elif unit.packing.deflated and run.length == unit.packing.unit_bytes:
                if grains and at != grains[-1][0] + run.length:
                    self._inflate(view, span, held, grains)
                    grains = []
                grains.append((at, run))
            else:
                if held_unit is None or held_unit[0] != unit:
                    content = unit.packing.unpack(
                        packed[: unit.most_bytes], unit.number, span.image, run.place
                    )
                    held_unit = (unit, content)
                part = memoryview(held_unit[1])[run.skip : run.skip + run.length]
                view[at : at + run.length] = part
        if grains:
            self._inflate(view, span, held, grains)

    def _inflate(
        self, view: memoryview, span: _Span, held: memoryview, grains: Sequence[_Placed]
    ) -> None:
        """Inflate whole grains that are neighbours in the buffer."""
        places = []
        for _, run in grains:
            assert run.unpack is not None
            base = run.place - span.start
            packed = held[base : base + run.unpack.most_bytes]
            start, size = run.unpack.packing.locate(
                packed, run.unpack.number, span.image, run.place
            )
            places.append((run.offset, base + start, size))
        at, size = grains[0][0], grains[0][1].length
        room = view[at : at + len(grains) * size]
        lengths = batching.inflate_grains(held, places, room, size)
        for (_, run), length in zip(grains, lengths, strict=False):
            if length != size:
                unit = run.unpack
                assert unit is not None
                bad = f"damaged, or more than {size} bytes"
                problem = bad if length == batching.BAD else f"inflates to {length} bytes"
                raise unit.packing.damaged(unit.number, span.image, run.place, problem)

    def _read(self, room: memoryview, image: ImageBytes, place: int) -> None:
        done = 0
        while done < len(room):
            piece = room[done : done + self._intake.piece_bytes]
            image.read_into(piece, place + done)
            done += len(piece)
            self._intake.came_in(len(piece))

    def release(self) -> None:
        """Give the buffer back."""
        self._intake.give_back(self._buffer)


def _spans(runs: Sequence[_Placed], gap_bytes: int) -> list[_Span]:
    """Return what is to be read of the images for these runs, each image from front to back."""
    by_image: dict[int, list[_Placed]] = {}
    for at, run in runs:
        by_image.setdefault(id(run.image), []).append((at, run))
    spans: list[_Span] = []
    for placed in by_image.values():
        placed.sort(key=lambda one: one[1].place)
        last: _Span | None = None
        for at, run in placed:
            start, end = run.place, run.place + _length(run)
            # Runs that are not packed are read where they belong, unless a request costs more.
            joins = run.unpack is not None or gap_bytes > 0
            if (
                last is not None
                and joins
                and start <= last.end + gap_bytes
                and end - last.start <= _SPAN
            ):
                last.end = max(last.end, end)
                last.runs.append((at, run))
            else:
                last = _Span(_image(run), start, end, [(at, run)])
                spans.append(last)
    return spans


def _image(run: Run) -> ImageBytes:
    if run.image is None:
        raise AssertionError("a run with data has an image")
    return run.image


def _length(run: Run) -> int:
    """Return how much of its image a run takes. Raises CorruptImage where that is nothing."""
    if run.unpack is None:
        return run.length
    image = _image(run)
    length = min(run.unpack.most_bytes, image.size_bytes - run.place)
    if length <= 0:
        raise CorruptImage(
            "a table names a place behind the end", file=image.name, offset=run.place
        )
    return length


def _clear(view: memoryview, start: int, end: int) -> None:
    """Zero a part of a buffer that was used before."""
    while start < end:
        step = min(end - start, BLOCK)
        view[start : start + step] = _ZEROS[:step]
        start += step
