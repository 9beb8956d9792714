"""get, list and watch."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mtv import errors
from mtv_operator.embedded.apiserver import rendering, selectors, status
from mtv_operator.embedded.apiserver.exchange import Exchange
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.rendering import Shape
from mtv_operator.embedded.apiserver.requests import Target
from mtv_operator.embedded.apiserver.storage import Change, Entry, Key, Store

BOOKMARK_S = 15.0
WATCH_S = (1800, 3600)  # when the client names no limit, as kube-apiserver
MAX_PENDING = 20_000  # changes that a slow watcher may be behind
KEPT_LISTS = 64  # paged lists that can be continued
KEPT_S = 300.0

Test = Callable[[Entry], bool]


def find(store: Store, served: Served, target: Target) -> Entry:
    """Return the object that a path names. Raises Refusal (404)."""
    entry = store.get(Key(served.table, target.namespace, target.name))
    if entry is None:
        raise status.not_found(served.info.group, served.info.plural, target.name)
    return entry


async def get(exchange: Exchange, store: Store, served: Served, target: Target) -> None:
    """Answer with one object."""
    check_version(exchange.query.text("resourceVersion"), store)
    shape = rendering.choose(exchange, served, many=False)
    await exchange.answer(200, shape.one(find(store, served, target)))


def check_version(text: str, store: Store) -> int:
    """Return the revision that the client asks for, 0 for any. Raises Refusal."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise status.bad_request(f'Invalid value: "{text[:40]}": resource version is no number')
    asked = int(text)
    if asked > store.revision:
        raise status.version_too_large(asked, store.revision)
    return asked


def test_of(exchange: Exchange, served: Served) -> Test | None:
    """Return whether an object fits the selectors of a request; None when all do."""
    label_text = exchange.query.text("labelSelector")
    field_text = exchange.query.text("fieldSelector")
    try:
        by_labels = selectors.parse_labels(label_text) if label_text else None
        by_fields = selectors.parse_fields(field_text) if field_text else None
    except errors.BadInput as error:
        raise status.bad_request(f"unable to parse requirement: {error.message}") from error
    if by_labels is None and by_fields is None:
        return None

    def fits(entry: Entry) -> bool:
        if by_labels is not None and not by_labels(entry.meta.labels or {}):
            return False
        return by_fields is None or by_fields(rendering.shown(entry, served))

    return fits


# lists


@dataclass(frozen=True, slots=True)
class _Rest:
    """What follows the first pages of a list, as it was when the first was asked for."""

    path: str
    entries: Sequence[Entry]
    revision: int
    expires: float


