"""What is answered when a launcher pod shall be evicted: the guest moves, the pod stays meanwhile.

Whoever evicts (`kubectl drain`, the descheduler) is told 429 and comes again; the messages are
upstream's, as the descheduler reads them. Once the guest is elsewhere, its old pod may go.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtv.api import core, kubevirt, well_known

Vmi = kubevirt.VirtualMachineInstance

LAUNCHER = "virt-launcher"
ENDED = ("Succeeded", "Failed")
MIGRATING = ("LiveMigrate", "LiveMigrateIfPossible")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`refusal` empty: the pod may go. `mark`: the node that the VMI shall be marked to leave."""

    refusal: str = ""
    mark: str = ""


ALLOWED = Answer()


def instance_of(pod: core.Pod) -> str:
    """Return the name of the VMI whose launcher runs in a pod; empty for other pods."""
    if pod.metadata.labels.get(well_known.APP) != LAUNCHER:
        return ""
    if pod.status is not None and pod.status.phase in ENDED:
        return ""
    return pod.metadata.annotations.get(well_known.DOMAIN, "")


def judge(pod: core.Pod, vmi: Vmi | None, default_strategy: str) -> Answer:
    """Return what is answered. Pure."""
    if vmi is None or vmi.status is None or vmi.status.phase in ENDED:
        return ALLOWED
    called = f'VMI "{vmi.metadata.namespace}/{vmi.metadata.name}"'
    node = (pod.spec.node_name if pod.spec else None) or ""
    if vmi.status.node_name != node:
        state = vmi.status.migration_state
        if state is not None and not state.completed and state.target_pod == pod.metadata.name:
            return Answer(refusal=f"{called} is migrating to this pod")
        return ALLOWED
    strategy = vmi.spec.eviction_strategy or default_strategy
    if strategy not in (*MIGRATING, "External"):
        return ALLOWED
    if strategy != "External" and not _can_migrate(vmi):
        if strategy == "LiveMigrateIfPossible":
            return ALLOWED
        return Answer(
            refusal=f"VMI {vmi.metadata.name} is configured with an eviction strategy but is not "
            "live-migratable"
        )
    told = f"Eviction triggered evacuation of {called}"
    if vmi.status.evacuation_node_name == node:
        return Answer(refusal=f"Evacuation in progress: {told}")
    return Answer(refusal=told, mark=node)


def _can_migrate(vmi: Vmi) -> bool:
    conditions = vmi.status.conditions if vmi.status else ()
    return any(one.type == "LiveMigratable" and one.status == "True" for one in conditions)
