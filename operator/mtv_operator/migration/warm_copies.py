"""The transfers of a warm VM against the precopy whose state they are to bring. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mtv.api import forklift
from mtv.api.mtv import DiskTransfer
from mtv.planning import labels
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import actions, cold_run, phases, progress, warm
from mtv_operator.migration.progress import SUCCEEDED
from mtv_operator.migration.vm_scene import Scene

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How far the transfers of a VM are."""

    there: tuple[DiskTransfer, ...] = ()  # those that are as they should be, finished or not
    to_set: tuple[actions.OfPlan, ...] = ()  # what makes the others so
    unset: bool = False  # some are not as they should be
    left: bool = False  # some have not finished
    failed: tuple[str, ...] = ()  # why


def of(scene: Scene, planned: PlannedVM, precopy: forklift.Precopy, *, at_last: bool) -> Copies:
    """Compare. Disks that are in no snapshot come `at_last`, when the source is off."""
    there: list[DiskTransfer] = []
    to_set: list[actions.OfPlan] = []
    failed: list[str] = []
    unset = left = False
    for one in planned.transfers:
        wanted = _wanted(one, precopy)
        if wanted.spec.checkpoint is None and not at_last:
            continue
        found = scene.transfers.get(one.metadata.name)
        todo = _to_set(scene, planned, wanted, found)
        if todo or found is None or found.metadata.deletion_timestamp:
            unset = True
            to_set += todo
            continue
        there.append(found)
        if phases.has_failed(found):
            failed.append(progress.reason_of(found))
        left = left or not is_whole(found)
    return Copies(
        there=tuple(there),
        to_set=tuple(to_set),
        unset=unset,
        left=left,
        failed=tuple(failed),
    )


def is_whole(transfer: DiskTransfer) -> bool:
    """Tell whether the state that a transfer is to bring is wholly on the target."""
    status = transfer.status
    return (
        status is not None
        and status.phase == SUCCEEDED
        and status.checkpoint == transfer.spec.checkpoint
    )


def _wanted(planned: DiskTransfer, precopy: forklift.Precopy) -> DiskTransfer:
    """Return a transfer of the state in a snapshot; it is of no one state of the source."""
    checkpoint = warm.checkpoint_of(precopy, planned)
    if checkpoint is None:
        return planned
    marks = dict(planned.metadata.annotations)
    marks.pop(labels.SOURCE_STATE, None)
    return replace(
        planned,
        metadata=replace(planned.metadata, annotations=marks),
        spec=replace(planned.spec, checkpoint=checkpoint),
    )


def _to_set(
    scene: Scene, planned: PlannedVM, wanted: DiskTransfer, there: DiskTransfer | None
) -> tuple[actions.OfPlan, ...]:
    """Return what makes a transfer one of the wanted state; nothing if it is, or is going."""
    claim = next(
        one for one in planned.claims if one.metadata.name == wanted.spec.target.claim_name
    )
    old = scene.claims.get(claim.metadata.name)
    if old is not None and phases.too_small(scene, claim):  # the disk has grown: copied anew
        if old.metadata.deletion_timestamp:
            return ()
        meta = old.metadata
        return (actions.DeleteClaim(namespace=meta.namespace, name=meta.name, uid=meta.uid),)
    if there is None:
        return (actions.EnsureClaim(claim=claim), actions.EnsureTransfer(transfer=wanted))
    if there.metadata.deletion_timestamp:
        return ()
    if not _is_good(there, wanted):
        return (phases.delete(there),)
    todo: list[actions.OfPlan] = []
    if wanted.spec.checkpoint and (
        there.spec.checkpoint != wanted.spec.checkpoint or there.spec.suspend
    ):
        todo.append(
            actions.SetCheckpoint(
                namespace=there.metadata.namespace,
                name=there.metadata.name,
                uid=there.metadata.uid,
                checkpoint=wanted.spec.checkpoint,
            )
        )
        if phases.has_failed(there):
            todo.append(
                actions.RetryTransfer(
                    namespace=there.metadata.namespace,
                    name=there.metadata.name,
                    uid=there.metadata.uid,
                )
            )
    return tuple(todo)


def _is_good(there: DiskTransfer, wanted: DiskTransfer) -> bool:
    """Tell whether what a transfer has on its target can be brought up to date."""
    if wanted.spec.checkpoint is None:
        return cold_run.is_worth_keeping(there, wanted)
    disk, new = there.spec.disk, wanted.spec.disk
    same = (disk.key, disk.base_file, disk.capacity_bytes) == (
        new.key,
        new.base_file,
        new.capacity_bytes,
    )
    # The transfer itself goes on from a part of a first copy, or begins it anew.
    return (
        same
        and there.spec.checkpoint is not None
        and labels.STALE not in there.metadata.annotations
    )
