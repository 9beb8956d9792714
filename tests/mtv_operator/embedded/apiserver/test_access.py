"""Who may do what: certificates, tokens of service accounts, roles."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest
from servers import ApiServer

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"


def token_of(server: ApiServer, namespace: str, name: str = "default", **spec: Any) -> str:
    code, made = server.request(
        "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", {"spec": spec}
    )
    assert code == 201, made
    return str(made["status"]["token"])


def by_token(server: ApiServer, token: str, path: str, **more: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", **more}
    return server.request("GET", path, user="", headers=headers)


def grant(server: ApiServer, namespace: str, rules: list[Any], subject: Any) -> None:
    server.post(
        f"{RBAC}/namespaces/{namespace}/roles",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "some"},
            "rules": rules,
        },
    )
    server.post(
        f"{RBAC}/namespaces/{namespace}/rolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "some"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "some"},
            "subjects": [subject],
        },
    )


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version", "/readyz?verbose"])
def test_open_paths_when_nobody_is_known_are_answered(server: ApiServer, path: str) -> None:
    assert server.request("GET", path, user="")[0] == 200


@pytest.mark.parametrize("path", ["/", "/api", "/apis", "/api/v1/pods", "/openapi/v2"])
def test_other_paths_when_nobody_is_known_are_not(server: ApiServer, path: str) -> None:
    code, answer = server.request("GET", path, user="")
    assert (code, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized")


def test_certificate_when_of_another_authority_is_refused(server: ApiServer, tmp_path: Any) -> None:
    from datetime import UTC, datetime

    from mtv_operator.embedded import pki

    other = pki.Authority(tmp_path, datetime.now(UTC)).issue(
        "x", common_name="admin", organisations=["system:masters"]
    )
    context = ssl.create_default_context(cafile=str(server.pki.certificate_path))
    context.load_cert_chain(other.certificate, other.key)
    connection = server.connect()
    connection._context = context
    with pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012 - either of the two
        connection.request("GET", "/api/v1/pods")
        connection.getresponse()
    connection.close()


def test_user_when_without_rights_is_told_what_is_missing(server: ApiServer) -> None:
    code, answer = server.request("GET", "/api/v1/namespaces/default/pods/p", user="bob")
    assert (code, answer["reason"]) == (403, "Forbidden")
    assert answer["message"] == (
        'pods "p" is forbidden: User "bob" cannot get resource "pods" in API group "" in the'
        ' namespace "default"'
    )
    code, answer = server.request("GET", "/apis/example.com/v1/widgets", user="bob")
    assert answer["message"] == (
        'widgets.example.com is forbidden: User "bob" cannot list resource "widgets" in API group'
        ' "example.com" at the cluster scope'
    )
    code, answer = server.request("GET", "/metrics", user="bob")
    assert (code, answer["message"]) == (
        403,
        'forbidden: User "bob" cannot get path "/metrics"',
    )
    assert server.request("GET", "/api", user="bob")[0] == 200


def test_role_when_bound_allows_what_it_says_and_no_more(server: ApiServer, namespace: str) -> None:
    rules = [
        {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get", "list"]},
        {"apiGroups": ["example.com"], "resources": ["widgets/status"], "verbs": ["patch"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "verbs": ["get"],
            "resourceNames": ["kube-root-ca.crt"],
        },
    ]
    user = f"user-of-{namespace}"
    grant(server, namespace, rules, {"kind": "User", "name": user})
    widgets = f"/apis/example.com/v1/namespaces/{namespace}/widgets"

    def code(method: str, path: str, body: Any = None) -> int:
        return server.request(
            method, path, body, user=user, content_type="application/merge-patch+json"
        )[0]

    assert code("GET", widgets) == 200
    assert code("GET", "/apis/example.com/v1/namespaces/default/widgets") == 403
    assert code("GET", f"{widgets}?watch=1&timeoutSeconds=1") == 403
    assert code("PATCH", f"{widgets}/none/status", {}) == 404
    assert code("PATCH", f"{widgets}/none", {}) == 403
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    assert code("GET", f"{maps}/kube-root-ca.crt") == 200
    assert code("GET", f"{maps}/other") == 403
    server.request("DELETE", f"{RBAC}/namespaces/{namespace}/rolebindings/some")
    assert code("GET", widgets) == 403


def test_token_when_of_a_service_account_is_that_account(
    server: ApiServer, namespace: str, until: Any
) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    until(lambda: server.request("GET", path)[0] == 200, "the default service account")
    token = token_of(server, namespace)
    code, answer = by_token(server, token, f"/api/v1/namespaces/{namespace}/pods")
    assert code == 403
    assert f'User "system:serviceaccount:{namespace}:default"' in answer["message"]
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    grant(server, namespace, rules, subject)
    assert by_token(server, token, f"/api/v1/namespaces/{namespace}/pods")[0] == 200
    head, claims, signature = token.split(".")
    forged = f"{head}.{claims}.{signature[:-4]}AAAA"
    assert by_token(server, forged, f"/api/v1/namespaces/{namespace}/pods")[0] == 401
    assert by_token(server, "x.y.z", "/api/v1/pods")[0] == 401
    server.request("DELETE", path)
    assert by_token(server, token, f"/api/v1/namespaces/{namespace}/pods")[0] == 401


def test_token_when_bound_dies_with_its_pod(server: ApiServer, namespace: str, until: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    until(lambda: server.request("GET", f"{path}/serviceaccounts/default")[0] == 200, "account")
    pod = server.post(
        f"{path}/pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    )
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}
    token = token_of(server, namespace, boundObjectRef=reference, audiences=None)
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    }
    told = server.post("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert told["authenticated"] is True
    assert told["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert told["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    server.request("DELETE", f"{path}/pods/p")
    told = server.post("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert told["authenticated"] is False


def test_access_reviews_when_posted_answer_for_whom_they_ask(server: ApiServer) -> None:
    attributes = {"verb": "get", "resource": "pods", "namespace": "default"}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "bob", "resourceAttributes": attributes},
    }
    told = server.post(f"{REVIEWS}/subjectaccessreviews", body)["status"]
    assert told["allowed"] is False
    body["spec"] = {
        "user": "x",
        "groups": ["system:masters"],
        "resourceAttributes": attributes,
    }
    assert server.post(f"{REVIEWS}/subjectaccessreviews", body)["status"] == {"allowed": True}
    code, answer = server.request(
        "POST",
        f"{REVIEWS}/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
        user="bob",
    )
    assert (code, answer["status"]["allowed"]) == (201, False)


def test_impersonation_when_allowed_is_as_the_other(server: ApiServer) -> None:
    as_bob = {"Impersonate-User": "bob"}
    code, answer = server.request("GET", "/api/v1/pods", headers=as_bob)
    assert (code, answer["message"].split(": ")[1][:10]) == (403, 'User "bob"')
    code, answer = server.request(
        "GET", "/api/v1/pods", user="bob", headers={"Impersonate-User": "admin"}
    )
    assert code == 403
    assert 'cannot impersonate resource "users"' in answer["message"]
    groups = {"Impersonate-User": "x", "Impersonate-Group": "system:masters"}
    assert server.request("GET", "/api/v1/pods", headers=groups)[0] == 200


def test_front_proxy_facts_when_started_are_published(server: ApiServer) -> None:
    found = server.get(
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    )
    assert json.loads(found["data"]["requestheader-username-headers"]) == ["X-Remote-User"]
    assert "BEGIN CERTIFICATE" in found["data"]["requestheader-client-ca-file"]
