"""A pod's status, made of what is true on the node. Pure.

Conditions that others set (readiness gates) are kept; Ready takes them into account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from mtv.api.core import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from mtv_operator.embedded.node import lifecycle
from mtv_operator.embedded.node.attempts import Attempt
from mtv_operator.embedded.node.lifecycle import Health, Observed

OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the status says besides the containers."""

    host_address: str
    pod_address: str = ""
    fault_reason: str = ""  # what the containers wait for, where it has a name
    fault: str = ""  # why the pod could not be prepared
    readiness: Mapping[str, Health] = field(default_factory=dict)
    started: Mapping[str, bool] = field(default_factory=dict)


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as Kubernetes writes times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build(observed: Observed, around: Surroundings) -> PodStatus:
    """Return the status of a pod."""
    pod = observed.pod
    before = pod.status or PodStatus()
    phase, reason, message = _phase(observed, before)
    ended = phase in ("Succeeded", "Failed")
    init = tuple(
        _container(observed, around, container, ended)
        for container in lifecycle.init_containers(pod)
    )
    main = tuple(
        _container(observed, around, container, ended) for container in lifecycle.containers(pod)
    )
    address = around.pod_address or before.pod_ip
    return msgspec.structs.replace(
        before,
        phase=phase,
        reason=reason or None,
        message=message or None,
        host_ip=around.host_address,
        host_ips=(HostIP(ip=around.host_address),),
        pod_ip=address,
        pod_ips=(PodIP(ip=address),) if address else (),
        start_time=before.start_time or timestamp(observed.started_at or observed.now),
        init_container_statuses=init,
        container_statuses=main,
        qos_class=before.qos_class or qos_class(pod),
        conditions=_conditions(observed, before, phase, init, main),
    )


def _phase(observed: Observed, before: PodStatus) -> tuple[str, str, str]:
    """Return phase, reason and message. An ended pod stays so, whatever is found later."""
    if before.phase in ("Succeeded", "Failed"):
        return before.phase, before.reason or "", before.message or ""
    running = any(attempts and attempts[-1].running for attempts in observed.attempts.values())
    if lifecycle.deadline_passed(observed) and not running:
        message = "Pod was active on the node longer than the specified deadline"
        return "Failed", "DeadlineExceeded", message
    ends = [lifecycle.latest(observed, one.name) for one in lifecycle.containers(observed.pod)]
    deleted = observed.gone or observed.pod.metadata.deletion_timestamp is not None
    if not running and (lifecycle.finished(observed) or deleted):
        well = all(last is not None and last.succeeded for last in ends)
        return ("Succeeded" if well else "Failed"), "", ""
    if any(last is not None and (last.running or last.ended) for last in ends):
        return "Running", "", ""
    return "Pending", "", ""


def _container(
    observed: Observed, around: Surroundings, container: Container, pod_ended: bool
) -> ContainerStatus:
    attempts = observed.attempts.get(container.name, ())
    last = attempts[-1] if attempts else None
    earlier = attempts[-2] if len(attempts) > 1 else None
    running = last is not None and last.running
    is_init = container in lifecycle.init_containers(observed.pod)
    if is_init and not lifecycle.is_sidecar(container):
        ready = last is not None and last.succeeded
    else:
        ready = running and around.readiness.get(container.name) is not Health.BAD
        if container.readiness_probe is not None:
            ready = running and around.readiness.get(container.name) is Health.GOOD
    state, last_state = _states(observed, around, container, last, earlier, pod_ended)
    return ContainerStatus(
        name=container.name,
        image=container.image or "",
        image_id="",
        container_id=_container_id(last),
        ready=ready,
        started=running and around.started.get(container.name, True),
        restart_count=last.number if last is not None else 0,
        state=state,
        last_state=last_state,
    )


def _container_id(attempt: Attempt | None) -> str | None:
    """Return an id in the shape that Kubernetes asks for: runtime://id."""
    if attempt is None or attempt.process is None:
        return None
    return f"mtv://{attempt.process.pid}-{attempt.process.start_time}"


