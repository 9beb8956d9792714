"""A Plan: is it ready, what its run does next, what is taken away at its end. Pure.

This is the only writer of a Plan's status; Migrations show copies of it (`migration`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from mtv import errors
from mtv.api import batch, core, forklift, kubevirt, meta
from mtv.api.forklift import Condition
from mtv.api.mtv import DiskTransfer
from mtv.planning import labels, power_off, transfers
from mtv.planning import plan as planning
from mtv.planning.plan import PlannedPlan
from mtv.planning.target import Target
from mtv_operator.migration import (
    access,
    actions,
    conditions,
    conversion,
    inventory_cache,
    maps,
    provider,
    rollback,
    run,
    snapshot_removal,
    vm_scene,
)
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.rollback import Wishes
from mtv_operator.migration.run import Run
from mtv_operator.migration.vm_scene import Cutovers, Faults, Scene
from mtv_operator.migration.warm import Seen
from mtv_operator.reconciling import Decision

FINALIZER = "mtv.dev/plan"
# A plan that is being deleted waits so long for its sources to be switched on again.
GIVE_UP_S = 300.0
GOING_S = 1.0
replace = msgspec.structs.replace

PlanDecision = Decision[actions.OfPlan, forklift.PlanStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Plan and all that it depends on. The mappings are of its target namespace, by name."""

    plan: forklift.Plan
    source: forklift.Provider | None = None
    destination: forklift.Provider | None = None
    network_map: forklift.NetworkMap | None = None
    storage_map: forklift.StorageMap | None = None
    view: inventory_cache.View = inventory_cache.View()  # noqa: RUF009 - frozen
    target: Target = Target()  # noqa: RUF009 - frozen
    migrations: tuple[forklift.Migration, ...] = ()  # of this plan, oldest first
    secret: core.Secret | None = None  # of the source
    secret_copy: core.Secret | None = None  # in the target namespace, if it is there
    transfers: Mapping[str, DiskTransfer] = field(default_factory=dict)
    claims: Mapping[str, core.PersistentVolumeClaim] = field(default_factory=dict)
    vms: Mapping[str, kubevirt.VirtualMachine] = field(default_factory=dict)
    faults: Mapping[str, Faults] = field(default_factory=dict)  # of this run, by VM id
    snapshots: Mapping[str, Seen] = field(default_factory=dict)  # of ours, by VM id
    shutdowns_s: tuple[int, ...] = ()  # how long guests of other plans took
    adapters: Mapping[str, core.Pod] = field(default_factory=dict)  # pods that adapt guests
    image: str = "mtv"  # of such pods
    jobs: Mapping[str, batch.Job] = field(default_factory=dict)  # of hooks, by name
    workloads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # VMs that have hooks
    free: int = 10  # how many VMs of this plan may be on their way at once

    @property
    def status(self) -> forklift.PlanStatus:
        """The status as it was read."""
        return self.plan.status or forklift.PlanStatus()

    @property
    def migration(self) -> forklift.Migration | None:
        """The Migration of the active run; None if it was deleted."""
        uid = run.active_uid(self.plan)
        return next((one for one in self.migrations if one.metadata.uid == uid), None)


def decide(observed: Observed, now: datetime) -> PlanDecision:
    """Return the status of a Plan, and what is to be done."""
    plan = observed.plan
    if plan.metadata.deletion_timestamp:
        return _deleted(observed, now)
    if FINALIZER not in plan.metadata.finalizers and _needs_finalizer(observed):
        return Decision(actions=(actions.SetFinalizer(plan=plan, held=True),))
    planned = _planned(observed)
    if run.active_uid(plan):
        return _running(observed, planned, now)
    if plan.spec.archived and not _goes_back(observed):
        return _archived(observed, planned, now)
    return _idle(observed, planned, now)


def _wishes(observed: Observed) -> Wishes:
    """Return what is asked of VMs that were migrated; an archived plan is not asked."""
    if observed.plan.spec.archived:
        return Wishes()
    return Wishes.of(run.last_migration(observed.plan, observed.migrations))


def _goes_back(observed: Observed) -> bool:
    status = observed.status.migration
    return any(rollback.is_under_way(vm) for vm in (status.vms if status else ()))


def _needs_finalizer(observed: Observed) -> bool:
    return observed.status.migration is not None or bool(observed.migrations)


def _planned(observed: Observed) -> PlannedPlan | None:
    if observed.view.inventory is None or observed.source is None:
        return None
    status = observed.status.migration
    vms = status.vms if status else ()
    names = {vm.id: vm.new_name for vm in vms if vm.id and vm.new_name and vm.started}
    was_on = {
        vm.id: vm.restore_power_state == "On" for vm in vms if vm.id and vm.restore_power_state
    }
    decided = {
        vm.id: devices
        for vm in vms
        if vm.id and (devices := conversion.devices_of(vm, observed.plan.spec))
    }
    return planning.build(
        observed.view.inventory,
        observed.plan,
        observed.network_map,
        observed.storage_map,
        provider=observed.source,
        target=dataclasses.replace(observed.target, names=names),
        migration=observed.migration,
        was_on=was_on,
        decided=decided,
    )


