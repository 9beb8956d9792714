"""A disk whose images are local files: any format that has tables, any chain of deltas.

The feed only looks up where things are; workers read and unpack, so that a disk of small pieces is
read by all cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.checksum import BLOCK
from converters.errors import CorruptImage
from converters.extents import Extent, Kind
from converters.images.layers import ImageBytes, Layer, Run, State, resolve
from converters.sources.contract import Batch, Capabilities, Intake, Part, ZeroBatch

_BUFFER = 1 << 20
_ZEROS = bytes(BLOCK)
# Deflate packs at most 1032 to 1; an image that names more than that of its bytes is a bomb.
_MOST_UNPACKED = 1100
_SLACK = 4 << 20  # a last grain may be cut short in the file


class LayeredDisk:
    """The disk that a chain of layers makes, the newest first. Their files are its opener's."""

    block_bytes = BLOCK

    def __init__(self, layers: Sequence[Layer], *, name: str) -> None:
        self.name = name
        self.layers = tuple(layers)
        self.capacity_bytes = layers[0].capacity_bytes
        self.capabilities = Capabilities(seekable=True, buffer_bytes=_BUFFER)

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return one feed."""
        return [self._feed(wanted, intake)]

    def _feed(self, wanted: Sequence[Extent], intake: Intake) -> Iterator[Batch]:
        loading: _Loading | None = None
        tally = _Tally()
        for area in wanted:
            settled = area.offset
            for piece in self._pieces(area, tally, intake):
                if piece.offset < settled and loading is not None:
                    # Its first block is in the buffer already.
                    loading.add(piece.part(piece.offset, min(piece.end, settled)))
                    if piece.end <= settled:
                        continue
                    piece = piece.part(settled, piece.end)
                low = piece.offset // BLOCK * BLOCK
                high = min(-(-piece.end // BLOCK) * BLOCK, area.end)
                if loading is None or loading.filled + high - low > _BUFFER:
                    if loading is not None:
                        yield loading
                    loading = _Loading(intake, intake.take_buffer())
                if settled < low:
                    loading.settles.append(Extent(settled, low - settled, Kind.ZERO))
                loading.extend(low, high)
                loading.add(piece)
                settled = high
            if settled < area.end:
                rest = Extent(settled, area.end - settled, Kind.ZERO)
                if loading is None:
                    yield ZeroBatch([rest])
                else:
                    loading.settles.append(rest)
        if loading is not None:
            yield loading

    def _pieces(self, area: Extent, tally: _Tally, intake: Intake) -> Iterator[Run]:
        """Yield the runs that have data, cut so that each fits into a buffer."""
        for run in resolve(self.layers, area.offset, area.end):
            if run.state is State.ZERO:
                intake.wait(0)  # an empty disk of many tables can be cancelled, too
                continue
            tally.count(run)
            at = run.offset
            while at < run.end:
                end = min((at // _BUFFER + 1) * _BUFFER, run.end)
                yield run.part(at, end)
                at = end

    def data_runs(self) -> Iterator[Run]:
        """Yield all runs that have data, as `info` counts them."""
        tally = _Tally()
        for run in resolve(self.layers, 0, self.capacity_bytes):
            if run.state is not State.ZERO:
                tally.count(run)
                yield run

    def interrupt(self) -> None:
        """Reads of a file do not wait for anybody."""

    def close(self) -> None:
        """Nothing is held."""


class _Tally:
    """Counts what an image gives, so that a small file cannot fill a target."""

    def __init__(self) -> None:
        self._counts: dict[tuple[ImageBytes | None, State], int] = {}

    def count(self, run: Run) -> None:
        """Count a run. Raises CorruptImage when the image names more than it can hold."""
        key = (run.image, run.state)
        total = self._counts[key] = self._counts.get(key, 0) + run.length
        if run.image is None:
            return
        ratio = 1 if run.state is State.STORED else _MOST_UNPACKED
        most = ratio * run.image.size_bytes + _SLACK
        if total > most:
            raise CorruptImage(
                file=run.image.name, offset=run.place, field="number of bytes that its tables name",
                value=total, expected=f"at most {most}, as the file has {run.image.size_bytes}",
                hint="parts of the disk share the same place: the image is damaged or malicious",
            )  # fmt: skip


class _Loading:
    """A batch: blocks of the disk in one buffer, and the runs that fill them."""

    def __init__(self, intake: Intake, buffer: bytearray) -> None:
        self._intake = intake
        self._buffer = buffer
        self._areas: list[tuple[int, int, int]] = []  # offset on the disk, in the buffer, length
        self._runs: list[tuple[int, Run]] = []  # place in the buffer, run
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

    def parts(self) -> Iterator[Part]:
        """Read and unpack the runs, then yield the buffer."""
        self._fill()
        yield self._buffer, self._areas

    def _fill(self) -> None:
        view = memoryview(self._buffer)
        filled = 0
        unit: bytes | bytearray = b""
        unpacked: object = None
        for at, run in self._runs:
            _clear(view, filled, at)
            filled = at + run.length
            if run.image is None:
                raise AssertionError("a run with data has an image")
            if run.state is State.STORED:
                self._read(view[at:filled], run.image, run.place)
                continue
            if run.unpack is None:
                raise AssertionError("a packed run has an unpacker")
            if unpacked != (run.image, run.place):
                unit = run.unpack(run.image, run.place)
                unpacked = (run.image, run.place)
                self._intake.came_in(len(unit))
            view[at:filled] = memoryview(unit)[run.skip : run.skip + run.length]
        _clear(view, filled, self.filled)

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


def _clear(view: memoryview, start: int, end: int) -> None:
    """Zero a part of a buffer that was used before."""
    while start < end:
        step = min(end - start, BLOCK)
        view[start : start + step] = _ZEROS[:step]
        start += step
