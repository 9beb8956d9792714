"""READY, STATUS and RESTARTS of pods, as `kubectl get pods` words them. Pure.

After `printPod` of kubernetes' `pkg/printers/internalversion/printers.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mtv_operator.embedded.apiserver import ages, cells

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the columns of one pod say."""

    ready: int
    containers: int
    status: str
    restarts: int
    restarted_at: str  # when a container last ended, "" for never


def summary(pod: Document) -> Summary:
    """Return what the columns of a pod say."""
    init = cells.items(pod, "spec", "initContainers")
    sidecars = {one.get("name") for one in init if one.get("restartPolicy") == "Always"}
    status = _phase(pod)
    begun = [_Begun.of(one) for one in cells.items(pod, "status", "initContainerStatuses")]
    stuck = _initializing(begun, sidecars, len(init))
    ready = sum(one.ready and one.started for one in begun if one.name in sidecars)
    if stuck and not cells.is_true(pod, "Initialized"):
        counted, status = begun, stuck
    else:
        main = [_Begun.of(one) for one in cells.items(pod, "status", "containerStatuses")]
        status = _running(main, status, pod)
        ready += sum(one.ready and one.running for one in main)
        counted = [*(one for one in begun if one.name in sidecars), *main]
    return Summary(
        ready=ready,
        containers=len(cells.items(pod, "spec", "containers")) + len(sidecars),
        status=_deleted(pod, status),
        restarts=sum(one.restarts for one in counted),
        restarted_at=max((one.ended_at for one in counted), default=""),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """What is known of one container."""

    name: str
    ready: bool
    started: bool
    running: bool
    restarts: int
    waits_for: str
    terminated: Document | None
    ended_at: str

    @classmethod
    def of(cls, status: Document) -> _Begun:
        state = status.get("state") or {}
        terminated = state.get("terminated")
        return cls(
            name=str(status.get("name", "")),
            ready=bool(status.get("ready")),
            started=bool(status.get("started")),
            running=state.get("running") is not None,
            restarts=int(status.get("restartCount") or 0),
            waits_for=str(cells.get(state, "waiting", "reason") or ""),
            terminated=terminated if isinstance(terminated, dict) else None,
            ended_at=str(cells.get(status, "lastState", "terminated", "finishedAt") or ""),
        )

    def ended(self) -> str:
        """Return why it ended: `Error`, `ExitCode:3`, `Signal:9`."""
        ended = self.terminated or {}
        if ended.get("reason"):
            return str(ended["reason"])
        if ended.get("signal"):
            return f"Signal:{ended['signal']}"
        return f"ExitCode:{ended.get('exitCode', 0)}"


def _phase(pod: Document) -> str:
    scheduled = cells.condition(pod, "PodScheduled") or {}
    if scheduled.get("reason") == "SchedulingGated":
        return "SchedulingGated"
    status = pod.get("status") or {}
    return str(status.get("reason") or status.get("phase") or "")


def _initializing(begun: list[_Begun], sidecars: set[Any], total: int) -> str:
    """Return what the first init container that is not done waits for, "" when all are done."""
    for index, one in enumerate(begun):
        if one.terminated is not None and not one.terminated.get("exitCode"):
            continue
        if one.name in sidecars and one.started:
            continue
        if one.terminated is not None:
            return f"Init:{one.ended()}"
        if one.waits_for and one.waits_for != "PodInitializing":
            return f"Init:{one.waits_for}"
        return f"Init:{index}/{total}"
    return ""


def _running(containers: list[_Begun], status: str, pod: Document) -> str:
    running = False
    for one in reversed(containers):
        if one.waits_for:
            status = one.waits_for
        elif one.terminated is not None:
            status = one.ended()
        elif one.ready and one.running:
            running = True
    if status == "Completed" and running:
        return "Running" if cells.is_true(pod, "Ready") else "NotReady"
    return status


def _deleted(pod: Document, status: str) -> str:
    if not cells.get(pod, "metadata", "deletionTimestamp"):
        return status
    if cells.get(pod, "status", "reason") == "NodeLost":
        return "Unknown"
    ended = cells.get(pod, "status", "phase") in ("Failed", "Succeeded")
    return status if ended else "Terminating"


def restarts(pod: Document, now: datetime) -> str:
    """Return the RESTARTS column: `0`, or `3 (5m12s ago)`."""
    seen = summary(pod)
    if not seen.restarts or not seen.restarted_at:
        return str(seen.restarts)
    return f"{seen.restarts} ({ages.since(seen.restarted_at, now)} ago)"


def readiness_gates(pod: Document) -> str:
    """Return how many readiness gates are open: `1/2`."""
    gates = cells.items(pod, "spec", "readinessGates")
    if not gates:
        return cells.NONE
    opened = sum(cells.is_true(pod, str(gate.get("conditionType"))) for gate in gates)
    return f"{opened}/{len(gates)}"


def row_conditions(pod: Document) -> list[Document]:
    """Return what marks the row of a pod that has ended."""
    messages = {
        "Succeeded": "The pod has completed successfully.",
        "Failed": "The pod failed.",
    }
    phase = cells.get(pod, "status", "phase")
    if phase not in messages:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": messages[phase]}]
