"""Work on keys that is due now or later, done by a few threads of this node.

For what follows processes and clocks rather than API objects alone: reasons to look at a pod are
its object, the end of a process, a date. The queue is that of the controllers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from mtv_operator.objects import Key
from mtv_operator.reconciling import back_off
from mtv_operator.reconciling.work_queue import Item, WorkQueue

log = logging.getLogger(__name__)

JOIN_S = 10.0


class Pump:
    """Calls `turn(key)`, which returns in how many seconds it wants another turn, if at all."""

    def __init__(self, name: str, turn: Callable[[Key], float | None], workers: int) -> None:
        self.name = name
        self.turn = turn
        self._queue = WorkQueue()
        self._failures: dict[Key, int] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True)
            for index in range(workers)
        ]

    def __enter__(self) -> Pump:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.close()
        for thread in self._threads:
            thread.join(JOIN_S)

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """Ask for a turn; the earliest date wins. From any thread."""
        self._queue.put(Item(self.name, key), after_s)

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            try:
                after_s = self.turn(item.key)
                self._failures.pop(item.key, None)
            except Exception:  # the node goes on with its other pods; this one is tried again
                failed = self._failures[item.key] = self._failures.get(item.key, 0) + 1
                after_s = back_off.delay_s(failed)
                log.exception("%s: tried again in %.1f s", item.key, after_s)
            if after_s is not None:
                self._queue.put(item, after_s)
            self._queue.done(item)
