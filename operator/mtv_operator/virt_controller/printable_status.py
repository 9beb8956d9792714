"""`status.printableStatus`: a virtual machine's state in one word. Pure.

A table of which the first row that fits counts; words and order are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mtv.api import cdi, kubevirt
from mtv_operator.virt_controller import conditions, data_volume_templates, phases
from mtv_operator.virt_controller.phases import Phase
from mtv_operator.virt_controller.run_strategy import RunStrategy, Wish

# Reasons of the condition Synchronized, set by `instance`.
NOT_FILLED = "NotAllDVsReady"  # of the condition DataVolumesReady
PVC_NOT_FOUND = "FailedPvcNotFound"
ERR_IMAGE_PULL = "ErrImagePull"
IMAGE_PULL_BACK_OFF = "ImagePullBackOff"

_STARTING = (Phase.UNSET, Phase.PENDING, Phase.SCHEDULING, Phase.SCHEDULED)
_REPEATING = (RunStrategy.ALWAYS, RunStrategy.RERUN_ON_FAILURE, RunStrategy.ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the word depends on."""

    vm: kubevirt.VirtualMachine
    status: kubevirt.VirtualMachineStatus
    instance: kubevirt.VirtualMachineInstance | None
    strategy: RunStrategy | None
    wish: Wish
    data_volumes: Mapping[str, cdi.DataVolume] = field(default_factory=dict)

    @property
    def conditions(self) -> tuple[kubevirt.VirtualMachineInstanceCondition, ...]:
        """Return the instance's conditions."""
        return self.instance.status.conditions if self.instance and self.instance.status else ()

    @property
    def phase(self) -> Phase | None:
        """Return the instance's phase; None where there is no instance."""
        return phases.of(self.instance) if self.instance else None


def _stopping(seen: Seen) -> bool:
    if seen.instance is None or phases.is_final(seen.instance):
        return False
    return phases.is_going(seen.instance) or seen.wish is Wish.STOP


def _migrating(seen: Seen) -> bool:
    state = seen.instance.status.migration_state if seen.instance and seen.instance.status else None
    return bool(state and state.start_timestamp and not state.end_timestamp)


def _not_synchronized(reason: str) -> Callable[[Seen], bool]:
    return lambda seen: conditions.has_reason(seen.conditions, "Synchronized", "False", reason)


def _unschedulable(seen: Seen) -> bool:
    return conditions.has_reason(seen.conditions, "PodScheduled", "False", "Unschedulable")


def _starting(seen: Seen) -> bool:
    if seen.instance is None:
        return seen.wish in (Wish.START, Wish.SWITCH_ON)
    return seen.phase in _STARTING


def _crash_loop(seen: Seen) -> bool:
    if seen.instance is not None and not phases.is_final(seen.instance):
        return False
    failure = seen.status.start_failure
    failed = failure is not None and (failure.consecutive_fail_count or 0) > 0
    return failed and seen.strategy in _REPEATING


def _data_volume_error(seen: Seen) -> bool:
    starting = seen.instance is None and _starting(seen)
    return starting and bool(data_volume_templates.trouble(seen.vm, seen.data_volumes))


def _provisioning(seen: Seen) -> bool:
    waits = conditions.has_reason(seen.conditions, "DataVolumesReady", "False", NOT_FILLED)
    starting = seen.instance is None and _starting(seen)
    return waits or (starting and not data_volume_templates.are_ready(seen.vm, seen.data_volumes))


TABLE: tuple[tuple[str, Callable[[Seen], bool]], ...] = (
    ("Terminating", lambda seen: seen.vm.metadata.deletion_timestamp is not None),
    ("Stopping", _stopping),
    ("Migrating", _migrating),
    ("Paused", lambda seen: conditions.is_true(seen.conditions, "Paused")),
    ("Running", lambda seen: seen.phase is Phase.RUNNING),
    ("ErrorPvcNotFound", _not_synchronized(PVC_NOT_FOUND)),
    ("DataVolumeError", _data_volume_error),
    ("ErrorUnschedulable", _unschedulable),
    ("Provisioning", _provisioning),
    ("ErrImagePull", _not_synchronized(ERR_IMAGE_PULL)),
    ("ImagePullBackOff", _not_synchronized(IMAGE_PULL_BACK_OFF)),
    ("Starting", _starting),
    ("CrashLoopBackOff", _crash_loop),
    ("Stopped", lambda seen: seen.instance is None or phases.is_final(seen.instance)),
)


def word(seen: Seen) -> str:
    """Return the word."""
    return next((name for name, fits in TABLE if fits(seen)), "Unknown")
