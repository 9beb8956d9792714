"""The conditions of a VirtualMachineInstance that follow from its pod and its node. Pure.

Reasons and messages are upstream's; NodeUnresponsive says why a guest cannot be judged.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from mtv.api import core, kubevirt, well_known
from mtv_operator.virt_controller import conditions, phases, pods
from mtv_operator.virt_controller.phases import Phase

Condition = kubevirt.VirtualMachineInstanceCondition

# Upstream: a node is given up when its heartbeat is five minutes old.
HEARTBEAT_TIMEOUT = timedelta(minutes=5)
NODE_UNRESPONSIVE = "NodeUnresponsive"


def of_pod(
    instance: kubevirt.VirtualMachineInstance,
    pod: core.Pod | None,
    node: core.Node | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the instance's conditions with those of its pod brought up to date."""
    found = instance.status.conditions if instance.status else ()
    found = conditions.put(found, ready(instance, pod, node, now), now)
    found = _scheduled(found, pod, now)
    if phases.of(instance) in (Phase.SCHEDULING, Phase.PENDING, Phase.UNSET) and pod is not None:
        found = _started(found, pod, now)
    return found


def ready(
    instance: kubevirt.VirtualMachineInstance,
    pod: core.Pod | None,
    node: core.Node | None,
    now: datetime,
) -> Condition:
    """Return Ready: the pod's own, once the guest runs in it."""
    if pod is None:
        return _not_ready("PodNotExists", "virt-launcher pod has not yet been scheduled")
    if pods.is_going(pod) or pods.has_ended(pod):
        return _not_ready("PodTerminating", "virt-launcher pod is terminating")
    if phases.of(instance) is not Phase.RUNNING:
        return _not_ready("GuestNotRunning", "Guest VM is not reported as running")
    silent = silent_since(node, now)
    if silent is not None:
        name = node.metadata.name if node else ""
        return _not_ready(
            NODE_UNRESPONSIVE, f"virt-handler on node {name} is silent since {silent}"
        )
    of_the_pod = pods.condition(pod, "Ready")
    if of_the_pod is None:
        return _not_ready("PodConditionMissing", "virt-launcher pod is missing the Ready condition")
    return Condition(
        type="Ready",
        status=of_the_pod.status,
        reason=of_the_pod.reason,
        message=of_the_pod.message,
        last_transition_time=of_the_pod.last_transition_time,
    )


def silent_since(node: core.Node | None, now: datetime) -> str | None:
    """Return the last heartbeat of a node that is not heard any more; None while it is."""
    beat = node.metadata.annotations.get(well_known.HEARTBEAT) if node is not None else None
    if not beat:
        return None
    try:
        late = now - conditions.time_of(beat) > HEARTBEAT_TIMEOUT
    except (ValueError, TypeError):
        return None
    return beat if late else None


def _not_ready(reason: str, message: str) -> Condition:
    return Condition(type="Ready", status="False", reason=reason, message=message)


def _scheduled(
    found: tuple[Condition, ...], pod: core.Pod | None, now: datetime
) -> tuple[Condition, ...]:
    """Copy the pod's PodScheduled while it is False; take it away when it no longer is."""
    scheduled = pods.condition(pod, "PodScheduled") if pod is not None else None
    if scheduled is None or scheduled.status != "False":
        return conditions.without(found, "PodScheduled")
    copied = Condition(
        type="PodScheduled",
        status="False",
        reason=scheduled.reason,
        message=scheduled.message,
        last_transition_time=scheduled.last_transition_time,
    )
    return conditions.put(found, copied, now)


def _started(found: tuple[Condition, ...], pod: core.Pod, now: datetime) -> tuple[Condition, ...]:
    """Say why the launcher's container does not start."""
    fault = pods.waits_for(pod, pods.PULL_FAULTS + pods.START_FAULTS)
    if fault is None:
        return conditions.without(found, "Synchronized")
    reason, message = fault
    new = Condition(type="Synchronized", status="False", reason=reason, message=message)
    return conditions.put(found, new, now)
