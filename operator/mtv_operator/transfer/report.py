"""What others see of a transfer: its status, patched once a second, and events.

The copy never waits for the API server: a thread sends the newest state, and a failure is tried
again with the next. Only the end is insisted on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from mtv import errors
from mtv.api import conditions
from mtv.api.meta import Condition
from mtv.api.mtv import DiskTransfer
from mtv_operator.objects import Client

log = logging.getLogger(__name__)

EVERY_S = 0.9  # a little less than the second in which something must be seen
_JOIN_S = 5.0
_CONFLICTS = 10
_RATE_OVER_S = 5.0


class StatusWriter(Protocol):
    """Where the state of a transfer is written to. Calls raise MigrationError."""

    def patch(self, status: Mapping[str, Any]) -> None:
        """Change these fields of the status; None removes one."""
        ...

    def conclude(
        self,
        status: Mapping[str, Any],
        *,
        new: Sequence[Condition] = (),
        without: Iterable[str] = (),
    ) -> None:
        """Change fields and conditions in one write."""
        ...

    def record(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an event. Never raises."""
        ...


class ApiStatus:
    """The status of a DiskTransfer in the API server."""

    def __init__(self, client: Client, transfer: DiskTransfer) -> None:
        self._client = client
        self._transfer = transfer

    def patch(self, status: Mapping[str, Any]) -> None:
        """Change these fields of the status."""
        self._patch({"status": dict(status)})

    def _patch(self, body: Mapping[str, Any]) -> None:
        there = self._transfer.metadata
        self._client.patch(DiskTransfer, there.name, there.namespace, body, subresource="status")

    def conclude(
        self,
        status: Mapping[str, Any],
        *,
        new: Sequence[Condition] = (),
        without: Iterable[str] = (),
    ) -> None:
        """Change fields and conditions in one write; the controller writes conditions, too."""
        there = self._transfer.metadata
        dropped = tuple(without)
        for attempt in range(_CONFLICTS):
            now = self._client.get(DiskTransfer, there.name, there.namespace)
            if now.metadata.uid != there.uid:
                raise errors.NotFound(f"the DiskTransfer {there.name} was replaced by another")
            before = now.status.conditions if now.status else ()
            after = conditions.changed(before, datetime.now(UTC), new=new, without=dropped)
            body = {"status": {**status, "conditions": msgspec.to_builtins(after)}}
            version = {"metadata": {"resourceVersion": now.metadata.resource_version}}
            try:
                self._patch({**version, **body})
            except errors.Conflict:
                if attempt == _CONFLICTS - 1:
                    raise
            else:
                return

    def record(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an event about the DiskTransfer."""
        kind = "Warning" if warning else "Normal"
        self._client.record(self._transfer, reason, message, type=kind, component="mtv-transfer")


class Rate:
    """Bytes per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, count: int, now_s: float) -> int:
        """Return the rate, after `count` bytes in all at this moment."""
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and self._seen[1][0] < now_s - _RATE_OVER_S:
            del self._seen[0]
        since_s, first = self._seen[0]
        elapsed = now_s - since_s
        return int((count - first) / elapsed) if elapsed > 0 else 0


class Reporter:
    """Sends what `look` returns, until it is left. A context manager with a thread of its own.

    `trouble` is why nothing comes from the source at present; it becomes a condition.
    """

    def __init__(
        self,
        writer: StatusWriter,
        look: Callable[[], dict[str, Any]],
        *,
        on_sent: Callable[[dict[str, Any] | None], None] = lambda _: None,
    ) -> None:
        self._writer, self._look, self._on_sent = writer, look, on_sent
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)
        self._sent: dict[str, Any] = {}
        self._failing = False
        self.stale: tuple[str, ...] = ()  # conditions that are no longer so
        self.trouble: Condition | None = None
        self._told: Condition | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._wake.set()
        self._thread.join(_JOIN_S)

    def soon(self) -> None:
        """Send now, not only when the second is over."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            self._send()
            self._wake.wait(max(EVERY_S - (time.monotonic() - began), 0.01))
            self._wake.clear()

    def _send(self) -> None:
        state = self._look()
        try:
            if self.trouble is not self._told:
                self._tell(state)
            elif self.stale:
                self._writer.conclude(state, without=self.stale)
                self.stale = ()
            elif state != self._sent:
                self._writer.patch(state)
        except errors.MigrationError as fault:
            if not self._failing:
                log.warning("the status cannot be written, the copy goes on: %s", fault)
            self._failing = True
            self._on_sent(None)
        else:
            self._failing = False
            self._sent = state
            self._on_sent(state)

    def _tell(self, state: dict[str, Any]) -> None:
        trouble, told = self.trouble, self._told
        if trouble is not None:
            self._writer.conclude(state, new=[trouble])
        elif told is not None:
            self._writer.conclude(state, without=[told.type])
        self._told = trouble
