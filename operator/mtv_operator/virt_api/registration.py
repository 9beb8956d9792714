"""The objects by which the API server finds us: Service, APIServices, webhooks. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from mtv.api import forklift, instancetype, kubevirt
from mtv_operator.virt_api import discovery, uploads

NAMESPACE, SERVICE = "kubevirt", "virt-api"
PORT = 443
TIMEOUT_S = 10
LABELS = {"kubevirt.io": "virt-api", "app.kubernetes.io/component": "kubevirt"}
WEBHOOK_GROUP = "admissionregistration.k8s.io/v1"

Document = dict[str, Any]

# Name, path, resource, operations, and whether writes wait for us when we do not answer.
EVICTIONS = "pods/eviction"
MUTATING: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    (
        "virtualmachines-mutator.kubevirt.io",
        "/virtualmachines-mutate",
        "virtualmachines",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "virtualmachineinstances-mutator.kubevirt.io",
        "/virtualmachineinstances-mutate",
        "virtualmachineinstances",
        ("CREATE",),
        "Fail",
    ),
    # Our own components update instances all the time: they must not stop when we are restarted.
    (
        "virtualmachineinstances-status-guard.kubevirt.io",
        "/virtualmachineinstances-mutate",
        "virtualmachineinstances",
        ("UPDATE",),
        "Ignore",
    ),
    (
        "migrations-mutator.kubevirt.io",
        "/migration-mutate-create",
        "virtualmachineinstancemigrations",
        ("CREATE",),
        "Fail",
    ),
)
VALIDATING: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    (
        "virtualmachine-validator.kubevirt.io",
        "/virtualmachines-validate",
        "virtualmachines",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "virtualmachineinstances-create-validator.kubevirt.io",
        "/virtualmachineinstances-validate-create",
        "virtualmachineinstances",
        ("CREATE",),
        "Fail",
    ),
    (
        "virtualmachineinstances-update-validator.kubevirt.io",
        "/virtualmachineinstances-validate-update",
        "virtualmachineinstances",
        ("UPDATE",),
        "Ignore",
    ),
    (
        "migration-create-validator.kubevirt.io",
        "/migration-validate-create",
        "virtualmachineinstancemigrations",
        ("CREATE",),
        "Fail",
    ),
    (
        "migration-update-validator.kubevirt.io",
        "/migration-validate-update",
        "virtualmachineinstancemigrations",
        ("UPDATE",),
        "Ignore",
    ),
    (
        "virt-launcher-eviction-interceptor.kubevirt.io",
        "/pod-eviction-validate",
        EVICTIONS,
        ("CREATE",),
        "Ignore",
    ),
    (
        "virtualmachineinstancetype-validator.instancetype.kubevirt.io",
        "/instancetype-validate",
        "virtualmachineinstancetypes",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "virtualmachineclusterinstancetype-validator.instancetype.kubevirt.io",
        "/instancetype-validate",
        "virtualmachineclusterinstancetypes",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "virtualmachinepreference-validator.instancetype.kubevirt.io",
        "/preference-validate",
        "virtualmachinepreferences",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "virtualmachineclusterpreference-validator.instancetype.kubevirt.io",
        "/preference-validate",
        "virtualmachineclusterpreferences",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "virtualmachineinstancereplicaset-validator.kubevirt.io",
        "/vmirs-validate",
        "virtualmachineinstancereplicasets",
        ("CREATE", "UPDATE"),
        "Fail",
    ),
    (
        "preset-stored-only.kubevirt.io",
        "/stored-only-validate",
        "virtualmachineinstancepresets",
        ("CREATE",),
        "Ignore",
    ),
    ("plan-warnings.mtv.dev", "/plan-warnings", "plans", ("CREATE", "UPDATE"), "Ignore"),
    (
        "storage-map-warnings.mtv.dev",
        "/storage-map-warnings",
        "storagemaps",
        ("CREATE", "UPDATE"),
        "Ignore",
    ),
)
# Whose resources these are, and in which versions, where they are not KubeVirt's own.
_KUBEVIRT = (kubevirt.GROUP, ("v1", "v1alpha3"))
_ELSEWHERE: dict[str, tuple[str, tuple[str, ...]]] = {
    EVICTIONS: ("", ("v1",)),
    "plans": (forklift.GROUP, ("v1beta1",)),
    "storagemaps": (forklift.GROUP, ("v1beta1",)),
    **{
        kind.resource.plural: (instancetype.GROUP, (instancetype.VERSION, *instancetype.OLDER))
        for kind in instancetype.KINDS
    },
}


def objects(
    address: str,
    ca: bytes,
    *,
    selector: Mapping[str, str] | None = None,
    with_uploads: bool = False,
) -> Sequence[Document]:
    """Return all objects, in the order in which they are applied.

    `address` is `host:port` where we listen; `ca` is the PEM of who signed our certificate. With a
    `selector` the Service finds our pods by itself (on a cluster), without one it gets endpoints.
    """
    host, _, port = address.rpartition(":")
    bundle = base64.b64encode(ca).decode()
    found = [service(int(port), selector)]
    if selector is None:
        found.append(endpoints(host.strip("[]"), int(port)))
    found += [api_service(version, bundle) for version in discovery.VERSIONS]
    if with_uploads:
        found.append(api_service(uploads.VERSION, bundle, uploads.GROUP))
    found.append(_webhooks("MutatingWebhookConfiguration", "virt-api-mutator", MUTATING, bundle))
    found.append(
        _webhooks("ValidatingWebhookConfiguration", "virt-api-validator", VALIDATING, bundle)
    )
    return found


def service(port: int, selector: Mapping[str, str] | None) -> Document:
    """Return the Service that APIServices and webhooks name."""
    spec: Document = {
        "ports": [{"name": "https", "port": PORT, "targetPort": port, "protocol": "TCP"}]
    }
    if selector is not None:
        spec["selector"] = dict(selector)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": dict(LABELS)},
        "spec": spec,
    }


def endpoints(host: str, port: int) -> Document:
    """Return where the Service leads when no pods are behind it."""
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": dict(LABELS)},
        "subsets": [
            {
                "addresses": [{"ip": host}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    }


def api_service(version: str, bundle: str, group: str = discovery.GROUP) -> Document:
    """Return the APIService of one version of a group that we serve."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": dict(LABELS)},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "caBundle": bundle,
            "service": {"namespace": NAMESPACE, "name": SERVICE, "port": PORT},
        },
    }


