"""The inventory of each Provider, kept current by one thread per Provider.

A thread logs in, pulls, and then waits for changes (`mtv.providers.vsphere`). What it knows is
published as an immutable `View`; readers never wait. A connection that is lost is made anew, with
growing pauses; one that is refused (wrong password, certificate) is tried again every half
minute, because the cause may be mended at the source. A changed Secret starts over at once.

Power operations go through the session of the same thread, so that a Provider costs one login.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Self

from mtv import errors
from mtv.inventory.model import Inventory
from mtv.providers.vsphere import endpoint
from mtv.providers.vsphere.session import Session
from mtv_operator.migration.access import Opens

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
REFUSED_PAUSE_S = 30.0
JOIN_TIMEOUT_S = 10.0
FINGERPRINT_TIMEOUT_S = 10.0


class Phase(StrEnum):
    """How far the thread of a Provider is."""

    CONNECTING = "Connecting"
    LOADED = "Loaded"
    LOST = "Lost"  # was connected, or could not connect; tried again
    REFUSED = "Refused"  # credentials, certificate or address are wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known of one Provider's source. The inventory outlives a lost connection."""

    phase: Phase = Phase.CONNECTING
    inventory: Inventory | None = None
    error: errors.MigrationError | None = None
    revision: int = 0  # grows with each change of the inventory
    fingerprint: str = ""  # SHA-1 of the certificate that the server showed


class Inventories:
    """The threads, by key of their Provider. A context manager; leaving it ends them all.

    `on_change` is called from the threads with the key whose view has changed.
    """

    def __init__(self, on_change: Callable[[str], None] = lambda _key: None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._watchers: dict[str, _Watcher] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def watch(self, key: str, access: Opens) -> None:
        """Have the source of `key` watched; nothing happens if it is, with the same access."""
        with self._lock:
            old = self._watchers.get(key)
            if old is not None and old.access == access and old.alive:
                return
            watcher = _Watcher(key, access, self._on_change)
            self._watchers[key] = watcher
        if old is not None:
            old.stop()
        watcher.start()

    def forget(self, key: str) -> None:
        """End the watching of `key`, if it is watched."""
        with self._lock:
            watcher = self._watchers.pop(key, None)
        if watcher is not None:
            watcher.stop()

    def view(self, key: str) -> View:
        """Return what is known of the source of `key`."""
        with self._lock:
            watcher = self._watchers.get(key)
        return watcher.view if watcher is not None else View()

    def session(self, key: str) -> Session:
        """Return the open session of `key`. Raises SourceUnavailable while there is none."""
        with self._lock:
            watcher = self._watchers.get(key)
        session = watcher.session if watcher is not None else None
        if session is None:
            raise errors.SourceUnavailable(f"the source of provider {key} is not connected")
        return session

    def close(self) -> None:
        """End all threads, and log out."""
        with self._lock:
            watchers, self._watchers = list(self._watchers.values()), {}
        for watcher in watchers:
            watcher.ask_to_stop()
        for watcher in watchers:
            watcher.stop()


class _Watcher:
    """One thread."""

    def __init__(self, key: str, access: Opens, on_change: Callable[[str], None]) -> None:
        self.key = key
        self.access = access
        self.view = View()  # replaced as a whole, so that readers need no lock
        self.session: Session | None = None
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"inventory-{key}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs, or has not been started."""
        return self._thread.is_alive() or not self._thread.ident

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the thread end soon."""
        self._stop.set()

    def stop(self) -> None:
        """Have the thread end, and wait for it."""
        self._stop.set()
        if self._thread.ident and self._thread is not threading.current_thread():
            self._thread.join(JOIN_TIMEOUT_S)
            if self._thread.is_alive():
                _LOG.warning("the inventory thread of %s does not end", self.key)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            revision = self.view.revision
            try:
                self._connect_and_watch()
            except errors.Retryable as fault:
                self._lost(fault)
            except Exception as fault:  # a thread must not die silently: shown, tried again
                known = isinstance(fault, errors.MigrationError)
                if not known:
                    _LOG.exception("inventory of %s", self.key)
                shown = (
                    fault
                    if isinstance(fault, errors.MigrationError)
                    else errors.Bug(f"{type(fault).__name__}: {fault}")
                )
                self._publish(replace(self.view, phase=Phase.REFUSED, error=shown))
                pause_s = REFUSED_PAUSE_S
            if self.view.revision != revision:
                pause_s = FIRST_PAUSE_S
            self._stop.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _connect_and_watch(self) -> None:
        with self.access.open() as session:
            if isinstance(session, Session):  # packages have no power to switch, and no certificate
                self.session = session
                self.view = replace(self.view, fingerprint=_fingerprint(session))
            try:
                session.watch(self._changed, self._stop, on_lost=self._lost)
            finally:
                self.session = None

    def _changed(self, inventory: Inventory) -> None:
        self._publish(
            View(
                phase=Phase.LOADED,
                inventory=inventory,
                revision=self.view.revision + 1,
                fingerprint=self.view.fingerprint,
            )
        )

    def _lost(self, fault: errors.MigrationError) -> None:
        _LOG.info("inventory of %s: %s", self.key, fault)
        self._publish(replace(self.view, phase=Phase.LOST, error=fault))

    def _publish(self, view: View) -> None:
        if not self._stop.is_set():
            self.view = view
            self._on_change(self.key)


def _fingerprint(session: Session) -> str:
    """Return the SHA-1 thumbprint of the server's certificate, as Forklift shows it; "" if lost."""
    where = session.endpoint
    try:
        der = endpoint.presented_certificate(where.host, where.port, FINGERPRINT_TIMEOUT_S)
    except errors.MigrationError:
        return ""
    return endpoint.fingerprint(der, "sha1")
