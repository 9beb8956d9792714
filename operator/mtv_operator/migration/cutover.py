"""When a warm VM is cut over: when it was asked for, and the downtime is short enough. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from mtv.api import forklift
from mtv.inventory.model import PowerState
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import (
    conditions,
    conversion,
    downtime,
    progress,
    source_power,
    vm_scene,
    warm,
)
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.itinerary import StepName
from mtv_operator.migration.vm_scene import Scene

GOAL_MISSED = "DowntimeGoalMissed"
MOST_ROUNDS = 3  # precopies one right after the other, to come below the plan's downtime
LONG_COPY_S = 300.0  # a first copy that is worth another precopy before the cutover
PACE_S = 60.0  # between them, when that has not been enough
MIB = 1 << 20
replace = msgspec.structs.replace


def due_in_s(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> float:
    """Return how long it is until the next precopy or the cutover, whichever is first."""
    precopy_s = warm.wait_s(vm, now, max(warm.interval_s(scene.plan), 300))
    at = scene.cutovers.at(vm)
    if at is None or warm.of(vm).consecutive_failures:
        return precopy_s
    if now < at:
        return min(precopy_s, (at - now).total_seconds())
    if may_cut(scene, vm, planned, now):
        return 0.0
    if _rounds(vm, at) < MOST_ROUNDS:
        return 0.0
    return min(precopy_s, PACE_S - conditions.seconds_since(warm.last(vm).end, now))


def may_cut(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> bool:
    """Tell whether a VM is to be cut over now.

    Not after a precopy that came to nothing: the last one could not be taken either. Nor after a
    first copy that took long: what has changed meanwhile is brought before, while the VM runs.
    """
    at = scene.cutovers.at(vm)
    if at is None or now < at or warm.of(vm).consecutive_failures:
        return False
    newest = warm.last(vm)
    if not warm.has_succeeded(newest):
        return False
    if warm.of(vm).successes == 1 and conditions.seconds_since(newest.start, now) > LONG_COPY_S:
        return False
    goal_s = scene.plan.spec.max_downtime_seconds
    if not goal_s:
        return True
    predicted_s = _predicted_s(scene, vm, planned, now)
    return predicted_s is not None and predicted_s <= goal_s


def _rounds(vm: forklift.VMStatus, at: datetime) -> int:
    """Return how many precopies have been made since the cutover was due."""
    return sum(
        warm.has_succeeded(one) and conditions.moment(one.start) >= at
        for one in warm.of(vm).precopies
        if one.start
    )


def _predicted_s(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> int | None:
    shutdown_s = downtime.shutdown_s(
        vm,
        (*downtime.measured(scene.run.values()), *scene.shutdowns_s),
        scene.power_off,
        is_on=vm_scene.power_of(planned) is not PowerState.OFF,
        hears=bool(planned.vm and planned.vm.tools_running),
    )
    adapting_s = conversion.expected_s(vm)
    return downtime.predicted_s(vm, shutdown_s, now, adapting_s=adapting_s)


def with_prediction(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> forklift.VMStatus:
    """Return the VM with the downtime that a cutover at this moment would bring."""
    predicted_s = _predicted_s(scene, vm, planned, now)
    return replace(vm, warm=replace(warm.of(vm), predicted_downtime_seconds=predicted_s))


def with_next(scene: Scene, vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    """Return the VM with the time of its next precopy: an interval after the last one."""
    record, newest = warm.of(vm), warm.last(vm)
    if record.consecutive_failures or not newest.end:
        return vm  # it has a time of its own
    at = conditions.moment(newest.end) + timedelta(seconds=warm.interval_s(scene.plan))
    return replace(vm, warm=replace(record, next_precopy_at=conditions.timestamp(at)))


def with_goal(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> forklift.VMStatus:
    """Say when precopies do not bring the downtime below what the plan allows."""
    goal_s, at = scene.plan.spec.max_downtime_seconds, scene.cutovers.at(vm)
    asked = goal_s is not None and at is not None and now >= at
    if not asked or at is None or _rounds(vm, at) < MOST_ROUNDS:
        return progress.unnoted(vm, GOAL_MISSED, now)
    if may_cut(scene, vm, planned, now):
        return progress.unnoted(vm, GOAL_MISSED, now)
    predicted_s = warm.of(vm).predicted_downtime_seconds
    text = (
        f"a cutover was asked for, and would take {predicted_s} s where the plan allows {goal_s}: "
        "the guest writes faster than precopies can follow, or takes long to shut down; precopies "
        "go on; raise maxDowntimeSeconds, or let the guest rest"
    )
    return progress.noted(vm, GOAL_MISSED, "TooLong", text, now, category=Category.WARN)


def with_shutdown(vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    """Return the VM, whose source is off by now, with the time that its guest took for it."""
    stopped = conditions.find(vm.conditions, source_power.STOPPED)
    record = warm.of(vm)
    asked = stopped is not None and stopped.reason == source_power.ASKED
    if stopped is None or not asked or record.consecutive_failures:
        return vm
    took_s = conditions.seconds_since(stopped.last_transition_time, now)
    return replace(vm, warm=replace(record, shutdown_seconds=round(took_s)))


def with_downtime(vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    """Return the VM, whose target is there by now, with the time for which it was off."""
    started = next((one.started for one in vm.pipeline if one.name == StepName.CUTOVER), None)
    record = warm.of(vm)
    if not started or vm.restore_power_state != "On" or record.downtime_seconds is not None:
        return vm
    took_s = conditions.seconds_since(started, now)
    return replace(vm, warm=replace(record, downtime_seconds=round(took_s)))


def told(vm: forklift.VMStatus) -> str:
    """Return what a precopy that has ended has cost, in one line."""
    record, newest = warm.of(vm), warm.last(vm)
    parts = [f"VM {vm.name or vm.id}: precopy {record.successes} is on the target"]
    if newest.delta_bytes is not None:
        parts.append(f"{newest.delta_bytes / MIB:.1f} MiB had changed")
    if record.predicted_downtime_seconds is not None:
        parts.append(f"a cutover now would take {record.predicted_downtime_seconds} s")
    return ", ".join(parts)
