"""Objects and their history: SQLite on disk, encoded bytes in memory, one thread that writes.

One table is both the objects and the history: each write appends a row whose key is its revision;
an object is the newest row of its name. Requests stage writes on the event loop, where revisions
are given out; the writer thread takes all that wait and commits them in one transaction with one
fsync. Only then are they visible to readers and watchers, and acknowledged. A write that follows
on one that is still on its way sees it (`head`). When a commit fails, everything staged since is
refused and `head` falls back to what is on disk.

Everything but the writer runs on the event loop's thread, so nothing here is locked.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from mtv_operator.embedded.apiserver import status

log = logging.getLogger(__name__)

HISTORY_ROWS = 10_000  # on disk; what a watch may reach back
HISTORY_BYTES = 48 << 20
RECENT_BYTES = 2 << 20  # of the history, kept in memory
BATCH = 256  # writes in one transaction
ROWS = 32  # writes in one statement; there is a prepared one for each number
PRUNE = 256  # rows deleted at once
CHECKPOINT_PAGES = 4000  # 16 MiB of write-ahead log

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY,
    change INTEGER NOT NULL,  -- 0 added, 1 modified, 2 deleted
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

Kind = Literal["ADDED", "MODIFIED", "DELETED"]


class Key(NamedTuple):
    """Where an object lives. `resource` is `pods` or `virtualmachines.kubevirt.io`."""

    resource: str
    namespace: str
    name: str


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """Whom an object belongs to."""

    uid: str = ""
    kind: str = ""
    name: str = ""
    api_version: str = ""
    block_owner_deletion: bool | None = None


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an object's metadata that the server itself looks at often."""

    uid: str = ""
    labels: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    finalizers: tuple[str, ...] | None = None
    deletion_timestamp: str | None = None
    creation_timestamp: str | None = None


class _Peek(msgspec.Struct, frozen=True):
    metadata: Meta


_peek = msgspec.json.Decoder(_Peek).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Entry:
    """One version of an object, encoded. Never changed after it was made."""

    __slots__ = ("_meta", "body", "key", "revision")

    def __init__(self, key: Key, revision: int, body: bytes) -> None:
        self.key = key
        self.revision = revision
        self.body = body
        self._meta: Meta | None = None

    @property
    def meta(self) -> Meta:
        """Return the metadata that is looked at often."""
        if self._meta is None:
            self._meta = _peek(self.body).metadata
        return self._meta

    def document(self) -> dict[str, Any]:
        """Return the object, decoded anew: the caller may change it."""
        document: dict[str, Any] = _decode(self.body)
        return document


@dataclass(slots=True, eq=False)
class Change:
    """What one write did. `previous` is None for a new object, or when it is no longer known."""

    kind: Kind
    entry: Entry
    previous: Entry | None
    line: bytes | None = None  # of a watch, once somebody needed it


_KINDS: tuple[Kind, ...] = ("ADDED", "MODIFIED", "DELETED")


class _Write(NamedTuple):
    entry: Entry
    kind: Kind
    epoch: int
    future: asyncio.Future[Entry]


class _Prune(NamedTuple):
    revisions: tuple[int, ...]
    floor: int


class Table:
    """The objects of one resource, in the order of their names."""

    __slots__ = ("entries", "order", "revision")

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.order: list[tuple[str, str]] = []
        self.revision = 0  # of the last change

    def put(self, entry: Entry) -> None:
        """Add or replace an object."""
        place = entry.key[1:]
        if place not in self.entries:
            bisect.insort(self.order, place)
        self.entries[place] = entry
        self.revision = entry.revision

    def remove(self, key: Key, revision: int) -> None:
        """Take an object away."""
        place = key[1:]
        if self.entries.pop(place, None) is not None:
            del self.order[bisect.bisect_left(self.order, place)]
        self.revision = revision

    def select(self, namespace: str) -> list[Entry]:
        """Return the objects of a namespace, of all when it is ""."""
        entries = self.entries
        if not namespace:
            return [entries[place] for place in self.order]
        start = bisect.bisect_left(self.order, (namespace, ""))
        stop = bisect.bisect_left(self.order, (namespace + "\0", ""))
        return [entries[place] for place in self.order[start:stop]]


Listener = Callable[[Sequence[Change]], None]


