"""Which migration is next, and by which policy it is done. Pure.

There are limits of migrations at once, for the cluster and for each source node. Among those that
wait the urgent ones come first (`spec.priority`), then the older ones; one that cannot begin for a
reason of its own holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mtv.api import kubevirt, well_known
from mtv.api import migrations as policies
from mtv.api.configuration import Migrations

Migration = kubevirt.VirtualMachineInstanceMigration
Policy = policies.MigrationPolicy

CRITICAL, USER, MAINTENANCE = "system-critical", "user-triggered", "system-maintenance"
_ORDER = (CRITICAL, USER, MAINTENANCE)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Waiting:
    """A migration that could begin; the smaller one comes first."""

    urgency: int
    since: str
    uid: str
    node: str


def waiting(migration: Migration, node: str) -> Waiting:
    """Return where a migration off `node` stands in the queue."""
    metadata = migration.metadata
    given = migration.spec.priority
    if not given:
        evacuates = well_known.EVACUATION_MIGRATION in metadata.annotations
        given = CRITICAL if evacuates else USER
    urgency = _ORDER.index(given) if given in _ORDER else len(_ORDER)
    return Waiting(
        urgency=urgency,
        since=metadata.creation_timestamp or "",
        uid=metadata.uid,
        node=node,
    )


def may_begin(
    mine: Waiting, others: Iterable[Waiting], busy: tuple[str, ...], settings: Migrations
) -> bool:
    """Tell whether there is room for a migration, and nobody before it needs that.

    `busy` are the source nodes of those that are under way.
    """
    nodes = list(busy)
    for one in sorted((*others, mine)):
        if len(nodes) >= settings.parallel_per_cluster:
            return False
        if nodes.count(one.node) < settings.parallel_outbound_per_node:
            if one == mine:
                return True
            nodes.append(one.node)
    return False


def policy_of(
    vmi_labels: Mapping[str, str], namespace_labels: Mapping[str, str], found: Iterable[Policy]
) -> Policy | None:
    """Return the policy that fits best: the one that asks for most, of the instance above all."""
    best: tuple[int, int, str] | None = None
    chosen = None
    for one in sorted(found, key=lambda policy: policy.metadata.name):
        selectors = one.spec.selectors
        of_vmi = selectors.virtual_machine_instance_selector
        of_namespace = selectors.namespace_selector
        fits = of_vmi.items() <= vmi_labels.items()
        if not fits or not of_namespace.items() <= namespace_labels.items():
            continue
        count = len(of_vmi) + len(of_namespace)
        rank = (-count, -len(of_vmi), one.metadata.name)
        if count and (best is None or rank < best):
            best, chosen = rank, one
    return chosen


def with_policy(settings: Migrations, policy: Policy | None) -> Migrations:
    """Return the settings with what a policy says otherwise."""
    if policy is None:
        return settings
    spec = policy.spec
    changed = {
        "policy": policy.metadata.name,
        "bandwidth": spec.bandwidth_per_migration,
        "auto_converge": spec.allow_auto_converge,
        "post_copy": spec.allow_post_copy,
        "workload_disruption": spec.allow_workload_disruption,
        "completion_timeout_per_gib_s": spec.completion_timeout_per_gi_b,
        "max_downtime_ms": spec.max_downtime_ms,
    }
    return settings.replaced({name: value for name, value in changed.items() if value is not None})


def configuration_of(settings: Migrations) -> kubevirt.VMIMConfigurationOptions:
    """Return what is written on the instance for the handlers."""
    disruption = settings.workload_disruption
    return kubevirt.VMIMConfigurationOptions(
        allow_auto_converge=settings.auto_converge,
        allow_post_copy=settings.post_copy,
        allow_workload_disruption=settings.post_copy if disruption is None else disruption,
        bandwidth_per_migration=settings.bandwidth,
        completion_timeout_per_gi_b=settings.completion_timeout_per_gib_s,
        progress_timeout=settings.progress_timeout_s,
        max_downtime_ms=settings.max_downtime_ms,
        parallel_migrations_per_cluster=settings.parallel_per_cluster,
        parallel_outbound_migrations_per_node=settings.parallel_outbound_per_node,
    )
