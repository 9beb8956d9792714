"""The objects that every cluster has from its first second. Pure, but for reading the CA.

Roles and bindings as Kubernetes' own bootstrap policy names them, as far as anybody here asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mtv_operator.embedded.apiserver.deps import FrontProxy
from mtv_operator.embedded.apiserver.storage import Key

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
RBAC = "rbac.authorization.k8s.io"
READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An object to make: where, of what kind, with which fields."""

    place: tuple[Key, str, str]
    fields: dict[str, Any] = field(default_factory=dict)


def objects(front_proxy: FrontProxy) -> list[Made]:
    """Return everything in the order in which it is made."""
    made = [Made(place=(Key("namespaces", "", name), "v1", "Namespace")) for name in NAMESPACES]
    made.append(
        Made(
            place=(
                Key("configmaps", "kube-system", "extension-apiserver-authentication"),
                "v1",
                "ConfigMap",
            ),
            fields={"data": front_proxy_facts(front_proxy)},
        )
    )
    made += [
        _role("cluster-admin", [_rule(["*"], ["*"], ["*"]), _paths(["*"], ["*"])]),
        _role("system:discovery", [_paths(["get"], _DISCOVERY)]),
        _role("system:basic-user", _BASIC),
        _part("view", [_rule(READ, _GROUPS, _VIEWED)]),
        _part("edit", [_rule([*READ, *WRITE], _GROUPS, _EDITED)]),
        _part("admin", [_rule([*READ, *WRITE], [*_GROUPS, RBAC], _OWNED)]),
        _whole("view", part_of="edit"),
        _whole("edit", part_of="admin"),
        _whole("admin"),
    ]
    made += [
        _binding("cluster-admin", "system:masters"),
        _binding("system:discovery", "system:authenticated"),
        _binding("system:basic-user", "system:authenticated"),
    ]
    return made


def front_proxy_facts(front_proxy: FrontProxy) -> dict[str, str]:
    """Return how aggregated servers know this one, and whom it speaks for."""
    authority = front_proxy.ca.read_text()
    return {
        "client-ca-file": authority,
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-client-ca-file": authority,
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-username-headers": '["X-Remote-User"]',
    }


def _rule(verbs: list[str], groups: list[str], resources: list[str]) -> dict[str, list[str]]:
    return {"verbs": verbs, "apiGroups": groups, "resources": resources}


def _paths(verbs: list[str], paths: list[str]) -> dict[str, list[str]]:
    return {"verbs": verbs, "nonResourceURLs": paths}


_DISCOVERY = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
]
_BASIC = [
    _rule(
        ["create"],
        ["authorization.k8s.io"],
        ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    ),
    _rule(["create"], ["authentication.k8s.io"], ["selfsubjectreviews"]),
]
_GROUPS = ["", "batch", "discovery.k8s.io", "events.k8s.io", "policy"]
_VIEWED = [
    "configmaps",
    "endpoints",
    "endpointslices",
    "events",
    "jobs",
    "namespaces",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "pods/log",
    "pods/status",
    "serviceaccounts",
    "services",
]
_EDITED = [*_VIEWED, "pods/eviction", "secrets", "serviceaccounts/token"]
_OWNED = [*_EDITED, "rolebindings", "roles"]


def _role(
    name: str,
    rules: list[dict[str, list[str]]],
    *,
    part_of: str = "",
    takes: str = "",
) -> Made:
    """Return a role: one that another aggregates, or that itself takes in those with a label."""
    labels = dict(_LABEL)
    if part_of:
        labels[f"{RBAC}/aggregate-to-{part_of}"] = "true"
    fields: dict[str, Any] = {"metadata": {"labels": labels}, "rules": rules}
    if takes:
        selector = {"matchLabels": {f"{RBAC}/aggregate-to-{takes}": "true"}}
        fields["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return Made(
        place=(Key(f"clusterroles.{RBAC}", "", name), f"{RBAC}/v1", "ClusterRole"), fields=fields
    )


def _part(name: str, rules: list[dict[str, list[str]]]) -> Made:
    return _role(f"system:aggregate-to-{name}", rules, part_of=name)


def _whole(name: str, *, part_of: str = "") -> Made:
    return _role(name, [], part_of=part_of, takes=name)


def _binding(role: str, group: str) -> Made:
    return Made(
        place=(Key(f"clusterrolebindings.{RBAC}", "", role), f"{RBAC}/v1", "ClusterRoleBinding"),
        fields={
            "metadata": {"labels": dict(_LABEL)},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}],
        },
    )