def _running(observed: Observed, planned: PlannedPlan | None, now: datetime) -> PlanDecision:
    status = observed.status.migration
    assert status is not None
    canceled = run.canceled_by(observed.plan, observed.migration)
    if planned is None and observed.source is None and canceled is None:
        planned = _nothing(observed.plan)  # the provider is gone for good: end it without
    if planned is None:  # the inventory is not there yet: nothing is lost by waiting
        step = Run(status=status, set=(run.EXECUTING,), requeue_after_s=vm_scene.WAIT_S)
    else:
        scene = _scene(observed, planned)
        step = run.go_on(
            scene, status, now, canceled=canceled, free=observed.free, wishes=_wishes(observed)
        )
    pair = observed.plan.spec.provider
    found = [one for one in observed.status.conditions if one.type not in maps.PROVIDER_TYPES]
    found += maps.of_providers(pair, observed.source, observed.destination)
    return _decision(observed, tuple(found), step, now)


def _nothing(plan: forklift.Plan) -> PlannedPlan:
    """Return what is planned where nothing is known of the source."""
    return PlannedPlan(
        name=plan.metadata.name,
        namespace=plan.metadata.namespace,
        target_namespace=plan.spec.target_namespace,
        vms=(),
        general=(),
    )


def _idle(observed: Observed, planned: PlannedPlan | None, now: datetime) -> PlanDecision:
    if planned is None and _loading(observed):
        return Decision(status=observed.status)  # what was found before the restart still counts
    found = tuple(validation(observed, planned))
    found = (*found, *conditions.ready(found, "The migration plan is ready."))
    migration = run.pending(observed.plan, observed.migrations)
    if observed.plan.spec.archived:  # only a rollback that was begun is still carried out
        migration = None
    if migration is not None and planned is not None and not conditions.blocking(found):
        step = run.begin(observed.plan, migration, planned, _snapshot(observed, migration), now)
        return _decision(observed, found, step, now)
    step = Run(status=observed.status.migration)
    if planned is not None and observed.status.migration is not None:
        step = run.afterwards(
            _scene(observed, planned), observed.status.migration, now, _wishes(observed)
        )
    secret = observed.secret_copy
    if secret is not None and not step.actions:
        gone = actions.DeleteSecret(namespace=secret.metadata.namespace, name=secret.metadata.name)
        step = Run(status=step.status, actions=(gone,), requeue_after_s=step.requeue_after_s)
    return _decision(observed, found, step, now)


def _loading(observed: Observed) -> bool:
    """Tell whether the inventory is only not there yet, and the last verdict is on this spec."""
    return (
        provider.is_ready(observed.source)
        and observed.view.inventory is None
        and observed.status.observed_generation == observed.plan.metadata.generation
    )


def _decision(
    observed: Observed, found: tuple[Condition, ...], step: Run, now: datetime
) -> PlanDecision:
    merged = conditions.merge(
        observed.status.conditions,
        (*(one for one in found if one.type not in step.set), *run.conditions_of(step)),
        now,
        without=step.cleared,
    )
    status = replace(
        observed.status,
        conditions=merged,
        observed_generation=observed.plan.metadata.generation,
        migration=step.status,
    )
    return Decision(status=status, actions=step.actions, requeue_after_s=step.requeue_after_s)


def validation(observed: Observed, planned: PlannedPlan | None) -> Iterator[Condition]:
    """Yield all conditions that the plan's own content causes, worst or not."""
    spec = observed.plan.spec
    yield from maps.of_providers(spec.provider, observed.source, observed.destination)
    if planned is not None:
        yield from conditions.of_problems(planned.problems)
        return
    if observed.source is not None and provider.is_ready(observed.source):
        yield _critical("SourceProviderNotReady", "NotValid", "its inventory is being loaded")
    for kind, named, there in (
        ("NetworkMapRefNotValid", spec.map.network, observed.network_map),
        ("StorageRefNotValid", spec.map.storage, observed.storage_map),
    ):
        if there is None:
            where = f"{named.namespace}/{named.name}" if named.name else ""
            yield _critical(
                kind,
                "NotFound" if where else "NotSet",
                f"there is no map {where}" if where else "no map is named",
            )


def _scene(observed: Observed, planned: PlannedPlan) -> Scene:
    plan = observed.plan
    owner = labels.Owner.of(plan, observed.migration)
    try:
        stop = power_off.parse(plan.metadata.annotations)
    except errors.BadInput:
        stop = power_off.PowerOff()
    reference = plan.spec.provider.source
    namespace = reference.namespace or plan.metadata.namespace
    vms = observed.status.migration.vms if observed.status.migration else ()
    wanted = _secret_copy(observed, owner)
    return Scene(
        hooks=observed.target.hooks or {},
        jobs=observed.jobs,
        workloads=observed.workloads,
        plan=plan,
        planned=planned,
        owner=owner,
        provider=provider.key_of(namespace, reference.name),
        current=observed.view.phase is inventory_cache.Phase.LOADED,
        power_off=stop,
        secret_copy=wanted,
        secret_is_current=wanted is not None
        and observed.secret_copy is not None
        and wanted.data == observed.secret_copy.data,
        transfers=observed.transfers,
        claims=observed.claims,
        vms=observed.vms,
        run=run.by_id(vms),
        faults=observed.faults,
        adapters=observed.adapters,
        image=observed.image,
        snapshots=observed.snapshots,
        cutovers=Cutovers.of(observed.migration),
        shutdowns_s=observed.shutdowns_s,
    )


