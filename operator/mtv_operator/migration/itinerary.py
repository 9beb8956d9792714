"""The way of one VM: which phases it goes through, in which order, and what users see of them.

A phase is what the controller does; a step is what is shown (several phases share one). Names of
both are Forklift's, because its clients know them: `CreateDataVolumes` makes claims and
DiskTransfers here, and the step `DiskTransfer` is what `kubectl mtv` adds up for its progress.

The table is data; what is done in a phase stands in `phases`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mtv.api import forklift
from mtv.inventory.model import Disk
from mtv.planning import transfers
from mtv.planning.plan import PlannedVM


class Phase(StrEnum):
    """Where a VM is. Stored in `vms[].phase`."""

    STARTED = "Started"
    PRE_HOOK = "PreHook"
    STORE_POWER_STATE = "StorePowerState"
    POWER_OFF_SOURCE = "PowerOffSource"
    WAIT_FOR_POWER_OFF = "WaitForPowerOff"
    CREATE_DATA_VOLUMES = "CreateDataVolumes"
    COPY_DISKS = "CopyDisks"
    CREATE_GUEST_CONVERSION_POD = "CreateGuestConversionPod"
    CONVERT_GUEST = "ConvertGuest"
    CREATE_VM = "CreateVM"
    POST_HOOK = "PostHook"
    COMPLETED = "Completed"


class StepName(StrEnum):
    """What users see of it. Stored in `vms[].pipeline[].name`."""

    INITIALIZE = "Initialize"
    PRE_HOOK = "PreHook"
    DISK_TRANSFER = "DiskTransfer"
    IMAGE_CONVERSION = "ImageConversion"
    VIRTUAL_MACHINE_CREATION = "VirtualMachineCreation"
    POST_HOOK = "PostHook"


class TaskPhase(StrEnum):
    """State of a step or a task."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED = "Completed"


DESCRIPTIONS = {
    StepName.INITIALIZE: "Initialize migration.",
    StepName.PRE_HOOK: "Run pre-migration hook.",
    StepName.DISK_TRANSFER: "Transfer disks.",
    StepName.IMAGE_CONVERSION: "Convert image to kubevirt.",
    StepName.VIRTUAL_MACHINE_CREATION: "Create VM.",
    StepName.POST_HOOK: "Run post-migration hook.",
}
UNIT = {"unit": "MB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What decides whether a phase is on the way of a VM."""

    pre_hook: bool = False
    post_hook: bool = False
    adapts: bool = False  # the guest is adapted to virtio; not implemented yet


@dataclass(frozen=True, slots=True)
class Row:
    """A phase, its step, and when it is gone through."""

    phase: Phase
    step: StepName
    when: Callable[[Course], bool] = lambda _course: True


COLD: tuple[Row, ...] = (
    Row(Phase.STARTED, StepName.INITIALIZE),
    Row(Phase.PRE_HOOK, StepName.PRE_HOOK, lambda course: course.pre_hook),
    Row(Phase.STORE_POWER_STATE, StepName.INITIALIZE),
    Row(Phase.POWER_OFF_SOURCE, StepName.INITIALIZE),
    Row(Phase.WAIT_FOR_POWER_OFF, StepName.INITIALIZE),
    Row(Phase.CREATE_DATA_VOLUMES, StepName.DISK_TRANSFER),
    Row(Phase.COPY_DISKS, StepName.DISK_TRANSFER),
    Row(Phase.CREATE_GUEST_CONVERSION_POD, StepName.IMAGE_CONVERSION, lambda course: course.adapts),
    Row(Phase.CONVERT_GUEST, StepName.IMAGE_CONVERSION, lambda course: course.adapts),
    Row(Phase.CREATE_VM, StepName.VIRTUAL_MACHINE_CREATION),
    Row(Phase.POST_HOOK, StepName.POST_HOOK, lambda course: course.post_hook),
    Row(Phase.COMPLETED, StepName.VIRTUAL_MACHINE_CREATION),
)


def rows(course: Course, table: Sequence[Row] = COLD) -> tuple[Row, ...]:
    """Return the rows that are on the way."""
    return tuple(row for row in table if row.when(course))


def next_phase(phase: str, course: Course, table: Sequence[Row] = COLD) -> Phase:
    """Return the phase after `phase`; a phase that is not on the way (any more) is looked up.

    Completed is followed by itself, and so is a phase that nobody knows.
    """
    every = [row.phase for row in table]
    if phase not in every:
        return Phase.COMPLETED
    later = every[every.index(Phase(phase)) + 1 :]
    on_the_way = {row.phase for row in rows(course, table)}
    return next((one for one in later if one in on_the_way), Phase.COMPLETED)


def is_after(phase: str, other: Phase, table: Sequence[Row] = COLD) -> bool:
    """Tell whether `phase` comes later on the way than `other`."""
    every = [str(row.phase) for row in table]
    return phase in every and every.index(phase) > every.index(other)


def step_of(phase: str, table: Sequence[Row] = COLD) -> StepName:
    """Return the step that shows a phase."""
    return next((row.step for row in table if row.phase == phase), StepName.INITIALIZE)


def pipeline(planned: PlannedVM, course: Course) -> tuple[forklift.Step, ...]:
    """Return the steps of a VM that has not begun, with a task for each disk."""
    shown: list[StepName] = []
    for row in rows(course):
        if row.step not in shown:
            shown.append(row.step)
    return tuple(_step(name, planned) for name in shown)


def _step(name: StepName, planned: PlannedVM) -> forklift.Step:
    tasks: tuple[forklift.Task, ...] = ()
    total = 1
    if name is StepName.DISK_TRANSFER:
        tasks = tuple(_disk_task(disk) for disk in copied_disks(planned))
        total = sum(task.progress.total for task in tasks)
    return forklift.Step(
        name=name,
        description=DESCRIPTIONS[name],
        phase=TaskPhase.PENDING,
        progress=forklift.Progress(completed=0, total=total),
        annotations=UNIT if tasks else {},
        tasks=tasks,
    )


def copied_disks(planned: PlannedVM) -> tuple[Disk, ...]:
    """Return the disks that are copied for this VM: one for each of its transfers, in order."""
    copied = {transfer.spec.target.claim_name for transfer in planned.transfers}
    return tuple(one.disk for one in planned.volumes if one.claim_name in copied)


def _disk_task(disk: Disk) -> forklift.Task:
    return forklift.Task(
        name=transfers.task_name(disk),
        phase=TaskPhase.PENDING,
        progress=forklift.Progress(completed=0, total=transfers.task_total_mib(disk)),
        annotations=UNIT,
    )
