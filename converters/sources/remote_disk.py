"""A layered disk whose images are on an HTTP server: read over as many connections as pay.

One feed after the other looks up what is to be read next, and reads it; workers unpack nothing
that has not come. How many feeds are at work is felt for (`http_width`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from converters.extents import Extent
from converters.images.layers import Layer
from converters.sources.contract import Batch, Capabilities, Intake
from converters.sources.http_file import HttpFile
from converters.sources.http_width import MOST, Adaptive
from converters.sources.layered_disk import LayeredDisk
from converters.sources.loading import BUFFER, Loading

_IDLE_S = 0.05


class RemoteDisk(LayeredDisk):
    """The disk that layers in these files make; the files are its opener's."""

    gap_bytes = 256 * 1024  # at 5 ms and 2 Gbit/s, a request costs as much as 1 MiB

    def __init__(
        self, layers: Sequence[Layer], files: Sequence[HttpFile], *, name: str, most: int = MOST
    ) -> None:
        super().__init__(layers, name=name)
        self._files = tuple(files)
        self.width = Adaptive(most=most)
        for file in files:
            file.ranges.width = self.width
        self.capabilities = Capabilities(
            seekable=True, feeds=most, buffer_bytes=BUFFER, direct=True, gap_bytes=self.gap_bytes
        )

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return a feed for each connection; they share the work."""
        self.width.begin()
        shared = _Shared(self._feed(wanted, intake))
        return [self._load(number, shared, intake) for number in range(self.capabilities.feeds)]

    def _load(self, number: int, shared: _Shared, intake: Intake) -> Iterator[Batch]:
        while True:
            while number >= self.width.connections and not shared.ended:
                intake.wait(_IDLE_S)
            batch = shared.take()
            if batch is None:
                return
            if isinstance(batch, Loading):
                batch.load()
            yield batch

    def interrupt(self) -> None:
        """Make reads that wait fail soon."""
        for file in self._files:
            file.interrupt()


class _Shared:
    """Batches that several feeds take from."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._lock = threading.Lock()
        self.ended = False

    def take(self) -> Batch | None:
        """Return the next batch, None at the end."""
        with self._lock:
            batch = None if self.ended else next(self._batches, None)
            self.ended = batch is None
        return batch
