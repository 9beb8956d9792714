from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mtv_operator.embedded.apiserver import status, storage
from mtv_operator.embedded.apiserver.storage import Change, Key, Store


def key(name: str, namespace: str = "default") -> Key:
    return Key("widgets.example.com", namespace, name)


def document(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name}, **more}


def run(path: Path, test: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
    async def body() -> None:
        store = Store(path)
        store.start(asyncio.get_running_loop())
        try:
            await test(store)
        finally:
            store.close()

    asyncio.run(body())


def test_store_when_opened_again_has_what_was_acknowledged(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        await asyncio.gather(*(store.stage(key(f"w{i}"), document(f"w{i}")) for i in range(50)))
        await store.stage(key("w7"), document("w7", changed=True))
        await store.stage(key("w8"), document("w8"), deleted=True)

    async def second(store: Store) -> None:
        assert store.revision == 52
        names = [entry.key.name for entry in store.table("widgets.example.com").select("")]
        assert len(names) == 49
        assert names == sorted(names)
        assert "w8" not in names
        found = store.get(key("w7"))
        assert found is not None
        assert found.document()["changed"] is True
        assert found.document()["metadata"]["resourceVersion"] == "51"

    run(tmp_path / "db", first)
    run(tmp_path / "db", second)


def test_write_when_on_its_way_is_seen_by_writers_and_not_by_readers(tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        waiting = store.stage(key("w"), document("w"))
        assert store.get(key("w")) is None
        head = store.head(key("w"))
        assert head is not None
        again = store.stage(key("w"), document("w", changed=True))
        await waiting
        await again
        found = store.get(key("w"))
        assert found is store.head(key("w"))
        assert found is not None
        assert found.revision == 2

    run(tmp_path / "db", test)


def test_commit_when_disk_refuses_fails_all_staged_and_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(store: Store) -> None:
        await store.stage(key("kept"), document("kept"))
        commit = store._commit

        def refuse(*arguments: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(store, "_commit", refuse)
        writes = [store.stage(key("kept"), document("kept", n=n)) for n in range(5)]
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            assert isinstance(outcome, status.Refusal)
            assert outcome.code == 500
        head = store.head(key("kept"))
        assert head is store.get(key("kept"))
        assert head is not None
        assert head.revision == 1
        monkeypatch.setattr(store, "_commit", commit)
        entry = await store.stage(key("kept"), document("kept", n=9))
        assert entry.revision > 5
        assert store.revision == entry.revision

    run(tmp_path / "db", test)


def test_history_when_asked_from_a_revision_tells_what_followed(tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.stage(key("a"), document("a"))
        await store.stage(Key("other", "", "x"), document("x"))
        await store.stage(key("a"), document("a", n=1))
        await store.stage(key("a"), document("a"), deleted=True)
        await store.stage(key("a"), document("a"))
        for forgotten in (False, True):
            if forgotten:  # what is no longer in memory is read from disk
                store._recent.clear()
            told = store.history("widgets.example.com", 0)
            assert told is not None
            assert [(one.kind, one.entry.revision) for one in told] == [
                ("ADDED", 1),
                ("MODIFIED", 3),
                ("DELETED", 4),
                ("ADDED", 5),
            ]
            assert [one.previous and one.previous.revision for one in told] == [None, 1, 3, None]
            assert [
                one.entry.revision for one in store.history("widgets.example.com", 3) or ()
            ] == [
                4,
                5,
            ]

    run(tmp_path / "db", test)


def test_history_when_long_forgets_on_disk_and_keeps_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "HISTORY_ROWS", 20)
    monkeypatch.setattr(storage, "PRUNE", 10)

    async def test(store: Store) -> None:
        await store.stage(key("still"), document("still"))
        await store.stage(key("gone"), document("gone"))
        await store.stage(key("gone"), document("gone"), deleted=True)
        for n in range(200):
            await store.stage(key("busy"), document("busy", n=n))
        assert store.history("widgets.example.com", 5) is None
        assert len(store.history("widgets.example.com", store.floor) or ()) == 20

    async def reopened(store: Store) -> None:
        names = [entry.key.name for entry in store.table("widgets.example.com").select("")]
        assert names == ["busy", "still"]
        assert store.history("widgets.example.com", 5) is None
        assert store.history("widgets.example.com", store.revision - 3)

    run(tmp_path / "db", test)
    with sqlite3.connect(tmp_path / "db") as connection:
        (rows,) = connection.execute("SELECT count(*) FROM log").fetchone()
    assert rows < 50
    run(tmp_path / "db", reopened)


def test_listeners_when_written_get_each_change_once_and_in_order(tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        seen: list[int] = []

        def listener(changes: Any) -> None:
            seen.extend(change.entry.revision for change in changes if isinstance(change, Change))

        stop = store.listen("widgets.example.com", listener)
        await asyncio.gather(*(store.stage(key(f"w{n}"), document(f"w{n}")) for n in range(100)))
        assert seen == list(range(1, 101))
        stop()
        await store.stage(key("x"), document("x"))
        assert len(seen) == 100

    run(tmp_path / "db", test)
