"""What a claim that shall be filled needs done: a worker pod, and its state on the claim. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import cdi, core
from mtv_operator.data_volumes import names, worker_pod
from mtv_operator.reconciling import Decision

Annotations = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A claim with its worker pod, and whether its source can be read now."""

    claim: core.PersistentVolumeClaim
    pod: core.Pod | None = None
    source_claim: core.PersistentVolumeClaim | None = None  # of a clone
    image: str = "mtv"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePod:
    """Start to fill."""

    pod: core.Pod
    needs_key: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """Remove the worker, which is done."""

    name: str
    uid: str


Action = CreatePod | DeletePod
Plan = Decision[Action, Annotations]


def source_of(claim: core.PersistentVolumeClaim) -> cdi.DataVolumeSource:
    """Return what a claim is filled from. Raises BadInput."""
    text = claim.metadata.annotations.get(names.SOURCE)
    if text is None:
        return cdi.DataVolumeSource(upload={})
    try:
        return msgspec.json.decode(text, type=cdi.DataVolumeSource)
    except msgspec.MsgspecError as fault:
        raise errors.BadInput(f"{names.SOURCE}: {fault}", field="metadata.annotations") from fault


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what to do, and the annotations as they should be."""
    claim, pod = observed.claim, observed.pod
    if not names.is_to_fill(claim):
        return Decision()
    if names.is_filled(claim) or claim.metadata.deletion_timestamp is not None:
        # A claim that is being deleted stays for as long as a pod uses it.
        gone = () if pod is None or pod.metadata.deletion_timestamp else (_deleted(pod),)
        return Decision(actions=gone)
    if pod is not None:
        return Decision(status=_annotations(claim, pod))
    try:
        source = source_of(claim)
        waits = waits_for(source, observed)
        if waits:
            return Decision(status=_said(claim, waits))
        made = worker_pod.build(claim, source, observed.source_claim, observed.image)
    except errors.BadInput as fault:
        return Decision(status=_said(claim, str(fault)))
    return Decision(actions=(CreatePod(pod=made, needs_key=source.upload is not None),))


def waits_for(source: cdi.DataVolumeSource, observed: Observed) -> str:
    """Return what a source waits for; "" when it can be read."""
    if source.pvc is None:
        return ""
    name = f"{source.pvc.namespace}/{source.pvc.name}"
    if observed.source_claim is None:
        return f"the source claim {name} does not exist"
    if not names.is_filled(observed.source_claim):
        return f"the source claim {name} is not filled yet"
    return ""


def _deleted(pod: core.Pod) -> DeletePod:
    return DeletePod(name=pod.metadata.name, uid=pod.metadata.uid)


def _said(claim: core.PersistentVolumeClaim, message: str) -> Annotations:
    return {**claim.metadata.annotations, names.RUNNING_MESSAGE: message}


def _annotations(claim: core.PersistentVolumeClaim, pod: core.Pod) -> Annotations:
    """Return the claim's annotations with the state of its pod."""
    status = pod.status or core.PodStatus()
    worker = next(iter(status.container_statuses), None)
    ready = worker is not None and bool(worker.ready)
    found = {
        **claim.metadata.annotations,
        names.POD_PHASE: status.phase or "Pending",
        names.POD_READY: "true" if ready else "false",
        names.POD_RESTARTS: str(worker.restart_count or 0) if worker is not None else "0",
    }
    found.pop(names.RUNNING_MESSAGE, None)
    message = _trouble(status, worker)
    if message:
        found[names.RUNNING_MESSAGE] = message
    return found


def _trouble(status: core.PodStatus, worker: core.ContainerStatus | None) -> str:
    """Return what keeps a worker from filling, in its own words where it has left some."""
    unscheduled = next(
        (one for one in status.conditions if one.type == "PodScheduled" and one.status == "False"),
        None,
    )
    if unscheduled is not None:
        return unscheduled.message or ""
    if worker is None or worker.state is None or worker.state.running is not None:
        return ""
    for state in (worker.state, worker.last_state):
        if state is not None and state.terminated is not None and state.terminated.exit_code:
            return state.terminated.message or f"it ended with {state.terminated.exit_code}"
    waiting = worker.state.waiting
    return (waiting.message or "") if waiting is not None else ""
