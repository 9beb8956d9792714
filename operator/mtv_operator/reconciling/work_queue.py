"""Keys that wait to be reconciled: each at most once, none by two workers, some later."""

from __future__ import annotations

import heapq
import threading
import time
from typing import NamedTuple

from mtv_operator.objects import Key


class Item(NamedTuple):
    """A key, and the controller whose it is."""

    controller: str
    key: Key


class WorkQueue:
    """As client-go's: a key that is put in while it is worked on is worked on again afterwards."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Item, float] = {}  # what waits, and from when on it may be taken
        self._heap: list[tuple[float, Item]] = []
        self._working: set[Item] = set()
        self._closed = False

    def put(self, item: Item, after_s: float = 0.0) -> None:
        """Have an item worked on, not before `after_s`; an earlier date that it has stands."""
        due = time.monotonic() + after_s
        with self._changed:
            if self._closed or self._due.get(item, float("inf")) <= due:
                return
            self._due[item] = due
            heapq.heappush(self._heap, (due, item))
            self._changed.notify()

    def take(self) -> Item | None:
        """Return the next item that is due, as soon as there is one; None when closed."""
        with self._changed:
            while not self._closed:
                item, wait_s = self._next(time.monotonic())
                if item is not None:
                    del self._due[item]
                    self._working.add(item)
                    return item
                self._changed.wait(wait_s)
            return None

    def done(self, item: Item) -> None:
        """Say that an item was worked on."""
        with self._changed:
            self._working.discard(item)
            if item in self._due:
                heapq.heappush(self._heap, (self._due[item], item))
            self._changed.notify()

    def close(self) -> None:
        """Have every `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self, now: float) -> tuple[Item | None, float | None]:
        """Return what may be taken now, or how long nothing can be."""
        while self._heap:
            due, item = self._heap[0]
            stale = self._due.get(item) != due or item in self._working
            if not stale and due > now:
                return None, due - now
            heapq.heappop(self._heap)
            if not stale:
                return item, 0.0
        return None, None
