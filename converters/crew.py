"""The threads of one copy, and the queue between them.

The first error stops everybody and is the one that is raised. `finish` (no more work) and `abort`
(drop the work) are two words, as in ovirt-imageio's Executor.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from converters.errors import Cancelled

T = TypeVar("T")

_JOIN_S = 10.0  # for threads that hang in the kernel; they are daemons and cannot be killed


class Finished(Exception):
    """The queue is empty and nothing more will come."""


class WorkQueue(Generic[T]):
    """A bounded queue that can be finished or aborted."""

    def __init__(self, size: int) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._finished = False
        self._aborted = False

    def put(self, item: T) -> None:
        """Add an item; wait while the queue is full. Raises Cancelled when it was aborted."""
        with self._changed:
            while len(self._items) >= self._size and not self._aborted:
                self._changed.wait()
            if self._aborted:
                raise Cancelled
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Return an item; wait for one. Raises Finished at the end, Cancelled when aborted."""
        with self._changed:
            while not self._items and not self._finished and not self._aborted:
                self._changed.wait()
            if self._aborted:
                raise Cancelled
            if not self._items:
                raise Finished
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """Say that nothing more will be put."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Drop everything and free all who wait."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()


class SharedFeed(Generic[T]):
    """What looks like a queue to those who take from it, but makes each item when it is asked for.

    No thread fills it, so nobody has to be woken for an item.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._aborted = False
        self._finished = False

    def get(self) -> T:
        """Return the next item. Raises Finished at the end, Cancelled when aborted."""
        with self._lock:
            if self._aborted:
                raise Cancelled
            item = None if self._finished else next(self._items, None)
            if item is None:
                self._finished = True
                raise Finished
            return item

    def finish(self) -> None:
        """Nothing is put here."""

    def abort(self) -> None:
        """Give nothing any more."""
        self._aborted = True


class Crew:
    """Threads that succeed or fail together.

        with Crew(on_stop=source.interrupt) as crew:
            crew.start("reader", read)
            crew.wait()             # raises the first error

    Leaving the block stops and joins them. `on_stop` is called once when they shall end early.
    """

    def __init__(self, *, on_stop: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self._on_stop = on_stop
        self._threads: list[threading.Thread] = []
        self._left = 0
        self._changed = threading.Condition()
        self._error: BaseException | None = None

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Run `work` in a thread of its own."""
        with self._changed:
            self._left += 1
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the border of a thread: it stops the crew
            self.fail(error)
        finally:
            with self._changed:
                self._left -= 1
                self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Stop everybody; the first error given here is the one that is raised."""
        with self._changed:
            if self._error is None:
                self._error = error
            first = not self.stopping.is_set()
            self.stopping.set()
            self._changed.notify_all()
        if first:
            self._on_stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for all threads; return whether they have ended. Raises the first error."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while self._left and self._error is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                # Python delivers signals between waits, so that Ctrl-C is never held up.
                self._changed.wait(1.0 if left is None else min(left, 1.0))
            error = self._error
        if error is not None:
            raise error
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            busy = self._left > 0
        if busy:
            self.fail(Cancelled())
        deadline = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
