"""How a VirtualMachineInstanceMigration ends: live migration is not built, and says so. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import kubevirt, well_known
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions

FINAL = ("Succeeded", "Failed")
REASON = "live migration is not supported yet: the VM stays where it runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A migration."""

    migration: kubevirt.VirtualMachineInstanceMigration


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Take our finalizer off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Record an event on the migration."""

    reason: str
    message: str


Action = Release | Say
Plan = Decision[Action, kubevirt.VirtualMachineInstanceMigrationStatus]


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what to do: let a deleted one go, end a new one."""
    migration = observed.migration
    if migration.metadata.deletion_timestamp is not None:
        held = well_known.MIGRATION_FINALIZER in migration.metadata.finalizers
        return Decision(actions=(Release(),) if held else ())
    status = migration.status or kubevirt.VirtualMachineInstanceMigrationStatus()
    if status.phase in FINAL:
        return Decision()
    at = conditions.timestamp(now)
    passed = kubevirt.VirtualMachineInstanceMigrationPhaseTransitionTimestamp(
        phase="Failed", phase_transition_timestamp=at
    )
    state = kubevirt.VirtualMachineInstanceMigrationState(
        migration_uid=migration.metadata.uid,
        completed=True,
        failed=True,
        end_timestamp=at,
        failure_reason=REASON,
    )
    ended = msgspec.structs.replace(
        status,
        phase="Failed",
        phase_transition_timestamps=(*status.phase_transition_timestamps, passed),
        migration_state=state,
    )
    return Decision(status=ended, actions=(Say(reason="FailedMigration", message=REASON),))