def _secret_copy(observed: Observed, owner: labels.Owner) -> core.Secret | None:
    """Return the secret that the transfers in the target namespace use."""
    if observed.secret is None:
        return None
    data = dict(observed.secret.data)
    data |= {key: text.encode() for key, text in observed.secret.string_data.items()}
    if observed.source is not None and observed.source.spec.url:
        data[access.URL] = observed.source.spec.url.encode()
    return core.Secret(
        metadata=meta.ObjectMeta(
            name=transfers.secret_name(observed.plan),
            namespace=observed.plan.spec.target_namespace,
            labels=owner.of_plan(),
        ),
        type="Opaque",
        data=data,
    )


def _snapshot(observed: Observed, migration: forklift.Migration) -> forklift.Snapshot:
    return run.snapshot_of(
        observed.plan,
        migration,
        source=observed.source,
        destination=observed.destination,
        network=observed.network_map,
        storage=observed.storage_map,
    )


def _archived(observed: Observed, planned: PlannedPlan | None, now: datetime) -> PlanDecision:
    found = (
        conditions.condition(
            "Archived",
            Category.ADVISORY,
            "The migration plan has been archived.",
            reason="UserRequested",
        ),
    )
    status, removals, wait_s = _removals(observed, planned, now)
    todo = (*_leftovers(observed), *removals)
    step = Run(status=status, actions=todo, requeue_after_s=wait_s)
    return _decision(observed, found, step, now)


def _removals(
    observed: Observed, planned: PlannedPlan | None, now: datetime
) -> tuple[forklift.PlanMigrationStatus | None, tuple[actions.OfPlan, ...], float | None]:
    """Go on with the removal of snapshots that a run has left at the source."""
    status = observed.status.migration
    if status is None or planned is None:
        return status, (), None
    return snapshot_removal.of_run(_scene(observed, planned), status, now)


def _deleted(observed: Observed, now: datetime) -> PlanDecision:
    """Wind up what runs, take away what only the plan needs, let the plan go."""
    plan = observed.plan
    if FINALIZER not in plan.metadata.finalizers:
        return Decision()
    asked_s = conditions.seconds_since(plan.metadata.deletion_timestamp, now)
    if run.active_uid(plan) and asked_s < GIVE_UP_S:
        return _running(observed, _planned(observed), now)
    own = [one for one in observed.transfers.values() if _is_own(observed, one.metadata)]
    status, removals, wait_s = _removals(observed, _planned(observed), now)
    todo = (*_leftovers(observed), *_orphans(observed), *removals)
    if (own or wait_s is not None) and asked_s < GIVE_UP_S:  # their pods go first
        kept = replace(observed.status, migration=status) if status else None
        return Decision(status=kept, actions=todo, requeue_after_s=GOING_S)
    return Decision(actions=(*todo, actions.SetFinalizer(plan=plan, held=False)))


def _leftovers(observed: Observed) -> Iterator[actions.OfPlan]:
    """Yield what takes away everything but claims and VMs."""
    for one in observed.transfers.values():
        if _is_own(observed, one.metadata) and not one.metadata.deletion_timestamp:
            yield actions.DeleteTransfer(
                namespace=one.metadata.namespace, name=one.metadata.name, uid=one.metadata.uid
            )
    if observed.secret_copy is not None:
        yield actions.DeleteSecret(
            namespace=observed.secret_copy.metadata.namespace,
            name=observed.secret_copy.metadata.name,
        )


def _orphans(observed: Observed) -> Iterator[actions.OfPlan]:
    """Yield what takes away claims of this plan that no VM has: copies that led to nothing."""
    used = {
        volume.persistent_volume_claim.claim_name
        for vm in observed.vms.values()
        if vm.spec.template.spec is not None
        for volume in vm.spec.template.spec.volumes
        if volume.persistent_volume_claim is not None
    }
    for one in observed.claims.values():
        owned = any(owner.kind == "VirtualMachine" for owner in one.metadata.owner_references)
        if _is_own(observed, one.metadata) and one.metadata.name not in used and not owned:
            yield actions.DeleteClaim(
                namespace=one.metadata.namespace, name=one.metadata.name, uid=one.metadata.uid
            )


def _is_own(observed: Observed, metadata: meta.ObjectMeta) -> bool:
    return metadata.labels.get(labels.PLAN) == observed.plan.metadata.uid


def _critical(kind: str, reason: str, message: str) -> Condition:
    return conditions.condition(kind, Category.CRITICAL, message, reason=reason)


def secret_name(plan: forklift.Plan) -> str:
    """Return the name of the copy of the source's secret."""
    return transfers.secret_name(plan)
