"""A DiskTransfer: when its pod is made, made again, and what its end means. Pure.

    Pending ──► Running ──► Succeeded
       ▲  │        │
       │  └────────┴──────► Failed      (a person must change something, then make a new one)
       ├── Retrying: the pod ended, and another try may succeed
       └── Succeeded or Failed, and the spec wants another checkpoint than that: all begins anew

The transfer's process writes progress, journal, the condition that says why it ended, and
`Succeeded`; everything else of the status is written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import conditions, core, quantities
from mtv.api.meta import Condition
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv_operator.migration import disk_transfer_pod
from mtv_operator.migration.disk_transfer_pod import PodSettings
from mtv_operator.reconciling import Decision

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
FINAL = (SUCCEEDED, FAILED)
QUEUED, RETRYING = "Queued", "Retrying"  # types of conditions
KILLED = "Killed"

RETRY_CODE = errors.Retryable.exit_code
KILLED_CODE = 128  # and above: ended by a signal
MOST_CRASHES = 5  # in all, of ends that nobody foresaw
BACK_OFF_S = (1, 2, 5, 10, 20, 30, 60)
QUEUE_LOOK_S = 3.0
END_GRACE_S = 30.0  # for the process to end by itself once it has said that all is done
REPORT_GRACE_S = 10.0  # between the end of the pod and its last status in our cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be chosen when the controller starts. vCenter serves 52 NFC connections in all."""

    most_per_provider: int = 20
    most_per_host: int = 8
    most_per_target: int = 16  # transfers into one storage class
    pod: PodSettings = field(default_factory=PodSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another transfer that has a pod, or waits for one."""

    key: str
    provider: str
    host: str
    target: str  # storage class of its claim
    created: str
    active: bool  # has a pod


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A DiskTransfer, what belongs to it, and who else wants something of the same source."""

    transfer: DiskTransfer
    pods: tuple[core.Pod, ...] = ()
    claim: core.PersistentVolumeClaim | None = None
    host: str = ""  # of the source, where it is known
    rivals: tuple[Rival, ...] = ()
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePod:
    """Make this pod."""

    pod: core.Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """Take this pod away."""

    pod: core.Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record an event about the DiskTransfer."""

    reason: str
    message: str


Action = CreatePod | DeletePod | Record
Status = DiskTransferStatus


def key_of(transfer: DiskTransfer) -> str:
    """Return what tells a transfer from others."""
    return f"{transfer.metadata.namespace}/{transfer.metadata.name}"


def provider_of(transfer: DiskTransfer) -> str:
    """Return whose budget a transfer is part of."""
    provider = transfer.spec.provider
    return f"{provider.namespace}/{provider.name}"


def target_of(claim: core.PersistentVolumeClaim | None) -> str:
    """Return whose budget of the target a transfer is part of: the claim's storage class."""
    return (claim.spec.storage_class_name or "") if claim is not None and claim.spec else ""


def decide(observed: Observed, now: datetime) -> Decision[Action, Status]:
    """Return what to do now."""
    transfer = observed.transfer
    if transfer.metadata.deletion_timestamp:
        return Decision()
    status = transfer.status or Status()
    if status.phase in FINAL:
        if observed.pods or not _wants_another(transfer, status):
            return _after_all(observed, status, now)
        status = _renewed(status)
    if transfer.spec.suspend:
        return _suspended(observed, status, now)
    too_small = _too_small(observed)
    if too_small:
        failed = _failed(status, "TargetTooSmall", too_small, now)
        return replace(failed, actions=(*_deletions(observed.pods), *failed.actions))
    if any(_is_leaving(pod) for pod in observed.pods):
        return Decision()  # heard of when it is gone
    pod = max(observed.pods, key=_age, default=None)
    if pod is None:
        return _without_pod(observed, status, now)
    match _phase(pod):
        case "Failed":
            return _after_failure(pod, status, now)
        case "Succeeded":
            return _after_success(pod, status, now)
    return Decision(status=_with_pod(pod, status, now))


def _after_all(observed: Observed, status: Status, now: datetime) -> Decision[Action, Status]:
    """Take the pods away that have ended; one that is about to end is given time to do so."""
    late = not status.completed or (now - _moment(status.completed)).total_seconds() > END_GRACE_S
    ended = [pod for pod in observed.pods if late or not is_active([pod])]
    running = len(ended) < len(observed.pods)
    return Decision(
        actions=tuple(_deletions(ended)), requeue_after_s=END_GRACE_S if running else None
    )


def _wants_another(transfer: DiskTransfer, status: Status) -> bool:
    """Tell whether a finished transfer shall bring another state of the disk to its target."""
    wanted = transfer.spec.checkpoint
    if wanted is None or wanted == status.checkpoint:
        return False
    if status.phase == FAILED:  # at this very state, unless the spec was changed since
        return (transfer.metadata.generation or 0) > (status.observed_generation or 0) > 0
    return True


def _renewed(status: Status) -> Status:
    """Return the status with which the way to another checkpoint begins."""
    kept = tuple(one for one in status.conditions if one.status != "True")
    return msgspec.structs.replace(
        status, phase=PENDING, attempts=None, started=None, completed=None, conditions=kept
    )


def _suspended(observed: Observed, status: Status, now: datetime) -> Decision[Action, Status]:
    """End the pods; what is settled on the target stays recorded, and is gone on from."""
    queued = Condition(
        type=QUEUED, status="True", reason="Suspended", message="the transfer is suspended"
    )
    waiting = _changed(_pending(status), now, new=[queued], without=[RETRYING])
    return Decision(actions=tuple(_deletions(observed.pods)), status=waiting)


def _deletions(pods: Iterable[core.Pod]) -> Iterator[DeletePod]:
    return (DeletePod(pod=pod) for pod in pods if not _is_leaving(pod))


# Without a pod


def _without_pod(observed: Observed, status: Status, now: datetime) -> Decision[Action, Status]:
    wait_s = _back_off_left_s(status, now)
    if wait_s > 0:
        return Decision(status=_pending(status), requeue_after_s=wait_s)
    reason, message = _queued(observed)
    if reason:
        queued = Condition(type=QUEUED, status="True", reason=reason, message=message)
        waiting = _changed(_pending(status), now, new=[queued])
        return Decision(status=waiting, requeue_after_s=QUEUE_LOOK_S)
    attempt = (status.attempts or 0) + 1
    pod = disk_transfer_pod.build(observed.transfer, attempt, observed.settings.pod)
    started = msgspec.structs.replace(
        _pending(status),
        attempts=attempt,
        pod=pod.metadata.name,
        observed_generation=observed.transfer.metadata.generation,
    )
    return Decision(
        actions=(CreatePod(pod=pod),), status=_changed(started, now, without=[QUEUED, RETRYING])
    )


def _too_small(observed: Observed) -> str:
    """Return why the claim cannot hold the disk, or ""."""
    claim, needed = observed.claim, observed.transfer.spec.disk.capacity_bytes
    if claim is None or claim.status is None:
        return ""
    size = claim.status.capacity.get("storage")
    if size is None or quantities.whole(size) >= needed:
        return ""
    return (
        f"the claim {claim.metadata.name} has {size}, the disk needs {needed} bytes; "
        "use a larger claim"
    )


def _queued(observed: Observed) -> tuple[str, str]:
    """Return why the transfer has to wait, as reason and message; empty if it has not."""
    transfer, settings = observed.transfer, observed.settings
    name = transfer.spec.target.claim_name
    if observed.claim is None:
        return "ClaimMissing", f"the claim {name} does not exist yet"
    ahead = [rival for rival in observed.rivals if rival.active or _is_before(rival, transfer)]
    provider = provider_of(transfer)
    on_provider = sum(rival.provider == provider for rival in ahead)
    if on_provider >= settings.most_per_provider:
        return "ProviderLimit", (
            f"{on_provider} transfers from {provider} run or wait before this one, "
            f"{settings.most_per_provider} run at once"
        )
    on_host = sum(
        bool(observed.host) and (rival.provider, rival.host) == (provider, observed.host)
        for rival in ahead
    )
    if on_host >= settings.most_per_host:
        return "HostLimit", (
            f"{on_host} transfers from host {observed.host} run or wait before this one, "
            f"{settings.most_per_host} run at once"
        )
    target = target_of(observed.claim)
    on_target = sum(bool(target) and rival.target == target for rival in ahead)
    if on_target >= settings.most_per_target:
        return "TargetLimit", (
            f"{on_target} transfers into storage class {target} run or wait before this one, "
            f"{settings.most_per_target} run at once"
        )
    return "", ""


def _is_before(rival: Rival, transfer: DiskTransfer) -> bool:
    own = (transfer.metadata.creation_timestamp or "", key_of(transfer))
    return (rival.created, rival.key) < own


def _back_off_left_s(status: Status, now: datetime) -> float:
    """Return how long to wait until the next attempt."""
    retrying = conditions.find(status.conditions, RETRYING)
    if retrying is None or not retrying.last_transition_time:
        return 0.0
    pause_s = BACK_OFF_S[min(max((status.attempts or 1) - 1, 0), len(BACK_OFF_S) - 1)]
    if retrying.reason == KILLED:  # nothing is wrong with the source or the target
        pause_s = BACK_OFF_S[0]
    since_s = (now - _moment(retrying.last_transition_time)).total_seconds()
    return min(pause_s - since_s, float(pause_s))


# With a pod


def _with_pod(pod: core.Pod, status: Status, now: datetime) -> Status:
    """Return the status while the pod starts or runs."""
    runs = _phase(pod) == "Running"
    waits = _waits_for(pod)
    seen = msgspec.structs.replace(
        status, phase=RUNNING if runs else PENDING, pod=pod.metadata.name
    )
    if waits is None:
        return _changed(seen, now, without=[QUEUED, *((RETRYING,) if runs else ())])
    reason, message = waits
    queued = Condition(type=QUEUED, status="True", reason=reason, message=message)
    return _changed(seen, now, new=[queued])


def _waits_for(pod: core.Pod) -> tuple[str, str] | None:
    """Return why a pod does not start, as reason and message."""
    if pod.status is None or _phase(pod) == "Running":
        return None
    for one in pod.status.conditions:
        if one.type == "PodScheduled" and one.status == "False":
            return one.reason or "Unschedulable", one.message or "no node can run the pod"
    for container in pod.status.container_statuses:
        waiting = container.state.waiting if container.state else None
        if waiting is not None and waiting.message:
            return waiting.reason or "ContainerWaiting", waiting.message
    return None


def _after_success(pod: core.Pod, status: Status, now: datetime) -> Decision[Action, Status]:
    """Wait for what the process wrote before it ended; a pod that lied is tried again."""
    finished = _finished(pod)
    waited_s = (now - finished).total_seconds() if finished else REPORT_GRACE_S
    if waited_s < REPORT_GRACE_S:
        return Decision(requeue_after_s=1.0)
    return _retry(pod, status, "Unreported", "the transfer ended without saying so", now)


def _after_failure(pod: core.Pod, status: Status, now: datetime) -> Decision[Action, Status]:
    code = _exit_code(pod)
    cause, message = _cause(pod, status)
    if code == RETRY_CODE:
        return _retry(pod, status, cause or "Interrupted", message, now)
    if code is None or code >= KILLED_CODE:  # the pod or its node was killed
        told = message or (pod.status.message if pod.status else "") or "the pod was killed"
        return _retry(pod, status, KILLED, told, now)
    if cause in ("", "InternalError") and (status.attempts or 0) < MOST_CRASHES:
        crashed = message or f"the transfer ended with code {code}"
        return _retry(pod, status, cause or "Crashed", crashed, now)
    return _failed(status, cause or "Crashed", message or f"it ended with code {code}", now)


def _retry(
    pod: core.Pod, status: Status, cause: str, message: str, now: datetime
) -> Decision[Action, Status]:
    retrying = Condition(type=RETRYING, status="True", reason=cause, message=message)
    # The time of the condition is when this attempt ended: it is new each time.
    fresh = _changed(status, now, without=[RETRYING])
    ended = _changed(_pending(fresh), now, new=[retrying])
    return Decision(
        actions=(Record(reason="Retrying", message=f"{cause}: {message}"), DeletePod(pod=pod)),
        status=ended,
    )


def _failed(status: Status, cause: str, message: str, now: datetime) -> Decision[Action, Status]:
    new = [
        Condition(type=FAILED, status="True", reason=cause, message=message),
        Condition(type=cause, status="True", reason=cause, message=message),
    ]
    ended = msgspec.structs.replace(
        status, phase=FAILED, completed=conditions.timestamp(now), rate_per_second=0
    )
    return Decision(
        actions=(Record(reason=FAILED, message=f"{cause}: {message}"),),
        status=_changed(ended, now, new=new, without=[QUEUED, RETRYING]),
    )


def _cause(pod: core.Pod, status: Status) -> tuple[str, str]:
    """Return why the process ended: what it left in the pod, else in the status."""
    terminated = _terminated(pod)
    text = (terminated.message or "") if terminated else ""
    cause, separator, message = text.strip().partition(": ")
    if separator and cause.isalpha():
        return cause, message
    for one in status.conditions:
        if one.status == "True" and one.reason == one.type and one.type not in (FAILED, RETRYING):
            return one.type, one.message
    return "", text


# Pods


def _phase(pod: core.Pod) -> str:
    return (pod.status.phase if pod.status else "") or "Pending"


def _is_leaving(pod: core.Pod) -> bool:
    return bool(pod.metadata.deletion_timestamp)


def is_active(pods: Iterable[core.Pod]) -> bool:
    """Tell whether one of the pods occupies the source."""
    return any(_phase(pod) not in ("Failed", "Succeeded") for pod in pods)


def _age(pod: core.Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.metadata.name


def _terminated(pod: core.Pod) -> core.ContainerStateTerminated | None:
    statuses: Sequence[core.ContainerStatus] = pod.status.container_statuses if pod.status else ()
    for one in statuses:
        if one.state is not None and one.state.terminated is not None:
            return one.state.terminated
    return None


def _exit_code(pod: core.Pod) -> int | None:
    terminated = _terminated(pod)
    return terminated.exit_code if terminated else None


def _finished(pod: core.Pod) -> datetime | None:
    terminated = _terminated(pod)
    text = terminated.finished_at if terminated else None
    return _moment(text) if text else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# Status


def _pending(status: Status) -> Status:
    return msgspec.structs.replace(status, phase=PENDING, rate_per_second=0)


def _changed(
    status: Status, now: datetime, *, new: Iterable[Condition] = (), without: Iterable[str] = ()
) -> Status:
    after = conditions.changed(status.conditions, now, new=new, without=without)
    return msgspec.structs.replace(status, conditions=after)
