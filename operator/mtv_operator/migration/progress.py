"""What users see of a VM's way: pipeline steps, tasks, conditions of the VM. Pure.

Only this module writes `pipeline`, `error` and the conditions of `vms[]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from mtv.api import forklift, meta
from mtv.api.mtv import DiskTransfer
from mtv.planning import remedies
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import conditions, itinerary
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.itinerary import Phase, StepName, TaskPhase

MIB = 1 << 20
VERIFIED = "mtv.dev/verified"  # annotation of a disk's task: how much was read again
SUCCEEDED, FAILED, CANCELED = "Succeeded", "Failed", "Canceled"
replace = msgspec.structs.replace


def began(
    entry: forklift.PlanVM,
    planned: PlannedVM | None,
    course: itinerary.Course = itinerary.COLD_COURSE,
) -> forklift.VMStatus:
    """Return the status of a VM whose run is about to begin: nothing has been done."""
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    if planned is not None and planned.vm is not None:
        source = planned.vm
        fields |= {"id": source.id, "name": source.name}
        fields["new_name"] = planned.target_name
        fields["firmware"] = str(source.firmware)
        fields["operating_system"] = source.guest_id or None
    return forklift.VMStatus(
        **fields,
        phase=Phase.STARTED,
        pipeline=itinerary.pipeline(planned, course) if planned else (),
    )


def entered(vm: forklift.VMStatus, phase: Phase, now: datetime) -> forklift.VMStatus:
    """Return the VM in `phase`: steps before its step are done, its step runs."""
    current = itinerary.step_of(phase, itinerary.course_of(vm))
    names = [step.name for step in vm.pipeline]
    at = names.index(current) if current in names else len(names)
    done = phase is Phase.COMPLETED
    pipeline = tuple(
        _completed(step, now)
        if index < at or done
        else _running(step, now)
        if index == at
        else step
        for index, step in enumerate(vm.pipeline)
    )
    return replace(vm, phase=phase, pipeline=pipeline)


def _running(step: forklift.Step, now: datetime) -> forklift.Step:
    started = step.started or conditions.timestamp(now)
    return replace(step, phase=TaskPhase.RUNNING, started=started)


def _completed(step: forklift.Step, now: datetime) -> forklift.Step:
    stamp = conditions.timestamp(now)
    tasks = tuple(
        replace(
            task,
            phase=TaskPhase.COMPLETED,
            started=task.started or stamp,
            completed=task.completed or stamp,
            progress=forklift.Progress(completed=task.progress.total, total=task.progress.total),
        )
        for task in step.tasks
    )
    return replace(
        step,
        phase=TaskPhase.COMPLETED,
        started=step.started or stamp,
        completed=step.completed or stamp,
        progress=forklift.Progress(completed=step.progress.total, total=step.progress.total),
        tasks=tasks,
    )


def with_copies(
    vm: forklift.VMStatus, transfers: Mapping[str, DiskTransfer], now: datetime
) -> forklift.VMStatus:
    """Return the VM with the progress of its transfers, which are given by task name."""
    pipeline = tuple(
        _copying(step, transfers, now) if step.name == StepName.DISK_TRANSFER else step
        for step in vm.pipeline
    )
    return replace(vm, pipeline=pipeline)


def _copying(
    step: forklift.Step, transfers: Mapping[str, DiskTransfer], now: datetime
) -> forklift.Step:
    known = {task.name for task in step.tasks}
    added = [_added(name, one) for name, one in transfers.items() if name not in known]
    tasks = tuple(
        _of_transfer(task, transfers.get(task.name), now) for task in (*step.tasks, *added)
    )
    completed = sum(task.progress.completed for task in tasks)
    total = sum(task.progress.total for task in tasks)
    return replace(
        step,
        tasks=tasks,
        progress=forklift.Progress(completed=completed, total=total) if tasks else step.progress,
    )


def _added(name: str, transfer: DiskTransfer) -> forklift.Task:
    """Return the task of a disk that the source was given after the run had begun."""
    total = -(-transfer.spec.disk.capacity_bytes // MIB)
    return forklift.Task(
        name=name,
        progress=forklift.Progress(completed=0, total=total),
        annotations=itinerary.UNIT,
    )


def _of_transfer(
    task: forklift.Task, transfer: DiskTransfer | None, now: datetime
) -> forklift.Task:
    if transfer is None or transfer.status is None:
        return task
    status, total = transfer.status, task.progress.total
    succeeded = status.phase == SUCCEEDED and status.checkpoint == transfer.spec.checkpoint
    # What is there once stays there: a delta is no step back.
    whole = succeeded or status.checkpoint is not None
    done = total if whole else min((status.done_bytes or 0) // MIB, total)
    phase: str = TaskPhase.COMPLETED if succeeded else TaskPhase.RUNNING
    if not status.phase or status.phase == "Pending":
        phase = TaskPhase.PENDING
    error = None
    if status.phase == FAILED:
        error = forklift.StepError(phase=Phase.COPY_DISKS, reasons=(reason_of(transfer),))
    return replace(
        task,
        phase=phase,
        reason=status.transport or task.reason,
        started=status.started or task.started,
        completed=(status.completed or conditions.timestamp(now)) if succeeded else None,
        progress=forklift.Progress(completed=done, total=total),
        annotations={**task.annotations, VERIFIED: status.verified}
        if status.verified
        else task.annotations,
        error=error,
    )


def reason_of(transfer: DiskTransfer) -> str:
    """Return why a transfer failed, in its own words."""
    found = transfer.status.conditions if transfer.status else ()
    # A failed transfer says it in the condition that is about failing, else in what is not true.
    by_rank = sorted(found, key=lambda one: (one.type != FAILED, one.status != "False"))
    message = next((one.message for one in by_rank if one.message), "the transfer failed")
    return f"{transfer.spec.disk.file}: {message}"


def erred(vm: forklift.VMStatus, reasons: Iterable[str]) -> forklift.VMStatus:
    """Return the VM with an error, in the phase in which it was; nothing is undone yet."""
    known = vm.error.reasons if vm.error else ()
    every = tuple(dict.fromkeys((*known, *(reason for reason in reasons if reason))))
    phase = vm.error.phase if vm.error else vm.phase
    error = forklift.StepError(phase=phase, reasons=every)
    current = itinerary.step_of(phase, itinerary.course_of(vm))
    pipeline = tuple(
        replace(step, error=error) if step.name == current else step for step in vm.pipeline
    )
    return replace(vm, error=error, pipeline=pipeline)


def completed(vm: forklift.VMStatus, outcome: str, now: datetime) -> forklift.VMStatus:
    """Return the VM at the end of its way; `outcome` is Succeeded, Failed or Canceled."""
    words = {
        SUCCEEDED: "The VM migration has SUCCEEDED.",
        FAILED: "The VM migration has FAILED.",
        CANCELED: "The VM migration has been CANCELED.",
    }
    if outcome == SUCCEEDED:
        vm = entered(vm, Phase.COMPLETED, now)
    remedy = remedies.of(vm.error.phase) if outcome == FAILED and vm.error else None
    done = conditions.condition(
        outcome,
        Category.ADVISORY,
        words[outcome],
        durable=True,
        reason=remedy.reason if remedy else None,
        suggestion=remedy.sentence if remedy else None,
    )
    return replace(
        vm,
        phase=Phase.COMPLETED,
        completed=conditions.timestamp(now),
        conditions=conditions.merge(vm.conditions, (done,), now),
    )


def noted(
    vm: forklift.VMStatus,
    kind: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    category: Category = Category.ADVISORY,
) -> forklift.VMStatus:
    """Return the VM with a durable condition of its own."""
    one = conditions.condition(kind, category, message, reason=reason, durable=True)
    return replace(vm, conditions=conditions.merge(vm.conditions, (one,), now))


def unnoted(vm: forklift.VMStatus, kind: str, now: datetime) -> forklift.VMStatus:
    """Return the VM without a condition."""
    return replace(vm, conditions=conditions.merge(vm.conditions, (), now, without=(kind,)))


def outcome_of(vm: forklift.VMStatus) -> str:
    """Return Succeeded, Failed or Canceled, or "" while the VM is on its way."""
    if not vm.completed:
        return ""
    return next(
        (kind for kind in (SUCCEEDED, CANCELED, FAILED) if conditions.is_true(vm.conditions, kind)),
        "",
    )


def reference(target: meta.Object | None, named: meta.ObjectReference) -> forklift.SnapshotRef:
    """Return an object as the history of a plan remembers it."""
    if target is None:
        return forklift.SnapshotRef(name=named.name, namespace=named.namespace, uid=named.uid)
    return forklift.SnapshotRef(
        name=target.metadata.name,
        namespace=target.metadata.namespace,
        uid=target.metadata.uid,
        generation=target.metadata.generation,
    )


def total(vms: Sequence[forklift.VMStatus]) -> str:
    """Return how the VMs of a run ended, taken together."""
    outcomes = [outcome_of(vm) for vm in vms]
    if FAILED in outcomes:
        return FAILED
    return SUCCEEDED if SUCCEEDED in outcomes else CANCELED
