"""The scheduler's decision on one pod: bind it, ask for its volumes, or say why not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mtv.api.core import Node, Pod
from mtv_operator.embedded.scheduler import fitting, matching
from mtv_operator.embedded.scheduler.fitting import SELECTED_NODE, Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Run the pod on a node."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectNode:
    """Have a claim that waits for its first consumer bound, for a pod on this node."""

    claim: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to do with a pod: actions, or the reason why nothing can be done now."""

    actions: tuple[Bind | SelectNode, ...] = ()
    problem: str = ""


def choose(pod: Pod, cluster: Cluster) -> Choice:
    """Return where a pod shall run. Total; the same input gives the same node."""
    if not cluster.nodes:
        return Choice(problem="no nodes available to schedule pods")
    count = len(cluster.nodes)
    problem = fitting.unready_claim(pod, cluster)
    if problem:
        return Choice(problem=f"0/{count} nodes are available: {problem}.")
    why = {node.metadata.name: fitting.reasons(pod, node, cluster) for node in cluster.nodes}
    fits = [node for node in cluster.nodes if not why[node.metadata.name]]
    if not fits:
        return Choice(problem=f"0/{count} nodes are available: {summary(why)}.")
    best = min(fits, key=lambda node: (-score(pod, node, cluster), node.metadata.name))
    name = best.metadata.name
    waiting = [
        claim
        for claim in fitting.claims_of(pod)
        if not fitting.is_bound(cluster.claims[pod.metadata.namespace, claim])
    ]
    if waiting:
        asked = [
            SelectNode(claim=claim, node=name)
            for claim in waiting
            if cluster.claims[pod.metadata.namespace, claim].metadata.annotations.get(SELECTED_NODE)
            != name
        ]
        return Choice(actions=tuple(asked))
    return Choice(actions=(Bind(node=name),))


def summary(why: Mapping[str, list[str]]) -> str:
    """Return the reasons of all nodes with their counts, as kube-scheduler prints them."""
    counts = Counter(reason for reasons in why.values() for reason in reasons)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def score(pod: Pod, node: Node, cluster: Cluster) -> float:
    """Return how well a node suits a pod: preferences first, then room."""
    return 100.0 * _preferences(pod, node, cluster) + room(pod, node, cluster)


def _preferences(pod: Pod, node: Node, cluster: Cluster) -> float:
    given = fitting.affinity(pod)
    total = 0.0
    if given.node_affinity is not None:
        for one in given.node_affinity.preferred_during_scheduling_ignored_during_execution:
            if matching.term_matches(one.preference, node):
                total += one.weight
    for rules, sign in ((given.pod_affinity, 1), (given.pod_anti_affinity, -1)):
        if rules is not None:
            for weighted in rules.preferred_during_scheduling_ignored_during_execution:
                if fitting.any_matches(weighted.pod_affinity_term, pod, node, cluster):
                    total += sign * weighted.weight
    taints = node.spec.taints if node.spec else ()
    tolerations = pod.spec.tolerations if pod.spec else ()
    if matching.untolerated(taints, tolerations, ("PreferNoSchedule",)) is not None:
        total -= 1.0
    return total


def room(pod: Pod, node: Node, cluster: Cluster) -> float:
    """Return the share of CPU and memory that is free with the pod there, 0 to 1."""
    there = fitting.used([*fitting.on_node(cluster, node.metadata.name), pod])
    has = fitting.allocatable(node)
    shares = [
        1.0 - there.get(name, 0) / has[name] for name in ("cpu", "memory") if has.get(name, 0) > 0
    ]
    count = len(fitting.on_node(cluster, node.metadata.name))
    return sum(shares) / max(len(shares), 1) - count / 10_000  # pods without requests spread too
