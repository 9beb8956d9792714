"""The way of one VM: which phases it goes through, in which order, and what users see of them.

A phase is what the controller does; a step is what is shown (several phases share one). Names of
both are Forklift's, because its clients know them: `CreateDataVolumes` makes claims and
DiskTransfers here, and the step `DiskTransfer` is what `kubectl mtv` adds up for its progress.

The table is data; what is done in a phase stands in `phases`.
"""

from __future__ import annotations

from collections.abc import Callable
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
    CREATE_INITIAL_SNAPSHOT = "CreateInitialSnapshot"
    WAIT_FOR_INITIAL_SNAPSHOT = "WaitForInitialSnapshot"
    STORE_INITIAL_SNAPSHOT_DELTAS = "StoreInitialSnapshotDeltas"
    CREATE_DATA_VOLUMES = "CreateDataVolumes"
    COPY_DISKS = "CopyDisks"
    COPYING_PAUSED = "CopyingPaused"
    REMOVE_PREVIOUS_SNAPSHOT = "RemovePreviousSnapshot"
    WAIT_FOR_PREVIOUS_SNAPSHOT_REMOVAL = "WaitForPreviousSnapshotRemoval"
    CREATE_SNAPSHOT = "CreateSnapshot"
    WAIT_FOR_SNAPSHOT = "WaitForSnapshot"
    STORE_SNAPSHOT_DELTAS = "StoreSnapshotDeltas"
    ADD_CHECKPOINT = "AddCheckpoint"
    CREATE_FINAL_SNAPSHOT = "CreateFinalSnapshot"
    WAIT_FOR_FINAL_SNAPSHOT = "WaitForFinalSnapshot"
    ADD_FINAL_CHECKPOINT = "AddFinalCheckpoint"
    FINALIZE = "Finalize"
    CREATE_GUEST_CONVERSION_POD = "CreateGuestConversionPod"
    CONVERT_GUEST = "ConvertGuest"
    CREATE_VM = "CreateVM"
    REMOVE_FINAL_SNAPSHOT = "RemoveFinalSnapshot"
    WAIT_FOR_FINAL_SNAPSHOT_REMOVAL = "WaitForFinalSnapshotRemoval"
    POST_HOOK = "PostHook"
    COMPLETED = "Completed"


