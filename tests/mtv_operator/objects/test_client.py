"""The client against a real API server."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
import servers

from mtv import errors
from mtv.api import core, meta
from mtv_operator.objects import Caches, Client, Key, leading


def config_map(name: str, **data: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default"), data=data)


def test_an_object_is_created_read_changed_and_deleted(client):
    made = client.create(config_map("life", colour="red"))
    changed = client.patch(core.ConfigMap, "life", "default", {"data": {"colour": "blue"}})

    assert made.metadata.uid
    assert client.get(core.ConfigMap, "life", "default").data == {"colour": "blue"}
    assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)
    assert client.delete(core.ConfigMap, "life", "default") is True
    assert client.delete(core.ConfigMap, "life", "default") is False
    assert client.find(core.ConfigMap, "life", "default") is None


def test_refusals_are_errors_that_say_what_to_do(client):
    client.create(config_map("taken"))

    with pytest.raises(errors.AlreadyExists):
        client.create(config_map("taken"))
    with pytest.raises(errors.NotFound):
        client.get(core.ConfigMap, "nobody", "default")
    with pytest.raises(errors.BadInput, match="RFC 1123"):
        client.create(config_map("No_Label"))


def test_replacing_an_old_version_is_a_conflict(client):
    old = client.create(config_map("versions", a="1"))
    client.replace(msgspec.structs.replace(old, data={"a": "2"}))

    with pytest.raises(errors.Conflict):
        client.replace(msgspec.structs.replace(old, data={"a": "3"}))


def test_a_json_patch_whose_test_fails_is_a_conflict_and_changes_nothing(client):
    client.create(config_map("tested", a="1"))
    operations = [
        {"op": "test", "path": "/data/a", "value": "2"},
        {"op": "replace", "path": "/data/a", "value": "3"},
    ]

    with pytest.raises(errors.Conflict):
        client.json_patch(core.ConfigMap, "tested", "default", operations)

    assert client.get(core.ConfigMap, "tested", "default").data == {"a": "1"}


def test_delete_with_another_uid_leaves_the_object(client):
    client.create(config_map("somebody-elses"))

    assert client.delete(core.ConfigMap, "somebody-elses", "default", uid="not-its-uid") is False
    assert client.find(core.ConfigMap, "somebody-elses", "default") is not None


def test_apply_makes_and_then_changes(client):
    client.apply(config_map("applied", a="1"))
    changed = client.apply(config_map("applied", a="2"))

    assert changed.data == {"a": "2"}


def test_the_same_event_is_counted(client):
    target = client.create(config_map("talked-about"))
    for _ in range(3):
        client.record(target, "Tested", "it was tested", component="tests")

    fields = "involvedObject.name=talked-about"
    (found,) = client.list(core.Event, "default", fields=fields)
    assert (found.count, found.reason, found.message) == (3, "Tested", "it was tested")


def test_without_a_server_the_hint_names_the_way(tmp_path: Path, api, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(errors.NotFound, match="no kubeconfig"):
        Client.connect(str(tmp_path / "nothing"))
    (tmp_path / "broken").write_text("not: [a kubeconfig")
    with pytest.raises(errors.MigrationError):
        Client.connect(str(tmp_path / "broken"))
    text = api.kubeconfig.read_text().replace(str(api.port), str(servers.free_port()))
    (tmp_path / "elsewhere").write_text(text)
    with pytest.raises(errors.TargetUnavailable, match="does not answer"):
        Client.connect(str(tmp_path / "elsewhere")).list(core.Namespace)


def test_a_cache_follows_changes_and_owners(client):
    owner = client.create(config_map("owner"))
    seen: list[tuple[Key, bool]] = []
    with Caches(client) as caches:
        cache = caches.watch(core.ConfigMap, "default")
        cache.on_change(lambda key, one: seen.append((key, one is not None)))
        caches.start()
        caches.wait_synced(10)
        owned = msgspec.structs.replace(
            config_map("owned"),
            metadata=meta.ObjectMeta(
                name="owned", namespace="default", owner_references=(meta.owner_of(owner),)
            ),
        )
        client.create(owned)
        servers.until(lambda: cache.by_owner(owner.metadata.uid), "the owned one is seen")
        client.delete(core.ConfigMap, "owned", "default")
        servers.until(lambda: (Key("default", "owned"), False) in seen, "the deletion is seen")

        assert cache.get("default", "owned") is None
        assert list(cache.by_owner(owner.metadata.uid)) == []


def test_a_cache_survives_the_death_of_the_server(tmp_path: Path):
    with (
        servers.api_server(tmp_path) as api,
        Client.connect(str(api.kubeconfig)) as client,
        Caches(client) as caches,
    ):
        cache = caches.watch(core.ConfigMap, "default")
        caches.start()
        caches.wait_synced(10)
        api.kill()
        api.start()
        client.create(config_map("afterwards"))

        servers.until(lambda: cache.get("default", "afterwards"), "the new one is seen", 20)


def test_one_leads_and_the_next_takes_over_when_it_lets_go(client):
    first, second = threading.Event(), threading.Event()
    order: list[str] = []

    def lead(identity: str, stop: threading.Event) -> None:
        with leading(client, "tests", "default", identity, stop) as leads:
            if leads:
                order.append(identity)
                stop.wait(30)

    threads = [
        threading.Thread(target=lead, args=("first", first)),
        threading.Thread(target=lead, args=("second", second)),
    ]
    threads[0].start()
    servers.until(lambda: order == ["first"], "the first leads")
    threads[1].start()
    first.set()
    servers.until(lambda: order == ["first", "second"], "the second leads")
    second.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
