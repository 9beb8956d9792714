"""What a VirtualMachine needs done, and how it stands. Pure.

Whatever must outlive a kill (a counted failure, a request for a start) is written before the
instance that it was read from is deleted: a pass either writes records or acts on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from mtv.api import apps, cdi, kubevirt, meta, well_known
from mtv_operator.instancetypes import lookup
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import (
    conditions,
    data_volume_templates,
    new_instance,
    phases,
    printable_status,
    run_strategy,
    sizing,
    start_failure,
)
from mtv_operator.virt_controller.run_strategy import Course, Wish

Condition = kubevirt.VirtualMachineCondition

OWN_CONDITIONS = ("Ready", "Failure", "RestartRequired")
RESTART_MESSAGE = "a non-live-updatable field was changed in the template spec"
ORPHAN = "orphan"  # metav1.FinalizerOrphanDependents
NAME_TAKEN = "NameTaken"
DATA_VOLUME_ERROR = "DataVolumeError"
# Failures that are gone as soon as their cause is, whether or not an instance is made.
PASSING = (DATA_VOLUME_ERROR, sizing.NO_INSTANCETYPE, sizing.NO_PREFERENCE)
LOOK_FOR_MISSING_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A VM, and the instance that has its name."""

    vm: kubevirt.VirtualMachine
    instance: kubevirt.VirtualMachineInstance | None = None
    data_volumes: Mapping[str, cdi.DataVolume] = field(default_factory=dict)  # of its templates
    named: lookup.Found = lookup.NOTHING  # its instance type and preference


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFinalizer:
    """Keep the VM until its instance is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFinalizer:
    """Let the VM go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateInstance:
    """Start."""

    instance: kubevirt.VirtualMachineInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteInstance:
    """Stop."""

    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Make an instance without owner the VM's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseInstance:
    """Take our finalizer off an instance that has ended and shall go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkGeneration:
    """Say on the instance that it is up to date with the VM."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDataVolume:
    """Make a disk that the VM brings along."""

    volume: cdi.DataVolume


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRevision:
    """Keep what an instance type or a preference is now."""

    revision: apps.ControllerRevision


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Record an event on the VM."""

    reason: str
    message: str
    type: str = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOn:
    """Change the spec so that the VM runs: a start of a Halted VM."""


Action = (
    AddFinalizer
    | RemoveFinalizer
    | CreateInstance
    | DeleteInstance
    | Adopt
    | ReleaseInstance
    | MarkGeneration
    | CreateDataVolume
    | StoreRevision
    | Say
    | SwitchOn
)
Plan = Decision[Action, kubevirt.VirtualMachineStatus]


def controller_of(target: meta.Object) -> meta.OwnerReference | None:
    """Return the owner that controls an object."""
    return next((one for one in target.metadata.owner_references if one.controller), None)


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what the VM needs now."""
    vm = observed.vm
    owner = controller_of(observed.instance) if observed.instance is not None else None
    foreign = owner is not None and owner.uid != vm.metadata.uid
    instance = None if foreign else observed.instance
    if vm.metadata.deletion_timestamp is not None:
        return _end(vm, instance, now)
    if well_known.VM_FINALIZER not in vm.metadata.finalizers:
        return Decision(actions=(AddFinalizer(),))
    if instance is not None and owner is None and not phases.is_going(instance):
        return Decision(actions=(Adopt(),))
    kept = _with_kept(observed)
    if kept is not None:
        return kept
    missing = data_volume_templates.missing(vm, observed.data_volumes)
    if missing:
        return Decision(actions=tuple(CreateDataVolume(volume=one) for one in missing))
    recorded = _recorded(vm, instance, now)
    strategy = run_strategy.of(vm.spec)
    course = run_strategy.course(strategy, recorded, instance, now)
    if course.wish is Wish.ASK_FOR_START:
        asked = run_strategy.Request(action=run_strategy.START)
        recorded = msgspec.structs.replace(
            recorded, state_change_requests=(*recorded.state_change_requests, asked)
        )
    status = _status(observed, instance, recorded, course, now)
    if _records(recorded) != _records(vm.status or kubevirt.VirtualMachineStatus()):
        return Decision(status=status)
    if foreign and course.wish is Wish.START:
        return Decision(status=status)
    # A switch that meets an instance on its way out is carried out when that is gone.
    leaving = instance is not None and (phases.is_final(instance) or phases.is_going(instance))
    if strategy is not None and course.wish is not Wish.WAIT and not leaving:
        status = msgspec.structs.replace(status, run_strategy=strategy)
    again_s = course.wait_s + 0.05 if course.wish is Wish.WAIT else None
    if course.wish is Wish.START and sizing.trouble(vm, observed.named):
        again_s = LOOK_FOR_MISSING_S
    actions = (*_said(recorded, status), *_actions(observed, instance, course, recorded))
    return Decision(status=status, actions=actions, requeue_after_s=again_s)


