"""Follows all launchers of the node from one thread: who changes is looked at again.

What a launcher says here is only a hint; whoever is woken by it reads the state itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mtv import errors
from mtv_operator.objects import Key
from mtv_operator.virt_handler import launcher_socket
from mtv_operator.virt_launcher import protocol

log = logging.getLogger(__name__)

CHUNK = 65536
CONNECT_TIMEOUT_S = 2.0
JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Followed:
    pod_uid: str
    key: Key
    connection: socket.socket


class LauncherWatch:
    """One selector for all launchers. `on_change` is called from its thread, and must not block."""

    def __init__(self, on_change: Callable[[Key], None]) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._pods: set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="launchers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        os.write(self._wake_write, b"x")
        self._thread.join(JOIN_S)

    def follow(self, pod_uid: str, path: Path, key: Key) -> None:
        """Have `key` looked at whenever the launcher of a pod says something, or ends.

        A pod that is followed already, or cannot be, is left as it is.
        """
        with self._lock:
            if pod_uid in self._pods:
                return
            self._pods.add(pod_uid)
        try:
            connection = launcher_socket.connect(path, CONNECT_TIMEOUT_S)
            connection.sendall(launcher_socket.encode(protocol.Watch()))
            connection.setblocking(False)
            followed = _Followed(pod_uid, key, connection)
            self._selector.register(connection, selectors.EVENT_READ, followed)
        except (errors.MigrationError, OSError) as fault:
            log.debug("pod %s is not followed: %s", pod_uid, fault)
            with self._lock:
                self._pods.discard(pod_uid)

    def _run(self) -> None:
        while not self._stopping:
            for selected, _ in self._selector.select():
                if isinstance(selected.data, _Followed):
                    self._read(selected.data)
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, CHUNK)

    def _read(self, followed: _Followed) -> None:
        """Take what a launcher says; forget one that has ended."""
        try:
            alive = bool(followed.connection.recv(CHUNK))
        except BlockingIOError:
            return
        except OSError:
            alive = False
        if not alive:
            self._selector.unregister(followed.connection)
            followed.connection.close()
            with self._lock:
                self._pods.discard(followed.pod_uid)
        self._on_change(followed.key)
