"""What the types of Kubernetes' kinds do not say: defaults, enumerations, descriptions. Pure.

Defaults are those that the Kubernetes API server fills in itself (`pkg/apis/*/v1/defaults.go`) and
that clients rely on seeing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_REPEATABLE = {"uniqueItems": False}
_PROTOCOL = {"default": "TCP", "enum": ["SCTP", "TCP", "UDP"]}
_ACCESS_MODE = {
    "items": {
        "type": "string",
        "enum": ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"],
    }
}
_VOLUME_MODE = {"default": "Filesystem", "enum": ["Block", "Filesystem"]}
_FILE_MODE = {"default": 0o644}
_TAINT_EFFECT = {"enum": ["NoExecute", "NoSchedule", "PreferNoSchedule"]}
_WEBHOOK: Mapping[str, Mapping[str, Any]] = {
    "failurePolicy": {"default": "Fail", "enum": ["Fail", "Ignore"]},
    "matchPolicy": {"default": "Equivalent", "enum": ["Equivalent", "Exact"]},
    "namespaceSelector": {"default": {}},
    "objectSelector": {"default": {}},
    "timeoutSeconds": {"default": 10, "minimum": 1, "maximum": 30},
    "sideEffects": {"enum": ["None", "NoneOnDryRun"]},
}

RULES: Mapping[str, Mapping[str, Any]] = {
    "core.v1.PodSpec.restartPolicy": {
        "default": "Always",
        "enum": ["Always", "Never", "OnFailure"],
    },
    "core.v1.PodSpec.dnsPolicy": {
        "default": "ClusterFirst",
        "enum": ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    },
    "core.v1.PodSpec.terminationGracePeriodSeconds": {"default": 30},
    "core.v1.PodSpec.schedulerName": {"default": "default-scheduler"},
    "core.v1.PodSpec.securityContext": {"default": {}},
    "core.v1.PodSpec.enableServiceLinks": {"default": True},
    "core.v1.Container.resources": {"default": {}},
    "core.v1.Container.terminationMessagePath": {"default": "/dev/termination-log"},
    "core.v1.Container.terminationMessagePolicy": {
        "default": "File",
        "enum": ["FallbackToLogsOnError", "File"],
    },
    "core.v1.Container.imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "core.v1.Container.env": _REPEATABLE,
    "core.v1.Container.ports": _REPEATABLE,
    "core.v1.PodSpec.imagePullSecrets": _REPEATABLE,
    "core.v1.PodSpec.hostAliases": _REPEATABLE,
    "core.v1.ContainerPort.protocol": _PROTOCOL,
    "core.v1.ContainerPort.containerPort": {"minimum": 1, "maximum": 65535},
    "core.v1.HTTPGetAction.scheme": {"default": "HTTP", "enum": ["HTTP", "HTTPS"]},
    "core.v1.HTTPGetAction.path": {"default": "/"},
    "core.v1.ObjectFieldSelector.apiVersion": {"default": "v1"},
    "core.v1.Probe.timeoutSeconds": {"default": 1},
    "core.v1.Probe.periodSeconds": {"default": 10},
    "core.v1.Probe.successThreshold": {"default": 1},
    "core.v1.Probe.failureThreshold": {"default": 3},
    "core.v1.SecretVolumeSource.defaultMode": _FILE_MODE,
    "core.v1.ConfigMapVolumeSource.defaultMode": _FILE_MODE,
    "core.v1.DownwardAPIVolumeSource.defaultMode": _FILE_MODE,
    "core.v1.ProjectedVolumeSource.defaultMode": _FILE_MODE,
    "core.v1.ServiceAccountTokenProjection.expirationSeconds": {"default": 3600},
    "core.v1.HostPathVolumeSource.type": {"default": ""},
    "core.v1.VolumeMount.mountPropagation": {"enum": ["Bidirectional", "HostToContainer", "None"]},
    "core.v1.Taint.effect": _TAINT_EFFECT,
    "core.v1.Toleration.effect": {"enum": ["", *_TAINT_EFFECT["enum"]]},
    "core.v1.Toleration.operator": {"enum": ["", "Equal", "Exists"]},
    "core.v1.NodeSelectorRequirement.operator": {
        "enum": ["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"]
    },
    "meta.v1.LabelSelectorRequirement.operator": {
        "enum": ["DoesNotExist", "Exists", "In", "NotIn"]
    },
    "core.v1.TopologySpreadConstraint.whenUnsatisfiable": {
        "enum": ["DoNotSchedule", "ScheduleAnyway"]
    },
    "core.v1.PersistentVolumeClaimSpec.accessModes": _ACCESS_MODE,
    "core.v1.PersistentVolumeClaimSpec.volumeMode": _VOLUME_MODE,
    "core.v1.PersistentVolumeSpec.accessModes": _ACCESS_MODE,
    "core.v1.PersistentVolumeSpec.volumeMode": _VOLUME_MODE,
    "core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy": {
        "default": "Retain",
        "enum": ["Delete", "Recycle", "Retain"],
    },
    "storage.v1.StorageClass.reclaimPolicy": {
        "default": "Delete",
        "enum": ["Delete", "Recycle", "Retain"],
    },
    "storage.v1.StorageClass.volumeBindingMode": {
        "default": "Immediate",
        "enum": ["Immediate", "WaitForFirstConsumer"],
    },
    "core.v1.Secret.type": {"default": "Opaque"},
    "core.v1.ServiceSpec.type": {
        "default": "ClusterIP",
        "enum": ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    },
    "core.v1.ServiceSpec.sessionAffinity": {"default": "None", "enum": ["ClientIP", "None"]},
    "core.v1.ServicePort.protocol": _PROTOCOL,
    "core.v1.ServicePort.port": {"minimum": 1, "maximum": 65535},
    "core.v1.EndpointPort.protocol": _PROTOCOL,
    "discovery.v1.EndpointPort.protocol": _PROTOCOL,
    "discovery.v1.EndpointSlice.addressType": {"enum": ["FQDN", "IPv4", "IPv6"]},
    "batch.v1.JobSpec.backoffLimit": {"default": 6},
    "batch.v1.JobSpec.completionMode": {"default": "NonIndexed", "enum": ["Indexed", "NonIndexed"]},
    "batch.v1.JobSpec.completions": {"default": 1},
    "batch.v1.JobSpec.parallelism": {"default": 1},
    "batch.v1.JobSpec.suspend": {"default": False},
    "apiextensions.v1.CustomResourceDefinitionSpec.conversion": {"default": {"strategy": "None"}},
    "apiextensions.v1.CustomResourceDefinitionSpec.scope": {"enum": ["Cluster", "Namespaced"]},
    "rbac.v1.RoleRef.apiGroup": {"default": "rbac.authorization.k8s.io"},
    **{
        f"admissionregistration.v1.{kind}.{field}": rule
        for kind in ("MutatingWebhook", "ValidatingWebhook")
        for field, rule in _WEBHOOK.items()
    },
    "admissionregistration.v1.MutatingWebhook.reinvocationPolicy": {
        "default": "Never",
        "enum": ["IfNeeded", "Never"],
    },
    "admissionregistration.v1.RuleWithOperations.scope": {
        "default": "*",
        "enum": ["*", "Cluster", "Namespaced"],
    },
    "admissionregistration.v1.ServiceReference.port": {"default": 443},
    "apiextensions.v1.ServiceReference.port": {"default": 443},
    "apiregistration.v1.ServiceReference.port": {"default": 443},
}


@functools.cache
def _notes() -> dict[str, str]:
    text = Path(__file__).with_name("builtin_notes.txt").read_text()
    pairs = (line.partition(" ") for line in text.splitlines() if line and line[0] != "#")
    return {name: note.strip() for name, _, note in pairs}


def note_of(type_name: str, field: str = "") -> str:
    """Return the description of a type, `core.v1.Pod`, or of one of its fields; "" for none."""
    if not field:
        return _notes().get(type_name, "")
    return _notes().get(f"{type_name}.{field}") or _notes().get(f"*.{field}", "")
