"""Which kinds the server knows, and what is known of each. Pure.

`BUILTIN` are Kubernetes' own kinds; `from_crd` makes the same description of a
CustomResourceDefinition. Everything else here (schemas, patches, tables, discovery, OpenAPI) is
driven by `ResourceInfo`, and knows no kind by name where it can be helped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mtv.api import meta

ALL_VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResourceInfo:
    """One version of one resource. Compared and hashed by identity, so that it can key caches."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    schema: dict[str, Any] | None = None  # structural OpenAPI v3
    columns: tuple[meta.Column, ...] = ()
    scale: meta.Scale | None = None
    list_kind: str = ""
    storage: bool = True  # objects are stored in this version
    deprecation_warning: str = ""

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone for the core."""
        return f"{self.group}/{self.version}" if self.group else self.version


_CREATE_ONLY = ("create",)


def _builtin(
    group: str,
    kind: str,
    plural: str,
    short: str = "",
    *,
    cluster: bool = False,
    sub: str = "",
    categories: str = "",
    verbs: tuple[str, ...] = ALL_VERBS,
    singular: str = "",
) -> ResourceInfo:
    return ResourceInfo(
        group=group,
        version="v1",
        kind=kind,
        plural=plural,
        singular=singular or kind.lower(),
        namespaced=not cluster,
        short_names=tuple(short.split()),
        categories=tuple(categories.split()),
        subresources=tuple(sub.split()),
        verbs=verbs,
        list_kind=f"{kind}List",
    )


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

BUILTIN: tuple[ResourceInfo, ...] = (
    _builtin("", "Namespace", "namespaces", "ns", cluster=True, sub="status finalize"),
    _builtin("", "Pod", "pods", "po", sub="status binding eviction log", categories="all"),
    _builtin("", "Node", "nodes", "no", cluster=True, sub="status"),
    _builtin("", "PersistentVolume", "persistentvolumes", "pv", cluster=True, sub="status"),
    _builtin("", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", sub="status"),
    _builtin("", "Secret", "secrets"),
    _builtin("", "ConfigMap", "configmaps", "cm"),
    _builtin("", "Service", "services", "svc", sub="status", categories="all"),
    _builtin("", "Endpoints", "endpoints", "ep", singular="endpoints"),
    _builtin("", "ServiceAccount", "serviceaccounts", "sa", sub="token"),
    _builtin("", "Event", "events", "ev"),
    _builtin("events.k8s.io", "Event", "events", "ev"),
    _builtin("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    _builtin("storage.k8s.io", "StorageClass", "storageclasses", "sc", cluster=True),
    _builtin("coordination.k8s.io", "Lease", "leases"),
    _builtin("scheduling.k8s.io", "PriorityClass", "priorityclasses", "pc", cluster=True),
    _builtin("policy", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", sub="status"),
    _builtin("batch", "Job", "jobs", sub="status", categories="all"),
    _builtin(_RBAC, "Role", "roles"),
    _builtin(_RBAC, "RoleBinding", "rolebindings"),
    _builtin(_RBAC, "ClusterRole", "clusterroles", cluster=True),
    _builtin(_RBAC, "ClusterRoleBinding", "clusterrolebindings", cluster=True),
    _builtin(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd crds",
        cluster=True,
        sub="status",
        categories="api-extensions",
    ),
    _builtin(
        "apiregistration.k8s.io",
        "APIService",
        "apiservices",
        cluster=True,
        sub="status",
        categories="api-extensions",
    ),
    _builtin(
        _ADMISSION,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        cluster=True,
        categories="api-extensions",
    ),
    _builtin(
        _ADMISSION,
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        cluster=True,
        categories="api-extensions",
    ),
    _builtin(
        "authentication.k8s.io", "TokenReview", "tokenreviews", cluster=True, verbs=_CREATE_ONLY
    ),
    _builtin(
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        cluster=True,
        verbs=_CREATE_ONLY,
    ),
    _builtin(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        cluster=True,
        verbs=_CREATE_ONLY,
    ),
)


def from_crd(crd: dict[str, Any]) -> tuple[ResourceInfo, ...]:
    """Return the resources that a CustomResourceDefinition serves, one per served version."""
    spec = crd["spec"]
    names = spec["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        scale = subresources.get("scale")
        found.append(
            ResourceInfo(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                singular=names.get("singular") or names["kind"].lower(),
                namespaced=spec.get("scope") != "Cluster",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=tuple(one for one in ("status", "scale") if one in subresources),
                schema=(version.get("schema") or {}).get("openAPIV3Schema"),
                columns=tuple(
                    meta.Column(
                        name=column["name"],
                        path=column["jsonPath"],
                        type=column["type"],
                        priority=column.get("priority", 0),
                        description=column.get("description", ""),
                    )
                    for column in version.get("additionalPrinterColumns") or ()
                ),
                scale=scale
                and meta.Scale(
                    spec=scale["specReplicasPath"],
                    status=scale["statusReplicasPath"],
                    selector=scale.get("labelSelectorPath", ""),
                ),
                list_kind=names.get("listKind") or f"{names['kind']}List",
                storage=bool(version.get("storage")),
            )
        )
    return tuple(found)
