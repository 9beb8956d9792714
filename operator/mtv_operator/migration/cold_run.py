"""The cold way of one VM: its source is switched off, then its disks are copied. Pure.

Started → StorePowerState → PowerOffSource → WaitForPowerOff → CreateDataVolumes → CopyDisks
        → CreateVM → Completed
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from mtv.api import forklift
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import PowerState
from mtv.planning import labels, transfers
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import (
    actions,
    conversion,
    hook_jobs,
    itinerary,
    phases,
    progress,
    source_power,
    vm_scene,
)
from mtv_operator.migration.itinerary import Phase
from mtv_operator.migration.progress import SUCCEEDED
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

replace = msgspec.structs.replace


def _create_data_volumes(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance:
    sharing = phases.running_sharers(scene, planned)
    if sharing:  # their guests still write to a disk of this VM
        return Advance(vm=vm, requeue_after_s=WAIT_S)
    too_small = [text for claim in planned.claims if (text := phases.too_small(scene, claim))]
    if too_small:
        return vm_scene.failed(vm, *too_small)
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
            before.append(phases.delete(there))
        elif phases.has_failed(there):
            going = True
            before.append(
                actions.RetryTransfer(
                    namespace=there.metadata.namespace,
                    name=there.metadata.name,
                    uid=there.metadata.uid,
                )
            )
        else:
            before.append(actions.Relabel(transfer=there, labels=wanted.metadata.labels))
    if going:
        return Advance(vm=vm, actions=tuple(before), requeue_after_s=WAIT_S)
    return Advance(vm=vm_scene.onward(vm, now), actions=tuple(before))


def is_worth_keeping(there: DiskTransfer, wanted: DiskTransfer) -> bool:
    """Tell whether a transfer of an earlier run is one of the source as it is now."""
    marks = there.metadata.annotations
    return (
        there.spec.checkpoint is None
        and labels.STALE not in marks
        and marks.get(labels.SOURCE_STATE) == wanted.metadata.annotations.get(labels.SOURCE_STATE)
        and there.spec.disk == wanted.spec.disk
    )


def _copy_disks(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    if vm_scene.power_of(planned) is not PowerState.OFF:
        return vm_scene.failed(
            vm, "the source was switched on while its disks were copied: the copy would be torn"
        )
    by_task = {
        transfers.task_name(disk): scene.transfers[one.metadata.name]
        for disk, one in zip(itinerary.copied_disks(planned), planned.transfers, strict=True)
        if one.metadata.name in scene.transfers
    }
    vm = progress.with_copies(vm, by_task, now)
    todo: list[actions.OfPlan] = []
    if scene.secret_copy is not None and not scene.secret_is_current:
        todo.append(actions.EnsureSecret(secret=scene.secret_copy))
    failed: list[str] = []
    left = False
    for wanted in planned.transfers:
        there = scene.transfers.get(wanted.metadata.name)
        if there is None:
            todo += [
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
            todo.append(phases.delete(there))
            left = True
        elif phases.has_failed(there):
            failed.append(progress.reason_of(there))
        elif there.status is None or there.status.phase != SUCCEEDED:
            left = True
    if failed:
        return vm_scene.failed(vm, *failed)
    if left:
        return Advance(vm=vm, actions=tuple(todo), requeue_after_s=WAIT_S if todo else None)
    return phases.with_shared_disks(scene, replace(vm, disks_copied=True), planned, now)


PHASES: dict[Phase, vm_scene.Of] = {
    Phase.STARTED: phases.start,
    Phase.PRE_HOOK: hook_jobs.before,
    Phase.STORE_POWER_STATE: source_power.store_power_state,
    Phase.POWER_OFF_SOURCE: source_power.power_off_source,
    Phase.WAIT_FOR_POWER_OFF: source_power.wait_for_power_off,
    Phase.CREATE_DATA_VOLUMES: _create_data_volumes,
    Phase.COPY_DISKS: _copy_disks,
    Phase.CREATE_GUEST_CONVERSION_POD: conversion.create_pod,
    Phase.CONVERT_GUEST: conversion.convert,
    Phase.CREATE_VM: phases.create_vm,
    Phase.POST_HOOK: hook_jobs.after,
    Phase.COMPLETED: phases.complete,
}
