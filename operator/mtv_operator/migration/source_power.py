"""The source's power in a run: stored, switched off, and given back. Pure.

The state is stored before anything is switched. A guest is asked; force is used only where the plan
allows it. What we have switched off is switched on again when the VM fails or is canceled, also if
the guest goes down later than that, because it was asked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mtv.api import forklift
from mtv.inventory.model import PowerState
from mtv.planning import labels
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import actions, conditions, progress, vm_scene
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

STOPPED = "SourcePowerOff"  # condition of a VM: whether and how we stopped its source
ASKED, FORCED, RESTORED = "Asked", "Forced", "Restored"
LATE_RESTORE_S = 300.0  # how long after the time limit a guest may still go down
replace = msgspec.structs.replace


def store_power_state(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Note whether the source runs, and that copies of one that runs are outdated."""
    if not scene.current:
        return Advance(vm=vm, requeue_after_s=WAIT_S)  # the state may be another by now
    state = vm_scene.power_of(planned)
    on, off = state is PowerState.ON, state is PowerState.OFF
    vm = replace(vm, restore_power_state="On" if on else "Off" if off else "Unknown")
    if state is PowerState.SUSPENDED:
        return vm_scene.failed(vm, "the source is suspended: resume it and shut it down first")
    outdated = stale(scene, vm) if on else ()
    return Advance(vm=vm_scene.onward(vm, now), actions=outdated)


def power_off_source(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Ask the guest to shut down, or switch the source off."""
    if vm_scene.power_of(planned) is PowerState.OFF and scene.current:
        return Advance(vm=vm_scene.onward(vm, now))
    asks = scene.power_off.asks_first
    deaf = "ShutDownGuest" in scene.faults_of(vm) or not (planned.vm and planned.vm.tools_running)
    if scene.power_off.force and deaf:
        asks = False  # nobody is there to be asked
    if asks:
        limit = scene.power_off.timeout_s
        then = "then it is switched off" if scene.power_off.force else "then the migration fails"
        note = f"the guest was asked to shut down; it has {limit} s, {then}"
        vm = progress.noted(vm, STOPPED, ASKED, note, now)
    else:
        vm = progress.noted(vm, STOPPED, FORCED, "the source was switched off", now)
    act = actions.ShutDownGuest if asks else actions.PowerOff
    return Advance(
        vm=vm_scene.onward(vm, now), actions=(act(provider=scene.provider, vm_id=vm.id or ""),)
    )


def wait_for_power_off(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Wait until the source is off; at the time limit use force, or fail."""
    state = vm_scene.power_of(planned)
    if state is PowerState.OFF and scene.current:
        return Advance(vm=vm_scene.onward(vm, now))
    stopped = conditions.find(vm.conditions, STOPPED)
    if state is PowerState.SUSPENDED:
        return vm_scene.failed(vm, "the source was suspended while it was to shut down")
    if stopped is None:  # it was off, and was switched on by somebody since
        return Advance(vm=progress.entered(vm, Phase.STORE_POWER_STATE, now))
    waited_s = conditions.seconds_since(stopped.last_transition_time, now)
    left_s = scene.power_off.timeout_s - waited_s
    if stopped.reason == ASKED and left_s > 0:
        return Advance(vm=vm, requeue_after_s=left_s)
    if stopped.reason == ASKED and scene.power_off.force:
        note = f"the guest did not shut down in {waited_s:.0f} s and was switched off"
        off = actions.PowerOff(provider=scene.provider, vm_id=vm.id or "")
        return Advance(
            vm=progress.noted(vm, STOPPED, FORCED, note, now),
            actions=(off,),
            requeue_after_s=WAIT_S,
        )
    if stopped.reason == FORCED and waited_s < LATE_RESTORE_S:
        return Advance(vm=vm, requeue_after_s=LATE_RESTORE_S - waited_s)
    return vm_scene.failed(
        vm,
        f"the guest did not shut down within {scene.power_off.timeout_s} s; shut it down from "
        "inside, or allow force by the plan's annotation mtv.dev/power-off: force-after=5m",
    )


def restored(
    scene: Scene, vm: forklift.VMStatus, now: datetime
) -> tuple[forklift.VMStatus, tuple[actions.OfPlan, ...] | None]:
    """Return what switches the source on again; None to look again later."""
    stopped = conditions.find(vm.conditions, STOPPED)
    if stopped is None or stopped.reason == RESTORED or vm.restore_power_state != "On":
        return vm, ()
    refused = scene.faults_of(vm).get("PowerOn")
    if refused is not None:
        text = f"the source could not be switched on again: {vm_scene.sentence(refused)}"
        return progress.noted(progress.erred(vm, [text]), STOPPED, RESTORED, text, now), ()
    planned = scene.of(vm)
    if planned is None:
        return vm, ()
    if not scene.current:
        return vm, None
    if vm_scene.power_of(planned) is not PowerState.OFF:
        return vm, ()  # if it goes down after all: late_restore
    note = "the source was switched on again"
    vm = progress.noted(vm, STOPPED, RESTORED, note, now)
    power_on = actions.PowerOn(
        provider=scene.provider,
        vm_id=vm.id or "",
        namespace=scene.plan.spec.target_namespace,
        target_name=vm.new_name or "",
        plan_uid=scene.owner.plan_uid,
    )
    return vm, (*stale(scene, vm), power_on)


def stale(
    scene: Scene, vm: forklift.VMStatus, *, adapted: bool = False
) -> tuple[actions.MarkStale, ...]:
    """Return marks for the copies of a VM that are not marked as outdated.

    One with a checkpoint is brought up to date from there, unless something else was written to it.
    """
    return tuple(
        actions.MarkStale(namespace=one.metadata.namespace, name=one.metadata.name)
        for one in scene.transfers_of(vm)
        if labels.STALE not in one.metadata.annotations and (adapted or one.spec.checkpoint is None)
    )


def stale_now(scene: Scene, vms: Sequence[forklift.VMStatus]) -> tuple[actions.MarkStale, ...]:
    """Return marks for the transfers of VMs whose source runs: what is copied is out of date."""
    found: list[actions.MarkStale] = []
    for vm in vms:
        planned = scene.of(vm)
        if planned and scene.current and vm_scene.power_of(planned) is PowerState.ON:
            found += stale(scene, vm)
    return tuple(found)
