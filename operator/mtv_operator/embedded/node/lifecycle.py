"""What a node does next with a pod: a pure decision, as the kubelet takes it.

Init containers run one after another, then all containers at once; what ends is started again as
`restartPolicy` says, with a growing pause; who is to end gets SIGTERM, and SIGKILL when the grace
period is over. A pod that has ended gives its network and volumes back, and keeps its logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mtv.api.core import Container, Pod
from mtv_operator.embedded.node.attempts import Attempt

DEFAULT_GRACE_S = 30.0
BACK_OFF_FIRST_S = 10.0  # as the kubelet: 10 s, doubled up to 5 minutes
BACK_OFF_LONGEST_S = 300.0
BACK_OFF_RESET_S = 600.0
FAULT_RETRY_S = 5.0  # a container that cannot be started at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Give the pod its network and volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a container."""

    container: str
    number: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """Tell a container to end, and note when."""

    container: str
    attempt: Attempt
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End a container now."""

    container: str
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give the pod's network and volumes back; its logs stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Delete the pod from the API server and from this node."""


Action = Prepare | Start | Terminate | Kill | Release | Forget


class Health(StrEnum):
    """What a probe says."""

    UNKNOWN = "Unknown"
    GOOD = "Good"
    BAD = "Bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A pod and what is true of it on the node."""

    pod: Pod
    now: float
    attempts: Mapping[str, Sequence[Attempt]]
    prepared: bool = False
    started_at: float | None = None  # when this node first saw the pod
    gone: bool = False  # the API server does not have it any more
    liveness: Mapping[str, Health] = field(default_factory=dict)  # of the running attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, and when to look again without a reason."""

    actions: tuple[Action, ...] = ()
    requeue_after_s: float | None = None


class Ending(StrEnum):
    """Why a pod is to end although nobody deleted it."""

    NONE = ""
    DEADLINE = "DeadlineExceeded"
    FINISHED = "Finished"


def decide(observed: Observed) -> Decision:
    """Return what to do with a pod now. Total: every state has an answer."""
    if observed.gone or observed.pod.metadata.deletion_timestamp:
        return _end(observed, _deletion_grace_s(observed), last=Forget())
    if has_ended(observed):
        return _end(observed, DEFAULT_GRACE_S, last=Release())
    if not observed.prepared:
        return Decision(actions=(Prepare(),))
    return _run(observed)


def has_ended(observed: Observed) -> bool:
    """Tell whether nothing of the pod will be started again."""
    return deadline_passed(observed) or finished(observed) or _reported_as_ended(observed.pod)


