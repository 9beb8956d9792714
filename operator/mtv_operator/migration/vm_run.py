"""The cold way of one VM, one look at a time: where it is, what is seen → where it is next. Pure.

    Started → StorePowerState → PowerOffSource → WaitForPowerOff → CreateDataVolumes → CopyDisks
            → CreateVM → Completed

What must not be forgotten is stored before it matters: the power state before the source is
stopped, an error or a cancel before anything is undone. Everything that is done may be done twice.

A VM that failed or was canceled is *ending*: its unfinished transfers are taken away, and its
source is switched on again if it was on and we have stopped it. A guest that shuts down later than
that, because it was asked to, is switched on when it is seen to be off (`late_restore`).

The target VM is the point of no return: once it exists, the source stays off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import core, forklift, kubevirt
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import PowerState
from mtv.planning import labels, transfers
from mtv.planning.plan import PlannedPlan, PlannedVM
from mtv.planning.power_off import PowerOff
from mtv_operator.migration import actions, conditions, itinerary, progress
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.progress import CANCELED, FAILED, SUCCEEDED

STOPPED = "SourcePowerOff"  # condition of a VM: whether and how we stopped its source
ASKED, FORCED, RESTORED = "Asked", "Forced", "Restored"
LATE_RESTORE_S = 300.0  # how long after the time limit a guest may still go down
WAIT_S = 1.0
replace = msgspec.structs.replace

Faults = Mapping[str, errors.MigrationError]  # by the name of the action that was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the VMs of a run have in common, and what is seen of the target."""

    plan: forklift.Plan
    planned: PlannedPlan
    owner: labels.Owner
    provider: str  # key of its inventory
    current: bool  # whether the inventory is connected, not that of an earlier connection
    power_off: PowerOff
    secret_copy: core.Secret | None
    transfers: Mapping[str, DiskTransfer]
    claims: Mapping[str, core.PersistentVolumeClaim]
    vms: Mapping[str, kubevirt.VirtualMachine]
    run: Mapping[str, forklift.VMStatus]  # all VMs of the run, by id
    faults: Mapping[str, Faults] = field(default_factory=dict)  # by VM id

    def of(self, vm: forklift.VMStatus) -> PlannedVM | None:
        """Return what is planned for a VM; None when it is no longer in the inventory."""
        return next((one for one in self.planned.vms if one.vm and one.id == vm.id), None)

    def target_of(self, vm: forklift.VMStatus) -> kubevirt.VirtualMachine | None:
        """Return the VM that this plan made of `vm`."""
        return next(
            (
                one
                for one in self.vms.values()
                if self.owner.selects(one.metadata.labels, vm.id or "")
            ),
            None,
        )

    def transfers_of(self, vm: forklift.VMStatus) -> list[DiskTransfer]:
        """Return the transfers that this plan made for a VM, in any run."""
        return [
            one
            for one in self.transfers.values()
            if self.owner.selects(one.metadata.labels, vm.id or "")
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Where a VM is next, and what is to be done on the way there, before that is stored."""

    vm: forklift.VMStatus
    actions: tuple[actions.OfPlan, ...] = ()
    requeue_after_s: float | None = None


def advance(scene: Scene, vm: forklift.VMStatus, now: datetime, *, canceled: bool) -> Advance:
    """Return the next state of a VM that is on its way."""
    if is_ending(vm):
        return _end(scene, vm, now)
    if canceled and scene.target_of(vm) is None:
        why = "Canceled by the user."
        return Advance(vm=progress.noted(vm, "Canceling", "UserRequested", why, now))
    tolerated = {"PowerOn", *({"ShutDownGuest"} if scene.power_off.force else ())}
    refused = [one for kind, one in _faults(scene, vm).items() if kind not in tolerated]
    if refused:
        return _fail(vm, *(_sentence(fault) for fault in refused))
    planned = scene.of(vm)
    if planned is None:
        if scene.target_of(vm) is not None:
            return Advance(vm=progress.completed(vm, SUCCEEDED, now))
        return _fail(vm, f"the source has no VM {vm.id} ({vm.name}) any more")
    phase = Phase(vm.phase) if vm.phase in set(Phase) else Phase.STARTED
    return _PHASES[phase](scene, vm, planned, now)


def is_ending(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM that has not completed is being wound up."""
    return vm.error is not None or conditions.is_true(vm.conditions, "Canceling")


def _faults(scene: Scene, vm: forklift.VMStatus) -> Faults:
    return scene.faults.get(vm.id or "", {})


def _sentence(fault: errors.MigrationError) -> str:
    return f"{fault} ({fault.hint})" if fault.hint else str(fault)


def _fail(vm: forklift.VMStatus, *reasons: str) -> Advance:
    return Advance(vm=progress.erred(vm, reasons))


def _next(vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    phase = itinerary.next_phase(vm.phase, itinerary.Course())
    return progress.entered(vm, phase, now)


def _start(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    blockers = [str(one.message) for one in planned.problems if one.blocks]
    if blockers:
        return _fail(vm, *blockers)
    vm = replace(vm, started=conditions.timestamp(now), new_name=planned.target_name)
    return Advance(vm=_next(progress.entered(vm, Phase.STARTED, now), now))


def _store_power_state(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    if not scene.current:
        return Advance(vm=vm, requeue_after_s=WAIT_S)  # the state may be another by now
    state = _power(planned)
    on, off = state is PowerState.ON, state is PowerState.OFF
    vm = replace(vm, restore_power_state="On" if on else "Off" if off else "Unknown")
    if state is PowerState.SUSPENDED:
        return _fail(vm, "the source is suspended: resume it and shut it down first")
    stale = _stale(scene, vm) if on else ()
    return Advance(vm=_next(vm, now), actions=stale)


def _power_off_source(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    if _power(planned) is PowerState.OFF and scene.current:
        return Advance(vm=_next(vm, now))
    asks = scene.power_off.asks_first
    deaf = "ShutDownGuest" in _faults(scene, vm) or not (planned.vm and planned.vm.tools_running)
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
    return Advance(vm=_next(vm, now), actions=(act(provider=scene.provider, vm_id=vm.id or ""),))


def _wait_for_power_off(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    state = _power(planned)
    if state is PowerState.OFF and scene.current:
        return Advance(vm=_next(vm, now))
    stopped = conditions.find(vm.conditions, STOPPED)
    if state is PowerState.SUSPENDED:
        return _fail(vm, "the source was suspended while it was to shut down")
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
    return _fail(
        vm,
        f"the guest did not shut down within {scene.power_off.timeout_s} s; shut it down from "
        "inside, or allow force by the plan's annotation mtv.dev/power-off: force-after=5m",
    )


def _create_data_volumes(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    sharing = _running_sharers(scene, planned)
    if sharing:  # their guests still write to a disk of this VM
        return Advance(vm=vm, requeue_after_s=WAIT_S)
    too_small = [text for claim in planned.claims if (text := _too_small(scene, claim))]
    if too_small:
        return _fail(vm, *too_small)
    before: list[actions.OfPlan] = [
        actions.EnsureNamespace(name=scene.plan.spec.target_namespace),
        *((actions.EnsureSecret(secret=scene.secret_copy),) if scene.secret_copy else ()),
        *(actions.EnsureClaim(claim=claim) for claim in planned.claims),
    ]
    going = False
    for wanted in planned.transfers:
        there = scene.transfers.get(wanted.metadata.name)
        if there is None:
            before.append(actions.EnsureTransfer(transfer=wanted))
        elif there.metadata.deletion_timestamp:
            going = True
        elif not is_worth_keeping(there, wanted):
            going = True
            before.append(_delete(there))
        else:
            before.append(actions.Relabel(transfer=there, labels=wanted.metadata.labels))
    if going:
        return Advance(vm=vm, actions=tuple(before), requeue_after_s=WAIT_S)
    return Advance(vm=_next(vm, now), actions=tuple(before))


def is_worth_keeping(there: DiskTransfer, wanted: DiskTransfer) -> bool:
    """Tell whether a transfer of an earlier run is one of the source as it is now."""
    marks = there.metadata.annotations
    return (
        labels.STALE not in marks
        and marks.get(labels.SOURCE_STATE) == wanted.metadata.annotations.get(labels.SOURCE_STATE)
        and there.spec.disk == wanted.spec.disk
        and not (there.status is not None and there.status.phase == FAILED)
    )


def _copy_disks(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    if _power(planned) is not PowerState.OFF:
        return _fail(
            vm, "the source was switched on while its disks were copied: the copy would be torn"
        )
    by_task = {
        transfers.task_name(disk): scene.transfers[one.metadata.name]
        for disk, one in zip(itinerary.copied_disks(planned), planned.transfers, strict=True)
        if one.metadata.name in scene.transfers
    }
    vm = progress.with_copies(vm, by_task, now)
    todo: list[actions.OfPlan] = []
    failed: list[str] = []
    left = False
    for wanted in planned.transfers:
        there = scene.transfers.get(wanted.metadata.name)
        if there is None:
            todo += [
                *((actions.EnsureSecret(secret=scene.secret_copy),) if scene.secret_copy else ()),
                *(
                    actions.EnsureClaim(claim=claim)
                    for claim in planned.claims
                    if claim.metadata.name == wanted.spec.target.claim_name
                ),
                actions.EnsureTransfer(transfer=wanted),
            ]
            left = True
        elif there.metadata.deletion_timestamp:
            left = True
        elif there.spec.disk != wanted.spec.disk:  # a snapshot was made or removed meanwhile
            todo.append(_delete(there))
            left = True
        elif there.status is not None and there.status.phase == FAILED:
            failed.append(progress.reason_of(there))
        elif there.status is None or there.status.phase != SUCCEEDED:
            left = True
    if failed:
        return _fail(vm, *failed)
    if left:
        return Advance(vm=vm, actions=tuple(todo), requeue_after_s=WAIT_S if todo else None)
    return _with_shared_disks(scene, replace(vm, disks_copied=True), planned, now)


def _with_shared_disks(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    """Go on when disks that another VM of the plan has copied are there too."""
    own = {one.spec.target.claim_name for one in planned.transfers}
    for volume in planned.volumes:
        if volume.claim_name in own:
            continue
        transfer = scene.transfers.get(volume.claim_name)
        if transfer is not None and transfer.status and transfer.status.phase == SUCCEEDED:
            continue
        others = [one for one in scene.run.values() if one.id != vm.id and not one.completed]
        if others:
            return Advance(vm=vm, requeue_after_s=WAIT_S)
        return _fail(vm, f"{volume.disk.file} is shared, and the VM it is copied with has failed")
    return Advance(vm=_next(vm, now))


def _create_vm(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    target = scene.target_of(vm)
    if target is not None:
        return Advance(vm=progress.completed(vm, SUCCEEDED, now))
    if _power(planned) is not PowerState.OFF:
        return _fail(vm, "the source was switched on before its target was made")
    if planned.virtual_machine is None:
        return _fail(vm, *(str(one.message) for one in planned.problems if one.blocks))
    create = actions.CreateVM(
        vm=planned.virtual_machine, claims=tuple(one.claim_name for one in planned.volumes)
    )
    return Advance(vm=_next(vm, now), actions=(create,))


def _complete(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    return Advance(vm=progress.completed(vm, SUCCEEDED, now))


_Phase = Callable[[Scene, forklift.VMStatus, PlannedVM, datetime], Advance]
_PHASES: dict[Phase, _Phase] = {
    Phase.STARTED: _start,
    Phase.PRE_HOOK: _start,  # plans with hooks are not Ready
    Phase.STORE_POWER_STATE: _store_power_state,
    Phase.POWER_OFF_SOURCE: _power_off_source,
    Phase.WAIT_FOR_POWER_OFF: _wait_for_power_off,
    Phase.CREATE_DATA_VOLUMES: _create_data_volumes,
    Phase.COPY_DISKS: _copy_disks,
    Phase.CREATE_GUEST_CONVERSION_POD: _create_vm,
    Phase.CONVERT_GUEST: _create_vm,
    Phase.CREATE_VM: _create_vm,
    Phase.POST_HOOK: _complete,
    Phase.COMPLETED: _complete,
}


def _end(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    outcome = FAILED if vm.error is not None else CANCELED
    if scene.target_of(vm) is not None:
        # It was made before the cancel was seen; what runs there must not run at the source too.
        vm = progress.unnoted(vm, "Canceling", now)
        return Advance(vm=progress.completed(replace(vm, error=None), SUCCEEDED, now))
    todo: list[actions.OfPlan] = [
        _delete(one)
        for one in scene.transfers_of(vm)
        if not (one.status is not None and one.status.phase in (SUCCEEDED, FAILED))
    ]
    vm, restore = _restored(scene, vm, now)
    if restore is None:
        return Advance(vm=vm, actions=tuple(todo), requeue_after_s=WAIT_S)
    vm = progress.unnoted(vm, "Canceling", now)
    return Advance(vm=progress.completed(vm, outcome, now), actions=(*todo, *restore))


def _restored(
    scene: Scene, vm: forklift.VMStatus, now: datetime
) -> tuple[forklift.VMStatus, tuple[actions.OfPlan, ...] | None]:
    """Return what switches the source on again; None to look again later."""
    stopped = conditions.find(vm.conditions, STOPPED)
    if stopped is None or stopped.reason == RESTORED or vm.restore_power_state != "On":
        return vm, ()
    refused = _faults(scene, vm).get("PowerOn")
    if refused is not None:
        text = f"the source could not be switched on again: {_sentence(refused)}"
        return progress.noted(progress.erred(vm, [text]), STOPPED, RESTORED, text, now), ()
    planned = scene.of(vm)
    if planned is None:
        return vm, ()
    if not scene.current:
        return vm, None
    if _power(planned) is not PowerState.OFF:
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
    return vm, (*_stale(scene, vm), power_on)


def late_restore(scene: Scene, vm: forklift.VMStatus, now: datetime) -> Advance:
    """Return what is still to be done for a VM that failed or was canceled."""
    stopped = conditions.find(vm.conditions, STOPPED)
    if stopped is None or stopped.reason == RESTORED or scene.target_of(vm) is not None:
        return Advance(vm=vm)
    if progress.outcome_of(vm) not in (FAILED, CANCELED):
        return Advance(vm=vm)
    waited_s = conditions.seconds_since(stopped.last_transition_time, now)
    if waited_s > scene.power_off.timeout_s + LATE_RESTORE_S:
        return Advance(vm=vm)
    vm, restore = _restored(scene, vm, now)
    return Advance(
        vm=vm, actions=restore or (), requeue_after_s=WAIT_S if restore is None else None
    )


def _stale(scene: Scene, vm: forklift.VMStatus) -> tuple[actions.MarkStale, ...]:
    return tuple(
        actions.MarkStale(namespace=one.metadata.namespace, name=one.metadata.name)
        for one in scene.transfers_of(vm)
        if labels.STALE not in one.metadata.annotations
    )


def stale_now(scene: Scene, vms: Sequence[forklift.VMStatus]) -> tuple[actions.MarkStale, ...]:
    """Return marks for the transfers of VMs whose source runs: what is copied is out of date."""
    found: list[actions.MarkStale] = []
    for vm in vms:
        planned = scene.of(vm)
        if planned and scene.current and _power(planned) is PowerState.ON:
            found += _stale(scene, vm)
    return tuple(found)


def _power(planned: PlannedVM) -> PowerState | None:
    return planned.vm.power_state if planned.vm else None


def _delete(transfer: DiskTransfer) -> actions.DeleteTransfer:
    return actions.DeleteTransfer(
        namespace=transfer.metadata.namespace,
        name=transfer.metadata.name,
        uid=transfer.metadata.uid,
    )


def shares_disks(planned: PlannedVM, other_ids: Sequence[str]) -> bool:
    """Tell whether a VM has a disk that another one of the plan copies, or has copied for it."""
    copied = {transfer.spec.target.claim_name for transfer in planned.transfers}
    return bool(other_ids) and (
        any(volume.claim_name not in copied for volume in planned.volumes)
        or any(volume.disk.shared for volume in planned.volumes)
    )


def _running_sharers(scene: Scene, planned: PlannedVM) -> list[str]:
    """Return the VMs of this run that still run and have a disk in common with `planned`."""
    others = [
        one
        for one in scene.planned.vms
        if one.vm is not None and one.id != planned.id and one.id in scene.run
    ]
    files = {volume.disk.base_file for volume in planned.volumes}
    return [
        one.id
        for one in others
        if _power(one) is PowerState.ON
        and not scene.run[one.id].completed
        and any(volume.disk.base_file in files for volume in one.volumes)
    ]


def _too_small(scene: Scene, wanted: core.PersistentVolumeClaim) -> str:
    """Say that a claim of an earlier run is smaller than the disk is by now; "" if it is not."""
    there = scene.claims.get(wanted.metadata.name)
    if there is None or there.spec is None or wanted.spec is None:
        return ""
    has, needs = _request(there), _request(wanted)
    if has == needs or _mib(has) >= _mib(needs):
        return ""
    return (
        f"claim {there.metadata.namespace}/{there.metadata.name} asks for {has}, and {needs} are "
        "needed: the disk has grown since; delete the claim (it holds an old copy) and start again"
    )


def _request(claim: core.PersistentVolumeClaim) -> str:
    resources = claim.spec.resources if claim.spec else None
    return str((resources.requests if resources else {}).get("storage", ""))


def _mib(quantity: str) -> float:
    """Return a size in MiB; infinity for what planning does not write: somebody else did."""
    if quantity.endswith("Mi") and quantity[:-2].isdigit():
        return float(quantity[:-2])
    return float("inf")
