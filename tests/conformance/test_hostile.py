"""Requests that no well-meaning client sends: one plain answer each, and the server goes on."""

from __future__ import annotations

import pytest
import servers

MAPS = "/api/v1/namespaces/default/configmaps"


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("depth", [500, 2000, 100_000])
@pytest.mark.parametrize("kind", ["create", "merge-patch", "strategic-merge-patch", "apply-patch"])
def test_a_document_without_bottom_is_refused(
    api_server: servers.ApiServer, kind: str, depth: int
) -> None:
    head = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"deep"},"data":'
    body = head + nested(depth) + b"}"
    if kind == "create":
        code, answer = api_server.request("POST", MAPS, body)
    else:
        api_server.request("POST", MAPS, head + b"{}}")
        media = f"application/{kind}+{'yaml' if kind == 'apply-patch' else 'json'}"
        path = f"{MAPS}/deep?fieldManager=test"
        code, answer = api_server.request("PATCH", path, body, content_type=media)
    assert code in (400, 422)
    assert "nested too deeply" in answer["message"] or "must be of type" in answer["message"]
    assert api_server.request("GET", "/readyz")[0] == 200


@pytest.mark.parametrize(
    ("operations", "problem"),
    [
        ([{"op": "copy", "from": "", "path": "/data/x"}] * 5000, "copy"),
        ([{"op": "test", "path": "", "value": 1}] * 20_000, "maximum operations"),
        ([{"op": "add", "path": "/data/" + "x/" * 5000, "value": 1}], "missing path"),
        ({"op": "add"}, "JSON patch"),
        ([1], "JSON patch"),
    ],
    ids=["copies that grow", "too many", "a long path", "no list", "no operation"],
)
def test_a_json_patch_that_would_cost_much_is_refused(
    api_server: servers.ApiServer, operations: object, problem: str
) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "patched"}}
    api_server.request("POST", MAPS, {**document, "data": {"a": "b" * 1000}})
    code, answer = api_server.request(
        "PATCH", f"{MAPS}/patched", operations, content_type="application/json-patch+json"
    )
    assert code in (400, 413, 422), answer
    assert problem in answer["message"]
