"""What admin, edit and view may do with VMs: upstream's matrix, asked of the API server."""

from __future__ import annotations

from typing import Any

import pytest
from servers import ApiServer

from mtv_operator.installation import documents, rbac

ROLES = ("admin", "edit", "view", "migrate", "default")
VM, VMI = "virtualmachines", "virtualmachineinstances"
SUB, KUBEVIRT = "subresources.kubevirt.io", "kubevirt.io"
INSTANCETYPE = "instancetype.kubevirt.io"

# Verb, group, resource with subresource, and who may (by role, in a namespace where it is bound).
MATRIX = (
    ("get", KUBEVIRT, VM, "admin edit view"),
    ("list", KUBEVIRT, VMI, "admin edit view"),
    ("create", KUBEVIRT, VM, "admin edit"),
    ("patch", KUBEVIRT, "virtualmachineinstancereplicasets", "admin edit"),
    ("delete", KUBEVIRT, VMI, "admin edit"),
    ("deletecollection", KUBEVIRT, VM, "admin"),
    ("get", KUBEVIRT, "virtualmachineinstancemigrations", "admin edit view migrate"),
    ("create", KUBEVIRT, "virtualmachineinstancemigrations", "migrate"),
    ("delete", KUBEVIRT, "virtualmachineinstancemigrations", "migrate"),
    ("update", KUBEVIRT, "kubevirts", ""),
    ("update", SUB, f"{VM}/start", "admin edit"),
    ("update", SUB, f"{VM}/stop", "admin edit"),
    ("update", SUB, f"{VM}/restart", "admin edit"),
    ("update", SUB, f"{VM}/addvolume", "admin edit"),
    ("update", SUB, f"{VM}/removevolume", "admin edit"),
    ("update", SUB, f"{VM}/migrate", "migrate"),
    ("get", SUB, f"{VM}/expand-spec", "admin edit view"),
    ("get", SUB, f"{VM}/portforward", "admin edit"),
    ("update", SUB, "expand-vm-spec", "admin edit view"),
    ("update", SUB, f"{VMI}/pause", "admin edit"),
    ("update", SUB, f"{VMI}/unpause", "admin edit"),
    ("update", SUB, f"{VMI}/freeze", "admin edit"),
    ("update", SUB, f"{VMI}/softreboot", "admin edit"),
    ("update", SUB, f"{VMI}/reset", "admin edit"),
    ("get", SUB, f"{VMI}/console", "admin edit"),
    ("get", SUB, f"{VMI}/vnc", "admin edit"),
    ("get", SUB, f"{VMI}/vnc/screenshot", "admin edit"),
    ("get", SUB, f"{VMI}/portforward", "admin edit"),
    ("get", SUB, f"{VMI}/guestosinfo", "admin edit view"),
    ("get", SUB, f"{VMI}/userlist", "admin edit view"),
    ("get", SUB, f"{VMI}/filesystemlist", "admin edit view"),
    ("get", SUB, "version", "default"),
    ("create", INSTANCETYPE, "virtualmachineinstancetypes", "admin edit"),
    ("list", INSTANCETYPE, "virtualmachinepreferences", "admin edit view"),
    ("get", "migrations.kubevirt.io", "migrationpolicies", "admin edit view"),
)


@pytest.fixture(scope="module")
def roles(server: ApiServer) -> ApiServer:
    """Return the server, where one user has each role in the namespace `team`."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    server.post("/api/v1/namespaces", namespace)
    for one in rbac.users_of_vms():
        server.post(documents.path_of(one).rpartition("/")[0], one)
    for role in ROLES:
        name = role if role in ("admin", "edit", "view") else f"kubevirt.io:{role}"
        server.post(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/team/rolebindings",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": role},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": name,
                },
                "subjects": [
                    {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"of-{role}"}
                ],
            },
        )
    return server


def _may(server: ApiServer, user: str, namespace: str, verb: str, group: str, path: str) -> bool:
    resource, _, subresource = path.partition("/")
    attributes: dict[str, Any] = {
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
        "namespace": namespace,
        "name": "web1",
    }
    answer = server.post(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        },
    )
    return bool(answer["status"]["allowed"])


def test_each_role_may_what_upstream_says_and_nothing_more(roles: ApiServer) -> None:
    found = {
        (verb, path): " ".join(
            role for role in ROLES if _may(roles, f"of-{role}", "team", verb, group, path)
        )
        for verb, group, path, _ in MATRIX
    }
    assert found == {(verb, path): expected for verb, _, path, expected in MATRIX}


def test_a_role_in_one_namespace_is_none_in_another(roles: ApiServer) -> None:
    for role in ROLES:
        for path in (f"{VMI}/console", f"{VMI}/vnc", f"{VM}/start", f"{VM}/migrate"):
            verb = "get" if path.startswith(VMI) else "update"
            assert not _may(roles, f"of-{role}", "default", verb, SUB, path)


def test_admin_takes_in_edit_and_view_of_kubernetes_too(roles: ApiServer) -> None:
    assert _may(roles, "of-admin", "team", "create", "rbac.authorization.k8s.io", "roles")
    assert _may(roles, "of-admin", "team", "get", "", "secrets")
    assert _may(roles, "of-edit", "team", "get", "", "pods")
    assert not _may(roles, "of-view", "team", "get", "", "secrets")