def _reported_as_ended(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def deadline_passed(observed: Observed) -> bool:
    """Tell whether `activeDeadlineSeconds` is over."""
    spec = observed.pod.spec
    limit = spec.active_deadline_seconds if spec else None
    if limit is None or observed.started_at is None:
        return False
    return observed.now >= observed.started_at + limit


def finished(observed: Observed) -> bool:
    """Tell whether every container has ended for good, or an init container has failed for good."""
    policy = restart_policy(observed.pod)
    for container in init_containers(observed.pod):
        last = latest(observed, container.name)
        if is_sidecar(container):
            continue
        if last is None or not last.ended:
            return False
        if not last.succeeded:
            return policy == "Never"
    ends = [latest(observed, container.name) for container in containers(observed.pod)]
    if policy == "Always" or not ends:
        return False
    return all(
        last is not None and last.ended and (policy == "Never" or last.succeeded) for last in ends
    )


def containers(pod: Pod) -> Sequence[Container]:
    """Return the pod's containers."""
    return pod.spec.containers if pod.spec else ()


def init_containers(pod: Pod) -> Sequence[Container]:
    """Return the pod's init containers, sidecars among them."""
    return pod.spec.init_containers if pod.spec else ()


def all_containers(pod: Pod) -> Iterable[Container]:
    """Return init containers and containers."""
    return (*init_containers(pod), *containers(pod))


def is_sidecar(container: Container) -> bool:
    """Tell whether an init container runs as long as the pod."""
    return container.restart_policy == "Always"


def restart_policy(pod: Pod) -> str:
    """Return the pod's restart policy."""
    return (pod.spec.restart_policy if pod.spec else None) or "Always"


def latest(observed: Observed, name: str) -> Attempt | None:
    """Return the newest start of a container."""
    attempts = observed.attempts.get(name, ())
    return attempts[-1] if attempts else None


def grace_s(pod: Pod) -> float:
    """Return how long the pod's containers have to end, in seconds."""
    given = pod.spec.termination_grace_period_seconds if pod.spec else None
    return DEFAULT_GRACE_S if given is None else float(given)


def _deletion_grace_s(observed: Observed) -> float:
    given = observed.pod.metadata.deletion_grace_period_seconds
    return grace_s(observed.pod) if given is None or observed.gone else float(given)


def back_off_s(failures: int) -> float:
    """Return the pause before the next start, when so many in a row have failed before it.

    The first restart is immediate, as the kubelet's.
    """
    if failures <= 1:
        return 0.0
    return min(BACK_OFF_LONGEST_S, BACK_OFF_FIRST_S * 2.0 ** min(failures - 2, 30))


def next_start(name: str, last: Attempt | None) -> tuple[Start, float]:
    """Return how a container is started next, and not before which time."""
    if last is None:
        return Start(container=name, number=0, failures=0), 0.0
    if last.fault:  # it never ran: the same start again
        again = Start(container=name, number=last.number, failures=last.failures)
        return again, (last.finished_at or 0.0) + FAULT_RETRY_S
    ran_s = (last.finished_at or 0.0) - (last.started_at or 0.0)
    failures = 1 if ran_s >= BACK_OFF_RESET_S else last.failures + 1
    start = Start(container=name, number=last.number + 1, failures=failures)
    return start, (last.finished_at or 0.0) + back_off_s(failures)


def _run(observed: Observed) -> Decision:
    """Start what should run and does not; end what is not alive."""
    plan = _Plan(observed)
    for container in init_containers(observed.pod):
        last = latest(observed, container.name)
        if is_sidecar(container):
            plan.keep_running(container, last, policy="Always")
            if last is None or not last.running:
                return plan.decision()
        elif last is None or not last.succeeded:
            plan.keep_running(container, last, policy=restart_policy(observed.pod))
            return plan.decision()
    for container in containers(observed.pod):
        plan.keep_running(
            container, latest(observed, container.name), policy=restart_policy(observed.pod)
        )
    return plan.decision()


class _Plan:
    """Collects actions, and the next moment at which something is due."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.actions: list[Action] = []
        self.dates: list[float] = []

    def decision(self) -> Decision:
        spec = self.observed.pod.spec
        if spec and spec.active_deadline_seconds and self.observed.started_at:
            self.dates.append(self.observed.started_at + spec.active_deadline_seconds)
        after = max(0.05, min(self.dates) - self.observed.now) if self.dates else None
        return Decision(actions=tuple(self.actions), requeue_after_s=after)

    def keep_running(self, container: Container, last: Attempt | None, *, policy: str) -> None:
        if last is not None and last.running:
            if (
                last.told_to_end_at is not None
                or self.observed.liveness.get(container.name) is Health.BAD
            ):
                self.end(container.name, last, grace_s(self.observed.pod), "Unhealthy")
            return
        stays = policy == "Never" or (policy == "OnFailure" and last and last.succeeded)
        if last is not None and last.ended and stays:
            return
        start, not_before = next_start(container.name, last)
        if self.observed.now >= not_before:
            self.actions.append(start)
        else:
            self.dates.append(not_before)

    def end(self, name: str, attempt: Attempt, grace: float, reason: str) -> None:
        if attempt.told_to_end_at is None:
            self.actions.append(Terminate(container=name, attempt=attempt, reason=reason))
            self.dates.append(self.observed.now + grace)
        elif self.observed.now >= attempt.told_to_end_at + grace:
            self.actions.append(Kill(container=name, attempt=attempt))
            self.dates.append(self.observed.now + 1.0)
        else:
            self.dates.append(attempt.told_to_end_at + grace)


def _end(observed: Observed, grace: float, *, last: Action) -> Decision:
    """End every container that runs; when none does, do the last thing."""
    plan = _Plan(observed)
    running = [
        (name, attempts[-1])
        for name, attempts in observed.attempts.items()
        if attempts and attempts[-1].running
    ]
    for name, attempt in running:
        plan.end(name, attempt, grace, "Killing")
    if running:
        return Decision(
            actions=tuple(plan.actions),
            requeue_after_s=max(0.05, min(plan.dates) - observed.now),
        )
    if isinstance(last, Release) and not observed.prepared:
        return Decision()
    return Decision(actions=(last,) if isinstance(last, Release) else (Release(), last))