class Lists:
    """Lists that are read page by page: each page is of the same moment."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Rest] = OrderedDict()
        self._salt = random.randbytes(6).hex()
        self._count = 0

    def keep(self, rest: _Rest) -> str:
        """Return the token by which the rest can be asked for."""
        self._count += 1
        name = f"{self._salt}.{self._count}"
        self._kept[name] = rest
        while len(self._kept) > KEPT_LISTS:
            self._kept.popitem(last=False)
        text = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": rest.revision, "list": name})
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    def find(self, token: str, path: str, now: float) -> _Rest:
        """Return the rest that a token stands for. Raises Refusal."""
        try:
            padded = token + "=" * (-len(token) % 4)
            name = msgspec.json.decode(base64.urlsafe_b64decode(padded))["list"]
        except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise status.bad_request("continue key is not valid") from error
        rest = self._kept.get(name)
        if rest is None or rest.expires < now:
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result."
                " You can start a new list without the continue parameter."
            )
        if rest.path != path:
            raise status.bad_request("continue key is not valid: it is of another list")
        return rest


async def list_(
    exchange: Exchange, store: Store, lists: Lists, served: Served, namespace: str
) -> None:
    """Answer with the objects of a namespace, or of all."""
    query = exchange.query
    shape = rendering.choose(exchange, served, many=True)
    limit, token = query.number("limit") or 0, query.text("continue")
    now = asyncio.get_running_loop().time()
    if token:
        rest = lists.find(token, exchange.path, now)
        entries, revision = rest.entries, rest.revision
    else:
        _check_match(query.text("resourceVersion"), query.text("resourceVersionMatch"), store)
        entries, revision = store.table(served.table).select(namespace), store.revision
        test = test_of(exchange, served)
        if test is not None:
            entries = [entry for entry in entries if test(entry)]
    list_meta: dict[str, Any] = {"resourceVersion": str(revision)}
    if limit and len(entries) > limit:
        rest = _Rest(exchange.path, entries[limit:], revision, now + KEPT_S)
        list_meta["continue"] = lists.keep(rest)
        list_meta["remainingItemCount"] = len(entries) - limit
        entries = entries[:limit]
    await exchange.answer(200, shape.many(entries, list_meta))


def _check_match(version: str, match: str, store: Store) -> None:
    asked = check_version(version, store)
    if match and not version:
        raise status.bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless"
            " resourceVersion is provided"
        )
    if match not in ("", "Exact", "NotOlderThan"):
        raise status.bad_request(f'resourceVersionMatch: Unsupported value: "{match}"')
    if match == "Exact" and asked != store.revision:
        raise status.expired("The resourceVersion for the provided list is too old.")


# watches


class _Watch:
    """One client that is told what happens to a resource."""

    def __init__(
        self, exchange: Exchange, store: Store, shape: Shape, namespace: str, test: Test | None
    ) -> None:
        self.exchange = exchange
        self.store = store
        self.shape = shape
        self.namespace = namespace
        self.test = test
        self.pending: list[Change] = []
        self.wake = asyncio.Event()
        self.over = False  # somebody closed it, or it is too slow

    def on_changes(self, changes: Sequence[Change]) -> None:
        if self.over:
            return
        self.pending.extend(changes)
        if len(self.pending) > MAX_PENDING:
            self.pending.clear()
            self.over = True
        self.wake.set()

    def end(self) -> None:
        self.over = True
        self.wake.set()

    def lines(self, changes: Sequence[Change]) -> list[bytes]:
        found = []
        for change in changes:
            if self.namespace and change.entry.key.namespace != self.namespace:
                continue
            if self.test is None:
                found.append(rendering.same_for_all(self.shape, change))
                continue
            line = self._selected(change, self.test)
            if line:
                found.append(line)
        return found

    def _selected(self, change: Change, test: Test) -> bytes:
        """Return the line of a change as one sees it who sees only what fits his selectors."""
        now = test(change.entry)
        before = now if change.previous is None else test(change.previous)
        if change.kind == "DELETED":
            return rendering.same_for_all(self.shape, change) if before else b""
        if now and (before or change.kind == "ADDED"):
            return rendering.same_for_all(self.shape, change)
        if now:
            return self.shape.event("ADDED", change.entry)
        if before:
            return self.shape.event("DELETED", change.entry)
        return b""

    async def run(self, first: bytes, until: float, *, bookmarks: bool) -> None:
        """Send `first`, then each change, until the time is over or the client gone."""
        exchange, loop = self.exchange, asyncio.get_running_loop()
        await exchange.begin(200, [(b"content-type", b"application/json")])
        await exchange.write(first)
        next_mark = loop.time() + BOOKMARK_S
        while not self.over and loop.time() < until:
            timer = loop.call_at(min(until, next_mark), self.wake.set)
            await self.wake.wait()
            timer.cancel()
            self.wake.clear()
            if self.pending:
                changes, self.pending = self.pending, []
                content = b"".join(self.lines(changes))
                if content:
                    await exchange.write(content)
            if loop.time() >= next_mark:
                next_mark = loop.time() + BOOKMARK_S
                if bookmarks and not self.pending:
                    await exchange.write(self.mark())
        if not exchange.gone:
            await exchange.write(b"", more=False)

    def mark(self, **annotations: str) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(self.store.revision)}
        if annotations:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return self.shape.bookmark(metadata)


async def watch(
    exchange: Exchange,
    store: Store,
    served: Served,
    namespace: str,
    watches: set[Callable[[], None]],
) -> None:
    """Answer with a stream of what happens; `watches` gets the means to end it."""
    query = exchange.query
    shape = rendering.choose(exchange, served, many=True)
    test = test_of(exchange, served)
    watching = _Watch(exchange, store, shape, namespace, test)
    bookmarks = query.flag("allowWatchBookmarks")
    first = _beginning(watching, served, query.text("resourceVersion"))
    if first is None:
        await _refuse_watch(exchange, store, query.text("resourceVersion"))
        return
    lines = list(first)
    if query.text("sendInitialEvents") == "true":
        lines.append(watching.mark(initial="end"))
    seconds = query.number("timeoutSeconds") or random.randint(*WATCH_S)
    stop_listening = store.listen(served.table, watching.on_changes)
    watches.add(watching.end)
    gone = asyncio.create_task(exchange.until_gone())
    gone.add_done_callback(lambda _: watching.end())
    try:
        until = asyncio.get_running_loop().time() + seconds
        await watching.run(b"".join(lines), until, bookmarks=bookmarks)
    finally:
        stop_listening()
        watches.discard(watching.end)
        gone.cancel()


def _beginning(watching: _Watch, served: Served, version: str) -> list[bytes] | None:
    """Return the first lines: what exists, or what happened since; None when that is forgotten."""
    store = watching.store
    initial = watching.exchange.query.text("sendInitialEvents")
    if version in ("", "0") or initial == "true":
        check_version(version, store)
        if initial == "false":
            return []
        entries = store.table(served.table).select(watching.namespace)
        test = watching.test
        return [
            watching.shape.event("ADDED", entry) for entry in entries if test is None or test(entry)
        ]
    if not (version.isascii() and version.isdigit() and len(version) < 19):
        raise status.bad_request(f'Invalid value: "{version[:40]}": resource version is no number')
    changes = store.history(served.table, int(version))
    return None if changes is None else watching.lines(changes)


async def _refuse_watch(exchange: Exchange, store: Store, version: str) -> None:
    """Tell in the stream that the client must list again."""
    refusal = status.expired(f"too old resource version: {version} ({store.floor})")
    await exchange.begin(200, [(b"content-type", b"application/json")])
    await exchange.write(rendering.error_line(refusal.body()), more=False)
