"""Which nodes a pod fits on, and why it does not fit on the others. Pure.

Reasons are in the words of kube-scheduler, which people search for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mtv.api import quantities
from mtv.api.core import (
    Affinity,
    Container,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodAffinityTerm,
    StorageClass,
)
from mtv.api.meta import LabelSelector, LabelSelectorRequirement
from mtv_operator.embedded.scheduler import matching

SELECTED_NODE = "volume.kubernetes.io/selected-node"
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
UNSCHEDULABLE = "node(s) were unschedulable"
VOLUME_CONFLICT = "node(s) had volume node affinity conflict"
POD_AFFINITY = "node(s) didn't match pod affinity rules"
POD_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
PORTS = "node(s) didn't have free ports for the requested pod ports"
NOT_READY = "node(s) were not ready"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the scheduler knows. Maps are by (namespace, name) or name."""

    nodes: Sequence[Node]
    pods: Sequence[Pod] = ()  # with spec.nodeName, also those just bound
    claims: Mapping[tuple[str, str], PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, PersistentVolume] = field(default_factory=dict)
    classes: Mapping[str, StorageClass] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # their labels


def on_node(cluster: Cluster, name: str) -> list[Pod]:
    """Return the pods that use a node's resources."""
    return [
        pod
        for pod in cluster.pods
        if pod.spec
        and pod.spec.node_name == name
        and not (pod.status and pod.status.phase in ENDED)
    ]


def requests(pod: Pod) -> dict[str, int]:
    """Return what a pod asks for, in thousandths, as Kubernetes counts it."""
    spec = pod.spec
    if spec is None:
        return {}
    running: dict[str, int] = {}
    for container in spec.containers:
        quantities.add(running, _asked(container))
    beside: dict[str, int] = {}  # sidecars that have started so far
    highest: dict[str, int] = {}
    for container in spec.init_containers:
        if container.restart_policy == "Always":
            quantities.add(beside, _asked(container))
            quantities.add(running, _asked(container))
            continue
        now = dict(beside)
        quantities.add(now, _asked(container))
        for name, value in now.items():
            highest[name] = max(highest.get(name, 0), value)
    total = {name: max(running.get(name, 0), highest.get(name, 0)) for name in {*running, *highest}}
    quantities.add(total, spec.overhead)
    return total


def _asked(container: Container) -> dict[str, str | int | float]:
    resources = container.resources
    if resources is None:
        return {}
    return {**resources.limits, **resources.requests}


def used(pods: Iterable[Pod]) -> dict[str, int]:
    """Return what pods ask for together, in thousandths."""
    total: dict[str, int] = {}
    for pod in pods:
        for name, value in requests(pod).items():
            total[name] = total.get(name, 0) + value
    return total


def allocatable(node: Node) -> dict[str, int]:
    """Return what a node has to give, in thousandths."""
    total: dict[str, int] = {}
    quantities.add(total, node.status.allocatable if node.status else {})
    return total


def reasons(pod: Pod, node: Node, cluster: Cluster) -> list[str]:
    """Return why a pod does not fit on a node; empty when it does."""
    return (
        _node_state(pod, node)
        or _node_affinity(pod, node)
        or _volumes(pod, node, cluster)
        or _resources(pod, node, cluster)
        or _ports(pod, node, cluster)
        or _pod_affinity(pod, node, cluster)
    )


def _node_state(pod: Pod, node: Node) -> list[str]:
    tolerations = pod.spec.tolerations if pod.spec else ()
    if node.spec and node.spec.unschedulable:
        return [UNSCHEDULABLE]
    taints = node.spec.taints if node.spec else ()
    taint = matching.untolerated(taints, tolerations, ("NoSchedule", "NoExecute"))
    if taint is not None:
        return [f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}"]
    conditions = node.status.conditions if node.status else ()
    if not any(one.type == "Ready" and one.status == "True" for one in conditions):
        return [NOT_READY]
    return []


