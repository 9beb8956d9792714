from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from backends import Backend, Request, backend
from servers import ApiServer

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
GROUP = "sub.example.com"


def answer(request: Request) -> tuple[int, Any]:
    if request.path == f"/apis/{GROUP}/v1":
        resources = [{"name": "things/start", "namespaced": True, "kind": "Thing", "verbs": []}]
        return 200, {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/v1",
            "resources": resources,
        }
    if request.method == "PUT":
        return 202, request.document
    return 200, {"path": request.path}


@pytest.fixture(scope="module")
def behind(server: ApiServer) -> Iterator[Backend]:
    """An aggregated server, registered by an ExternalName service."""
    with backend(server, "things.default.svc", answer) as running:
        server.post(
            "/api/v1/namespaces/default/services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "things"},
                "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
            },
        )
        service = {"name": "things", "namespace": "default", "port": running.port}
        server.post(
            SERVICES,
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"v1.{GROUP}"},
                "spec": {
                    "group": GROUP,
                    "version": "v1",
                    "service": service,
                    "caBundle": running.bundle,
                    "groupPriorityMinimum": 1000,
                    "versionPriority": 15,
                },
            },
        )
        yield running


def available(server: ApiServer) -> bool:
    found = server.get(f"{SERVICES}/v1.{GROUP}")
    conditions = found.get("status", {}).get("conditions", [])
    return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)


def test_service_when_it_answers_is_available_and_discovered(
    server: ApiServer, behind: Backend, until: Any
) -> None:
    until(lambda: available(server), "the APIService is available")
    groups = [one["name"] for one in server.get("/apis")["groups"]]
    assert GROUP in groups
    assert server.get(f"/apis/{GROUP}/v1")["resources"][0]["name"] == "things/start"


def test_request_when_passed_on_says_who_asks(server: ApiServer, behind: Backend) -> None:
    path = f"/apis/{GROUP}/v1/namespaces/default/things/a/info?x=1&y=2"
    headers = {"X-Remote-User": "forged", "Authorization": "Basic eDp5"}
    assert server.get(path) == {"path": path}
    code, _ = server.request("GET", path, headers=headers)
    assert code == 200
    seen = behind.seen[-1]
    assert seen.headers.get_all("X-Remote-User") == ["admin"]
    assert seen.headers.get_all("X-Remote-Group") == ["system:masters", "system:authenticated"]
    assert seen.headers["Authorization"] is None
    subject = dict(part[0] for part in seen.certificate["subject"])
    assert subject["commonName"] == "front-proxy-client"
    code, body = server.request("PUT", path, {"paused": True})
    assert (code, body) == (202, {"paused": True})


def test_request_when_not_allowed_is_not_passed_on(server: ApiServer, behind: Backend) -> None:
    path = f"/apis/{GROUP}/v1/namespaces/default/things/a/start"
    before = len(behind.seen)
    code, answered = server.request("PUT", path, {}, user="bob")
    assert code == 403
    assert 'cannot update resource "things/start" in API group' in answered["message"]
    assert len([one for one in behind.seen[before:] if "things" in one.path]) == 0


def test_websocket_when_passed_on_goes_both_ways(server: ApiServer, behind: Backend) -> None:
    connection = server.connect()
    connection.connect()
    stream = connection.sock
    head = [
        f"GET /apis/{GROUP}/v1/namespaces/default/things/a/console HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: plain.kubevirt.io",
        "",
        "",
    ]
    stream.sendall("\r\n".join(head).encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        reply += stream.recv(4096)
    assert reply.startswith(b"HTTP/1.1 101 ")
    assert b"plain.kubevirt.io" in reply
    sent = bytes(range(256)) * 1000
    received = reply.partition(b"\r\n\r\n")[2]
    for start in range(0, len(sent), 4096):
        stream.sendall(sent[start : start + 4096])
        while len(received) < min(len(sent), start + 4096):
            received += stream.recv(65536)
    assert received == sent
    assert behind.seen[-1].headers["X-Remote-User"] == "admin"
    connection.close()


@pytest.mark.parametrize(
    ("path", "user", "code"),
    [
        (f"/apis/{GROUP}/v1/namespaces/default/things/a/console", "bob", b"403"),
        (f"/apis/{GROUP}/v1/namespaces/default/things/a/console", "", b"401"),
        ("/api/v1/namespaces/default/pods/a/exec", "admin", b"404"),
    ],
)
def test_websocket_when_refused_says_why(
    server: ApiServer, behind: Backend, path: str, user: str, code: bytes
) -> None:
    connection = server.connect(user)
    connection.connect()
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection.sock.sendall(head.encode())
    assert connection.sock.recv(4096).split()[1] == code
    connection.close()


def test_request_when_nobody_is_behind_is_unavailable(server: ApiServer, until: Any) -> None:
    server.post(
        SERVICES,
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1.none.example.com"},
            "spec": {
                "group": "none.example.com",
                "version": "v1",
                "service": {"name": "none", "namespace": "default"},
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
                "insecureSkipTLSVerify": True,
            },
        },
    )
    code, answered = server.request("GET", "/apis/none.example.com/v1/things")
    assert (code, answered["reason"]) == (503, "ServiceUnavailable")

    def told() -> Any:
        found = server.get(f"{SERVICES}/v1.none.example.com")
        return found.get("status", {}).get("conditions", [])

    conditions = until(told, "the APIService is found wanting")
    assert (conditions[0]["status"], conditions[0]["reason"]) == ("False", "FailedDiscoveryCheck")
    server.request("DELETE", f"{SERVICES}/v1.none.example.com")
