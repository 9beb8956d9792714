"""What a VirtualMachineInstanceMigration needs done, and how it stands. Pure.

    Pending ─► Scheduling ─► Scheduled │► PreparingTarget ─► TargetReady ─► Running ─► Succeeded
    limits     target pod    pod is up │  virt-handlers of both nodes            └─► Failed

Until the hand-over the controller ends a migration itself. Afterwards only the handlers know where
the guest is: the controller asks (`abortRequested`) and waits for their word.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import core, kubevirt, migrations, well_known
from mtv.api.configuration import Migrations
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions, migration_pod, migration_queue, phases, pods
from mtv_operator.virt_controller.launcher_pod import Surroundings
from mtv_operator.virt_controller.migration_queue import Waiting
from mtv_operator.virt_controller.phases import Phase

Vmi = kubevirt.VirtualMachineInstance
Migration = kubevirt.VirtualMachineInstanceMigration
Status = kubevirt.VirtualMachineInstanceMigrationStatus
State = kubevirt.VirtualMachineInstanceMigrationState

FINAL = ("Succeeded", "Failed")
KEPT = 5  # finished migrations of one VMI, as upstream
UNSCHEDULABLE_S, PENDING_S = 300.0, 900.0  # as upstream
PREPARING_S = 120.0
LOOK_S = 2.0
ABORT_REQUESTED = "migrationAbortRequested"
CANCELLED = "Live migration was cancelled before it began"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A migration, its VMI with its pods, and what else is under way.

    `busy` are the source nodes of other migrations that have begun, `waiting` those that could
    begin; `older` the finished ones of this VMI, the oldest first. `policy` is known when it is
    needed.
    """

    migration: Migration
    instance: Vmi | None = None
    pods: tuple[core.Pod, ...] = ()
    around: Surroundings
    settings: Migrations
    busy: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    policy: migrations.MigrationPolicy | None = None
    older: tuple[Migration, ...] = ()

    @property
    def uid(self) -> str:
        """Return the migration's uid."""
        return self.migration.metadata.uid

    @property
    def status(self) -> Status:
        """Return the migration's status."""
        return self.migration.status or Status()

    @property
    def target(self) -> core.Pod | None:
        """Return the pod that was made for this migration."""
        label = well_known.MIGRATION_UID
        return next((pod for pod in self.pods if pod.metadata.labels.get(label) == self.uid), None)

    @property
    def cancelled(self) -> bool:
        """Tell whether the migration, or its VMI, is being deleted."""
        return self.migration.metadata.deletion_timestamp is not None or (
            self.instance is not None and phases.is_going(self.instance)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePod:
    """Make the target pod."""

    pod: core.Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """Delete the target pod."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeInstance:
    """Store the VMI, if it is still the version that was read."""

    before: Vmi
    after: Vmi


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Delete an old finished migration."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Take our finalizer off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Record an event on the migration."""

    reason: str
    message: str
    type: str = "Normal"


Action = CreatePod | DeletePod | ChangeInstance | Forget | Release | Say
Plan = Decision[Action, Status]


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what to do next."""
    if observed.status.phase in FINAL:
        return _after_the_end(observed)
    vmi = observed.instance
    if vmi is None or phases.is_final(vmi):
        return _failed(observed, "the virtual machine does not run any more", now)
    state = vmi.status.migration_state if vmi.status else None
    if state is not None and state.migration_uid == observed.uid:
        return _handed_over(observed, vmi, state, now)
    if observed.cancelled:
        return _failed(observed, CANCELLED, now)
    match observed.status.phase:
        case "Scheduling":
            return _scheduling(observed, now)
        case "Scheduled":
            return _scheduled(observed, vmi, now)
        case "Pending":
            return _pending(observed, vmi, now)
        case _:
            return Decision(status=_moved(observed.status, "Pending", now))


def _pending(observed: Observed, vmi: Vmi, now: datetime) -> Plan:
    """Make the target pod as soon as there is room for one more migration."""
    if observed.target is not None:
        return Decision(status=_moved(observed.status, "Scheduling", now))
    able = conditions.find(vmi.status.conditions if vmi.status else (), "LiveMigratable")
    if able is not None and able.status == "False":
        return _failed(observed, f"{able.reason}: {able.message}", now)
    mine = queued(observed.migration, vmi)
    if mine is None or not migration_queue.may_begin(
        mine, observed.waiting, observed.busy, observed.settings
    ):
        return Decision(requeue_after_s=LOOK_S)
    try:
        pod = migration_pod.build(observed.migration, vmi, observed.around)
    except errors.BadInput as fault:
        return _failed(observed, str(fault), now)
    return Decision(actions=(CreatePod(pod=pod),), requeue_after_s=LOOK_S)


def queued(found: Migration, vmi: Vmi) -> Waiting | None:
    """Return where a migration stands in the queue; None while its VMI cannot be migrated."""
    status = vmi.status or kubevirt.VirtualMachineInstanceStatus()
    state = status.migration_state
    other = state is not None and not state.completed
    able = conditions.is_true(status.conditions, "LiveMigratable")
    if other or not able or phases.of(vmi) is not Phase.RUNNING or phases.is_going(vmi):
        return None
    return migration_queue.waiting(found, status.node_name or "")


def _scheduling(observed: Observed, now: datetime) -> Plan:
    """Wait for the target pod to run; give up one that finds no node."""
    pod = observed.target
    if pod is None or pods.is_going(pod):
        return _failed(observed, "the target pod is gone", now)
    if pods.has_ended(pod):
        return _failed(observed, f"the target pod: {pods.end_message(pod)}", now)
    if pods.is_up(pod):
        return Decision(status=_moved(observed.status, "Scheduled", now))
    waited = _seconds_in(observed.status, "Scheduling", now)
    scheduled = pods.condition(pod, "PodScheduled")
    nowhere = scheduled is not None and scheduled.status == "False"
    if waited > PENDING_S or (nowhere and waited > UNSCHEDULABLE_S):
        why = (scheduled.message if nowhere and scheduled else "") or "it does not start"
        return _failed(observed, f"the target pod {pod.metadata.name}: {why}", now)
    return Decision(requeue_after_s=LOOK_S * 5)


def _scheduled(observed: Observed, vmi: Vmi, now: datetime) -> Plan:
    """Hand the migration over to the handlers of both nodes."""
    target, source = observed.target, pods.of_instance(vmi, observed.pods)
    if target is None or not pods.is_up(target):
        return _failed(observed, "the target pod is gone", now)
    if source is None or pods.has_ended(source):
        return Decision(requeue_after_s=LOOK_S)  # the VMI's own controller says what that means
    settings = migration_queue.with_policy(observed.settings, observed.policy)
    after = migration_pod.handed_over(observed.migration, vmi, source, target, settings)
    message = (
        "Migration target pod is ready for preparation by virt-handler on node "
        f"{pods.node_of(target)}."
    )
    said = Say(reason="SuccessfulHandOver", message=message)
    return Decision(actions=(ChangeInstance(before=vmi, after=after), said), requeue_after_s=LOOK_S)


def _handed_over(observed: Observed, vmi: Vmi, state: State, now: datetime) -> Plan:
    """Follow what the handlers say; ask them to end what is cancelled or cannot go on."""
    if state.completed and state.failed:
        return _failed(observed, state.failure_reason or "it failed", now, state)
    if state.completed:
        return _succeeded(observed, vmi, state, now)
    actions: tuple[Action, ...] = ()
    status = _moved(observed.status, _phase(state), now)
    status = msgspec.structs.replace(status, migration_state=state)
    target = observed.target
    lost = target is None or pods.is_going(target) or pods.has_ended(target)
    late = _seconds_in(status, "PreparingTarget", now) > PREPARING_S
    if not state.target_node_address and (lost or late or observed.cancelled):
        why = CANCELLED if observed.cancelled else _why_not_prepared(lost=lost)
        actions = (_with_state(vmi, _ended(state, why, now)),)
    elif (lost or observed.cancelled) and not state.abort_requested:
        actions = (_with_state(vmi, msgspec.structs.replace(state, abort_requested=True)),)
    if observed.cancelled:
        asked = kubevirt.VirtualMachineInstanceMigrationCondition(
            type=ABORT_REQUESTED, status="True"
        )
        status = msgspec.structs.replace(
            status, conditions=conditions.put(status.conditions, asked, now)
        )
    new = status if status != observed.status else None
    return Decision(status=new, actions=actions, requeue_after_s=LOOK_S)


def _why_not_prepared(*, lost: bool) -> str:
    if lost:
        return "the target pod is gone"
    return f"the target node did not prepare itself within {PREPARING_S:.0f} seconds"


def _phase(state: State) -> str:
    if state.start_timestamp:
        return "Running"
    return "TargetReady" if state.target_node_address else "PreparingTarget"


def _ended(state: State, why: str, now: datetime) -> State:
    return msgspec.structs.replace(
        state,
        completed=True,
        failed=True,
        failure_reason=why,
        end_timestamp=conditions.timestamp(now),
    )


def _with_state(vmi: Vmi, state: State) -> ChangeInstance:
    assert vmi.status is not None
    status = msgspec.structs.replace(vmi.status, migration_state=state)
    return ChangeInstance(before=vmi, after=msgspec.structs.replace(vmi, status=status))


def _succeeded(observed: Observed, vmi: Vmi, state: State, now: datetime) -> Plan:
    status = _moved(observed.status, "Succeeded", now)
    said = Say(
        reason="SuccessfulMigration",
        message=f"Source node reported migration succeeded, the guest runs on {state.target_node}",
    )
    return Decision(
        status=msgspec.structs.replace(status, migration_state=state),
        actions=(*_marks_off(observed, vmi), said, *_forgotten(observed)),
    )


def _failed(observed: Observed, why: str, now: datetime, state: State | None = None) -> Plan:
    """Return the end of a migration without success; the guest is not touched."""
    status = _moved(observed.status, "Failed", now)
    state = state or _ended(State(migration_uid=observed.uid), why, now)
    said = Say(reason="FailedMigration", message=why, type="Warning")
    return Decision(
        status=msgspec.structs.replace(status, migration_state=state),
        actions=(said, *_forgotten(observed)),
    )


def _after_the_end(observed: Observed) -> Plan:
    """Clean up after a failed migration; let a deleted one go."""
    actions: list[Action] = []
    target, vmi = observed.target, observed.instance
    if observed.status.phase == "Failed" and target is not None and not pods.is_going(target):
        actions.append(DeletePod(name=target.metadata.name, uid=target.metadata.uid))
    if vmi is not None:
        actions += _marks_off(observed, vmi)
    metadata = observed.migration.metadata
    held = well_known.MIGRATION_FINALIZER in metadata.finalizers
    if metadata.deletion_timestamp is not None and held:
        actions.append(Release())
    return Decision(actions=tuple(actions))


def _marks_off(observed: Observed, vmi: Vmi) -> tuple[Action, ...]:
    """Take the marks of this migration off the VMI, where they still are."""
    state = vmi.status.migration_state if vmi.status else None
    if state is None or state.migration_uid != observed.uid:
        return ()
    target = observed.target
    after = migration_pod.let_go(vmi, target.metadata.uid if target is not None else "")
    return (ChangeInstance(before=vmi, after=after),) if after != vmi else ()


def _forgotten(observed: Observed) -> tuple[Action, ...]:
    surplus = observed.older[: max(0, len(observed.older) + 1 - KEPT)]
    return tuple(Forget(name=one.metadata.name, uid=one.metadata.uid) for one in surplus)


def _moved(status: Status, phase: str, now: datetime) -> Status:
    """Return the status in another phase, with the time of the change."""
    if status.phase == phase:
        return status
    passed = kubevirt.VirtualMachineInstanceMigrationPhaseTransitionTimestamp(
        phase=phase, phase_transition_timestamp=conditions.timestamp(now)
    )
    times = (*status.phase_transition_timestamps, passed)
    return msgspec.structs.replace(status, phase=phase, phase_transition_timestamps=times)


def _seconds_in(status: Status, phase: str, now: datetime) -> float:
    """Return for how long the migration has been in a phase; 0 when that is not said."""
    for one in status.phase_transition_timestamps:
        if one.phase == phase and one.phase_transition_timestamp:
            return (now - conditions.time_of(one.phase_transition_timestamp)).total_seconds()
    return 0.0
