"""Notices when processes end that are nobody's children here: one thread, one pidfd each."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from types import TracebackType

from mtv_operator.embedded.node import processes
from mtv_operator.embedded.node.processes import Identity


class Endings:
    """Calls `ended(owner)` when a process that was given to `watch` ends."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self.ended = ended
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._watched: dict[Identity, int] = {}
        self._thread = threading.Thread(target=self._run, name="endings", daemon=True)
        self._stopped = False

    def __enter__(self) -> Endings:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        os.write(self._wake_write, b"x")
        self._thread.join(10.0)

    def watch(self, identity: Identity, owner: str) -> None:
        """Watch a process once; one that has ended already is reported at once."""
        with self._lock:
            if identity in self._watched:
                return
            descriptor = processes.open_pidfd(identity)
            if descriptor is not None:
                self._watched[identity] = descriptor
                self._selector.register(descriptor, selectors.EVENT_READ, (identity, owner))
        if descriptor is None:
            self.ended(owner)

    def _run(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select():  # epoll sees what `watch` adds meanwhile
                if key.fd == self._wake_read:
                    os.read(self._wake_read, 64)
                    continue
                identity, owner = key.data
                with self._lock:
                    self._selector.unregister(key.fd)
                    os.close(self._watched.pop(identity))
                self.ended(owner)