class StepName(StrEnum):
    """What users see of it. Stored in `vms[].pipeline[].name`."""

    INITIALIZE = "Initialize"
    PRE_HOOK = "PreHook"
    DISK_TRANSFER = "DiskTransfer"
    CUTOVER = "Cutover"
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
    StepName.CUTOVER: "Finalize disk transfer.",
    StepName.IMAGE_CONVERSION: "Convert image to kubevirt.",
    StepName.VIRTUAL_MACHINE_CREATION: "Create VM.",
    StepName.POST_HOOK: "Run post-migration hook.",
}
UNIT = {"unit": "MB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What decides whether a phase is on the way of a VM."""

    warm: bool = False
    pre_hook: bool = False
    post_hook: bool = False
    adapts: bool = False  # the guest is made ready for virtio


COLD_COURSE = Course()


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

# In circles until it is cut over: AddCheckpoint is followed by CopyDisks, and in the last round
# WaitForPreviousSnapshotRemoval by StorePowerState.
WARM: tuple[Row, ...] = (
    Row(Phase.STARTED, StepName.INITIALIZE),
    Row(Phase.PRE_HOOK, StepName.PRE_HOOK, lambda course: course.pre_hook),
    Row(Phase.CREATE_INITIAL_SNAPSHOT, StepName.INITIALIZE),
    Row(Phase.WAIT_FOR_INITIAL_SNAPSHOT, StepName.INITIALIZE),
    Row(Phase.STORE_INITIAL_SNAPSHOT_DELTAS, StepName.INITIALIZE),
    Row(Phase.CREATE_DATA_VOLUMES, StepName.DISK_TRANSFER),
    Row(Phase.COPY_DISKS, StepName.DISK_TRANSFER),
    Row(Phase.COPYING_PAUSED, StepName.DISK_TRANSFER),
    Row(Phase.REMOVE_PREVIOUS_SNAPSHOT, StepName.DISK_TRANSFER),
    Row(Phase.WAIT_FOR_PREVIOUS_SNAPSHOT_REMOVAL, StepName.DISK_TRANSFER),
    Row(Phase.CREATE_SNAPSHOT, StepName.DISK_TRANSFER),
    Row(Phase.WAIT_FOR_SNAPSHOT, StepName.DISK_TRANSFER),
    Row(Phase.STORE_SNAPSHOT_DELTAS, StepName.DISK_TRANSFER),
    Row(Phase.ADD_CHECKPOINT, StepName.DISK_TRANSFER),
    Row(Phase.STORE_POWER_STATE, StepName.CUTOVER),
    Row(Phase.POWER_OFF_SOURCE, StepName.CUTOVER),
    Row(Phase.WAIT_FOR_POWER_OFF, StepName.CUTOVER),
    Row(Phase.CREATE_FINAL_SNAPSHOT, StepName.CUTOVER),
    Row(Phase.WAIT_FOR_FINAL_SNAPSHOT, StepName.CUTOVER),
    Row(Phase.ADD_FINAL_CHECKPOINT, StepName.CUTOVER),
    Row(Phase.FINALIZE, StepName.CUTOVER),
    Row(Phase.CREATE_GUEST_CONVERSION_POD, StepName.IMAGE_CONVERSION, lambda course: course.adapts),
    Row(Phase.CONVERT_GUEST, StepName.IMAGE_CONVERSION, lambda course: course.adapts),
    Row(Phase.CREATE_VM, StepName.VIRTUAL_MACHINE_CREATION),
    # The target runs: what is consolidated from now on keeps nobody waiting.
    Row(Phase.REMOVE_FINAL_SNAPSHOT, StepName.VIRTUAL_MACHINE_CREATION),
    Row(Phase.WAIT_FOR_FINAL_SNAPSHOT_REMOVAL, StepName.VIRTUAL_MACHINE_CREATION),
    Row(Phase.POST_HOOK, StepName.POST_HOOK, lambda course: course.post_hook),
    Row(Phase.COMPLETED, StepName.VIRTUAL_MACHINE_CREATION),
)


def table_of(course: Course) -> tuple[Row, ...]:
    """Return all phases of a way, in order."""
    return WARM if course.warm else COLD


def is_warm(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM that has begun is on the warm way: its steps say so."""
    return any(step.name == StepName.CUTOVER for step in vm.pipeline)


def course_of(vm: forklift.VMStatus) -> Course:
    """Return what a VM that has begun goes through, read from its steps."""
    adapts = any(step.name == StepName.IMAGE_CONVERSION for step in vm.pipeline)
    steps = {step.name for step in vm.pipeline}
    return Course(
        warm=is_warm(vm),
        adapts=adapts,
        pre_hook=StepName.PRE_HOOK in steps,
        post_hook=StepName.POST_HOOK in steps,
    )


def rows(course: Course) -> tuple[Row, ...]:
    """Return the rows that are on the way."""
    return tuple(row for row in table_of(course) if row.when(course))


def next_phase(phase: str, course: Course) -> Phase:
    """Return the phase after `phase`; a phase that is not on the way (any more) is looked up.

    Completed is followed by itself, and so is a phase that nobody knows.
    """
    every = [row.phase for row in table_of(course)]
    if phase not in every:
        return Phase.COMPLETED
    later = every[every.index(Phase(phase)) + 1 :]
    on_the_way = {row.phase for row in rows(course)}
    return next((one for one in later if one in on_the_way), Phase.COMPLETED)


def step_of(phase: str, course: Course) -> StepName:
    """Return the step that shows a phase."""
    return next((row.step for row in table_of(course) if row.phase == phase), StepName.INITIALIZE)


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
