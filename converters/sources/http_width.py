"""How many connections to a server are worth it: more as long as each more brings bytes.

A server, or the way to it, has a rate that one connection often does not reach (latency, a
scheduler's share for each connection); beyond it, more connections only cost. Nobody announces that
number, and it changes with the load. So it is felt for: one more for a while; if that brought next
to nothing, one less, and after some time again. A server that says that it is busy halves it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST, MOST = 4, 8
_PERIOD_S = 1.0
_GAIN = 1.05  # what another connection must bring
_HOLD = 15  # periods until it is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """A number of connections, and what is known of it."""

    connections: int
    rate: float = 0.0  # of the period before
    grown: bool = False  # for that period
    hold: int = 1  # the first period begins slowly: what it shows is not compared


def decide(width: Width, rate: float, *, most: int, busy: bool = False) -> Width:
    """Return the width of the next period, after one with this rate. Pure."""
    now = width.connections
    if busy:
        return Width(connections=max(now // 2, 1), hold=_HOLD)
    if width.grown and rate < width.rate * _GAIN:
        return Width(connections=now - 1, rate=rate, hold=_HOLD)
    if width.hold or now >= most:
        return Width(connections=now, rate=rate, hold=max(width.hold - 1, 0))
    return Width(connections=now + 1, rate=rate, grown=True, hold=0)


class Adaptive:
    """The width of a copy that runs. Thread-safe."""

    def __init__(
        self, *, first: int = FIRST, most: int = MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self._width = Width(connections=min(first, most))
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._bytes = 0
        self._busy = False

    @property
    def connections(self) -> int:
        """How many connections may be open now."""
        return self._width.connections

    def begin(self) -> None:
        """Begin to measure."""
        with self._lock:
            self._since, self._bytes = self._clock(), 0

    def came(self, count: int) -> None:
        """Note that bytes came."""
        self._bytes += count  # a count that is lost now and then changes nothing
        if self._clock() - self._since >= _PERIOD_S:
            self._next()

    def busy(self) -> None:
        """Note that the server says that it is asked for too much."""
        self._busy = True
        self._next()

    def _next(self) -> None:
        with self._lock:
            now = self._clock()
            passed = now - self._since
            # Several connections hear of it at once when a server is busy; that counts once.
            if passed < _PERIOD_S and not (self._busy and self._width.hold < _HOLD):
                self._busy = False
                return
            rate = self._bytes / max(passed, 1e-9)
            self._width = decide(self._width, rate, most=self.most, busy=self._busy)
            self._since, self._bytes, self._busy = now, 0, False
