"""Marks nodes whose lease is over as not reachable, and takes the mark away again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from mtv.api.core import Lease, Node, NodeCondition, NodeSpec, NodeStatus, Pod, Taint
from mtv_operator.embedded.node.registration import LEASES
from mtv_operator.objects import Caches, Client, Key
from mtv_operator.reconciling import Decision

UNREACHABLE = "node.kubernetes.io/unreachable"
GRACE_S = 40.0
LOOK_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A node, its lease, and the pods on it when the node is gone."""

    name: str
    node: Node | None
    lease: Lease | None
    orphans: Sequence[Pod] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Set or remove the taint, and say that the node's state is not known."""

    reachable: bool


@dataclass(frozen=True, slots=True)
class DeleteOrphan:
    """Remove a pod whose node does not exist any more."""

    pod: Pod


def decide(observed: Observed, now: datetime) -> Decision[Mark | DeleteOrphan, None]:
    """Return what to do with a node. Pure."""
    node = observed.node
    if node is None:
        return Decision(actions=tuple(DeleteOrphan(pod) for pod in observed.orphans))
    reachable = is_fresh(observed.lease, node, now)
    tainted = any(one.key == UNREACHABLE for one in (node.spec.taints if node.spec else ()))
    ready = next((one for one in _conditions(node) if one.type == "Ready"), None)
    known = ready is not None and ready.status != "Unknown"
    if reachable and tainted:
        return Decision(actions=(Mark(True),), requeue_after_s=LOOK_S)
    if not reachable and (known or not tainted):
        return Decision(actions=(Mark(False),), requeue_after_s=LOOK_S)
    return Decision(requeue_after_s=LOOK_S)


def is_fresh(lease: Lease | None, node: Node, now: datetime) -> bool:
    """Tell whether a node has said in time that it lives; a new node has some time to begin."""
    text = lease.spec.renew_time if lease and lease.spec else node.metadata.creation_timestamp
    if not text:
        return True
    try:
        renewed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return False
    return now - renewed < timedelta(seconds=GRACE_S)


def _conditions(node: Node) -> Sequence[NodeCondition]:
    return node.status.conditions if node.status else ()


class NodeHealth:
    """The controller of nodes."""

    name = "nodes"

    def __init__(self, client: Client, caches: Caches) -> None:
        self.client = client
        self.nodes = caches.watch(Node)
        self.pods = caches.watch(Pod)

    def observe(self, key: Key) -> Observed | None:
        """Return a node and its lease. The lease is read, not watched: it changes all the time."""
        node = self.nodes.get("", key.name)
        orphans: list[Pod] = []
        if node is None:
            orphans = [
                pod for pod in self.pods.list() if pod.spec and pod.spec.node_name == key.name
            ]
            if orphans and self.client.find(Node, key.name) is not None:
                return None  # the cache is late
        lease = self.client.find(Lease, key.name, LEASES) if node is not None else None
        return Observed(name=key.name, node=node, lease=lease, orphans=orphans)

    def decide(self, observed: Observed, now: datetime) -> Decision[Mark | DeleteOrphan, None]:
        """Return what to do with a node."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: Mark | DeleteOrphan) -> None:
        """Mark the node, or remove a pod of a node that is gone."""
        if isinstance(action, DeleteOrphan):
            found = action.pod.metadata
            self.client.delete(Pod, found.name, found.namespace, uid=found.uid, grace_period_s=0)
            return
        assert observed.node is not None
        spec = observed.node.spec or NodeSpec()
        taints = [one for one in spec.taints if one.key != UNREACHABLE]
        if not action.reachable:
            taints.append(Taint(key=UNREACHABLE, effect="NoSchedule"))
        body = {"spec": {"taints": msgspec.to_builtins(taints)}}
        self.client.patch(Node, observed.name, "", body)
        if not action.reachable:
            status = observed.node.status or NodeStatus()
            unknown = [_unknown(one) for one in status.conditions]
            change = {"status": {"conditions": msgspec.to_builtins(unknown)}}
            self.client.patch(Node, observed.name, "", change, subresource="status")
            self.client.record(
                observed.node,
                "NodeNotReady",
                f"Node {observed.name} has not renewed its lease for {GRACE_S:.0f} s",
                type="Warning",
                component="node-controller",
            )

    def write_status(self, observed: Observed, status: None) -> None:
        """Nothing: a node's status is the node's own."""


def _unknown(condition: NodeCondition) -> NodeCondition:
    if condition.type != "Ready":
        return condition
    return msgspec.structs.replace(
        condition,
        status="Unknown",
        reason="NodeStatusUnknown",
        message="Kubelet stopped posting node status.",
    )
