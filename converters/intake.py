"""What the pipeline lends to a source: buffers, the meter, the bandwidth limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from converters.errors import Cancelled

_PIECE = 1 << 20


class Stopping(Protocol):
    """What of a threading.Event is used here."""

    def is_set(self) -> bool:
        """Whether the copy shall end."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait; return whether the copy shall end."""
        ...


class Meter:
    """Counts bytes, and makes those wait who are faster than the limit. Thread-safe."""

    def __init__(
        self,
        limit_bytes_per_s: int,
        stopping: Stopping,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._limit = limit_bytes_per_s
        self._stopping = stopping
        self._lock = threading.Lock()
        self._free_at = clock()
        self.total_bytes = 0

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once: a tenth of a second of the limit."""
        return _PIECE if not self._limit else min(max(self._limit // 10, 4096), _PIECE)

    def count(self, count: int) -> None:
        """Count `count` bytes; wait until the limit allows the next. Raises Cancelled."""
        pause = 0.0
        with self._lock:
            self.total_bytes += count
            if self._limit:
                now = self._clock()
                self._free_at = max(self._free_at, now) + count / self._limit
                pause = self._free_at - now
        if self._stopping.is_set() or (pause > 0 and self._stopping.wait(pause)):
            raise Cancelled


class LentBuffers:
    """An `Intake`: a fixed number of buffers, so that memory is flat whatever the disk."""

    def __init__(
        self,
        *,
        buffer_bytes: int,
        count: int,
        stopping: threading.Event | None = None,
        limit_bytes_per_s: int = 0,
    ) -> None:
        self._stopping = stopping or threading.Event()
        self._buffer_bytes = buffer_bytes
        self._left_to_make = count
        self._free: list[bytearray] = []
        self._changed = threading.Condition()
        self._meter = Meter(limit_bytes_per_s, self._stopping)

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once."""
        return self._meter.piece_bytes

    @property
    def read_bytes(self) -> int:
        """How much came in."""
        return self._meter.total_bytes

    def take_buffer(self) -> bytearray:
        """Return a free buffer; wait for one. Raises Cancelled."""
        with self._changed:
            while not self._free and not self._left_to_make and not self._stopping.is_set():
                self._changed.wait()
            if self._stopping.is_set():
                raise Cancelled
            if self._free:
                return self._free.pop()
            self._left_to_make -= 1
        return bytearray(self._buffer_bytes)

    def give_back(self, buffer: bytearray) -> None:
        """Take a buffer back."""
        with self._changed:
            self._free.append(buffer)
            self._changed.notify()

    def came_in(self, count: int) -> None:
        """Count `count` bytes, within the bandwidth limit. Raises Cancelled."""
        self._meter.count(count)

    def wait(self, seconds: float) -> None:
        """Wait, before a retry. Raises Cancelled."""
        if self._stopping.wait(seconds):
            raise Cancelled

    def wake(self) -> None:
        """Free all who wait for a buffer; `stopping` is set."""
        with self._changed:
            self._changed.notify_all()