def _with_kept(observed: Observed) -> Plan | None:
    """Keep what instance type and preference are, before anything is made of them."""
    status = observed.vm.status or kubevirt.VirtualMachineStatus()
    kept = sizing.kept(observed.vm, observed.named)
    changed = msgspec.structs.replace(
        status, instancetype_ref=kept.instancetype_ref, preference_ref=kept.preference_ref
    )
    if changed == status or sizing.trouble(observed.vm, observed.named):
        return None
    made = tuple(StoreRevision(revision=one) for one in kept.to_make)
    return Decision(status=changed, actions=made)


def _said(
    before: kubevirt.VirtualMachineStatus, after: kubevirt.VirtualMachineStatus
) -> tuple[Say, ...]:
    """Return the event of a failure that is new."""
    new = conditions.find(after.conditions, "Failure")
    old = conditions.find(before.conditions, "Failure")
    if new is None or (old is not None and (old.reason, old.message) == (new.reason, new.message)):
        return ()
    return (Say(reason=new.reason or "Failure", message=new.message or ""),)


def _recorded(
    vm: kubevirt.VirtualMachine, instance: kubevirt.VirtualMachineInstance | None, now: datetime
) -> kubevirt.VirtualMachineStatus:
    """Return the status with done requests taken off the queue and failures counted."""
    status = vm.status or kubevirt.VirtualMachineStatus()
    return msgspec.structs.replace(
        status,
        state_change_requests=run_strategy.trimmed(status.state_change_requests, instance),
        start_failure=start_failure.counted(status.start_failure, instance, now),
    )


def _records(status: kubevirt.VirtualMachineStatus) -> tuple[object, object]:
    return status.state_change_requests, status.start_failure


def _actions(
    observed: Observed,
    instance: kubevirt.VirtualMachineInstance | None,
    course: Course,
    recorded: kubevirt.VirtualMachineStatus,
) -> tuple[Action, ...]:
    vm = observed.vm
    if course.wish is Wish.START and vm.spec.template.spec is not None:
        if not data_volume_templates.are_ready(vm, observed.data_volumes):
            return ()
        if sizing.trouble(vm, observed.named) is not None:
            return ()
        paused = run_strategy.wants_paused(recorded.state_change_requests)
        made = sizing.template(vm, observed.named)
        return (CreateInstance(instance=new_instance.of(vm, paused=paused, made=made)),)
    if course.wish is Wish.SWITCH_ON:
        return (SwitchOn(),)
    if instance is None:
        return ()
    if course.wish is Wish.STOP:
        return (DeleteInstance(uid=instance.metadata.uid),)
    if _may_be_released(instance):
        return (ReleaseInstance(),)
    if _is_behind(vm, instance) and not _restart_required(vm, instance):
        return (MarkGeneration(generation=vm.metadata.generation),)
    return ()


def _may_be_released(instance: kubevirt.VirtualMachineInstance) -> bool:
    return (
        phases.is_going(instance)
        and phases.is_final(instance)
        and well_known.VM_FINALIZER in instance.metadata.finalizers
    )


def _is_behind(vm: kubevirt.VirtualMachine, instance: kubevirt.VirtualMachineInstance) -> bool:
    """Tell whether the instance names another generation of the VM."""
    marked = instance.metadata.annotations.get(well_known.VM_GENERATION)
    return marked is not None and marked != str(vm.metadata.generation)


def _restart_required(
    vm: kubevirt.VirtualMachine, instance: kubevirt.VirtualMachineInstance
) -> bool:
    if phases.is_final(instance) or phases.is_going(instance):
        return False
    digest = instance.metadata.annotations.get(well_known.TEMPLATE_DIGEST)
    return digest is not None and digest != new_instance.template_digest(vm)


def _end(
    vm: kubevirt.VirtualMachine, instance: kubevirt.VirtualMachineInstance | None, now: datetime
) -> Plan:
    """Stop the instance, wait until it is gone, and let the VM go."""
    if well_known.VM_FINALIZER not in vm.metadata.finalizers:
        return Decision()
    if instance is None or ORPHAN in vm.metadata.finalizers:
        return Decision(actions=(RemoveFinalizer(),))
    recorded = vm.status or kubevirt.VirtualMachineStatus()
    course = Course(wish=Wish.STOP)
    status = _status(Observed(vm=vm, instance=instance), instance, recorded, course, now)
    actions: tuple[Action, ...] = ()
    if not phases.is_going(instance):
        actions = (DeleteInstance(uid=instance.metadata.uid),)
    elif _may_be_released(instance):
        actions = (ReleaseInstance(),)
    return Decision(status=status, actions=actions)


