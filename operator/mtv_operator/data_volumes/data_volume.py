"""What a DataVolume needs done, and how it stands: as its claim says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from mtv import errors
from mtv.api import cdi, core
from mtv_operator.data_volumes import claim as claims
from mtv_operator.data_volumes import names
from mtv_operator.reconciling import Decision

SUCCEEDED = "Succeeded"
WAIT_FOR_CONSUMER = "WaitForFirstConsumer"
READY_TO_USE = (SUCCEEDED, WAIT_FOR_CONSUMER)
NO_PROGRESS, WHOLE = "N/A", "100.0%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A DataVolume, the claim of its name, and the one that it is cloned from."""

    wanted: cdi.DataVolume
    claim: core.PersistentVolumeClaim | None = None
    source_claim: core.PersistentVolumeClaim | None = None
    classes: Sequence[core.StorageClass] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateClaim:
    """Make the claim."""

    claim: core.PersistentVolumeClaim


Plan = Decision[CreateClaim, cdi.DataVolumeStatus]


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what to do, and the status."""
    wanted, claim = observed.wanted, observed.claim
    if wanted.metadata.deletion_timestamp is not None:
        return Decision()
    if claim is None:
        return _without_claim(observed, now)
    if not any(one.uid == wanted.metadata.uid for one in claim.metadata.owner_references):
        message = f"the claim {claim.metadata.name} exists and is not this DataVolume's"
        return Decision(status=_status(wanted, "Pending", now, trouble=message))
    phase, trouble = phase_of(wanted, claim)
    return Decision(status=_status(wanted, phase, now, claim=claim, trouble=trouble))


def _without_claim(observed: Observed, now: datetime) -> Plan:
    source = observed.wanted.spec.source
    if source is None:
        trouble = "spec.sourceRef is not supported: name the source in spec.source"
        return Decision(status=_status(observed.wanted, "Pending", now, trouble=trouble))
    if source.pvc is not None and observed.source_claim is None:
        trouble = f"the source claim {source.pvc.namespace}/{source.pvc.name} does not exist"
        return Decision(status=_status(observed.wanted, "Pending", now, trouble=trouble))
    try:
        made = claims.build(observed.wanted, observed.source_claim, observed.classes)
    except errors.BadInput as fault:
        return Decision(status=_status(observed.wanted, "Pending", now, trouble=str(fault)))
    status = _status(observed.wanted, "Pending", now)
    return Decision(status=status, actions=(CreateClaim(claim=made),))


def phase_of(wanted: cdi.DataVolume, claim: core.PersistentVolumeClaim) -> tuple[str, str]:
    """Return CDI's word for how far a claim is, and what keeps it from going on."""
    annotations = claim.metadata.annotations
    bound = claim.status is not None and claim.status.phase == "Bound"
    if not names.is_to_fill(claim):
        # A blank disk is made at the first start of a VM; a claim may wait for that to be placed.
        return (SUCCEEDED if bound else WAIT_FOR_CONSUMER), ""
    pod_phase = annotations.get(names.POD_PHASE, "")
    trouble = annotations.get(names.RUNNING_MESSAGE, "")
    if pod_phase == names.DONE:
        return SUCCEEDED, ""
    source = wanted.spec.source or cdi.DataVolumeSource()
    verb = "Upload" if source.upload is not None else "Clone" if source.pvc is not None else ""
    if not pod_phase:
        return ("PVCBound" if bound else "Pending"), trouble
    if verb == "Upload" and annotations.get(names.POD_READY) == "true":
        return "UploadReady", trouble
    if pod_phase == "Running" and verb != "Upload":
        return f"{verb or 'Import'}InProgress", trouble
    return f"{verb or 'Import'}Scheduled", trouble


def _status(
    wanted: cdi.DataVolume,
    phase: str,
    now: datetime,
    *,
    claim: core.PersistentVolumeClaim | None = None,
    trouble: str = "",
) -> cdi.DataVolumeStatus:
    bound = claim is not None and claim.status is not None and claim.status.phase == "Bound"
    runs = phase.endswith(("InProgress", "Ready"))
    reason = "Completed" if phase == SUCCEEDED else "Error" if trouble else "Pod" if runs else ""
    before = wanted.status or cdi.DataVolumeStatus()
    known = {one.type: one for one in before.conditions}
    found = (
        _condition("Bound", bound, "Bound" if bound else "NotBound", ""),
        _condition("Ready", phase == SUCCEEDED, "", ""),
        _condition("Running", runs and not trouble, reason, trouble),
    )
    restarts = claim.metadata.annotations.get(names.POD_RESTARTS, "0") if claim else "0"
    return cdi.DataVolumeStatus(
        claim_name=wanted.metadata.name,
        phase=phase,
        progress=WHOLE if phase == SUCCEEDED else NO_PROGRESS,
        restart_count=int(restarts) if restarts.isdecimal() else 0,
        conditions=tuple(_dated(one, known.get(one.type), now) for one in found),
    )


def _condition(kind: str, holds: bool, reason: str, message: str) -> cdi.DataVolumeCondition:
    return cdi.DataVolumeCondition(
        type=kind,
        status="True" if holds else "False",
        reason=reason or None,
        message=message or None,
    )


def _dated(
    one: cdi.DataVolumeCondition, before: cdi.DataVolumeCondition | None, now: datetime
) -> cdi.DataVolumeCondition:
    """Keep the times of a condition that says what it said before."""
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed = before.last_transition_time if before and before.status == one.status else time
    same = before is not None and (before.reason, before.message) == (one.reason, one.message)
    beat = before.last_heartbeat_time if same and before is not None else time
    return msgspec.structs.replace(one, last_transition_time=changed, last_heartbeat_time=beat)
