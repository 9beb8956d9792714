"""Objects of a kind kept in memory by list and watch, for controllers to read without asking.

    with Caches(client) as caches:
        vms = caches.watch(kubevirt.VirtualMachine)
        vms.on_change(lambda key, vm: loop.enqueue("vm", key))
        caches.start()
        caches.wait_synced(30)

The library's informers are not used: for objects that are not its own models they forget how far
a watch has come, wait five seconds after each error, and cannot be interrupted while they connect.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from mtv import errors
from mtv.api import meta
from mtv_operator.objects import connection
from mtv_operator.objects.client import Client, decoder
from mtv_operator.objects.connection import Stream
from mtv_operator.objects.keys import Key, key_of

log = logging.getLogger(__name__)

T = TypeVar("T", bound=meta.Object)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
JOIN_S = 10.0


class _Event(msgspec.Struct, frozen=True):
    """One line of a watch."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _Version = _Version()


# Made here, and not by the threads that use them: see `client.decoder`.
_events = msgspec.json.Decoder(_Event)
_bookmarks = msgspec.json.Decoder(_Bookmark)


class Cache(Generic[T]):
    """The objects of one kind. Reads never wait; what is read may be some milliseconds old."""

    def __init__(
        self, client: Client, kind: type[T], namespace: str, labels: str, fields: str
    ) -> None:
        self.kind = kind
        self._client, self._namespace = client, namespace
        self._labels, self._fields = labels, fields
        self._lock = threading.Lock()
        self._objects: dict[Key, T] = {}
        self._owned: dict[str, set[Key]] = defaultdict(set)
        self._listeners: list[Callable[[Key, T | None], None]] = []
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"cache-{kind.__name__}")
        self.synced = threading.Event()

    def get(self, namespace: str, name: str) -> T | None:
        """Return an object, or None."""
        return self._objects.get(Key(namespace, name))

    def list(self, namespace: str = "") -> list[T]:
        """Return the objects of a namespace, or all."""
        with self._lock:
            found = list(self._objects.items())
        return [one for key, one in found if not namespace or key.namespace == namespace]

    def by_owner(self, uid: str) -> Sequence[T]:
        """Return the objects that have an owner with this uid."""
        with self._lock:
            keys = self._owned.get(uid, ())
            return [self._objects[key] for key in keys]

    def on_change(self, listener: Callable[[Key, T | None], None]) -> None:
        """Have a function called for each change, from the watching thread; None is deleted.

        Whoever comes late is told of what is there already.
        """
        self._listeners.append(listener)
        for one in self.list():
            listener(key_of(one), one)

    def start(self) -> None:
        """Begin to watch."""
        if not self._thread.ident:
            self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the watching end soon."""
        self._stop.set()
        stream = self._stream
        if stream is not None:
            stream.interrupt()

    def join(self) -> None:
        """Wait for the end of the watching."""
        if self._thread.ident:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        version, pause_s = "", FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                version = version or self._list()
                pause_s = FIRST_PAUSE_S
                version = self._watch(version)
                continue
            except connection.Expired:
                version = ""
                continue
            except errors.NotFound as fault:  # the kind is not defined yet
                log.debug("%s: %s", self.kind.__name__, fault)
            except errors.MigrationError as fault:
                log.info("watch of %s: %s", self.kind.__name__, fault)
                version = ""
            except Exception:  # a thread must not die silently: logged, and begun anew
                log.exception("watch of %s", self.kind.__name__)
                version = ""
            self._stop.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _list(self) -> str:
        """Take over all that is there, and tell what has changed; return its version."""
        found, version = self._client.list_at(
            self.kind, self._namespace, labels=self._labels, fields=self._fields
        )
        fresh = {key_of(one): one for one in found}
        with self._lock:
            gone = [key for key in self._objects if key not in fresh]
        for key in gone:
            self._store(key, None)
        for key, one in fresh.items():
            old = self._objects.get(key)
            if old is None or old.metadata.resource_version != one.metadata.resource_version:
                self._store(key, one)
        self.synced.set()
        return version

    def _watch(self, version: str) -> str:
        """Follow changes until the server ends the watch; return how far it came."""
        stream = self._client.watch(
            self.kind,
            self._namespace,
            resource_version=version,
            labels=self._labels,
            fields=self._fields,
        )
        self._stream = stream
        try:
            for line in stream.lines():
                if self._stop.is_set():
                    break
                version = self._take(_events.decode(line)) or version
        except errors.TargetUnavailable:
            if not self._stop.is_set():
                log.info("the watch of %s broke; it goes on at %s", self.kind.__name__, version)
                self._stop.wait(FIRST_PAUSE_S)
        finally:
            self._stream = None
        return version

    def _take(self, event: _Event) -> str:
        """Take over one event; return the version that it brings, "" for none."""
        if event.type == "ERROR":
            status = connection.statuses.decode(event.object)
            raise connection.error_of(status.code, bytes(event.object), "watch")
        if event.type == "BOOKMARK":
            return _bookmarks.decode(event.object).metadata.resource_version
        try:
            decode: msgspec.json.Decoder[T] = decoder(self.kind)
            one = decode.decode(event.object)
        except msgspec.ValidationError as fault:
            log.error("a %s cannot be understood, and is left out: %s", self.kind.__name__, fault)
            return _bookmarks.decode(event.object).metadata.resource_version
        self._store(key_of(one), None if event.type == "DELETED" else one)
        return one.metadata.resource_version

    def _store(self, key: Key, one: T | None) -> None:
        with self._lock:
            old = self._objects.pop(key, None)
            for uid in _owners(old):
                self._owned[uid].discard(key)
                if not self._owned[uid]:
                    del self._owned[uid]
            if one is not None:
                self._objects[key] = one
                for uid in _owners(one):
                    self._owned[uid].add(key)
        for listener in self._listeners:
            listener(key, one)


def _owners(one: meta.Object | None) -> list[str]:
    return [owner.uid for owner in one.metadata.owner_references] if one is not None else []


class Caches:
    """The caches of one process. Leaving the context ends their threads."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._caches: dict[tuple[type[meta.Object], str, str, str], Cache[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for cache in self._caches.values():
            cache.ask_to_stop()
        for cache in self._caches.values():
            cache.join()

    def watch(
        self, kind: type[T], namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Cache[T]:
        """Return the cache of a kind; asked for twice with the same words, it is the same one."""
        key = (kind, namespace, labels, fields)
        decoder(kind)  # made here, before any thread needs it
        if key not in self._caches:
            self._caches[key] = Cache(self.client, kind, namespace, labels, fields)
        return self._caches[key]

    def start(self) -> None:
        """Begin to watch all kinds that were asked for."""
        for cache in list(self._caches.values()):
            cache.start()

    def wait_synced(self, timeout_s: float) -> None:
        """Wait until every cache has listed once. Raises TargetUnavailable, naming who has not."""
        deadline = time.monotonic() + timeout_s
        for cache in list(self._caches.values()):
            if not cache.synced.wait(max(0.0, deadline - time.monotonic())):
                raise errors.TargetUnavailable(
                    f"{cache.kind.__name__} could not be listed in {timeout_s:.0f} s",
                    hint="is the API server up, and the kind's CustomResourceDefinition applied?",
                )