def _status(
    observed: Observed,
    instance: kubevirt.VirtualMachineInstance | None,
    recorded: kubevirt.VirtualMachineStatus,
    course: Course,
    now: datetime,
) -> kubevirt.VirtualMachineStatus:
    """Return the whole status."""
    vm = observed.vm
    found = _conditions(observed, instance, recorded.conditions, course, now)
    ready = instance is not None and conditions.is_true(found, "Ready")
    seen = printable_status.Seen(
        vm=vm,
        status=recorded,
        instance=instance,
        strategy=run_strategy.of(vm.spec),
        wish=course.wish,
        data_volumes=observed.data_volumes,
    )
    return msgspec.structs.replace(
        recorded,
        created=instance is not None or None,
        ready=ready or None,
        conditions=found,
        printable_status=printable_status.word(seen),
        desired_generation=vm.metadata.generation,
        observed_generation=_observed_generation(vm, instance),
    )


def _observed_generation(
    vm: kubevirt.VirtualMachine, instance: kubevirt.VirtualMachineInstance | None
) -> int:
    """Return the generation that runs: the instance's, or the VM's own when none runs."""
    marked = instance.metadata.annotations.get(well_known.VM_GENERATION, "") if instance else ""
    return int(marked) if marked.isdecimal() else vm.metadata.generation


def _conditions(
    observed: Observed,
    instance: kubevirt.VirtualMachineInstance | None,
    before: Sequence[Condition],
    course: Course,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return our own conditions, and a copy of each that the instance has."""
    copied = {one.type: _copy(one) for one in _conditions_of(instance) if one.type != "Ready"}
    kept = tuple(
        copied.pop(one.type, one)
        for one in before
        if one.type in copied or one.type in OWN_CONDITIONS
    )
    found: tuple[Condition, ...] = (*kept, *copied.values())
    found = conditions.put(found, _ready(instance), now)
    if instance is not None and _restart_required(observed.vm, instance):
        required = Condition(type="RestartRequired", status="True", message=RESTART_MESSAGE)
        found = conditions.put(found, required, now)
    else:
        found = conditions.without(found, "RestartRequired")
    return _with_failure(observed, instance, found, course, now)


def _with_failure(
    observed: Observed,
    instance: kubevirt.VirtualMachineInstance | None,
    found: tuple[Condition, ...],
    course: Course,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with what keeps the VM from starting; it goes when an instance is."""
    wanted = course.wish in (Wish.START, Wish.WAIT)
    if observed.instance is not None and instance is None and wanted:
        owner = controller_of(observed.instance)
        whose = f"{owner.kind} {owner.name}" if owner else "somebody else"
        message = f"the VirtualMachineInstance of this name belongs to {whose}"
        failure = Condition(type="Failure", status="True", reason=NAME_TAKEN, message=message)
        return conditions.put(found, failure, now)
    if observed.vm.spec.template.spec is None and wanted:
        failure = Condition(
            type="Failure",
            status="True",
            reason="FailedCreate",
            message="spec.template.spec is missing",
        )
        return conditions.put(found, failure, now)
    trouble = sizing.trouble(observed.vm, observed.named)
    if trouble is not None and wanted:
        failure = Condition(
            type="Failure", status="True", reason=trouble.reason, message=trouble.message
        )
        return conditions.put(found, failure, now)
    why = data_volume_templates.trouble(observed.vm, observed.data_volumes)
    if instance is None and wanted and why:
        failure = Condition(type="Failure", status="True", reason=DATA_VOLUME_ERROR, message=why)
        return conditions.put(found, failure, now)
    if (
        instance is None
        and wanted
        and not any(conditions.has_reason(found, "Failure", "True", one) for one in PASSING)
    ):
        return found
    return conditions.without(found, "Failure")


def _conditions_of(
    instance: kubevirt.VirtualMachineInstance | None,
) -> tuple[kubevirt.VirtualMachineInstanceCondition, ...]:
    return instance.status.conditions if instance is not None and instance.status else ()


def _copy(one: kubevirt.VirtualMachineInstanceCondition) -> Condition:
    return Condition(**msgspec.structs.asdict(one))


def _ready(instance: kubevirt.VirtualMachineInstance | None) -> Condition:
    """Return the instance's Ready, or why there is none."""
    if instance is None:
        return Condition(
            type="Ready", status="False", reason="VMINotExists", message="VMI does not exist"
        )
    found = conditions.find(_conditions_of(instance), "Ready")
    if found is None:
        message = "VMI is missing the Ready condition"
        return Condition(
            type="Ready", status="False", reason="VMIConditionMissing", message=message
        )
    return _copy(found)
