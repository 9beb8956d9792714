"""The columns of Kubernetes' own kinds, as `kubectl get` users know them. Pure.

After kubernetes' `pkg/printers/internalversion/printers.go`. Columns of priority 1 are shown with
`-o wide` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mtv_operator.embedded.apiserver import ages, cells, event_columns, pod_columns
from mtv_operator.embedded.apiserver.cells import NONE, UNSET, get, items, strings, text

Document = dict[str, Any]
Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """A column; `cell` gives what an object has there."""

    name: str
    cell: Callable[[Document, datetime], Cell]
    type: str = "string"
    priority: int = 0
    description: str = ""


def _at(name: str, *path: str, empty: str = "", wide: bool = False, type: str = "string") -> Column:  # noqa: A002
    """Return the column of a value at a path."""

    def cell(document: Document, now: datetime) -> Cell:
        value = get(document, *path)
        if type == "integer" and isinstance(value, int):
            return value
        return empty if value in (None, "") else text(value)

    return Column(name=name, cell=cell, priority=int(wide), type=type)


def _of(
    name: str,
    cell: Callable[[Document], Cell],
    *,
    wide: bool = False,
    type: str = "string",  # noqa: A002
) -> Column:
    """Return the column of what a function makes of the object."""
    return Column(name=name, cell=lambda one, _: cell(one), priority=int(wide), type=type)


def _timed(name: str, cell: Callable[[Document, datetime], Cell], *, wide: bool = False) -> Column:
    """Return the column of what depends on the time."""
    return Column(name=name, cell=cell, priority=int(wide))


NAME = Column(
    name="Name",
    cell=lambda one, _: get(one, "metadata", "name") or "",
    description="What the object is called; unique among its kind in a namespace.",
)
AGE = Column(
    name="Age",
    cell=lambda one, now: ages.since(get(one, "metadata", "creationTimestamp"), now),
    description="How long ago the object was created.",
)
_CREATED = _at("Created At", "metadata", "creationTimestamp")
_ACCESS = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_ROLE = "node-role.kubernetes.io/"


def row_conditions(document: Document) -> list[Document]:
    """Return what marks the row of an object, for pods that have ended."""
    return pod_columns.row_conditions(document) if document.get("kind") == "Pod" else []


def _phase(document: Document) -> str:
    if get(document, "metadata", "deletionTimestamp"):
        return "Terminating"
    return get(document, "status", "phase") or ""


def _ready(pod: Document) -> str:
    seen = pod_columns.summary(pod)
    return f"{seen.ready}/{seen.containers}"


def _node_status(node: Document) -> str:
    ready = cells.condition(node, "Ready")
    status = {"True": "Ready"}.get(ready.get("status", ""), "NotReady") if ready else "Unknown"
    closed = get(node, "spec", "unschedulable")
    return f"{status},SchedulingDisabled" if closed else status


def _node_roles(node: Document) -> str:
    found = []
    for name, value in (get(node, "metadata", "labels") or {}).items():
        if name.startswith(_ROLE) and len(name) > len(_ROLE):
            found.append(name[len(_ROLE) :])
        elif name == "kubernetes.io/role" and value:
            found.append(value)
    return ",".join(sorted(set(found))) or NONE


def _node_address(kind: str) -> Callable[[Document], str]:
    def address(node: Document) -> str:
        addresses = items(node, "status", "addresses")
        return next((one["address"] for one in addresses if one.get("type") == kind), NONE)

    return address


def _modes(*path: str) -> Callable[[Document], str]:
    def modes(document: Document) -> str:
        given = strings(document, *path)
        return ",".join(short for mode, short in _ACCESS.items() if mode in given)

    return modes


def _claim(volume: Document) -> str:
    claim = get(volume, "spec", "claimRef") or {}
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


def _class_name(storage_class: Document) -> str:
    name: str = get(storage_class, "metadata", "name") or ""
    annotations = get(storage_class, "metadata", "annotations") or {}
    return f"{name} (default)" if annotations.get(_DEFAULT_CLASS) == "true" else name


def _expansion(storage_class: Document) -> bool:
    return bool(storage_class.get("allowVolumeExpansion"))


def _external_ip(service: Document) -> str:
    kind = get(service, "spec", "type") or "ClusterIP"
    if kind == "ExternalName":
        return get(service, "spec", "externalName") or ""
    if kind == "LoadBalancer":
        points = items(service, "status", "loadBalancer", "ingress")
        found = [one.get("ip") or one.get("hostname") or "" for one in points]
        return ",".join([*found, *strings(service, "spec", "externalIPs")]) or "<pending>"
    return ",".join(strings(service, "spec", "externalIPs")) or NONE


def _ports(service: Document) -> str:
    found = []
    for port in items(service, "spec", "ports"):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        found.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(found) or NONE


def _some(found: list[str], limit: int = 3) -> str:
    """Return the first few, and how many more there are."""
    if not found:
        return NONE
    more = f" + {len(found) - limit} more..." if len(found) > limit else ""
    return ",".join(found[:limit]) + more


def _endpoints(document: Document) -> str:
    found = []
    for subset in items(document, "subsets"):
        ports = items(subset, "ports") or [{}]
        for address in items(subset, "addresses"):
            ip = address.get("ip")
            found += [f"{ip}:{port['port']}" if "port" in port else f"{ip}" for port in ports]
    return _some(found)


def _slice_ports(document: Document) -> str:
    ports = [text(one.get("port")) or "*" for one in items(document, "ports")]
    return _some(ports) if ports else UNSET


def _slice_addresses(document: Document) -> str:
    found = [ip for one in items(document, "endpoints") for ip in strings(one, "addresses")]
    return _some(found) if found else UNSET


def _job_status(job: Document) -> str:
    if cells.is_true(job, "Complete"):
        return "Complete"
    if cells.is_true(job, "Failed"):
        return "Failed"
    if get(job, "metadata", "deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if cells.is_true(job, kind):
            return kind
    return "Running"


def _job_completions(job: Document) -> str:
    done = get(job, "status", "succeeded") or 0
    wanted = get(job, "spec", "completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = get(job, "spec", "parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(job: Document, now: datetime) -> str:
    start = ages.parse_time(get(job, "status", "startTime"))
    if start is None:
        return ""
    end = ages.parse_time(get(job, "status", "completionTime")) or now
    return ages.shown((end - start).total_seconds())


def _containers(field: str) -> Callable[[Document], str]:
    def joined(job: Document) -> str:
        containers = items(job, "spec", "template", "spec", "containers")
        return ",".join(str(one.get(field, "")) for one in containers)

    return joined


def _role(binding: Document) -> str:
    reference = binding.get("roleRef") or {}
    return f"{reference.get('kind')}/{reference.get('name')}"


def _subjects(kind: str) -> Callable[[Document], str]:
    def named(binding: Document) -> str:
        found = [one for one in items(binding, "subjects") if one.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{one.get('namespace')}/{one.get('name')}" for one in found)
        return ", ".join(str(one.get("name")) for one in found)

    return named


def _api_service(document: Document) -> str:
    service = get(document, "spec", "service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "Local"


def _controller(document: Document) -> str:
    owners = get(document, "metadata", "ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return "<none>"
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"


def _available(document: Document) -> str:
    found = cells.condition(document, "Available") or {"status": "Unknown"}
    if found["status"] == "True":
        return "True"
    return f"{found['status']} ({found['reason']})" if found.get("reason") else found["status"]


def _counted(*path: str) -> Callable[[Document], int]:
    return lambda document: cells.count(get(document, *path))


_BINDING = (
    NAME,
    _of("Role", _role),
    AGE,
    _of("Users", _subjects("User"), wide=True),
    _of("Groups", _subjects("Group"), wide=True),
    _of("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)
_WEBHOOKS = (NAME, _of("Webhooks", _counted("webhooks"), type="integer"), AGE)
_EVENT = (
    _timed("Last Seen", lambda event, now: ages.since(event_columns.times(event)[1], now)),
    _at("Type", "type"),
    _at("Reason", "reason"),
    _of("Object", event_columns.target),
    _of(
        "Subobject",
        lambda event: (
            get(event, "involvedObject", "fieldPath") or get(event, "regarding", "fieldPath")
        ),
        wide=True,
    ),
    _of("Source", event_columns.source, wide=True),
    _of("Message", lambda event: str(event.get("message") or event.get("note") or "").strip()),
    _timed(
        "First Seen", lambda event, now: ages.since(event_columns.times(event)[0], now), wide=True
    ),
    _of("Count", event_columns.count, wide=True, type="integer"),
    Column(name="Name", cell=NAME.cell, priority=1),
)

BUILTIN: Mapping[str, tuple[Column, ...]] = {
    "core.v1.Pod": (
        NAME,
        _of("Ready", _ready),
        _of("Status", lambda pod: pod_columns.summary(pod).status),
        _timed("Restarts", pod_columns.restarts),
        AGE,
        _at("IP", "status", "podIP", empty=NONE, wide=True),
        _at("Node", "spec", "nodeName", empty=NONE, wide=True),
        _at("Nominated Node", "status", "nominatedNodeName", empty=NONE, wide=True),
        _of("Readiness Gates", pod_columns.readiness_gates, wide=True),
    ),
    "core.v1.Node": (
        NAME,
        _of("Status", _node_status),
        _of("Roles", _node_roles),
        AGE,
        _at("Version", "status", "nodeInfo", "kubeletVersion"),
        _of("Internal-IP", _node_address("InternalIP"), wide=True),
        _of("External-IP", _node_address("ExternalIP"), wide=True),
        _at("OS-Image", "status", "nodeInfo", "osImage", empty="<unknown>", wide=True),
        _at("Kernel-Version", "status", "nodeInfo", "kernelVersion", empty="<unknown>", wide=True),
        _at(
            "Container-Runtime",
            "status",
            "nodeInfo",
            "containerRuntimeVersion",
            empty="<unknown>",
            wide=True,
        ),
    ),
    "core.v1.Namespace": (NAME, _at("Status", "status", "phase"), AGE),
    "core.v1.PersistentVolumeClaim": (
        NAME,
        _of("Status", _phase),
        _at("Volume", "spec", "volumeName"),
        _at("Capacity", "status", "capacity", "storage"),
        _of("Access Modes", _modes("status", "accessModes")),
        _at("StorageClass", "spec", "storageClassName"),
        _at("VolumeAttributesClass", "spec", "volumeAttributesClassName", empty=UNSET),
        AGE,
        _at("VolumeMode", "spec", "volumeMode", empty=UNSET, wide=True),
    ),
    "core.v1.PersistentVolume": (
        NAME,
        _at("Capacity", "spec", "capacity", "storage"),
        _of("Access Modes", _modes("spec", "accessModes")),
        _at("Reclaim Policy", "spec", "persistentVolumeReclaimPolicy"),
        _of("Status", _phase),
        _of("Claim", _claim),
        _at("StorageClass", "spec", "storageClassName"),
        _at("VolumeAttributesClass", "spec", "volumeAttributesClassName", empty=UNSET),
        _at("Reason", "status", "reason"),
        AGE,
        _at("VolumeMode", "spec", "volumeMode", empty=UNSET, wide=True),
    ),
    "storage.v1.StorageClass": (
        _of("Name", _class_name),
        _at("Provisioner", "provisioner"),
        _at("ReclaimPolicy", "reclaimPolicy", empty="Delete"),
        _at("VolumeBindingMode", "volumeBindingMode", empty="Immediate"),
        _of("AllowVolumeExpansion", _expansion),
        AGE,
    ),
    "core.v1.Service": (
        NAME,
        _at("Type", "spec", "type", empty="ClusterIP"),
        _at("Cluster-IP", "spec", "clusterIP", empty=NONE),
        _of("External-IP", _external_ip),
        _of("Port(s)", _ports),
        AGE,
        _of("Selector", lambda service: cells.labels(get(service, "spec", "selector")), wide=True),
    ),
    "core.v1.Endpoints": (NAME, _of("Endpoints", _endpoints), AGE),
    "discovery.v1.EndpointSlice": (
        NAME,
        _at("AddressType", "addressType"),
        _of("Ports", _slice_ports),
        _of("Endpoints", _slice_addresses),
        AGE,
    ),
    "core.v1.Secret": (
        NAME,
        _at("Type", "type"),
        _of("Data", _counted("data"), type="integer"),
        AGE,
    ),
    "core.v1.ConfigMap": (
        NAME,
        _of(
            "Data",
            lambda one: cells.count(one.get("data")) + cells.count(one.get("binaryData")),
            type="integer",
        ),
        AGE,
    ),
    "core.v1.ServiceAccount": (
        NAME,
        _of("Secrets", _counted("secrets"), type="integer"),
        AGE,
    ),
    "core.v1.Event": _EVENT,
    "events.v1.Event": _EVENT,
    "coordination.v1.Lease": (NAME, _at("Holder", "spec", "holderIdentity"), AGE),
    "scheduling.v1.PriorityClass": (
        NAME,
        _at("Value", "value", type="integer"),
        _of("Global-Default", lambda one: bool(one.get("globalDefault")), type="boolean"),
        AGE,
        _at("PreemptionPolicy", "preemptionPolicy", empty="PreemptLowerPriority"),
    ),
    "policy.v1.PodDisruptionBudget": (
        NAME,
        _at("Min Available", "spec", "minAvailable", empty="N/A"),
        _at("Max Unavailable", "spec", "maxUnavailable", empty="N/A"),
        _of("Allowed Disruptions", lambda one: get(one, "status", "disruptionsAllowed") or 0),
        AGE,
    ),
    "apps.v1.ControllerRevision": (
        NAME,
        _of("Controller", _controller),
        _at("Revision", "revision", type="integer"),
        AGE,
    ),
    "batch.v1.Job": (
        NAME,
        _of("Status", _job_status),
        _of("Completions", _job_completions),
        _timed("Duration", _job_duration),
        AGE,
        _of("Containers", _containers("name"), wide=True),
        _of("Images", _containers("image"), wide=True),
        _of(
            "Selector",
            lambda job: cells.labels(get(job, "spec", "selector", "matchLabels")),
            wide=True,
        ),
    ),
    "rbac.v1.Role": (NAME, _CREATED),
    "rbac.v1.ClusterRole": (NAME, _CREATED),
    "rbac.v1.RoleBinding": _BINDING,
    "rbac.v1.ClusterRoleBinding": _BINDING,
    "apiextensions.v1.CustomResourceDefinition": (NAME, _CREATED),
    "apiregistration.v1.APIService": (
        NAME,
        _of("Service", _api_service),
        _of("Available", _available),
        AGE,
    ),
    "admissionregistration.v1.MutatingWebhookConfiguration": _WEBHOOKS,
    "admissionregistration.v1.ValidatingWebhookConfiguration": _WEBHOOKS,
}