class Store:
    """All objects of one API server. Made and used on the event loop's thread."""

    def __init__(self, path: Path) -> None:
        self._connection = _open(path)
        self._tables: dict[str, Table] = {}
        self._overlay: dict[Key, tuple[Entry, bool]] = {}
        self._recent: deque[Change] = deque()
        self._recent_bytes = 0
        self._window: deque[tuple[int, Key, int]] = deque()  # rows of the history, on disk
        self._window_bytes = 0
        self._dead: list[int] = []
        self._listeners: dict[str, list[Listener]] = {}
        self._queue: queue.SimpleQueue[_Write | _Prune | None] = queue.SimpleQueue()
        self._epoch = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.floor = 0  # changes up to this revision are forgotten
        self.revision = 0  # of the newest commit
        self._load()
        self._given = self.revision  # the newest revision given out
        self._reader = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
        )
        self._reader.execute("PRAGMA cache_size = -200")

    # reading

    def table(self, resource: str) -> Table:
        """Return the committed objects of a resource."""
        found = self._tables.get(resource)
        if found is None:
            found = self._tables[resource] = Table()
        return found

    def tables(self) -> list[str]:
        """Return the names of all resources that have, or had, objects."""
        return list(self._tables)

    def get(self, key: Key) -> Entry | None:
        """Return the committed version of an object."""
        table = self._tables.get(key.resource)
        return table.entries.get(key[1:]) if table else None

    def head(self, key: Key) -> Entry | None:
        """Return the newest version, committed or on its way: what a write builds upon."""
        staged = self._overlay.get(key)
        if staged is not None:
            return None if staged[1] else staged[0]
        return self.get(key)

    def head_keys(self, resource: str, namespace: str = "") -> list[Key]:
        """Return the names in use, with those whose creation is on its way."""
        keys = {entry.key for entry in self.table(resource).select(namespace)}
        for key, (_, deleted) in self._overlay.items():
            if key.resource == resource and namespace in ("", key.namespace):
                (keys.discard if deleted else keys.add)(key)
        return sorted(keys)

    def history(self, resource: str, after: int) -> list[Change] | None:
        """Return what happened to a resource after a revision; None when that is forgotten."""
        if after < self.floor:
            return None
        if self._recent and self._recent[0].entry.revision <= after + 1:
            found = []
            for change in reversed(self._recent):
                if change.entry.revision <= after:
                    break
                if change.entry.key.resource == resource:
                    found.append(change)
            return found[::-1]
        if after >= self.revision:
            return []
        return list(self._history_on_disk(resource, after))

    def _history_on_disk(self, resource: str, after: int) -> Iterable[Change]:
        known: dict[Key, Entry] = {}
        rows = self._reader.execute(
            "SELECT revision, change, namespace, name, body FROM log"
            " WHERE revision > ? AND revision <= ? AND resource = ? ORDER BY revision",
            (after, self.revision, resource),
        )
        for revision, change, namespace, name, body in rows:
            key = Key(resource, namespace, name)
            entry = Entry(key, revision, body)
            yield Change(_KINDS[change], entry, known.get(key) if change else None)
            known[key] = entry

    # changing

    def stage(
        self, key: Key, document: dict[str, Any], *, deleted: bool = False
    ) -> asyncio.Future[Entry]:
        """Give the object a revision and send it to the disk; the result is there once it is.

        `document` is what replaces `head(key)`; with `deleted`, the last state of an object that
        goes. Raises Refusal (500) from the future when the disk refuses.
        """
        assert self._loop is not None
        before = self.head(key)
        kind: Kind = "DELETED" if deleted else "MODIFIED" if before else "ADDED"
        if before is not None:
            key = before.key  # one for all versions: there are many
        self._given += 1
        document["metadata"]["resourceVersion"] = str(self._given)
        entry = Entry(key, self._given, _encode(document))
        self._overlay[key] = (entry, deleted)
        future: asyncio.Future[Entry] = self._loop.create_future()
        self._queue.put(_Write(entry, kind, self._epoch, future))
        return future

    def listen(self, resource: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each batch of changes of a resource ("": of all); return the end."""
        self._listeners.setdefault(resource, []).append(listener)
        return lambda: self._listeners[resource].remove(listener)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to write."""
        self._loop = loop
        self._thread = threading.Thread(target=self._write, name="storage-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was staged, and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._reader.close()
        self._connection.close()

    # the event loop's side of a commit

    def _committed(self, writes: Sequence[_Write]) -> None:
        changes = [self._apply(write) for write in writes]
        self.revision = writes[-1].entry.revision
        self._trim()
        self._publish(changes)
        for write in writes:
            if not write.future.done():
                write.future.set_result(write.entry)

    def _apply(self, write: _Write) -> Change:
        entry, key = write.entry, write.entry.key
        staged = self._overlay.get(key)
        if staged is not None and staged[0] is entry:
            del self._overlay[key]
        table = self.table(key.resource)
        previous = table.entries.get(key[1:])
        if write.kind == "DELETED":
            table.remove(key, entry.revision)
        else:
            table.put(entry)
        if previous is not None and previous.revision <= self.floor:
            self._dead.append(previous.revision)
        change = Change(write.kind, entry, previous)
        self._remember(change)
        return change

    def _remember(self, change: Change) -> None:
        entry = change.entry
        self._recent.append(change)
        self._recent_bytes += len(entry.body)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft().entry.body)
        self._window.append((entry.revision, entry.key, len(entry.body)))
        self._window_bytes += len(entry.body)

    def _trim(self) -> None:
        """Forget the oldest changes once there are too many; their rows go from the disk."""
        while len(self._window) > HISTORY_ROWS or self._window_bytes > HISTORY_BYTES:
            revision, key, size = self._window.popleft()
            self._window_bytes -= size
            self.floor = revision
            current = self.get(key)
            if current is None or current.revision != revision:
                self._dead.append(revision)
        if len(self._dead) >= PRUNE:
            self._queue.put(_Prune(tuple(self._dead), self.floor))
            self._dead = []

    def _publish(self, changes: Sequence[Change]) -> None:
        for listener in tuple(self._listeners.get("", ())):
            listener(changes)
        if len(changes) == 1:
            resource = changes[0].entry.key.resource
            for listener in tuple(self._listeners.get(resource, ())):
                listener(changes)
            return
        by_resource: dict[str, list[Change]] = {}
        for change in changes:
            by_resource.setdefault(change.entry.key.resource, []).append(change)
        for resource, own in by_resource.items():
            for listener in tuple(self._listeners.get(resource, ())):
                listener(own)

    def _failed(self, writes: Sequence[_Write], error: Exception) -> None:
        if writes and writes[0].epoch == self._epoch:
            self._epoch += 1
            self._overlay.clear()
        for write in writes:
            if not write.future.done():
                write.future.set_exception(status.internal(f"cannot write to disk: {error}"))

    # the writer's thread

    def _write(self) -> None:
        assert self._loop is not None
        refused_epoch = -1
        running = True
        while running:
            items = [self._queue.get()]
            while len(items) < BATCH:
                try:
                    items.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            running = None not in items
            writes = [item for item in items if isinstance(item, _Write)]
            prunes = [item for item in items if isinstance(item, _Prune)]
            stale = [write for write in writes if write.epoch == refused_epoch]
            fresh = [write for write in writes if write.epoch != refused_epoch]
            if stale:
                self._report(self._failed, stale, OSError("an earlier write failed"))
            try:
                self._commit(fresh, prunes)
            except (sqlite3.Error, OSError) as error:
                log.error("cannot write to disk: %s", error)
                if fresh:
                    refused_epoch = fresh[0].epoch
                    self._report(self._failed, fresh, error)
            else:
                if fresh:
                    self._report(self._committed, fresh)

    def _report(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("no one waits for the last commit")

    def _commit(self, writes: Sequence[_Write], prunes: Sequence[_Prune]) -> None:
        """Write a batch in one transaction, of few statements: each gives the GIL away."""
        if not writes and not prunes:
            return
        connection = self._connection
        if len(writes) <= ROWS and not prunes:
            self._insert(writes)  # a statement of its own is a transaction of its own
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(writes), ROWS):
                self._insert(writes[start : start + ROWS])
            for prune in prunes:
                numbers = ",".join(map(str, prune.revisions))
                connection.execute(f"DELETE FROM log WHERE revision IN ({numbers})")
                connection.execute("REPLACE INTO fact VALUES ('floor', ?)", (prune.floor,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _insert(self, writes: Sequence[_Write]) -> None:
        places = ",".join(itertools.repeat("(?,?,?,?,?,?)", len(writes)))
        values: list[object] = []
        for write in writes:
            entry = write.entry
            values += (entry.revision, _KINDS.index(write.kind), *entry.key, entry.body)
        self._connection.execute(f"INSERT INTO log VALUES {places}", values)

    # starting

    def _load(self) -> None:
        connection = self._connection
        row = connection.execute("SELECT value FROM fact WHERE name = 'floor'").fetchone()
        self.floor = row[0] if row else 0
        heads: dict[Key, tuple[int, int]] = {}
        for revision, change, *place, size in connection.execute(
            "SELECT revision, change, resource, namespace, name, length(body) FROM log"
            " ORDER BY revision"
        ):
            key = Key(*place)
            previous = heads.get(key)
            if previous is not None and previous[0] <= self.floor:
                self._dead.append(previous[0])
            heads[key] = (revision, change)
            self.revision = revision
            if revision > self.floor:
                self._window.append((revision, key, size))
                self._window_bytes += size
            elif change == 2:
                self._dead.append(revision)
        self._load_bodies(
            {revision: key for key, (revision, change) in heads.items() if change != 2}
        )

    def _load_bodies(self, wanted: dict[int, Key]) -> None:
        revisions = sorted(wanted)
        for start in range(0, len(revisions), 500):
            numbers = ",".join(map(str, revisions[start : start + 500]))
            for revision, body in self._connection.execute(
                f"SELECT revision, body FROM log WHERE revision IN ({numbers}) ORDER BY revision"
            ):
                self.table(wanted[revision].resource).put(Entry(wanted[revision], revision, body))


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA cache_size = -2000")
    connection.executescript(_SCHEMA)
    return connection
