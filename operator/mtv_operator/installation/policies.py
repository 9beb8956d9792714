"""Who may connect to the components' pods. Pure.

virt-handler stands in its node's network, which no NetworkPolicy reaches; it asks for certificates.
What components connect to is not limited: vCenter and its hosts are anywhere.
"""

from __future__ import annotations

from typing import Any

from mtv_operator.installation.naming import labels, selector
from mtv_operator.installation.settings import MIGRATION_NAMESPACE, RUNTIME_NAMESPACE

Document = dict[str, Any]

HTTPS = "https"


def runtime() -> list[Document]:
    """Return the policies of what runs virtual machines."""
    return [
        _policy("virt-api", RUNTIME_NAMESPACE, HTTPS),
        _policy("virt-controller", RUNTIME_NAMESPACE, "metrics"),
        _policy("virt-operator", RUNTIME_NAMESPACE),
    ]


def migration() -> list[Document]:
    """Return the policies of what brings virtual machines here."""
    return [
        _policy("mtv-controller", MIGRATION_NAMESPACE),
        _policy("mtv-inventory", MIGRATION_NAMESPACE, HTTPS),
    ]


def _policy(name: str, namespace: str, *ports: str) -> Document:
    """Return the policy by which only these ports are reached, from anywhere.

    Where the API server calls from cannot be told in a policy: it may be no pod.
    """
    open_ = [{"protocol": "TCP", "port": port} for port in ports]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": labels(name)},
        "spec": {
            "podSelector": {"matchLabels": selector(name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": open_}] if open_ else [],
        },
    }
