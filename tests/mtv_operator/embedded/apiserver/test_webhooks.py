from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from backends import Answer, Backend, Request, backend
from servers import ApiServer

HOOKS = "/apis/admissionregistration.k8s.io/v1"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def widget(name: str, **spec: Any) -> Any:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name, "labels": {"hooked": "yes"}},
        "spec": {"cores": 2, **spec},
    }


def reply(request: Request, **response: Any) -> tuple[int, Any]:
    review = request.document
    return 200, {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": True, **response},
    }


def configure(server: ApiServer, phase: str, running: Backend, **more: Any) -> str:
    """Register a webhook for widgets; return its path."""
    plural = f"{phase.lower()}webhookconfigurations"
    hook = {
        "name": "hook.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{running.port}/hook",
            "caBundle": running.bundle,
        },
        "rules": [
            {
                "apiGroups": ["example.com"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": ["widgets"],
            }
        ],
        "objectSelector": {"matchLabels": {"hooked": "yes"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        **more,
    }
    made = server.post(
        f"{HOOKS}/{plural}",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{phase}WebhookConfiguration",
            "metadata": {"generateName": "hook-"},
            "webhooks": [hook],
        },
    )
    return f"{HOOKS}/{plural}/{made['metadata']['name']}"


@pytest.fixture
def hooked(server: ApiServer) -> Iterator[Any]:
    """Run a backend as a webhook until the test ends."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def run(phase: str, answer: Answer, **more: Any) -> Backend:
            running = stack.enter_context(backend(server, "hook", answer))
            path = configure(server, phase, running, **more)
            stack.callback(server.request, "DELETE", path)
            return running

        yield run


def test_validating_webhook_when_it_denies_is_quoted(server: ApiServer, hooked: Any) -> None:
    def answer(request: Request) -> tuple[int, Any]:
        cores = request.document["request"]["object"]["spec"]["cores"]
        told = {"message": f"spec.cores: {cores} is more than 4", "code": 422, "reason": "Invalid"}
        return reply(request, allowed=cores <= 4, status=told)

    running = hooked("Validating", answer)
    code, refused = server.request("POST", WIDGETS, widget("denied", cores=8))
    assert (code, refused["reason"]) == (422, "Invalid")
    assert refused["message"] == (
        'admission webhook "hook.example.com" denied the request: spec.cores: 8 is more than 4'
    )
    assert server.request("GET", f"{WIDGETS}/denied")[0] == 404
    server.post(WIDGETS, widget("allowed", cores=4))
    asked = running.seen[-1].document["request"]
    assert asked["operation"] == "CREATE"
    assert asked["kind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert asked["resource"]["resource"] == "widgets"
    assert asked["userInfo"]["username"] == "admin"
    assert asked["namespace"] == "default"
    assert asked["oldObject"] is None
    assert asked["object"]["spec"]["mode"] == "Slow"
    code, refused = server.request(
        "PATCH",
        f"{WIDGETS}/allowed",
        {"spec": {"cores": 5}},
        content_type="application/merge-patch+json",
    )
    assert code == 422
    asked = running.seen[-1].document["request"]
    assert (asked["operation"], asked["oldObject"]["spec"]["cores"]) == ("UPDATE", 4)


def test_mutating_webhook_when_it_patches_is_applied_checked_and_warned(
    server: ApiServer, hooked: Any
) -> None:
    def answer(request: Request) -> tuple[int, Any]:
        patch = [
            {"op": "add", "path": "/metadata/labels/by", "value": "hook"},
            {"op": "replace", "path": "/spec/cores", "value": 3},
        ]
        encoded = base64.b64encode(json.dumps(patch).encode()).decode()
        return reply(request, patch=encoded, patchType="JSONPatch", warnings=["mind the cores"])

    hooked("Mutating", answer)
    connection = server.connect()
    connection.request(
        "POST", WIDGETS, json.dumps(widget("mutated")), {"Content-Type": "application/json"}
    )
    answered = connection.getresponse()
    made = json.loads(answered.read())
    connection.close()
    assert answered.status == 201
    assert answered.headers["Warning"] == '299 - "mind the cores"'
    assert made["metadata"]["labels"]["by"] == "hook"
    assert made["spec"]["cores"] == 3


def test_mutating_webhook_when_its_object_is_wrong_is_refused(
    server: ApiServer, hooked: Any
) -> None:
    def answer(request: Request) -> tuple[int, Any]:
        patch = [{"op": "replace", "path": "/spec/cores", "value": 1000}]
        return reply(
            request,
            patch=base64.b64encode(json.dumps(patch).encode()).decode(),
            patchType="JSONPatch",
        )

    hooked("Mutating", answer)
    code, refused = server.request("POST", WIDGETS, widget("wrong"))
    assert (code, refused["details"]["causes"][0]["field"]) == (422, "spec.cores")


@pytest.mark.parametrize(("policy", "code"), [("Fail", 500), ("Ignore", 201)])
def test_webhook_when_it_fails_is_treated_as_its_policy_says(
    server: ApiServer, hooked: Any, policy: str, code: int
) -> None:
    hooked("Validating", lambda request: (503, {}), failurePolicy=policy)
    seen, answer = server.request("POST", WIDGETS, widget(f"policy-{policy.lower()}"))
    assert seen == code
    if code == 500:
        assert 'failed calling webhook "hook.example.com"' in answer["message"]


def test_webhook_when_its_rules_or_selectors_do_not_match_is_not_asked(
    server: ApiServer, hooked: Any, namespace: str
) -> None:
    running = hooked("Validating", lambda request: (500, {}))
    document = widget("free")
    del document["metadata"]["labels"]
    server.post(WIDGETS, document)
    code, _ = server.request(
        "PATCH",
        f"{WIDGETS}/free/status",
        {"status": {"phase": "x"}},
        content_type="application/merge-patch+json",
    )
    assert code == 200
    hooked(
        "Validating",
        lambda request: (500, {}),
        namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}},
        objectSelector={},
    )
    document["metadata"]["name"] = "also-free"
    server.post(WIDGETS, document)
    assert running.seen == []


def test_webhook_when_a_service_is_named_is_found_by_its_endpoints(
    server: ApiServer, hooked: Any, namespace: str
) -> None:
    with backend(server, f"hook.{namespace}.svc", lambda request: reply(request)) as running:
        core = f"/api/v1/namespaces/{namespace}"
        server.post(
            f"{core}/services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "hook"},
                "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 8443}]},
            },
        )
        path = configure(
            server,
            "Validating",
            running,
            clientConfig={
                "service": {"namespace": namespace, "name": "hook", "path": "/check"},
                "caBundle": running.bundle,
            },
        )
        try:
            code, refused = server.request("POST", WIDGETS, widget("by-service"))
            assert code == 500
            assert "no endpoints available" in refused["message"]
            server.post(
                f"{core}/endpoints",
                {
                    "apiVersion": "v1",
                    "kind": "Endpoints",
                    "metadata": {"name": "hook"},
                    "subsets": [
                        {
                            "addresses": [{"ip": "127.0.0.1"}],
                            "ports": [{"name": "https", "port": running.port}],
                        }
                    ],
                },
            )
            server.post(WIDGETS, widget("by-service"))
            assert running.seen[-1].path == "/check?timeout=5s"
        finally:
            server.request("DELETE", path)