def _node_affinity(pod: Pod, node: Node) -> list[str]:
    labels = node.metadata.labels
    wanted = pod.spec.node_selector if pod.spec else {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return [AFFINITY]
    given = affinity(pod).node_affinity
    required = given.required_during_scheduling_ignored_during_execution if given else None
    return [] if matching.node_matches(required, node) else [AFFINITY]


def affinity(pod: Pod) -> Affinity:
    """Return a pod's affinity, empty when it has none."""
    return (pod.spec.affinity if pod.spec else None) or Affinity()


def claims_of(pod: Pod) -> list[str]:
    """Return the names of the claims that a pod mounts."""
    found = [
        volume.persistent_volume_claim.claim_name
        for volume in (pod.spec.volumes if pod.spec else ())
        if volume.persistent_volume_claim is not None
    ]
    return list(dict.fromkeys(found))


def waits_for_consumer(claim: PersistentVolumeClaim, cluster: Cluster) -> bool:
    """Tell whether a claim is bound only once a pod is about to use it."""
    name = claim.spec.storage_class_name if claim.spec else None
    found = cluster.classes.get(name or "")
    return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"


def is_bound(claim: PersistentVolumeClaim) -> bool:
    """Tell whether a claim has its volume."""
    return bool(claim.spec and claim.spec.volume_name and claim.status) and (
        claim.status is not None and claim.status.phase == "Bound"
    )


def unready_claim(pod: Pod, cluster: Cluster) -> str:
    """Return why no node can do because of a claim, or ""."""
    for name in claims_of(pod):
        claim = cluster.claims.get((pod.metadata.namespace, name))
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if claim.metadata.deletion_timestamp:
            return f'persistentvolumeclaim "{name}" is being deleted'
        if not is_bound(claim) and not waits_for_consumer(claim, cluster):
            return "pod has unbound immediate PersistentVolumeClaims"
        if claim.spec and "ReadWriteOncePod" in claim.spec.access_modes:
            other = _other_user(pod, name, cluster)
            if other:
                return f'claim "{name}" is ReadWriteOncePod and in use by pod "{other}"'
    return ""


def _other_user(pod: Pod, claim: str, cluster: Cluster) -> str:
    for other in cluster.pods:
        if (
            other.metadata.namespace == pod.metadata.namespace
            and other.metadata.uid != pod.metadata.uid
            and not (other.status and other.status.phase in ENDED)
            and claim in claims_of(other)
        ):
            return other.metadata.name
    return ""


def _volumes(pod: Pod, node: Node, cluster: Cluster) -> list[str]:
    for name in claims_of(pod):
        claim = cluster.claims.get((pod.metadata.namespace, name))
        if claim is None:
            continue
        if is_bound(claim):
            assert claim.spec is not None
            volume = cluster.volumes.get(claim.spec.volume_name or "")
            spec = volume.spec if volume else None
            required = spec.node_affinity.required if spec and spec.node_affinity else None
            if not matching.node_matches(required, node):
                return [VOLUME_CONFLICT]
        else:
            selected = claim.metadata.annotations.get(SELECTED_NODE, node.metadata.name)
            there = any(one.metadata.name == selected for one in cluster.nodes)
            if there and selected != node.metadata.name:
                return [VOLUME_CONFLICT]
    return []


def _resources(pod: Pod, node: Node, cluster: Cluster) -> list[str]:
    there = on_node(cluster, node.metadata.name)
    free = allocatable(node)
    for name, amount in used(there).items():
        free[name] = free.get(name, 0) - amount
    found = []
    if "pods" in free and free["pods"] - 1000 * (len(there) + 1) < 0:
        found.append("Too many pods")
    for name, amount in sorted(requests(pod).items()):
        if amount > 0 and amount > free.get(name, 0):
            found.append(f"Insufficient {name}")
    return found


def _ports(pod: Pod, node: Node, cluster: Cluster) -> list[str]:
    wanted = host_ports(pod)
    taken = {port for one in on_node(cluster, node.metadata.name) for port in host_ports(one)}
    return [PORTS] if wanted & taken else []


def host_ports(pod: Pod) -> set[tuple[str, int]]:
    """Return the ports of the node that a pod takes."""
    spec = pod.spec
    if spec is None:
        return set()
    return {
        (port.protocol or "TCP", port.host_port)
        for container in spec.containers
        for port in container.ports
        if port.host_port
    }


def _pod_affinity(pod: Pod, node: Node, cluster: Cluster) -> list[str]:
    given = affinity(pod)
    if given.pod_affinity is not None:
        terms = given.pod_affinity.required_during_scheduling_ignored_during_execution
        for term in terms:
            if not any_matches(term, pod, node, cluster) and not _is_first(term, pod, cluster):
                return [POD_AFFINITY]
    if given.pod_anti_affinity is not None:
        terms = given.pod_anti_affinity.required_during_scheduling_ignored_during_execution
        if any(any_matches(term, pod, node, cluster) for term in terms):
            return [POD_ANTI_AFFINITY]
    for other in cluster.pods:
        anti = affinity(other).pod_anti_affinity
        if anti is None or (other.status and other.status.phase in ENDED):
            continue
        for term in anti.required_during_scheduling_ignored_during_execution:
            if selects(term, other, pod, cluster) and _same_place(term, other, node, cluster):
                return [EXISTING_ANTI_AFFINITY]
    return []


def any_matches(term: PodAffinityTerm, pod: Pod, node: Node, cluster: Cluster) -> bool:
    """Tell whether a pod that the term selects is in the same place as the node."""
    return any(
        selects(term, pod, other, cluster) and _same_place(term, other, node, cluster)
        for other in cluster.pods
        if other.metadata.uid != pod.metadata.uid
        and not (other.status and other.status.phase in ENDED)
    )


def _is_first(term: PodAffinityTerm, pod: Pod, cluster: Cluster) -> bool:
    """Tell whether the pod itself is what the term looks for, and none is there yet."""
    if not selects(term, pod, pod, cluster):
        return False
    return not any(
        selects(term, pod, other, cluster)
        for other in cluster.pods
        if other.metadata.uid != pod.metadata.uid
    )


def selects(term: PodAffinityTerm, owner: Pod, other: Pod, cluster: Cluster) -> bool:
    """Tell whether a term of `owner` selects another pod."""
    namespace = other.metadata.namespace
    if term.namespace_selector is not None:
        labels = cluster.namespaces.get(namespace, {})
        if not matching.labels_match(term.namespace_selector, labels) and (
            namespace not in term.namespaces
        ):
            return False
    elif namespace not in (term.namespaces or (owner.metadata.namespace,)):
        return False
    selector = term.label_selector
    labels = owner.metadata.labels
    more = [
        LabelSelectorRequirement(key=key, operator=operator, values=(labels[key],))
        for keys, operator in ((term.match_label_keys, "In"), (term.mismatch_label_keys, "NotIn"))
        for key in keys
        if key in labels
    ]
    if selector is not None and more:
        selector = LabelSelector(
            match_labels=selector.match_labels,
            match_expressions=(*selector.match_expressions, *more),
        )
    return matching.labels_match(selector, other.metadata.labels)


def _same_place(term: PodAffinityTerm, other: Pod, node: Node, cluster: Cluster) -> bool:
    name = other.spec.node_name if other.spec else None
    found = next((one for one in cluster.nodes if one.metadata.name == name), None)
    if found is None:
        return False
    value = found.metadata.labels.get(term.topology_key)
    return value is not None and value == node.metadata.labels.get(term.topology_key)
