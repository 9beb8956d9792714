"""Which kinds the server knows, and what is known of each. Pure.

`BUILTIN` are Kubernetes' own kinds; `from_crd` makes the same description of a
CustomResourceDefinition. Everything else here (schemas, patches, tables, discovery, OpenAPI) is
driven by `ResourceInfo`, and knows no kind by name where it can be helped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mtv import errors
from mtv.api import meta
from mtv_operator.embedded.apiserver import builtin_types, definition_checks

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
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
    schema: dict[str, Any] | None = None  # structural OpenAPI v3; parts may be shared: read only
    columns: tuple[meta.Column, ...] = ()
    scale: meta.Scale | None = None
    list_kind: str = ""
    storage: bool = True  # objects are stored in this version
    builtin_type: str = ""  # `core.v1.Pod`; "" for a CustomResourceDefinition's
    deprecation_warning: str = ""  # sent with every answer of a deprecated version

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone for the core."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def gvk(self) -> dict[str, str]:
        """Return group, version and kind, as OpenAPI documents name them."""
        return {"group": self.group, "version": self.version, "kind": self.kind}

    @property
    def root(self) -> str:
        """Return the path that all objects of this group and version are below."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


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
) -> ResourceInfo:
    type_name = f"{group.split('.')[0] or 'core'}.v1.{kind}"
    return ResourceInfo(
        group=group,
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=not cluster,
        short_names=tuple(short.split()),
        categories=tuple(categories.split()),
        subresources=tuple(sub.split()),
        verbs=verbs,
        schema=builtin_types.inlined(type_name, lenient=kind == "Event"),
        list_kind=f"{kind}List",
        builtin_type=type_name,
    )


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_EXTENSIONS = "api-extensions"
_ASKED = ("create",)

BUILTIN: tuple[ResourceInfo, ...] = (
    _builtin("", "Namespace", "namespaces", "ns", cluster=True, sub="status finalize"),
    _builtin("", "Pod", "pods", "po", sub="status binding eviction log", categories="all"),
    _builtin("", "Node", "nodes", "no", cluster=True, sub="status"),
    _builtin("", "PersistentVolume", "persistentvolumes", "pv", cluster=True, sub="status"),
    _builtin("", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", sub="status"),
    _builtin("", "Secret", "secrets"),
    _builtin("", "ConfigMap", "configmaps", "cm"),
    _builtin("", "Service", "services", "svc", sub="status", categories="all"),
    _builtin("", "Endpoints", "endpoints", "ep"),
    _builtin("", "ServiceAccount", "serviceaccounts", "sa", sub="token"),
    _builtin("", "Event", "events", "ev"),
    _builtin("events.k8s.io", "Event", "events", "ev"),
    _builtin("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    _builtin("storage.k8s.io", "StorageClass", "storageclasses", "sc", cluster=True),
    _builtin("coordination.k8s.io", "Lease", "leases"),
    _builtin("scheduling.k8s.io", "PriorityClass", "priorityclasses", "pc", cluster=True),
    _builtin("policy", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", sub="status"),
    _builtin("batch", "Job", "jobs", sub="status", categories="all"),
    _builtin("apps", "ControllerRevision", "controllerrevisions"),
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
        categories=_EXTENSIONS,
    ),
    _builtin(
        "apiregistration.k8s.io",
        "APIService",
        "apiservices",
        cluster=True,
        sub="status",
        categories=_EXTENSIONS,
    ),
    _builtin(
        _ADMISSION,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        cluster=True,
        categories=_EXTENSIONS,
    ),
    _builtin(
        _ADMISSION,
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        cluster=True,
        categories=_EXTENSIONS,
    ),
    _builtin("authentication.k8s.io", "TokenReview", "tokenreviews", cluster=True, verbs=_ASKED),
    _builtin(
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        cluster=True,
        verbs=_ASKED,
    ),
    _builtin(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        cluster=True,
        verbs=_ASKED,
    ),
)


def from_crd(crd: dict[str, Any]) -> tuple[ResourceInfo, ...]:
    """Return the resources that a CustomResourceDefinition serves, one per served version.

    Raises BadInput with everything that is wrong with the definition; `definition_checks.problems`
    gives the same as a list.
    """
    problems = definition_checks.problems(crd)
    if len(problems) == 1:
        raise errors.BadInput(problems[0].message, field=problems[0].path)
    if problems:
        raise errors.BadInput("; ".join(f"{one.path}: {one.message}" for one in problems))
    return from_checked(crd)


def from_checked(crd: dict[str, Any]) -> tuple[ResourceInfo, ...]:
    """Return the same of a definition that is known to be right: looking again takes long."""
    versions = crd["spec"]["versions"]
    return tuple(_version(crd["spec"], one) for one in versions if one.get("served"))


def _version(spec: dict[str, Any], version: dict[str, Any]) -> ResourceInfo:
    names = spec["names"]
    subresources = version.get("subresources") or {}
    schema = version["schema"]["openAPIV3Schema"]
    if spec.get("preserveUnknownFields"):
        schema = schema | {"x-kubernetes-preserve-unknown-fields": True}
    return ResourceInfo(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(one for one in ("status", "scale") if subresources.get(one) is not None),
        schema=schema,
        columns=_columns(version.get("additionalPrinterColumns")),
        scale=_scale(subresources.get("scale")),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        storage=bool(version.get("storage")),
        deprecation_warning=_deprecation(spec, version),
    )


def _columns(columns: Iterable[dict[str, Any]] | None) -> tuple[meta.Column, ...]:
    return tuple(
        meta.Column(
            name=column["name"],
            path=column["jsonPath"],
            type=column["type"],
            priority=column.get("priority", 0),
            description=column.get("description", ""),
        )
        for column in columns or ()
    )


def _scale(scale: dict[str, Any] | None) -> meta.Scale | None:
    if scale is None:
        return None
    return meta.Scale(
        spec=scale["specReplicasPath"],
        status=scale["statusReplicasPath"],
        selector=scale.get("labelSelectorPath", ""),
    )


def _deprecation(spec: dict[str, Any], version: dict[str, Any]) -> str:
    if not version.get("deprecated"):
        return ""
    said = version.get("deprecationWarning")
    return said or f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
