"""What the two handlers of a migration write on the VMI, and when they do what. Pure.

    controller: targetNode ─► target: address, ports ─► source: startTimestamp, progress
                                                   target: the guest runs here: nodeName, completed
                                                or source: failed: the guest stays

Only the target says that a migration succeeded, only the source that it failed; each writes on the
version that it read, so that the first word counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import kubevirt, quantities, well_known
from mtv_operator.reconciling import Decision
from mtv_operator.virt_handler import conditions
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.protocol import Domain, MigrationJob

Vmi = kubevirt.VirtualMachineInstance
State = kubevirt.VirtualMachineInstanceMigrationState

LOOK_SOON_S, LOOK_S = 0.1, 1.0
ABORTED = "Live migration has been aborted"
AGAIN_S = 2.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A VMI that migrates from or to this node. Without an answering launcher there is no domain.

    `ports` are those on which this process takes the migration; None: it takes none.
    """

    vmi: Vmi
    node: str
    pod_uid: str
    domain: Domain | None = None
    ports: dict[str, int] | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the target's pod ready and listen for the source."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Open the way out of the source's pod and have its launcher migrate."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Have the source's launcher give the migration up."""


Action = Prepare | Begin | Cancel
Decided = Decision[Action, Vmi]


def of(vmi: Vmi) -> State | None:
    """Return the migration that is under way, or None."""
    found = vmi.status.migration_state if vmi.status else None
    return None if found is None or found.completed else found


def decide_target(observed: Observed, now: datetime) -> Decided:
    """Return what the node does that a VM comes to."""
    vmi, domain = observed.vmi, observed.domain
    state = of(vmi)
    if state is None or state.target_node != observed.node:
        return Decision()
    if domain is None:
        return Decision(requeue_after_s=LOOK_SOON_S)
    if domain.alive:
        return Decision(status=arrived(vmi, observed, domain, now))
    if state.start_timestamp is not None or state.abort_requested:
        return Decision(requeue_after_s=LOOK_S)
    if observed.ports is None or domain.receives != state.migration_uid:
        return Decision(actions=(Prepare(),), requeue_after_s=LOOK_SOON_S)
    published = msgspec.structs.replace(
        state,
        target_node_address=observed.address,
        target_direct_migration_node_ports=observed.ports,
    )
    return Decision(status=_with(vmi, published), requeue_after_s=LOOK_S)


def decide_source(observed: Observed, now: datetime) -> Decided:
    """Return what the node does that a VM leaves."""
    vmi, domain = observed.vmi, observed.domain
    state = of(vmi)
    if state is None or state.source_node != observed.node or domain is None:
        return Decision()
    job = domain.migration
    if job is None or job.uid != state.migration_uid:
        return _before(vmi, state, domain, now)
    seen = msgspec.structs.replace(
        state,
        start_timestamp=state.start_timestamp or job.started_at,
        mode=job.mode,
        progress=progress(job),
    )
    if job.ended_at and job.failed:
        return Decision(status=_with(vmi, failed(seen, job.message, now, aborted=job.aborted)))
    if job.ended_at:
        return Decision(status=_with(vmi, seen))
    if state.abort_requested:
        seen = msgspec.structs.replace(seen, abort_status="Aborting")
        return Decision(status=_with(vmi, seen), actions=(Cancel(),), requeue_after_s=AGAIN_S)
    return Decision(status=_with(vmi, seen), requeue_after_s=LOOK_S)


def _before(vmi: Vmi, state: State, domain: Domain, now: datetime) -> Decided:
    """Begin a migration whose target is ready; one that was cancelled before ends at once."""
    if state.abort_requested:
        return Decision(status=_with(vmi, failed(state, ABORTED, now, aborted=True)))
    if state.start_timestamp is not None:
        message = "the launcher knows nothing of the migration any more"
        return Decision(status=_with(vmi, failed(state, message, now)))
    if not (state.target_node_address and state.target_direct_migration_node_ports):
        return Decision()
    if not domain.alive:
        return Decision()
    return Decision(actions=(Begin(),), requeue_after_s=LOOK_SOON_S)


