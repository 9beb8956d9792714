"""What is said of the domain, to all who wait for news; a copy lies beside the socket."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mtv_operator.virt_launcher.protocol import STATE_FILE, Domain

log = logging.getLogger(__name__)


class KeptState:
    """The one `Domain` of a launcher. May be used from any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE_FILE
        self._changed = threading.Condition()
        self._domain = Domain()

    @property
    def domain(self) -> Domain:
        """Return the state as last seen."""
        return self._domain

    def note(self, **changes: object) -> None:
        """Replace fields of the state."""
        self.update(lambda domain: msgspec.structs.replace(domain, **changes))

    def update(self, change: Callable[[Domain], Domain]) -> None:
        """Replace the state by what `change` makes of it; tell and write it if it differs."""
        with self._changed:
            new = change(self._domain)
            if new == self._domain:
                return
            self._domain = msgspec.structs.replace(new, sequence=self._domain.sequence + 1)
            self._write()
            self._changed.notify_all()

    def wait_for_change(self, sequence: int, timeout_s: float) -> Domain | None:
        """Return the state once it is newer than `sequence`; None after `timeout_s`."""
        with self._changed:
            newer = self._changed.wait_for(lambda: self._domain.sequence > sequence, timeout_s)
            return self._domain if newer else None

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(self._domain))
            temporary.replace(self._path)
        except OSError as fault:
            log.warning("the state cannot be kept in %s: %s", self._path, fault)


def now() -> str:
    """Return the time as Kubernetes writes its MicroTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
