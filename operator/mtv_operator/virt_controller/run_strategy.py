"""From a run strategy, the queue of requests and the instance that is there, to what to do. Pure.

    strategy        no instance                          an instance
    Always          start, after the back-off            ended or asked to stop: delete it
    RerunOnFailure  start when asked or just switched    ended or asked to stop: delete it;
                                                         failed: ask for a start first
    Manual          start when asked                     asked to stop: delete it
    Halted          asked to start (paused): Always      delete it
    Once            start                                leave it

`status.stateChangeRequests` is a queue of which only the first counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mtv.api import kubevirt
from mtv_operator.virt_controller import conditions, phases
from mtv_operator.virt_controller.phases import Phase

START, STOP = "Start", "Stop"
PAUSED = "paused"  # key of a start request's data

Request = kubevirt.VirtualMachineStateChangeRequest
Requests = tuple[Request, ...]


class RunStrategy(StrEnum):
    """Upstream's run strategies."""

    ALWAYS = "Always"
    RERUN_ON_FAILURE = "RerunOnFailure"
    MANUAL = "Manual"
    HALTED = "Halted"
    ONCE = "Once"
    WAIT_AS_RECEIVER = "WaitAsReceiver"


_BY_TEXT = {strategy.value: strategy for strategy in RunStrategy}


class Wish(StrEnum):
    """What shall happen to the instance."""

    NOTHING = "nothing"
    START = "start"
    WAIT = "wait"  # a start that the back-off delays
    STOP = "stop"
    ASK_FOR_START = "ask for start"
    SWITCH_ON = "switch on"  # spec.running or spec.runStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What shall happen, and how long a delayed start has to wait."""

    wish: Wish
    wait_s: float = 0.0


_NOTHING = Course(wish=Wish.NOTHING)


def of(spec: kubevirt.VirtualMachineSpec) -> RunStrategy | None:
    """Return the strategy that the spec asks for; None for what is none."""
    if spec.running is not None:
        return RunStrategy.ALWAYS if spec.running else RunStrategy.HALTED
    return _BY_TEXT.get(spec.run_strategy or "")


def trimmed(requests: Requests, instance: kubevirt.VirtualMachineInstance | None) -> Requests:
    """Return the requests without a first one that has been done."""
    if not requests:
        return requests
    first = requests[0]
    if first.action == STOP:
        done = bool(first.uid) and (instance is None or instance.metadata.uid != first.uid)
    else:
        done = instance is not None and not (phases.is_final(instance) or phases.is_going(instance))
    return requests[1:] if done else requests


def wants_start(requests: Requests) -> bool:
    """Tell whether the first request asks for a start."""
    return bool(requests) and requests[0].action == START


def wants_paused(requests: Requests) -> bool:
    """Tell whether the first request asks for a start that is paused."""
    return wants_start(requests) and requests[0].data.get(PAUSED) == "true"


def wants_stop(requests: Requests, instance: kubevirt.VirtualMachineInstance) -> bool:
    """Tell whether the first request asks this instance to stop."""
    return (
        bool(requests) and requests[0].action == STOP and requests[0].uid == instance.metadata.uid
    )


def course(
    strategy: RunStrategy | None,
    status: kubevirt.VirtualMachineStatus,
    instance: kubevirt.VirtualMachineInstance | None,
    now: datetime,
) -> Course:
    """Return what shall happen; `status` is the one with trimmed requests and counted failures."""
    if instance is None:
        return _without_instance(strategy, status, now)
    if phases.is_going(instance):
        return _NOTHING
    return Course(wish=_with_instance(strategy, status.state_change_requests, instance))


def _without_instance(
    strategy: RunStrategy | None, status: kubevirt.VirtualMachineStatus, now: datetime
) -> Course:
    asked = wants_start(status.state_change_requests)
    match strategy:
        case RunStrategy.ALWAYS:
            return _start(status, now)
        case RunStrategy.RERUN_ON_FAILURE:
            switched = status.run_strategy != strategy
            return _start(status, now) if asked or switched else _NOTHING
        case RunStrategy.MANUAL:
            return Course(wish=Wish.START) if asked else _NOTHING
        case RunStrategy.HALTED:
            return Course(wish=Wish.SWITCH_ON) if asked else _NOTHING
        case RunStrategy.ONCE:
            return Course(wish=Wish.START)
        case RunStrategy.WAIT_AS_RECEIVER | None:
            return _NOTHING


def _start(status: kubevirt.VirtualMachineStatus, now: datetime) -> Course:
    left = back_off_left_s(status.start_failure, now)
    return Course(wish=Wish.WAIT, wait_s=left) if left > 0 else Course(wish=Wish.START)


def _with_instance(
    strategy: RunStrategy | None, requests: Requests, instance: kubevirt.VirtualMachineInstance
) -> Wish:
    asked = wants_stop(requests, instance)
    match strategy:
        case RunStrategy.ALWAYS:
            return Wish.STOP if asked or phases.is_final(instance) else Wish.NOTHING
        case RunStrategy.RERUN_ON_FAILURE:
            failed = phases.of(instance) is Phase.FAILED
            if failed and not asked and not any(one.action == START for one in requests):
                return Wish.ASK_FOR_START
            return Wish.STOP if asked or phases.is_final(instance) else Wish.NOTHING
        case RunStrategy.MANUAL:
            return Wish.STOP if asked else Wish.NOTHING
        case RunStrategy.HALTED:
            return Wish.STOP
        case RunStrategy.ONCE | RunStrategy.WAIT_AS_RECEIVER | None:
            return Wish.NOTHING


def back_off_left_s(failure: kubevirt.VirtualMachineStartFailure | None, now: datetime) -> float:
    """Return the seconds until the next start may be tried; 0 when it may now."""
    if failure is None or not failure.retry_after_timestamp:
        return 0.0
    until = conditions.time_of(failure.retry_after_timestamp)
    return max((until - now).total_seconds(), 0.0)
