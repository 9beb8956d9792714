"""What Kubernetes adds to its own kinds when they are made, and refuses about them. Pure.

What a schema can say is in `builtin_rules`. Here is the rest, as far as somebody here relies on it:
a full copy of Kubernetes' validation is not the aim.
"""

from __future__ import annotations

import base64
from typing import Any

from mtv_operator.embedded.apiserver import definition_checks, definitions, names
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.schemas import FieldError

Document = dict[str, Any]

NAMESPACE_FINALIZER = "kubernetes"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
UNREACHABLE_S = 300  # how long a pod stays on a node that is not heard of


def default(document: Document, info: ResourceInfo) -> None:
    """Fill in what the writer left out, on creation and on every update."""
    filler = _DEFAULTS.get((info.group, info.kind))
    if filler is not None:
        filler(document)


def default_new(document: Document, info: ResourceInfo) -> None:
    """Fill in what only a new object gets."""
    filler = _NEW.get((info.group, info.kind))
    if filler is not None:
        filler(document)


def keep(before: Document, after: Document, info: ResourceInfo, subresource: str) -> None:
    """Keep in `after` what a request to this subresource may not change."""
    if (info.group, info.kind) != (_CORE, "Namespace"):
        return
    finalizers = (before.get("spec") or {}).get("finalizers")
    if subresource == "finalize":
        finalizers = (after.get("spec") or {}).get("finalizers")
        after.update({name: value for name, value in before.items() if name != "metadata"})
    after["spec"] = {name: value for name, value in _spec(after).items() if name != "finalizers"}
    if finalizers:
        after["spec"]["finalizers"] = finalizers


def problems(before: Document | None, document: Document, info: ResourceInfo) -> list[FieldError]:
    """Return what is wrong with an object of one of Kubernetes' kinds."""
    checker = _CHECKS.get((info.group, info.kind))
    return checker(before, document) if checker is not None else []


def _spec(document: Document) -> Document:
    spec = document.get("spec")
    if not isinstance(spec, dict):
        spec = document["spec"] = {}
    return spec


def _default_namespace(document: Document) -> None:
    name = document["metadata"].get("name")
    if name:
        document["metadata"].setdefault("labels", {})[NAMESPACE_LABEL] = name


def _new_namespace(document: Document) -> None:
    _default_namespace(document)
    _spec(document)["finalizers"] = [NAMESPACE_FINALIZER]
    document["status"] = {"phase": "Active"}


def _default_secret(document: Document) -> None:
    texts = document.pop("stringData", None) or {}
    if texts:
        values = document.get("data") or {}
        document["data"] = values | {
            name: base64.b64encode(str(text).encode()).decode() for name, text in texts.items()
        }


def _default_pod(document: Document) -> None:
    spec = _spec(document)
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            if isinstance(container, dict):
                _default_container(container)


def _default_container(container: Document) -> None:
    image = str(container.get("image", ""))
    latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    resources = container.get("resources")
    if isinstance(resources, dict) and isinstance(resources.get("limits"), dict):
        requests = resources.setdefault("requests", {})
        for name, value in resources["limits"].items():
            requests.setdefault(name, value)


def _new_pod(document: Document) -> None:
    spec = _spec(document)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    tolerations = spec.setdefault("tolerations", [])
    for trouble in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{trouble}"
        if not any(
            one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "")
            for one in tolerations
        ):
            tolerations.append(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": UNREACHABLE_S,
                }
            )
    document["status"] = {"phase": "Pending", "qosClass": quality(spec)}


def quality(spec: Document) -> str:
    """Return a pod's class of service: Guaranteed, Burstable or BestEffort."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    asked, complete = False, bool(containers)
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            asked = asked or name in requests or name in limits
            complete = complete and name in limits and requests.get(name) == limits.get(name)
    return "Guaranteed" if asked and complete else "Burstable" if asked else "BestEffort"


def _check_pod(before: Document | None, document: Document) -> list[FieldError]:
    spec = document.get("spec") or {}
    found = []
    containers = spec.get("containers")
    if not containers:
        return [names.required("spec.containers")]
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            path = f"spec.{field}[{index}]"
            name = str(container.get("name", ""))
            if not name:
                found.append(names.required(f"{path}.name"))
            elif name in seen:
                message = f'Duplicate value: "{name}"'
                found.append(
                    FieldError(path=f"{path}.name", reason="FieldValueDuplicate", message=message)
                )
            else:
                found += [names.invalid(f"{path}.name", name, rule) for rule in names.label(name)]
            seen.add(name)
            if not container.get("image"):
                found.append(names.required(f"{path}.image"))
    if before is not None and _placed(before) and _fixed(before) != _fixed(document):
        message = (
            "Forbidden: pod updates may not change fields other than"
            " `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing"
            " tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was"
            " previously negative)"
        )
        found.append(FieldError(path="spec", reason="FieldValueForbidden", message=message))
    return found


def _placed(document: Document) -> bool:
    return bool(document.get("spec"))


def _fixed(document: Document) -> Document:
    """Return the part of a pod's spec that never changes."""
    free = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
    spec = {name: value for name, value in document["spec"].items() if name not in free}
    for field in ("containers", "initContainers"):
        if field in spec:
            spec[field] = [
                {name: value for name, value in one.items() if name != "image"}
                for one in spec[field]
            ]
    if spec.get("schedulingGates") == []:
        del spec["schedulingGates"]
    return spec


