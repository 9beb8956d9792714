"""What a launcher pod's status means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from mtv.api import core, kubevirt, well_known
from mtv_operator.virt_controller import conditions
from mtv_operator.virt_controller.launcher_pod import CONTAINER

ENDED = ("Succeeded", "Failed")
PULL_FAULTS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
START_FAULTS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


def of_instance(
    instance: kubevirt.VirtualMachineInstance, found: Sequence[core.Pod]
) -> core.Pod | None:
    """Return the pod in which the instance runs, or will.

    One on the instance's node, and there the one that has not ended; another than a migration's
    target, where none is on it.
    """
    node = instance.status.node_name if instance.status else None
    here = [pod for pod in found if not node or node_of(pod) == node]
    here = here or [pod for pod in found if well_known.MIGRATION_UID not in pod.metadata.labels]
    live = [pod for pod in here if not has_ended(pod)]
    return min(live, key=_age) if live else max(here, key=_age, default=None)


def _age(pod: core.Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.metadata.name


def node_of(pod: core.Pod) -> str:
    """Return the node that the pod is on, or ""."""
    return (pod.spec.node_name if pod.spec else None) or ""


def phase_of(pod: core.Pod) -> str:
    """Return the pod's phase, or ""."""
    return (pod.status.phase if pod.status else None) or ""


def is_going(pod: core.Pod) -> bool:
    """Tell whether the pod is being deleted."""
    return pod.metadata.deletion_timestamp is not None


def has_ended(pod: core.Pod) -> bool:
    """Tell whether all the pod's containers have ended for good."""
    return phase_of(pod) in ENDED


def is_up(pod: core.Pod) -> bool:
    """Tell whether the launcher runs and everything beside it is ready: time to hand over."""
    if pod.status is None or pod.status.phase != "Running" or not node_of(pod):
        return False
    statuses = pod.status.container_statuses
    launcher = [one for one in statuses if one.name == CONTAINER]
    beside = [one for one in statuses if one.name != CONTAINER]
    runs = any(one.state is not None and one.state.running is not None for one in launcher)
    return runs and not is_going(pod) and all(one.ready for one in beside)


def condition(pod: core.Pod, kind: str) -> core.PodCondition | None:
    """Return the pod's condition of a type, or None."""
    found = pod.status.conditions if pod.status else ()
    return next((one for one in found if one.type == kind), None)


def waits_for(pod: core.Pod, reasons: Sequence[str]) -> tuple[str, str] | None:
    """Return reason and message of a container that waits for one of these reasons."""
    for waiting in _waiting(pod):
        if waiting.reason in reasons:
            return waiting.reason or "", waiting.message or ""
    return None


def _waiting(pod: core.Pod) -> Iterator[core.ContainerStateWaiting]:
    status = pod.status or core.PodStatus()
    for one in (*status.init_container_statuses, *status.container_statuses):
        if one.state is not None and one.state.waiting is not None:
            yield one.state.waiting


def seconds_since_end(pod: core.Pod, now: datetime) -> float:
    """Return for how long the launcher has been ended; 0 when that is not said."""
    statuses = pod.status.container_statuses if pod.status else ()
    ends = [
        one.state.terminated.finished_at
        for one in statuses
        if one.state is not None and one.state.terminated is not None
    ]
    said = [conditions.time_of(end) for end in ends if end]
    return max((now - max(said)).total_seconds(), 0.0) if said else 0.0


def end_message(pod: core.Pod) -> str:
    """Return how the launcher ended, for people."""
    statuses = pod.status.container_statuses if pod.status else ()
    for one in statuses:
        ended = one.state.terminated if one.state else None
        if one.name == CONTAINER and ended is not None:
            how = f"signal {ended.signal}" if ended.signal else f"exit code {ended.exit_code}"
            why = ended.message or ended.reason or ""
            return f"the launcher ended with {how}" + (f": {why}" if why else "")
    reason = (pod.status.message or pod.status.reason or "") if pod.status else ""
    return f"the pod {pod.metadata.name} ended" + (f": {reason}" if reason else "")


def gate_is(pod: core.Pod, status: str) -> bool:
    """Tell whether the readiness gate of paused guests has this status."""
    found = condition(pod, well_known.UNPAUSED_GATE)
    return found is not None and found.status == status
