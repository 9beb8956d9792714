"""Who of mtv's own processes may do what: roles and their bindings, as API objects. Pure.

The names are those that the same programs have on a cluster. Here they show client certificates,
there tokens of service accounts; the bindings name both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ALL = (*READ, *WRITE)
GROUP = "rbac.authorization.k8s.io"

Rule = dict[str, Any]


def rule(group: str, resources: str, *verbs: str) -> Rule:
    """Return a rule for blank-separated resources of one group."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": list(verbs)}


EVENTS = [
    rule("", "events", "get", "create", "update", "patch"),
    rule("events.k8s.io", "events", "get", "create", "update", "patch"),
]
LEASES = [rule("coordination.k8s.io", "leases", "get", "create", "update", "patch")]

NODE = [
    rule("", "nodes", "get", "list", "watch", "create", "patch", "update"),
    rule("", "nodes/status", "get", "patch", "update"),
    rule("", "pods", "get", "list", "watch", "delete"),
    rule("", "pods/status", "get", "patch", "update"),
    rule("", "secrets configmaps persistentvolumeclaims persistentvolumes services", "get"),
    rule("", "serviceaccounts/token", "create"),
    *EVENTS,
    *LEASES,
]
SCHEDULER = [
    rule("", "pods", "get", "list", "watch", "delete"),
    rule("", "pods/binding", "create"),
    rule("", "pods/status nodes/status persistentvolumeclaims/status", "get", "patch", "update"),
    rule("", "persistentvolumes/status", "get", "patch", "update"),
    rule("", "nodes persistentvolumeclaims", "get", "list", "watch", "patch", "update"),
    rule("", "persistentvolumes", *ALL),
    rule("", "namespaces", *READ),
    rule("storage.k8s.io", "storageclasses", *READ),
    *EVENTS,
    *LEASES,
]
CONTROLLER = [
    rule("forklift.konveyor.io", "*", *ALL),
    rule("mtv.dev", "*", *ALL),
    rule("kubevirt.io", "*", *ALL),
    rule("subresources.kubevirt.io", "*", "get", "update"),
    rule("instancetype.kubevirt.io", "*", *READ),
    rule("cdi.kubevirt.io", "*", *ALL),
    rule("", "pods persistentvolumeclaims secrets configmaps services endpoints", *ALL),
    rule("", "pods/status persistentvolumeclaims/status", "get", "patch", "update"),
    rule("", "pods/eviction", "create"),
    rule("", "pods/log", "get"),
    rule("", "serviceaccounts", "get", "list", "watch", "create", "patch"),
    rule("", "nodes namespaces persistentvolumes", *READ),
    rule("", "namespaces", "create"),  # a plan's target namespace
    rule("", "nodes", "patch"),
    rule("batch", "jobs", *ALL),
    rule("policy", "poddisruptionbudgets", *ALL),
    rule("apps", "controllerrevisions", *ALL),
    rule("storage.k8s.io", "storageclasses", *READ),
    rule("k8s.cni.cncf.io", "network-attachment-definitions", *READ),
    rule("apiextensions.k8s.io", "customresourcedefinitions", *READ),
    rule(GROUP, "rolebindings", "get", "create", "patch"),
    {**rule(GROUP, "clusterroles", "bind"), "resourceNames": ["mtv-transfer"]},
    *EVENTS,
    rule("coordination.k8s.io", "leases", *ALL),
]
HANDLER = [
    rule("kubevirt.io", "virtualmachineinstances", "get", "list", "watch", "update", "patch"),
    rule("kubevirt.io", "virtualmachineinstances/status", "get", "update", "patch"),
    rule("kubevirt.io", "virtualmachineinstancemigrations kubevirts", *READ),
    rule("", "nodes", "get", "list", "watch", "patch"),
    rule("", "nodes/status", "get", "patch"),
    rule("", "pods", *READ),
    rule("", "secrets configmaps persistentvolumeclaims persistentvolumes", "get", "list", "watch"),
    *EVENTS,
    *LEASES,
]
VIRT_API = [
    rule("kubevirt.io", "*", *ALL),
    rule("subresources.kubevirt.io", "*", "get", "update"),
    rule("instancetype.kubevirt.io", "*", *READ),
    rule("cdi.kubevirt.io", "*", *READ),
    rule("forklift.konveyor.io", "*", *READ),
    rule("mtv.dev", "*", *READ),
    rule("", "pods nodes namespaces persistentvolumeclaims configmaps", *READ),
    rule("", "services endpoints secrets", *ALL),
    rule("", "pods/eviction", "create"),
    rule("discovery.k8s.io", "endpointslices", *ALL),
    rule("apiregistration.k8s.io", "apiservices", *ALL),
    rule(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations validatingwebhookconfigurations",
        *ALL,
    ),
    rule("authorization.k8s.io", "subjectaccessreviews", "create"),
    rule("authentication.k8s.io", "tokenreviews", "create"),
    *EVENTS,
    *LEASES,
]
TRANSFER = [
    rule("mtv.dev", "disktransfers", "get", "list", "watch", "patch", "update"),
    rule("mtv.dev", "disktransfers/status", "get", "patch", "update"),
    rule("forklift.konveyor.io", "providers hosts plans", *READ),
    rule("", "secrets persistentvolumeclaims pods", "get"),
    *EVENTS,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A program, its role, and how the API server calls it."""

    role: str
    rules: list[Rule]
    service_account: str = ""
    namespaces: tuple[str, ...] = ()  # of the service account
    user: str = ""  # of a certificate, where it is no service account
    group: str = ""


ACCOUNTS = (
    Account(role="system:node", rules=NODE, group="system:nodes"),
    Account(role="mtv-scheduler", rules=SCHEDULER, user="system:mtv-scheduler"),
    Account(
        role="mtv-controller",
        rules=CONTROLLER,
        service_account="mtv-controller",
        namespaces=("mtv",),
    ),
    Account(
        role="kubevirt-handler",
        rules=HANDLER,
        service_account="kubevirt-handler",
        namespaces=("kubevirt",),
    ),
    Account(
        role="kubevirt-apiserver",
        rules=VIRT_API,
        service_account="kubevirt-apiserver",
        namespaces=("kubevirt",),
    ),
    Account(
        role="mtv-transfer",
        rules=TRANSFER,
        service_account="mtv-transfer",
        namespaces=("mtv", "default"),
    ),
)


def account_user(namespace: str, name: str) -> str:
    """Return the user name of a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


def objects() -> list[dict[str, Any]]:
    """Return service accounts, roles and bindings."""
    result: list[dict[str, Any]] = []
    for account in ACCOUNTS:
        result += [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": account.service_account, "namespace": namespace},
            }
            for namespace in account.namespaces
        ]
        result.append(
            {
                "apiVersion": f"{GROUP}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": account.role},
                "rules": account.rules,
            }
        )
        result.append(
            {
                "apiVersion": f"{GROUP}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": account.role},
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": account.role},
                "subjects": _subjects(account),
            }
        )
    return result


def _subjects(account: Account) -> list[dict[str, str]]:
    found = [
        {"kind": "ServiceAccount", "name": account.service_account, "namespace": namespace}
        for namespace in account.namespaces
    ]
    if account.user:
        found.append({"apiGroup": GROUP, "kind": "User", "name": account.user})
    if account.group:
        found.append({"apiGroup": GROUP, "kind": "Group", "name": account.group})
    return found