def _new_claim(document: Document) -> None:
    document["status"] = {"phase": "Pending"}


def _check_claim(before: Document | None, document: Document) -> list[FieldError]:
    spec = document.get("spec") or {}
    found = []
    modes = spec.get("accessModes")
    if not modes:
        found.append(names.required("spec.accessModes", "at least 1 access mode is required"))
    request = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if request is None:
        found.append(names.required("spec.resources[storage]"))
    if before is not None and not found:
        free = ("resources", "volumeName", "volumeAttributesClassName", "storageClassName")
        old = {name: value for name, value in before["spec"].items() if name not in free}
        new = {name: value for name, value in spec.items() if name not in free}
        named = before["spec"].get("volumeName")
        if old != new or (named and named != spec.get("volumeName")):
            message = (
                "Forbidden: spec is immutable after creation except resources.requests and"
                " volumeAttributesClassName for bound claims"
            )
            found.append(FieldError(path="spec", reason="FieldValueForbidden", message=message))
    return found


def _new_volume(document: Document) -> None:
    document.setdefault("status", {}).setdefault("phase", "Pending")


def _check_class(before: Document | None, document: Document) -> list[FieldError]:
    return [] if document.get("provisioner") else [names.required("provisioner")]


def _default_service(document: Document) -> None:
    for port in _spec(document).get("ports") or ():
        if isinstance(port, dict):
            port.setdefault("targetPort", port.get("port"))


def _check_secret(before: Document | None, document: Document) -> list[FieldError]:
    found = []
    for name, value in (document.get("data") or {}).items():
        try:
            base64.b64decode(str(value), validate=True)
        except ValueError:
            found.append(
                names.invalid(f"data[{name}]", "<secret contents redacted>", "must be base64")
            )
    if before is not None and before.get("type") != document.get("type"):
        found.append(names.invalid("type", document.get("type"), "field is immutable"))
    return found + _check_immutable(before, document)


def _check_immutable(before: Document | None, document: Document) -> list[FieldError]:
    if before is None or not before.get("immutable"):
        return []
    changed = [
        name
        for name in ("data", "binaryData", "immutable")
        if before.get(name) != document.get(name)
    ]
    message = "Forbidden: field is immutable when `immutable` is set"
    return [
        FieldError(path=name, reason="FieldValueForbidden", message=message) for name in changed
    ]


def _default_role_binding(document: Document) -> None:
    for subject in document.get("subjects") or ():
        if isinstance(subject, dict) and subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _check_role_binding(before: Document | None, document: Document) -> list[FieldError]:
    reference = document.get("roleRef") or {}
    if reference.get("kind") not in ("Role", "ClusterRole"):
        return [
            names.invalid(
                "roleRef.kind", reference.get("kind", ""), 'must be "Role" or "ClusterRole"'
            )
        ]
    if not reference.get("name"):
        return [names.required("roleRef.name")]
    if before is not None and before.get("roleRef") != reference:
        return [names.invalid("roleRef", str(reference), "cannot change roleRef")]
    return []


def _new_definition(document: Document) -> None:
    finalizers = document["metadata"].setdefault("finalizers", [])
    if definitions.CLEANUP not in finalizers:
        finalizers.append(definitions.CLEANUP)


def _check_definition(before: Document | None, document: Document) -> list[FieldError]:
    return definition_checks.problems(document)


_CORE, _STORAGE, _RBAC = "", "storage.k8s.io", "rbac.authorization.k8s.io"
_EXTENSIONS = "apiextensions.k8s.io"
_DEFAULTS = {
    (_CORE, "Namespace"): _default_namespace,
    (_CORE, "Secret"): _default_secret,
    (_CORE, "Pod"): _default_pod,
    (_CORE, "Service"): _default_service,
    (_RBAC, "RoleBinding"): _default_role_binding,
    (_RBAC, "ClusterRoleBinding"): _default_role_binding,
    (_EXTENSIONS, "CustomResourceDefinition"): definitions.default,
}
_NEW = {
    (_CORE, "Namespace"): _new_namespace,
    (_CORE, "Pod"): _new_pod,
    (_CORE, "PersistentVolumeClaim"): _new_claim,
    (_CORE, "PersistentVolume"): _new_volume,
    (_EXTENSIONS, "CustomResourceDefinition"): _new_definition,
}
_CHECKS = {
    (_CORE, "Secret"): _check_secret,
    (_CORE, "ConfigMap"): _check_immutable,
    (_CORE, "Pod"): _check_pod,
    (_CORE, "PersistentVolumeClaim"): _check_claim,
    (_STORAGE, "StorageClass"): _check_class,
    (_RBAC, "RoleBinding"): _check_role_binding,
    (_RBAC, "ClusterRoleBinding"): _check_role_binding,
    (_EXTENSIONS, "CustomResourceDefinition"): _check_definition,
}
