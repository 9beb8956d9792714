"""Why an object is as it is: from the object down its chain to the first cause. Pure.

Each function looks at one link (pod, claim, transfer, plan; a VM's are in `vm_causes`) and returns
what is wrong there, with the evidence and a way out; the chain ends at the first link that is not
well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mtv.api import core, forklift, meta
from mtv.api.mtv import DiskTransfer
from mtv.planning import remedies


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One object of the chain, and what it says. `cause` is "" while it is well."""

    object: str
    state: str
    cause: str = ""
    evidence: tuple[str, ...] = ()
    remedy: str = ""


def first_cause(links: Sequence[Link]) -> Link | None:
    """Return the deepest link that has a cause: those above it only pass it on."""
    return next((link for link in reversed(links) if link.cause), None)


def of_pod(pod: core.Pod) -> Link:
    """Look at a pod: scheduling, containers that wait or ended."""
    status = pod.status or core.PodStatus()
    cause, remedy = "", ""
    for condition in status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            cause = condition.message or condition.reason or "no node takes it"
            remedy = "make room, or change what the VM asks for: CPU, memory, node selector"
    for container in (*status.init_container_statuses, *status.container_statuses):
        waiting = container.state.waiting if container.state else None
        if not cause and waiting and waiting.reason not in (None, "ContainerCreating"):
            cause = f"container {container.name}: {waiting.reason}: {waiting.message or ''}"
        ended = container.state.terminated if container.state else None
        if not cause and ended and ended.exit_code:
            cause = f"container {container.name} ended with {ended.exit_code}: "
            cause += ended.message or ended.reason or ""
            remedy = f"kubectl logs {pod.metadata.name} -n {pod.metadata.namespace}"
    if not cause and status.phase == "Failed":
        cause = status.message or status.reason or "it failed"
    return Link(
        object=f"pod/{pod.metadata.name}",
        state=status.phase or "Pending",
        cause=cause.strip().rstrip(":"),
        remedy=remedy,
    )


def of_claim(name: str, claim: core.PersistentVolumeClaim | None) -> Link:
    """Look at a claim that a VM uses."""
    if claim is None:
        return Link(
            object=f"pvc/{name}",
            state="missing",
            cause=f"there is no PersistentVolumeClaim {name}",
            remedy="create it, or change the volume of the VM",
        )
    phase = (claim.status and claim.status.phase) or "Pending"
    lost = phase == "Lost"
    cause = "its volume is gone" if lost else ""
    return Link(object=f"pvc/{name}", state=phase, cause=cause)


def of_transfer(transfer: DiskTransfer) -> Link:
    """Look at a DiskTransfer: the first condition that says what is wrong."""
    status = transfer.status
    conditions = status.conditions if status else ()
    phase = (status and status.phase) or "Pending"
    bad = [c for c in conditions if c.type != "Complete" and c.status == "True" and c.message]
    failed = phase != "Succeeded" and bad
    return Link(
        object=f"disktransfer/{transfer.metadata.name}",
        state=f"{phase} {(status and status.percent) or ''}".strip(),
        cause=f"{bad[0].reason or bad[0].type}: {bad[0].message}" if failed else "",
    )


def of_plan(plan: forklift.Plan) -> list[Link]:
    """Look at a plan and each of its VMs."""
    conditions = plan.status.conditions if plan.status else ()
    blocking = [c for c in conditions if c.category in ("Critical", "Error") and c.status == "True"]
    state = next(
        (
            t
            for t in ("Executing", "Succeeded", "Failed", "Canceled", "Ready")
            if _true(conditions, t)
        ),
        "not ready",
    )
    links = [
        Link(
            object=f"plan/{plan.metadata.name}",
            state=state,
            cause=_sentence(blocking[0]) if blocking else "",
            remedy=(blocking[0].suggestion or "") if blocking else "",
        )
    ]
    moved = plan.status.migration.vms if plan.status and plan.status.migration else ()
    links += [
        Link(
            object=f"plan/{plan.metadata.name} VM {vm.name or vm.id}",
            state=vm.phase,
            cause="; ".join(vm.error.reasons) if vm.error else "",
            evidence=(f"in phase {vm.error.phase}: {remedies.of(vm.error.phase).reason}",)
            if vm.error
            else (),
            remedy=remedies.of(vm.error.phase).sentence if vm.error else "",
        )
        for vm in moved
    ]
    return links


def _sentence(condition: forklift.Condition) -> str:
    about = f" ({', '.join(condition.items)})" if condition.items else ""
    return f"{condition.type}: {condition.message or condition.reason or ''}{about}"


def _true(conditions: Iterable[forklift.Condition], kind: str) -> bool:
    return any(c.type == kind and c.status == "True" for c in conditions)


def warnings(events: Iterable[core.Event], target: meta.Object) -> tuple[str, ...]:
    """Return what Warning events say of an object, the newest first, each once."""
    found = [
        event
        for event in events
        if event.type == "Warning" and event.involved_object.uid == target.metadata.uid
    ]
    found.sort(key=lambda event: event.last_timestamp or event.event_time or "", reverse=True)
    said = [f"{event.last_timestamp or ''} {event.reason}: {event.message}" for event in found]
    return tuple(dict.fromkeys(said))[:3]
