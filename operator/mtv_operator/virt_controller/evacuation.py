"""VMs that shall leave their node are migrated: `status.evacuationNodeName` says which. Pure.

virt-api writes it when a launcher pod is to be evicted (`kubectl drain`, the descheduler).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mtv.api import kubevirt, meta, well_known
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions, migration, phases
from mtv_operator.virt_controller.phases import Phase

Vmi = kubevirt.VirtualMachineInstance
Migration = kubevirt.VirtualMachineInstanceMigration

FIRST_PAUSE_S, MOST_DOUBLINGS = 20, 6  # after failures, as upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A VMI and its migrations."""

    instance: Vmi
    migrations: tuple[Migration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evacuate:
    """Make a migration."""

    migration: Migration


def decide(observed: Observed, now: datetime) -> Decision[Evacuate, None]:
    """Return whether to begin a migration, or when to look again."""
    vmi = observed.instance
    status = vmi.status
    node = status.evacuation_node_name if status is not None else None
    if status is None or not node or node != status.node_name:
        return Decision()
    if phases.of(vmi) is not Phase.RUNNING or phases.is_going(vmi):
        return Decision()
    if any(_phase(one) not in migration.FINAL for one in observed.migrations):
        return Decision()
    left = _pause_left(observed.migrations, now)
    if left > 0:
        return Decision(requeue_after_s=left)
    return Decision(actions=(Evacuate(migration=made(vmi, node)),))


def made(vmi: Vmi, node: str) -> Migration:
    """Return the migration that takes a VMI off a node."""
    metadata = meta.ObjectMeta(
        generate_name="kubevirt-evacuation-",
        namespace=vmi.metadata.namespace,
        annotations={well_known.EVACUATION_MIGRATION: node},
    )
    spec = kubevirt.VirtualMachineInstanceMigrationSpec(vmi_name=vmi.metadata.name)
    return Migration(metadata=metadata, spec=spec)


def _phase(one: Migration) -> str:
    return (one.status.phase if one.status else None) or ""


def _pause_left(found: tuple[Migration, ...], now: datetime) -> float:
    """Return the seconds to wait after evacuations that failed in a row: 20, 40, 80 …"""
    evacuations = sorted(
        (one for one in found if well_known.EVACUATION_MIGRATION in one.metadata.annotations),
        key=lambda one: one.metadata.creation_timestamp or "",
    )
    failures = 0
    for one in reversed(evacuations):
        if _phase(one) != "Failed":
            break
        failures += 1
    if not failures:
        return 0.0
    state = evacuations[-1].status.migration_state if evacuations[-1].status else None
    ended = state.end_timestamp if state is not None else None
    if not ended:
        return 0.0
    pause = timedelta(seconds=FIRST_PAUSE_S * 2 ** min(failures - 1, MOST_DOUBLINGS))
    return (conditions.time_of(ended) + pause - now).total_seconds()
