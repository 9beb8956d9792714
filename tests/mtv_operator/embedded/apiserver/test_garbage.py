from __future__ import annotations

from typing import Any

from servers import ApiServer
from widgets import DEFINITIONS, definition

MERGE = "application/merge-patch+json"


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def make(server: ApiServer, namespace: str, name: str, *owners: Any, **metadata: Any) -> Any:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": references, **metadata},
    }
    return server.post(maps(namespace), document)


def is_gone(server: ApiServer, path: str) -> bool:
    return server.request("GET", path)[0] == 404


def test_dependents_when_owner_is_deleted_go_too(
    server: ApiServer, namespace: str, until: Any
) -> None:
    owner = make(server, namespace, "owner")
    child = make(server, namespace, "child", owner)
    make(server, namespace, "grandchild", child)
    server.request("DELETE", f"{maps(namespace)}/owner")
    for name in ("owner", "child", "grandchild"):
        until(lambda name=name: is_gone(server, f"{maps(namespace)}/{name}"), f"{name} is gone")


def test_dependent_when_another_owner_lives_stays(
    server: ApiServer, namespace: str, until: Any
) -> None:
    first, second = make(server, namespace, "first"), make(server, namespace, "second")
    make(server, namespace, "shared", first, second)
    server.request("DELETE", f"{maps(namespace)}/first")

    def owners() -> Any:
        found = server.get(f"{maps(namespace)}/shared")["metadata"]["ownerReferences"]
        return [one["name"] for one in found] == ["second"]

    until(owners, "the reference to the first is gone")
    server.request("DELETE", f"{maps(namespace)}/second")
    until(lambda: is_gone(server, f"{maps(namespace)}/shared"), "shared is gone")


def test_dependent_when_made_after_its_owner_went_goes(
    server: ApiServer, namespace: str, until: Any
) -> None:
    owner = make(server, namespace, "early")
    server.request("DELETE", f"{maps(namespace)}/early")
    make(server, namespace, "late", owner)
    until(lambda: is_gone(server, f"{maps(namespace)}/late"), "late is gone")


def test_owner_when_deleted_in_foreground_waits_for_dependents(
    server: ApiServer, namespace: str, until: Any
) -> None:
    owner = make(server, namespace, "owner")
    make(server, namespace, "child", owner, finalizers=["example.com/wait"])
    path = f"{maps(namespace)}/owner"
    code, answer = server.request("DELETE", path, {"propagationPolicy": "Foreground"})
    assert (code, answer["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])
    child = f"{maps(namespace)}/child"
    until(
        lambda: server.get(child)["metadata"].get("deletionTimestamp"), "the child is being deleted"
    )
    assert server.request("GET", path)[0] == 200
    server.request("PATCH", child, {"metadata": {"finalizers": None}}, content_type=MERGE)
    until(lambda: is_gone(server, path), "the owner is gone")


def test_dependents_when_orphaned_stay(server: ApiServer, namespace: str, until: Any) -> None:
    owner = make(server, namespace, "owner")
    make(server, namespace, "child", owner)
    server.request("DELETE", f"{maps(namespace)}/owner", {"propagationPolicy": "Orphan"})
    until(lambda: is_gone(server, f"{maps(namespace)}/owner"), "the owner is gone")
    assert "ownerReferences" not in server.get(f"{maps(namespace)}/child")["metadata"]


def test_namespace_when_deleted_becomes_empty_and_goes(
    server: ApiServer, namespace: str, until: Any
) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    make(server, namespace, "a")
    make(server, namespace, "kept", finalizers=["example.com/wait"])
    code, answer = server.request("DELETE", path)
    assert (code, answer["status"]["phase"]) == (200, "Terminating")
    code, answer = server.request(
        "POST",
        maps(namespace),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}},
    )
    assert code == 403
    assert "because it is being terminated" in answer["message"]
    until(lambda: is_gone(server, f"{maps(namespace)}/a"), "what was in it is gone")
    assert server.request("GET", path)[0] == 200
    server.request(
        "PATCH", f"{maps(namespace)}/kept", {"metadata": {"finalizers": None}}, content_type=MERGE
    )
    until(lambda: is_gone(server, path), "the namespace is gone")
    assert server.request("DELETE", "/api/v1/namespaces/default")[0] == 403


def test_namespace_when_made_gets_an_account_and_the_authority(
    server: ApiServer, namespace: str, until: Any
) -> None:
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    until(lambda: server.request("GET", account)[0] == 200, "the account")
    authority = f"{maps(namespace)}/kube-root-ca.crt"
    until(lambda: server.request("GET", authority)[0] == 200, "the authority")
    server.request("DELETE", account)
    until(lambda: server.request("GET", account)[0] == 200, "the account again")


def test_definition_when_deleted_takes_its_objects_along(server: ApiServer, until: Any) -> None:
    server.post(DEFINITIONS, definition("gadgets", "Gadget"))
    gadgets = "/apis/example.com/v1/namespaces/default/gadgets"
    server.post(
        gadgets,
        {
            "apiVersion": "example.com/v1",
            "kind": "Gadget",
            "metadata": {"name": "g"},
            "spec": {"cores": 1},
        },
    )
    path = f"{DEFINITIONS}/gadgets.example.com"
    assert server.request("DELETE", path)[0] == 200
    until(lambda: is_gone(server, path), "the definition is gone")
    assert server.request("GET", gadgets)[0] == 404
    server.post(DEFINITIONS, definition("gadgets", "Gadget"))
    assert server.get(gadgets)["items"] == []
    server.request("DELETE", path)


def test_definition_when_its_kind_is_taken_is_not_accepted(server: ApiServer) -> None:
    made = server.post(DEFINITIONS, definition("widgetz", "Widget"))
    conditions = {one["type"]: one for one in made["status"]["conditions"]}
    assert conditions["NamesAccepted"]["status"] == "False"
    assert conditions["Established"]["status"] == "False"
    assert '"Widget" is already in use' in conditions["NamesAccepted"]["message"]
    assert server.request("GET", "/apis/example.com/v1/namespaces/default/widgetz")[0] == 404
    server.request("DELETE", f"{DEFINITIONS}/widgetz.example.com")


def test_definition_when_wrong_names_everything(server: ApiServer) -> None:
    document = definition("badones", "Bad")
    document["spec"]["versions"][0]["storage"] = False
    document["metadata"]["name"] = "other.example.com"
    code, answer = server.request("POST", DEFINITIONS, document)
    assert code == 422
    fields = {cause["field"] for cause in answer["details"]["causes"]}
    assert {"metadata.name", "spec.versions"} <= fields
