"""Schedules pods: from caches to `choosing.choose`, and its answer to the API server."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from mtv.api.core import (
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodCondition,
    PodStatus,
    StorageClass,
)
from mtv_operator.embedded.scheduler import choosing
from mtv_operator.embedded.scheduler.choosing import Bind, SelectNode
from mtv_operator.embedded.scheduler.fitting import SELECTED_NODE, Cluster
from mtv_operator.objects import Cache, Caches, Client, Key
from mtv_operator.reconciling import Decision

COMPONENT = "default-scheduler"
NAMES = (None, "", "default-scheduler")
RETRY_S = 60.0  # something always wakes us before; this is for what we do not watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A pod that has no node yet, and the cluster."""

    pod: Pod
    cluster: Cluster


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a pod cannot run anywhere now."""

    message: str


class Scheduler:
    """The controller of pods without a node."""

    name = "scheduler"

    def __init__(self, client: Client, caches: Caches) -> None:
        self.client = client
        self.pods: Cache[Pod] = caches.watch(Pod)
        self.nodes = caches.watch(Node)
        self.claims = caches.watch(PersistentVolumeClaim)
        self.volumes = caches.watch(PersistentVolume)
        self.classes = caches.watch(StorageClass)
        self.namespaces = caches.watch(Namespace)
        self._lock = threading.Lock()
        self._bound: dict[str, Pod] = {}  # by uid: bound by us, not yet seen as bound

    def pending(self) -> list[Key]:
        """Return the pods that wait for a node."""
        return [
            Key(pod.metadata.namespace, pod.metadata.name)
            for pod in self.pods.list()
            if is_pending(pod)
        ]

    def observe(self, key: Key) -> Observed | None:
        """Return a pod that waits for a node, and what the cluster looks like."""
        pod = self.pods.get(key.namespace, key.name)
        if pod is None or not is_pending(pod) or pod.metadata.uid in self._bound:
            return None
        with self._lock:
            seen = self.pods.list()
            alive = {one.metadata.uid for one in seen if is_pending(one)}
            for uid in [uid for uid in self._bound if uid not in alive]:
                del self._bound[uid]
            bound = [one for one in seen if one.spec and one.spec.node_name]
            bound += self._bound.values()
        return Observed(
            pod=pod,
            cluster=Cluster(
                nodes=[one for one in self.nodes.list() if not one.metadata.deletion_timestamp],
                pods=bound,
                claims={
                    (one.metadata.namespace, one.metadata.name): one for one in self.claims.list()
                },
                volumes={one.metadata.name: one for one in self.volumes.list()},
                classes={one.metadata.name: one for one in self.classes.list()},
                namespaces={
                    one.metadata.name: one.metadata.labels for one in self.namespaces.list()
                },
            ),
        )

    def decide(self, observed: Observed, now: datetime) -> Decision[Bind | SelectNode, Problem]:
        """Return where the pod shall run, or why it cannot."""
        choice = choosing.choose(observed.pod, observed.cluster)
        return Decision(
            status=Problem(choice.problem) if choice.problem else None,
            actions=choice.actions,
            requeue_after_s=RETRY_S if choice.problem else None,
        )

    def perform(self, observed: Observed, action: Bind | SelectNode) -> None:
        """Bind the pod, or have one of its claims bound."""
        pod = observed.pod
        if isinstance(action, SelectNode):
            body = {"metadata": {"annotations": {SELECTED_NODE: action.node}}}
            self.client.patch(PersistentVolumeClaim, action.claim, pod.metadata.namespace, body)
            return
        path = Pod.resource.path(pod.metadata.namespace, pod.metadata.name, "binding")
        self.client.raw("POST", path, binding(pod, action.node))
        with self._lock:
            assert pod.spec is not None
            spec = msgspec.structs.replace(pod.spec, node_name=action.node)
            self._bound[pod.metadata.uid] = msgspec.structs.replace(pod, spec=spec)
        where = f"{pod.metadata.namespace}/{pod.metadata.name}"
        self.client.record(
            pod,
            "Scheduled",
            f"Successfully assigned {where} to {action.node}",
            component=COMPONENT,
        )

    def write_status(self, observed: Observed, status: Problem) -> None:
        """Say in the pod's condition and as an event why it has no node."""
        pod = observed.pod
        before = pod.status or PodStatus()
        known = next((one for one in before.conditions if one.type == "PodScheduled"), None)
        if known is not None and known.status == "False" and known.message == status.message:
            return
        same = known is not None and known.status == "False"
        condition = PodCondition(
            type="PodScheduled",
            status="False",
            reason="Unschedulable",
            message=status.message,
            last_transition_time=known.last_transition_time
            if known is not None and same
            else datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        others = [one for one in before.conditions if one.type != "PodScheduled"]
        body = {
            "metadata": {"uid": pod.metadata.uid},
            "status": {
                "phase": before.phase or "Pending",
                "conditions": msgspec.to_builtins([*others, condition]),
            },
        }
        self.client.patch(
            Pod, pod.metadata.name, pod.metadata.namespace, body, subresource="status"
        )
        self.client.record(
            pod, "FailedScheduling", status.message, type="Warning", component=COMPONENT
        )


def is_pending(pod: Pod) -> bool:
    """Tell whether a pod waits for us."""
    return bool(
        pod.spec
        and not pod.spec.node_name
        and pod.spec.scheduler_name in NAMES
        and not pod.metadata.deletion_timestamp
        and not (pod.status and pod.status.phase in ("Succeeded", "Failed"))
    )


def binding(pod: Pod, node: str) -> dict[str, object]:
    """Return the Binding of a pod to a node. Pure."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": pod.metadata.name,
            "namespace": pod.metadata.namespace,
            "uid": pod.metadata.uid,
        },
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
