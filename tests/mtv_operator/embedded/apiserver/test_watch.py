from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from servers import ApiServer


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(name: str, **metadata: Any) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def told(events: Iterator[Any], count: int) -> list[tuple[str, str]]:
    """Return the next events, but for the map that each namespace is given."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        event = next(events)
        name = event["object"]["metadata"]["name"]
        if name != "kube-root-ca.crt":
            found.append((event["type"], name))
    return found


def changes(server: ApiServer, namespace: str) -> str:
    """Make, change and delete; return the revision before."""
    version = str(server.get(maps(namespace))["metadata"]["resourceVersion"])
    server.post(maps(namespace), config_map("a", labels={"is": "x"}))
    server.post(maps(namespace), config_map("b", labels={"is": "y"}))
    patch(server, namespace, "a", {"data": {"n": "1"}})
    patch(server, namespace, "a", {"metadata": {"labels": {"is": "y"}}})
    patch(server, namespace, "b", {"metadata": {"labels": {"is": "x"}}})
    server.request("DELETE", f"{maps(namespace)}/b")
    return version


def patch(server: ApiServer, namespace: str, name: str, body: Any) -> None:
    code, answer = server.request(
        "PATCH", f"{maps(namespace)}/{name}", body, content_type="application/merge-patch+json"
    )
    assert code == 200, answer


def test_watch_when_from_a_version_tells_what_followed(server: ApiServer, namespace: str) -> None:
    version = changes(server, namespace)
    events = server.watch(
        f"{maps(namespace)}?watch=true&resourceVersion={version}&timeoutSeconds=30"
    )
    assert told(events, 6) == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("MODIFIED", "b"),
        ("DELETED", "b"),
    ]


def test_watch_when_live_tells_as_it_happens(server: ApiServer, namespace: str) -> None:
    version = str(server.get(maps(namespace))["metadata"]["resourceVersion"])
    events = server.watch(f"{maps(namespace)}?watch=1&resourceVersion={version}&timeoutSeconds=30")
    found: list[tuple[str, str]] = []
    reader = threading.Thread(target=lambda: found.extend(told(events, 6)))
    reader.start()
    changes(server, namespace)
    reader.join(15)
    assert [kind for kind, _ in found] == [
        "ADDED",
        "ADDED",
        "MODIFIED",
        "MODIFIED",
        "MODIFIED",
        "DELETED",
    ]


def test_watch_when_selected_tells_what_enters_and_leaves(
    server: ApiServer, namespace: str
) -> None:
    version = changes(server, namespace)
    events = server.watch(
        f"{maps(namespace)}?watch=1&resourceVersion={version}&labelSelector=is%3Dx&timeoutSeconds=30"
    )
    assert told(events, 5) == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
        ("DELETED", "b"),
    ]
    events = server.watch(
        f"{maps(namespace)}?watch=1&resourceVersion={version}"
        "&fieldSelector=metadata.name%3Db&timeoutSeconds=30"
    )
    assert told(events, 3) == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]


@pytest.mark.parametrize("version", ["", "&resourceVersion=0"], ids=["unset", "any"])
def test_watch_when_without_version_begins_with_what_exists(
    server: ApiServer, namespace: str, version: str
) -> None:
    changes(server, namespace)
    events = server.watch(f"{maps(namespace)}?watch=1&timeoutSeconds=30{version}")
    assert told(events, 1) == [("ADDED", "a")]


def test_watch_when_initial_events_are_asked_for_marks_their_end(
    server: ApiServer, namespace: str
) -> None:
    changes(server, namespace)
    events = server.watch(
        f"{maps(namespace)}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true"
        "&resourceVersionMatch=NotOlderThan&timeoutSeconds=30"
    )
    found = next(event for event in events if event["type"] == "BOOKMARK")
    assert found["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(found["object"]["metadata"]["resourceVersion"]) > 0


def test_watch_when_time_is_over_ends_in_order(server: ApiServer, namespace: str) -> None:
    assert list(server.watch(f"{maps(namespace)}?watch=1&resourceVersion=1&timeoutSeconds=1")) != [
        None
    ]


def test_watch_when_table_is_wanted_sends_columns_once(server: ApiServer, namespace: str) -> None:
    changes(server, namespace)
    server.post(maps(namespace), config_map("c"))
    connection = server.connect()
    connection.request(
        "GET",
        f"{maps(namespace)}?watch=1&timeoutSeconds=30",
        headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
    )
    answer = connection.getresponse()
    first, second = (json.loads(answer.readline()) for _ in range(2))
    connection.close()
    assert first["object"]["kind"] == "Table"
    assert first["object"]["columnDefinitions"]
    assert not second["object"]["columnDefinitions"]


def test_watch_when_server_stops_ends(own_server: ApiServer) -> None:
    events = own_server.watch("/api/v1/configmaps?watch=1")
    next(events)
    reader = threading.Thread(target=lambda: list(events))
    reader.start()
    assert own_server.stop() == 0
    reader.join(10)
    assert not reader.is_alive()


def test_watch_when_server_was_killed_goes_on_from_its_version(own_server: ApiServer) -> None:
    version = own_server.get("/api/v1/configmaps")["metadata"]["resourceVersion"]
    own_server.post(maps("default"), config_map("before"))
    own_server.kill()
    own_server.start()
    own_server.post(maps("default"), config_map("after"))
    events = own_server.watch(
        f"{maps('default')}?watch=1&resourceVersion={version}&timeoutSeconds=30"
    )
    seen = {name for _, name in told(events, 2)}
    while "after" not in seen:
        seen.update(name for _, name in told(events, 1))
    assert "before" in seen


def test_watch_when_version_is_forgotten_ends_with_expired(own_server: ApiServer) -> None:
    own_server.post(maps("default"), config_map("a"))
    own_server.stop()
    with sqlite3.connect(own_server.folder / "apiserver.db") as connection:
        connection.execute("REPLACE INTO fact VALUES ('floor', 3)")
    own_server.start()
    events = list(own_server.watch("/api/v1/configmaps?watch=1&resourceVersion=2"))
    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")
    assert events[0]["object"]["message"] == "too old resource version: 2 (3)"
