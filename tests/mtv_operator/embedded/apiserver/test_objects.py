"""The verbs, asked as any HTTP client would ask them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import ApiServer

WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(name: str, /, **metadata: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": {"key": "value"},
    }


def widget(name: str, **spec: Any) -> Any:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"cores": 2, **spec},
    }


def test_create_when_new_gives_identity(server: ApiServer, namespace: str) -> None:
    made = server.post(maps(namespace), config_map("a", resourceVersion="", uid="mine"))
    assert made["metadata"]["namespace"] == namespace
    assert len(made["metadata"]["uid"]) == 36
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert "generation" not in made["metadata"]
    assert server.get(f"{maps(namespace)}/a") == made


def test_create_when_name_is_taken_is_a_conflict(server: ApiServer, namespace: str) -> None:
    server.post(maps(namespace), config_map("a"))
    code, told = server.request("POST", maps(namespace), config_map("a"))
    assert (code, told["reason"]) == (409, "AlreadyExists")
    assert told["message"] == 'configmaps "a" already exists'
    assert told["details"] == {"name": "a", "kind": "configmaps"}


def test_create_when_name_is_generated_draws_one(server: ApiServer, namespace: str) -> None:
    document = config_map("", generateName="some-")
    names = {server.post(maps(namespace), document)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("some-") and len(name) == 10 for name in names)


@pytest.mark.parametrize(
    ("metadata", "field", "told"),
    [
        ({"name": "Upper"}, "metadata.name", "a lowercase RFC 1123 subdomain must consist of"),
        ({"name": "a" * 254}, "metadata.name", "must be no more than 253 characters"),
        ({"name": ""}, "metadata.name", "name or generateName is required"),
        ({"labels": {"a b": "c"}}, "metadata.labels", "name part must consist of"),
        ({"labels": {"a": "b c"}}, "metadata.labels", "a valid label must be an empty string"),
        ({"annotations": {"-": "x"}}, "metadata.annotations", "name part must consist of"),
        ({"finalizers": ["a b"]}, "metadata.finalizers[0]", "name part must consist of"),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]},
            "metadata.ownerReferences[0].uid",
            "uid must not be empty",
        ),
    ],
)
def test_create_when_metadata_is_wrong_names_the_field(
    server: ApiServer, namespace: str, metadata: Any, field: str, told: str
) -> None:
    code, answer = server.request("POST", maps(namespace), config_map("a", **metadata))
    assert (code, answer["reason"], answer["code"]) == (422, "Invalid", 422)
    assert answer["message"].startswith('ConfigMap "')
    causes = answer["details"]["causes"]
    assert [cause["field"] for cause in causes] == [field]
    assert told in causes[0]["message"]


def test_create_when_several_things_are_wrong_names_all(server: ApiServer) -> None:
    document = widget("Bad_Name", cores=99, mode="Odd")
    code, answer = server.request("POST", WIDGETS, document)
    assert code == 422
    fields = {cause["field"] for cause in answer["details"]["causes"]}
    assert fields == {"metadata.name", "spec.cores", "spec.mode"}
    assert answer["message"].startswith('Widget.example.com "Bad_Name" is invalid: [')


@pytest.mark.parametrize(
    ("path", "document", "told"),
    [
        ("/api/v1/namespaces/default/configmaps", b"{", "the body is not JSON"),
        ("/api/v1/namespaces/default/configmaps", b"[]", "the body is not an object"),
        (
            "/api/v1/namespaces/default/configmaps",
            {"apiVersion": "v2", "kind": "ConfigMap"},
            "does not match the expected API version (v1)",
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            {"apiVersion": "v1", "kind": "Secret"},
            "cannot be handled as a ConfigMap",
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"a": 1}}},
            "metadata.labels",
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "other"}},
            "does not match the namespace sent on the request",
        ),
    ],
)
def test_create_when_body_cannot_be_understood_is_a_bad_request(
    server: ApiServer, path: str, document: Any, told: str
) -> None:
    code, answer = server.request("POST", path, document)
    assert (code, answer["reason"]) == (400, "BadRequest")
    assert told in answer["message"]


def test_create_when_namespace_is_missing_is_not_found(server: ApiServer) -> None:
    code, answer = server.request("POST", maps("nowhere"), config_map("a"))
    assert (code, answer["message"]) == (404, 'namespaces "nowhere" not found')


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/namespaces/default/nothings", 404),
        ("GET", "/apis/none.example.com/v1/things", 404),
        ("GET", "/apis/example.com/v1/namespaces/default/widgets/none/other", 404),
        ("POST", "/api/v1/namespaces/default/configmaps/a", 405),
        ("PUT", "/api/v1/namespaces/default/configmaps", 405),
        ("OPTIONS", "/api/v1/namespaces/default/configmaps", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/none", 404),
    ],
)
def test_request_when_nothing_is_there_says_so(
    server: ApiServer, method: str, path: str, code: int
) -> None:
    body = config_map("a") if method in ("POST", "PUT") else None
    seen, answer = server.request(method, path, body)
    assert (seen, answer["kind"], answer["status"]) == (code, "Status", "Failure")


def test_dry_run_when_asked_stores_nothing(server: ApiServer, namespace: str) -> None:
    code, made = server.request("POST", f"{maps(namespace)}?dryRun=All", config_map("a"))
    assert (code, made["data"]) == (201, {"key": "value"})
    assert server.request("GET", f"{maps(namespace)}/a")[0] == 404
    code, _ = server.request("POST", f"{maps(namespace)}?dryRun=Some", config_map("a"))
    assert code == 400
    server.post(maps(namespace), config_map("b"))
    assert server.request("DELETE", f"{maps(namespace)}/b?dryRun=All")[0] == 200
    assert server.request("GET", f"{maps(namespace)}/b")[0] == 200


def test_unknown_field_when_strict_warned_or_ignored(server: ApiServer) -> None:
    document = widget("strict", bogus=1)
    code, answer = server.request("POST", f"{WIDGETS}?fieldValidation=Strict", document)
    assert (code, answer["reason"]) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.bogus"' in answer["message"]
    connection = server.connect()
    for mode, warning in (("Warn", '299 - "unknown field \\"spec.bogus\\""'), ("Ignore", None)):
        connection.request(
            "POST",
            f"{WIDGETS}?fieldValidation={mode}&dryRun=All",
            json.dumps(document),
            {"Content-Type": "application/json"},
        )
        reply = connection.getresponse()
        assert reply.status == 201
        assert "bogus" not in json.loads(reply.read())["spec"]
        assert reply.headers["Warning"] == warning
    connection.close()


def test_defaults_when_created_are_filled_in(server: ApiServer) -> None:
    made = server.post(WIDGETS, widget("defaults"))
    assert made["spec"] == {"cores": 2, "replicas": 1, "mode": "Slow"}
    assert made["metadata"]["generation"] == 1


def test_replace_when_version_is_old_is_a_conflict(server: ApiServer, namespace: str) -> None:
    made = server.post(maps(namespace), config_map("a"))
    path = f"{maps(namespace)}/a"
    code, second = server.request("PUT", path, {**made, "data": {"key": "second"}})
    assert code == 200
    code, answer = server.request("PUT", path, {**made, "data": {"key": "third"}})
    assert (code, answer["reason"]) == (409, "Conflict")
    assert answer["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please'
        " apply your changes to the latest version and try again"
    )
    assert server.get(path) == second


def test_replace_when_nothing_changes_keeps_the_version(server: ApiServer, namespace: str) -> None:
    made = server.post(maps(namespace), config_map("a"))
    code, same = server.request("PUT", f"{maps(namespace)}/a", made)
    assert (code, same) == (200, made)


def test_replace_of_custom_resource_when_version_is_missing_is_invalid(server: ApiServer) -> None:
    server.post(WIDGETS, widget("unversioned"))
    code, answer = server.request("PUT", f"{WIDGETS}/unversioned", widget("unversioned"))
    assert code == 422
    assert answer["details"]["causes"][0]["field"] == "metadata.resourceVersion"


def test_generation_when_only_wanted_state_changes_rises(server: ApiServer) -> None:
    path = f"{WIDGETS}/counted"
    server.post(WIDGETS, widget("counted"))
    merge = "application/merge-patch+json"

    def patch(body: Any, where: str = path) -> Any:
        code, answer = server.request("PATCH", where, body, content_type=merge)
        assert code == 200, answer
        return answer

    assert patch({"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    told = patch({"status": {"phase": "Up"}, "spec": {"cores": 9}}, f"{path}/status")
    assert told["metadata"]["generation"] == 1
    assert (told["status"], told["spec"]["cores"]) == ({"phase": "Up"}, 2)
    told = patch({"status": {"phase": "Down"}, "spec": {"cores": 3}})
    assert told["metadata"]["generation"] == 2
    assert (told["status"], told["spec"]["cores"]) == ({"phase": "Up"}, 3)


def test_patch_when_types_differ_is_applied_as_the_type_says(
    server: ApiServer, namespace: str
) -> None:
    server.post(maps(namespace), config_map("a", labels={"x": "1", "y": "2"}))
    path = f"{maps(namespace)}/a"
    code, answer = server.request(
        "PATCH",
        path,
        [
            {"op": "test", "path": "/metadata/labels/x", "value": "1"},
            {"op": "replace", "path": "/metadata/labels/x", "value": "3"},
            {"op": "remove", "path": "/metadata/labels/y"},
        ],
        content_type="application/json-patch+json",
    )
    assert (code, answer["metadata"].get("labels")) == (200, {"x": "3"})
    code, answer = server.request(
        "PATCH",
        path,
        [{"op": "test", "path": "/metadata/labels/x", "value": "1"}],
        content_type="application/json-patch+json",
    )
    assert (code, answer["reason"]) == (422, "Invalid")
    for kind in ("merge-patch", "strategic-merge-patch"):
        code, answer = server.request(
            "PATCH",
            path,
            {"data": {"key": None, kind: "x"}},
            content_type=f"application/{kind}+json",
        )
        assert (code, answer["data"].get(kind)) == (200, "x")
    code, answer = server.request("PATCH", path, {}, content_type="text/plain")
    assert (code, answer["reason"]) == (415, "UnsupportedMediaType")


def test_strategic_patch_of_custom_resource_is_not_supported(server: ApiServer) -> None:
    server.post(WIDGETS, widget("strategic"))
    code, _ = server.request(
        "PATCH",
        f"{WIDGETS}/strategic",
        {"spec": {}},
        content_type="application/strategic-merge-patch+json",
    )
    assert code == 415


def test_apply_when_managers_disagree_conflicts_unless_forced(server: ApiServer) -> None:
    path, apply = f"{WIDGETS}/applied", "application/apply-patch+yaml"
    first = widget("applied", cores=4)
    code, made = server.request("PATCH", f"{path}?fieldManager=one", first, content_type=apply)
    assert code == 201, made
    second = widget("applied", cores=8)
    code, answer = server.request("PATCH", f"{path}?fieldManager=two", second, content_type=apply)
    assert (code, answer["reason"]) == (409, "Conflict")
    assert answer["details"]["causes"][0]["field"] == ".spec.cores"
    code, answer = server.request(
        "PATCH", f"{path}?fieldManager=two&force=true", second, content_type=apply
    )
    assert (code, answer["spec"]["cores"]) == (200, 8)
    code, _ = server.request("PATCH", path, second, content_type=apply)
    assert code == 422


def test_conflicting_patches_when_concurrent_are_all_applied(
    server: ApiServer, namespace: str
) -> None:
    server.post(maps(namespace), config_map("busy"))
    path = f"{maps(namespace)}/busy"

    def patch(n: int) -> int:
        body = {"data": {f"key{n}": str(n)}}
        return server.request("PATCH", path, body, content_type="application/merge-patch+json")[0]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(patch, range(40))) == {200}
    assert len(server.get(path)["data"]) == 41


def test_delete_when_finalizers_are_there_waits_for_them(server: ApiServer, namespace: str) -> None:
    path = f"{maps(namespace)}/kept"
    server.post(maps(namespace), config_map("kept", finalizers=["example.com/a"]))
    code, answer = server.request("DELETE", path)
    assert (code, answer["kind"]) == (200, "ConfigMap")
    assert answer["metadata"]["deletionTimestamp"]
    merge = "application/merge-patch+json"
    code, answer = server.request(
        "PATCH", path, {"metadata": {"finalizers": ["example.com/b"]}}, content_type=merge
    )
    assert code == 422
    assert "no new finalizers can be added" in answer["message"]
    code, _ = server.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=merge)
    assert code == 200
    assert server.request("GET", path)[0] == 404


def test_delete_when_preconditions_fail_is_a_conflict(server: ApiServer, namespace: str) -> None:
    server.post(maps(namespace), config_map("a"))
    path = f"{maps(namespace)}/a"
    code, answer = server.request("DELETE", path, {"preconditions": {"uid": "other"}})
    assert (code, answer["reason"]) == (409, "Conflict")
    code, answer = server.request("DELETE", path, {"propagationPolicy": "Odd"})
    assert code == 400
    code, answer = server.request("DELETE", path)
    assert (code, answer["status"], answer["details"]["name"]) == (200, "Success", "a")
    assert server.request("DELETE", path)[0] == 404


def test_delete_collection_when_selected_leaves_the_rest(server: ApiServer, namespace: str) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        server.post(maps(namespace), config_map(name, labels={"is": label}))
    code, _ = server.request("DELETE", f"{maps(namespace)}?labelSelector=is%3Dx")
    assert code == 200
    left = [one["metadata"]["name"] for one in server.get(maps(namespace))["items"]]
    assert "c" in left
    assert not {"a", "b"} & set(left)


def test_scale_when_read_and_written_is_one_number(server: ApiServer) -> None:
    server.post(WIDGETS, widget("scaled", replicas=3))
    path = f"{WIDGETS}/scaled/scale"
    scale = server.get(path)
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 3})
    scale["spec"]["replicas"] = 5
    code, answer = server.request("PUT", path, scale)
    assert (code, answer["spec"]["replicas"]) == (200, 5)
    code, answer = server.request("PUT", path, scale)
    assert code == 409
    assert server.get(f"{WIDGETS}/scaled")["metadata"]["generation"] == 2


def test_versions_when_several_are_served_share_objects(server: ApiServer) -> None:
    server.post(WIDGETS, widget("versioned"))
    other = server.get("/apis/example.com/v1beta1/namespaces/default/widgets/versioned")
    assert other["apiVersion"] == "example.com/v1beta1"
    other["spec"]["cores"] = 7
    code, answer = server.request(
        "PUT", "/apis/example.com/v1beta1/namespaces/default/widgets/versioned", other
    )
    assert (code, answer["apiVersion"]) == (200, "example.com/v1beta1")
    found = server.get(f"{WIDGETS}/versioned")
    assert (found["apiVersion"], found["spec"]["cores"]) == ("example.com/v1", 7)


def test_list_when_limited_is_of_one_moment(server: ApiServer, namespace: str) -> None:
    for n in range(7):
        server.post(maps(namespace), config_map(f"page-{n}"))
    total = len(server.get(maps(namespace))["items"])
    first = server.get(f"{maps(namespace)}?limit=3")
    assert len(first["items"]) == 3
    assert first["metadata"]["remainingItemCount"] == total - 3
    server.request("DELETE", f"{maps(namespace)}/page-6")
    server.post(maps(namespace), config_map("page-9"))
    names = [one["metadata"]["name"] for one in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        page = server.get(f"{maps(namespace)}?limit=3&continue={token}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [one["metadata"]["name"] for one in page["items"]]
        token = page["metadata"].get("continue")
    assert "page-6" in names
    assert "page-9" not in names
    assert len(names) == total
    assert server.request("GET", f"{maps(namespace)}?limit=3&continue=nonsense")[0] == 400


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("resourceVersion=0", 200, ""),
        ("resourceVersion=1&resourceVersionMatch=NotOlderThan", 200, ""),
        ("resourceVersion=999999999", 504, "Timeout"),
        ("resourceVersion=x", 400, "BadRequest"),
        ("resourceVersion=1&resourceVersionMatch=Exact", 410, "Expired"),
        ("resourceVersionMatch=Exact", 400, "BadRequest"),
        ("limit=-1", 400, "BadRequest"),
        ("labelSelector=a%20b%20c", 400, "BadRequest"),
    ],
)
def test_list_when_version_is_asked_for(
    server: ApiServer, query: str, code: int, reason: str
) -> None:
    seen, answer = server.request("GET", f"/api/v1/configmaps?{query}")
    assert (seen, answer.get("reason", "")) == (code, reason)


def test_accept_when_metadata_alone_is_wanted(server: ApiServer, namespace: str) -> None:
    server.post(maps(namespace), config_map("a"))
    form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    code, one = server.request("GET", f"{maps(namespace)}/a", headers={"Accept": form.format("")})
    assert (code, one["kind"], sorted(one)) == (
        200,
        "PartialObjectMetadata",
        ["apiVersion", "kind", "metadata"],
    )
    code, many = server.request("GET", maps(namespace), headers={"Accept": form.format("List")})
    assert (code, many["kind"]) == (200, "PartialObjectMetadataList")
    code, answer = server.request("GET", maps(namespace), headers={"Accept": "image/png"})
    assert (code, answer["reason"]) == (406, "NotAcceptable")


def test_body_when_too_long_is_refused(server: ApiServer, namespace: str) -> None:
    document = config_map("big")
    document["data"]["key"] = "x" * (4 << 20)
    code, answer = server.request("POST", maps(namespace), document)
    assert (code, answer["reason"]) == (413, "RequestEntityTooLarge")


def test_yaml_when_sent_is_understood(server: ApiServer, namespace: str) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata:\n  when: '2024-01-01'\n"
    code, made = server.request("POST", maps(namespace), text, content_type="application/yaml")
    assert (code, made["data"]) == (201, {"when": "2024-01-01"})
    code, _ = server.request("POST", maps(namespace), b"a: [", content_type="application/yaml")
    assert code == 400


def test_event_when_written_in_one_version_is_read_in_the_other(
    server: ApiServer, namespace: str
) -> None:
    server.post(
        f"/api/v1/namespaces/{namespace}/events",
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e.1", "namespace": namespace},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
            "reason": "Started",
            "message": "it runs",
            "type": "Normal",
            "count": 3,
        },
    )
    other = server.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e.1")
    assert (other["note"], other["regarding"]["name"], other["deprecatedCount"]) == (
        "it runs",
        "p",
        3,
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "application/json"),
        (b"[" * 100_000, "application/yaml"),
        (
            b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + b"".join(
                b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10))
                for n in range(1, 9)
            ),
            "application/yaml",
        ),
        (b"k8s\0\x0a\xff", "application/vnd.kubernetes.protobuf"),
        (b"", "application/json"),
        (b"\xff\xfe", "application/json"),
    ],
    ids=["deep JSON", "deep YAML", "YAML of aliases", "short protobuf", "nothing", "no UTF-8"],
)
def test_body_when_hostile_is_a_bad_request(
    server: ApiServer, namespace: str, body: bytes, content_type: str
) -> None:
    code, answer = server.request("POST", maps(namespace), body, content_type=content_type)
    assert (code, answer["reason"]) == (400, "BadRequest")


def test_namespace_when_replaced_keeps_its_finalizers(server: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    found = server.get(path)
    found["metadata"]["labels"]["new"] = "yes"
    del found["spec"]
    code, answer = server.request("PUT", path, found)
    assert (code, answer["spec"], answer["metadata"]["labels"]["new"]) == (
        200,
        {"finalizers": ["kubernetes"]},
        "yes",
    )
