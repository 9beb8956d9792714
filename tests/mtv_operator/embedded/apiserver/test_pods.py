from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from servers import ApiServer

from mtv_operator.embedded.apiserver import pods

MERGE = "application/merge-patch+json"


def place(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pod(name: str, **spec: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def bind(server: ApiServer, namespace: str, name: str, node: str) -> tuple[int, Any]:
    return server.request(
        "POST",
        f"{place(namespace)}/{name}/binding",
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        },
    )


def test_pod_when_made_waits_for_a_node(server: ApiServer, namespace: str) -> None:
    made = server.post(place(namespace), pod("p", containers=[{"name": "c", "image": "i:1"}]))
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"]["restartPolicy"] == "Always"
    assert made["spec"]["terminationGracePeriodSeconds"] == 30
    assert made["spec"]["serviceAccountName"] == "default"
    assert made["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert "generation" not in made["metadata"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (pod("p", containers=[]), "spec.containers"),
        (pod("p", containers=[{"name": "C", "image": "i"}]), "spec.containers[0].name"),
        (pod("p", restartPolicy="Sometimes"), "spec.restartPolicy"),
        (
            pod("p", containers=[{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]),
            "spec.containers[1].name",
        ),
    ],
)
def test_pod_when_wrong_names_the_field(
    server: ApiServer, namespace: str, document: Any, field: str
) -> None:
    code, answer = server.request("POST", place(namespace), document)
    assert code == 422
    assert field in [cause["field"] for cause in answer["details"]["causes"]]


def test_pod_when_made_cannot_be_another(server: ApiServer, namespace: str) -> None:
    server.post(place(namespace), pod("p"))
    path = f"{place(namespace)}/p"
    code, answer = server.request(
        "PATCH", path, {"spec": {"hostNetwork": True}}, content_type=MERGE
    )
    assert code == 422
    assert "pod updates may not change fields other than" in answer["message"]
    code, answer = server.request(
        "PATCH", path, {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE
    )
    assert code == 200


def test_binding_when_posted_puts_the_pod_on_a_node_once(server: ApiServer, namespace: str) -> None:
    server.post(place(namespace), pod("p"))
    code, answer = bind(server, namespace, "p", "node-1")
    assert (code, answer["status"]) == (201, "Success")
    found = server.get(f"{place(namespace)}/p")
    assert found["spec"]["nodeName"] == "node-1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"
    code, answer = bind(server, namespace, "p", "node-2")
    assert (code, answer["reason"]) == (409, "Conflict")
    assert 'already assigned to node "node-1"' in answer["message"]
    selected = server.get(f"{place(namespace)}?fieldSelector=spec.nodeName%3Dnode-1")
    assert [one["metadata"]["name"] for one in selected["items"]] == ["p"]


def test_delete_when_a_pod_runs_gives_it_time(server: ApiServer, namespace: str) -> None:
    server.post(place(namespace), pod("p", terminationGracePeriodSeconds=40))
    bind(server, namespace, "p", "node-1")
    path = f"{place(namespace)}/p"
    code, answer = server.request("DELETE", path)
    assert (code, answer["metadata"]["deletionGracePeriodSeconds"]) == (200, 40)
    first = answer["metadata"]["deletionTimestamp"]
    code, answer = server.request("DELETE", path, {"gracePeriodSeconds": 5})
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 5
    assert answer["metadata"]["deletionTimestamp"] < first
    assert server.request("DELETE", path, {"gracePeriodSeconds": 0})[0] == 200
    assert server.request("GET", path)[0] == 404


def test_status_when_written_changes_nothing_else(server: ApiServer, namespace: str) -> None:
    made = server.post(place(namespace), pod("p"))
    made["status"]["phase"] = "Running"
    made["spec"]["hostNetwork"] = True
    code, answer = server.request("PUT", f"{place(namespace)}/p/status", made)
    assert (code, answer["status"]["phase"]) == (200, "Running")
    assert "hostNetwork" not in answer["spec"]


def test_eviction_when_a_budget_forbids_it_is_refused_for_now(
    server: ApiServer, namespace: str
) -> None:
    server.post(place(namespace), pod("p"))
    bind(server, namespace, "p", "node-1")
    path = f"{place(namespace)}/p"
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    code, _ = server.request("PATCH", f"{path}/status", {"status": ready}, content_type=MERGE)
    assert code == 200
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    server.post(
        budgets,
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "b"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        },
    )
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p", "namespace": namespace},
    }
    code, answer = server.request("POST", f"{path}/eviction", eviction)
    assert (code, answer["reason"]) == (429, "TooManyRequests")
    assert answer["details"]["causes"][0]["reason"] == "DisruptionBudget"
    server.request("DELETE", f"{budgets}/b")
    code, answer = server.request("POST", f"{path}/eviction", eviction)
    assert code == 201
    assert server.get(path)["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"minAvailable": 1}, 1),
        ({"minAvailable": "50%"}, 0),
        ({"maxUnavailable": 1}, 0),
        ({"maxUnavailable": "100%"}, 2),
        ({"minAvailable": 2}, 0),
    ],
)
def test_disruptions_when_counted(spec: Any, allowed: int) -> None:
    ready = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert pods.disruptions_allowed(spec, [ready, ready, {"metadata": {}}]) == allowed


def test_log_when_asked_for_comes_from_the_node(server: ApiServer, namespace: str) -> None:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
            assert certificate
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"one\ntwo\n")

        def log_message(self, *arguments: Any) -> None:
            pass

    pair = server.pki.issue("node", common_name="node", addresses=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(server.pki.certificate_path)
    context.verify_mode = ssl.CERT_REQUIRED
    node = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    node.socket = context.wrap_socket(node.socket, server_side=True)
    thread = threading.Thread(target=node.serve_forever, args=(0.05,))
    thread.start()
    try:
        server.post(
            "/api/v1/nodes",
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{namespace}"}},
        )
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node.server_address[1]}},
        }
        code, _ = server.request(
            "PATCH",
            f"/api/v1/nodes/node-{namespace}/status",
            {"status": status},
            content_type=MERGE,
        )
        assert code == 200
        server.post(place(namespace), pod("p"))
        path = f"{place(namespace)}/p/log"
        code, answer = server.request("GET", path)
        assert (code, answer["reason"]) == (400, "BadRequest")
        bind(server, namespace, "p", f"node-{namespace}")
        code, text = server.request("GET", f"{path}?tailLines=2&follow=true")
        assert (code, text) == (200, "one\ntwo\n")
        assert seen == [f"/containerLogs/{namespace}/p/c?follow=true&tailLines=2"]
        code, answer = server.request("GET", f"{path}?container=other")
        assert (code, answer["message"]) == (400, "container other is not valid for pod p")
        assert server.kubectl("logs", "p", "-n", namespace) == "one\ntwo\n"
    finally:
        node.shutdown()
        node.server_close()
        thread.join()