def _webhooks(
    kind: str,
    name: str,
    rows: Sequence[tuple[str, str, str, tuple[str, ...], str]],
    bundle: str,
) -> Document:
    return {
        "apiVersion": WEBHOOK_GROUP,
        "kind": kind,
        "metadata": {"name": name, "labels": dict(LABELS)},
        "webhooks": [_webhook(*row, bundle=bundle) for row in rows],
    }


def _webhook(
    name: str, path: str, resource: str, operations: tuple[str, ...], policy: str, *, bundle: str
) -> Document:
    group, versions = _ELSEWHERE.get(resource, _KUBEVIRT)
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun" if resource == EVICTIONS else "None",
        "failurePolicy": policy,
        "matchPolicy": "Equivalent",
        "timeoutSeconds": TIMEOUT_S,
        "clientConfig": {
            "caBundle": bundle,
            "service": {"namespace": NAMESPACE, "name": SERVICE, "port": PORT, "path": path},
        },
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": list(versions),
                "operations": list(operations),
                "resources": [resource],
                "scope": "Cluster" if "cluster" in resource else "Namespaced",
            }
        ],
    }


# Where each kind that is registered lives.
PATHS: dict[str, str] = {
    "Service": f"/api/v1/namespaces/{NAMESPACE}/services",
    "Endpoints": f"/api/v1/namespaces/{NAMESPACE}/endpoints",
    "APIService": "/apis/apiregistration.k8s.io/v1/apiservices",
    "MutatingWebhookConfiguration": f"/apis/{WEBHOOK_GROUP}/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": f"/apis/{WEBHOOK_GROUP}/validatingwebhookconfigurations",
}


def path_of(document: Document) -> str:
    """Return the path of one of these objects."""
    return f"{PATHS[document['kind']]}/{document['metadata']['name']}"
