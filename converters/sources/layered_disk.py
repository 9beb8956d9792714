"""A disk whose images are files with tables, of any format, and any chain of deltas of them.

The feed only looks up where things are; workers read and unpack, so that a disk of small pieces is
read by all cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.checksum import BLOCK
from converters.errors import CorruptImage
from converters.extents import Extent, Kind
from converters.images.layers import ImageBytes, Layer, Run, State, resolve
from converters.sources.contract import Batch, Capabilities, Intake, ZeroBatch
from converters.sources.loading import BUFFER, Loading

# Deflate packs at most 1032 to 1; an image that names more than that of its bytes is a bomb.
_MOST_UNPACKED = 1100
_SLACK = 4 << 20  # a last grain may be cut short in the file


class LayeredDisk:
    """The disk that a chain of layers makes, the newest first. Their files are its opener's."""

    block_bytes = BLOCK
    gap_bytes = 0  # what of an image is rather read over than left out

    def __init__(self, layers: Sequence[Layer], *, name: str) -> None:
        self.name = name
        self.layers = tuple(layers)
        self.capacity_bytes = layers[0].capacity_bytes
        self.capabilities = Capabilities(seekable=True, buffer_bytes=BUFFER, direct=True)

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return one feed."""
        return [self._feed(wanted, intake)]

    def _feed(self, wanted: Sequence[Extent], intake: Intake) -> Iterator[Batch]:
        loading: Loading | None = None
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
                if loading is None or loading.filled + high - low > BUFFER:
                    if loading is not None:
                        yield loading
                    buffer = intake.take_buffer()
                    loading = Loading(intake, buffer, gap_bytes=self.gap_bytes)
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
                end = min((at // BUFFER + 1) * BUFFER, run.end)
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