def progress(job: MigrationJob) -> kubevirt.MigrationProgress:
    """Return the figures of a migration."""
    total = job.total_bytes
    done = job.processed_bytes + job.remaining_bytes
    percent = 100 * job.processed_bytes // done if done else 0
    return kubevirt.MigrationProgress(
        total_bytes=total,
        processed_bytes=job.processed_bytes,
        remaining_bytes=job.remaining_bytes,
        percent=100 if job.ended_at and not job.failed else min(percent, 99),
        iterations=job.iterations,
        elapsed_ms=job.elapsed_ms,
        downtime_ms=job.downtime_ms if job.ended_at and not job.failed else None,
    )


def failed(state: State, message: str, now: datetime, *, aborted: bool = False) -> State:
    """Return a migration that ended without success: the guest stays where it is."""
    return msgspec.structs.replace(
        state,
        completed=True,
        failed=True,
        failure_reason=message,
        end_timestamp=conditions.timestamp(now),
        abort_requested=True if aborted else state.abort_requested,
        abort_status="Succeeded" if aborted else state.abort_status,
    )


def arrived(vmi: Vmi, observed: Observed, domain: Domain, now: datetime) -> Vmi:
    """Return the VMI as this node takes it over: the guest runs here."""
    assert vmi.status is not None
    state = vmi.status.migration_state
    assert state is not None
    at, node = conditions.timestamp(now), observed.node
    job = domain.migration
    state = msgspec.structs.replace(
        state,
        completed=True,
        start_timestamp=state.start_timestamp or at,
        end_timestamp=at,
        mode=state.mode or "PreCopy",
        target_node_domain_detected=True,
        target_node_domain_ready_timestamp=at,
        abort_status="Failed" if state.abort_requested else None,
        progress=progress(job) if job is not None and job.total_bytes else state.progress,
    )
    status = msgspec.structs.replace(
        vmi.status,
        node_name=node,
        active_pods={observed.pod_uid: node},
        evacuation_node_name=None,
        migration_state=state,
    )
    labels = {**vmi.metadata.labels, well_known.NODE_NAME: node}
    metadata = msgspec.structs.replace(vmi.metadata, labels=labels)
    return msgspec.structs.replace(vmi, metadata=metadata, status=status)


def order(state: State, vmi: Vmi) -> protocol.Migrate:
    """Return the launcher's order, out of what the controller says of this migration."""
    given = state.migration_configuration or kubevirt.VMIMConfigurationOptions()
    bandwidth = given.bandwidth_per_migration
    memory = vmi.status.memory.guest_current if vmi.status and vmi.status.memory else None
    size_gib = max(1, quantities.whole(memory) >> 30) if memory else 1
    return protocol.Migrate(
        uid=state.migration_uid or "",
        bandwidth_mib=-(-quantities.whole(bandwidth) // MIB) if bandwidth else 0,
        auto_converge=given.allow_auto_converge is not False,
        post_copy=bool(given.allow_post_copy),
        disrupt=_disrupts(given),
        max_downtime_ms=given.max_downtime_ms or 0,
        progress_timeout_s=given.progress_timeout or 0,
        completion_timeout_s=(given.completion_timeout_per_gi_b or 0) * size_gib,
    )


def _disrupts(given: kubevirt.VMIMConfigurationOptions) -> bool:
    """Tell whether the guest may be paused to end a migration: by default as post-copy may."""
    allowed = given.allow_workload_disruption
    return bool(given.allow_post_copy) if allowed is None else allowed


def _with(vmi: Vmi, state: State) -> Vmi:
    assert vmi.status is not None
    status = msgspec.structs.replace(vmi.status, migration_state=state)
    return msgspec.structs.replace(vmi, status=status)


def said(before: Vmi, after: Vmi, node: str) -> tuple[str, str, str] | None:
    """Return type, reason and message of the event that a change deserves, in upstream's words."""
    old, new = of(before), (after.status.migration_state if after.status else None)
    if old is None or new is None or old == new:
        return None
    if new.completed and new.failed:
        return "Warning", "FailedMigration", f"{new.failure_reason}; the guest runs on at {node}"
    if new.completed:
        message = f"The VirtualMachineInstance migrated to node {node}."
        return "Normal", "Migrated", message
    if new.start_timestamp and not old.start_timestamp:
        return "Normal", "Migrating", f"VirtualMachineInstance is migrating to {new.target_node}."
    if new.target_node_address and not old.target_node_address:
        return "Normal", "PreparingTarget", f"Migration Target is listening at {node}."
    return None
