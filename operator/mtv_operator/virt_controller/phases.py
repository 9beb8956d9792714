"""Phases of a VirtualMachineInstance, and who owns it in which. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from mtv.api import kubevirt
from mtv_operator.virt_controller import conditions


class Phase(StrEnum):
    """Upstream's phases."""

    UNSET = ""
    PENDING = "Pending"
    SCHEDULING = "Scheduling"
    SCHEDULED = "Scheduled"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


_BY_TEXT = {phase.value: phase for phase in Phase}
FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED})
BEFORE_POD = frozenset({Phase.UNSET, Phase.PENDING})
HANDED_OVER = frozenset({Phase.SCHEDULED, Phase.RUNNING, Phase.UNKNOWN})


def of(instance: kubevirt.VirtualMachineInstance) -> Phase:
    """Return the phase; one we do not know is Unknown."""
    text = (instance.status.phase if instance.status else None) or ""
    return _BY_TEXT.get(text, Phase.UNKNOWN)


def is_final(instance: kubevirt.VirtualMachineInstance) -> bool:
    """Tell whether the instance has ended."""
    return of(instance) in FINAL


def is_going(instance: kubevirt.VirtualMachineInstance) -> bool:
    """Tell whether the instance is being deleted."""
    return instance.metadata.deletion_timestamp is not None


def ever_ran(instance: kubevirt.VirtualMachineInstance) -> bool:
    """Tell whether the guest was Running at some time."""
    if of(instance) is Phase.RUNNING:
        return True
    passed = instance.status.phase_transition_timestamps if instance.status else ()
    return any(one.phase == Phase.RUNNING for one in passed)


def moved(
    status: kubevirt.VirtualMachineInstanceStatus, phase: Phase, now: datetime
) -> kubevirt.VirtualMachineInstanceStatus:
    """Return the status in another phase, with the time of the change."""
    if status.phase == phase:
        return status
    passed = kubevirt.VirtualMachineInstancePhaseTransitionTimestamp(
        phase=phase, phase_transition_timestamp=conditions.timestamp(now)
    )
    kept = tuple(one for one in status.phase_transition_timestamps if one.phase != phase)
    return msgspec.structs.replace(
        status, phase=phase.value, phase_transition_timestamps=(*kept, passed)
    )