def _states(
    observed: Observed,
    around: Surroundings,
    container: Container,
    last: Attempt | None,
    earlier: Attempt | None,
    pod_ended: bool,
) -> tuple[ContainerState, ContainerState | None]:
    """Return what a container is doing, and how it ended before."""
    previous = _terminated(earlier) if earlier is not None and earlier.ended else None
    if last is None:
        reason, message = around.fault_reason, around.fault
        if message and not reason:
            reason = "ContainerCreating"
        waits = lifecycle.init_containers(observed.pod) and container in lifecycle.containers(
            observed.pod
        )
        reason = reason or ("PodInitializing" if waits else "ContainerCreating")
        return _waiting(reason, message), previous
    if last.running:
        started = timestamp(last.started_at or observed.now)
        return ContainerState(running=ContainerStateRunning(started_at=started)), previous
    if last.fault:
        return _waiting("CreateContainerError", last.fault), previous
    again = not pod_ended and _starts_again(observed, container, last)
    if again and observed.now < lifecycle.next_start(container.name, last)[1]:
        pause = lifecycle.back_off_s(last.failures + 1)
        name = observed.pod.metadata.name
        message = f"back-off {pause:.0f}s restarting failed container={container.name} pod={name}"
        return _waiting("CrashLoopBackOff", message), _terminated(last)
    return _terminated(last), previous


def _starts_again(observed: Observed, container: Container, last: Attempt) -> bool:
    if lifecycle.is_sidecar(container):
        return True
    policy = lifecycle.restart_policy(observed.pod)
    is_init = container in lifecycle.init_containers(observed.pod)
    if last.succeeded:
        return policy == "Always" and not is_init
    return policy != "Never"


def _waiting(reason: str, message: str = "") -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message or None))


def _terminated(attempt: Attempt) -> ContainerState:
    code = attempt.exit_code or 0
    message = attempt.message or None
    if attempt.reason == "ContainerStatusUnknown":
        message = "the container ended while the node was down; its exit code is not known"
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=code,
            signal=code - 128 if 128 < code < 160 else None,
            reason=attempt.reason or ("Completed" if code == 0 else "Error"),
            message=message,
            started_at=timestamp(attempt.started_at or 0.0),
            finished_at=timestamp(attempt.finished_at or 0.0),
            container_id=_container_id(attempt),
        )
    )


def _conditions(
    observed: Observed,
    before: PodStatus,
    phase: str,
    init: Sequence[ContainerStatus],
    main: Sequence[ContainerStatus],
) -> tuple[PodCondition, ...]:
    ended = phase in ("Succeeded", "Failed")
    initialized = all(one.ready or (one.started and one.state) for one in init)
    unready = [one.name for one in main if not one.ready]
    ready_reason, ready_message = "", ""
    if ended:
        ready_reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    elif unready:
        ready_reason = "ContainersNotReady"
        ready_message = f"containers with unready status: [{' '.join(unready)}]"
    containers_ready = not ended and not unready
    gate = _closed_gate(observed.pod, before)
    own = [
        _condition("PodReadyToStartContainers", observed.prepared and not ended),
        _condition(
            "Initialized",
            initialized or phase == "Succeeded",
            reason="" if initialized else "ContainersNotInitialized",
        ),
        _condition("ContainersReady", containers_ready, ready_reason, ready_message),
        _condition(
            "Ready",
            containers_ready and not gate,
            ready_reason or ("ReadinessGatesNotReady" if gate else ""),
            ready_message or gate,
        ),
        _condition("PodScheduled", True),
    ]
    known = {one.type: one for one in before.conditions}
    kept = [one for one in before.conditions if one.type not in OURS]
    return (*(_dated(one, known.get(one.type), observed.now) for one in own), *kept)


def _closed_gate(pod: Pod, before: PodStatus) -> str:
    """Return a sentence about the first readiness gate that is not open, or ""."""
    states = {one.type: one.status for one in before.conditions}
    for gate in pod.spec.readiness_gates if pod.spec else ():
        if states.get(gate.condition_type) != "True":
            state = states.get(gate.condition_type)
            what = f'has status "{state}", rather than "True"' if state else "does not exist"
            return f'corresponding condition of pod readiness gate "{gate.condition_type}" {what}'
    return ""


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> PodCondition:
    return PodCondition(
        type=kind,
        status="True" if holds else "False",
        reason=reason or None,
        message=message or None,
    )


def _dated(condition: PodCondition, before: PodCondition | None, now: float) -> PodCondition:
    """Keep the time of the last change, or set it."""
    same = before is not None and before.status == condition.status
    changed = before.last_transition_time if same and before is not None else None
    return msgspec.structs.replace(condition, last_transition_time=changed or timestamp(now))


def qos_class(pod: Pod) -> str:
    """Return the pod's quality of service class, as Kubernetes derives it."""
    named = False
    guaranteed = True
    for container in lifecycle.all_containers(pod):
        resources = container.resources
        requests = resources.requests if resources else {}
        limits = resources.limits if resources else {}
        cpu_memory = {"cpu", "memory"}
        named = named or bool(cpu_memory & (set(requests) | set(limits)))
        if not cpu_memory <= set(limits) or any(
            requests.get(name, limits[name]) != limits[name] for name in cpu_memory & set(limits)
        ):
            guaranteed = False
    if not named:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
