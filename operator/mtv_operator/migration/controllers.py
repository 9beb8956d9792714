"""The controllers of the migration kinds: what each observes, and how its decisions are done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from mtv import errors
from mtv.api import forklift, meta
from mtv.inventory.model import VM, Inventory
from mtv.planning import plan_checks
from mtv_operator.migration import (
    actions,
    downtime,
    effects,
    hook,
    host,
    maps,
    migration,
    plan,
    provider,
    run,
    warm,
    world,
)
from mtv_operator.migration.source_snapshots import Ledger
from mtv_operator.migration.world import World
from mtv_operator.objects import Client, Key
from mtv_operator.reconciling import Controller, Decision

VMS_AT_ONCE = 10

ObjectT = TypeVar("ObjectT", bound=meta.Object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be chosen when the process starts."""

    vms_at_once: int = VMS_AT_ONCE  # of all plans together
    # What a hook is told of a VM, and "" or why hooks cannot be run here.
    workload: Callable[[Inventory, VM], Mapping[str, Any]] = lambda _inventory, _vm: {}
    no_hooks: str = ""
    image: str = "mtv"  # of pods that adapt guests


def build(seen: World, settings: Settings) -> list[Controller]:
    """Return the controllers of the migration kinds, but that of DiskTransfers."""
    return [
        Providers(seen),
        Hosts(seen),
        Maps(seen, world.NETWORK_MAP),
        Maps(seen, world.STORAGE_MAP),
        Hooks(seen),
        Plans(seen, settings),
        Migrations(seen),
    ]


class _Statuses(Generic[ObjectT]):
    """Writes statuses, and knows which of the versions that caches still show are outdated."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._outdated: dict[Key, str] = {}
        self._lock = threading.Lock()

    def is_outdated(self, key: Key, one: meta.Object) -> bool:
        """Tell whether we have written to this version: the cache brings a newer one at once."""
        with self._lock:
            return self._outdated.get(key) == one.metadata.resource_version

    def write(self, key: Key, one: ObjectT, status: Any) -> None:  # noqa: ANN401 - each kind's own
        """Store a status, if it is another one. Raises Conflict."""
        before = getattr(one, "status", None)
        if status == before:
            return
        changed: ObjectT = msgspec.structs.replace(one, status=status)
        self._client.replace_status(changed)
        with self._lock:
            self._outdated[key] = one.metadata.resource_version

    def forget(self, key: Key) -> None:
        """Let go of what is known of an object that is gone."""
        with self._lock:
            self._outdated.pop(key, None)


class Providers:
    """The controller of Providers."""

    name = world.PROVIDER

    def __init__(self, seen: World) -> None:
        self._seen = seen
        self._statuses = _Statuses[forklift.Provider](seen.client)

    def observe(self, key: Key) -> provider.Observed | None:
        """Return a Provider with its secret and view; one that is gone is no longer watched."""
        found = self._seen.providers.get(*key)
        if found is None or found.metadata.deletion_timestamp:
            self._seen.inventories.forget(provider.key_of(*key))
            self._statuses.forget(key)
            return None
        if self._statuses.is_outdated(key, found):
            return None
        return provider.Observed(
            provider=found,
            secret=self._seen.secret(found.spec.secret, key.namespace),
            view=self._seen.inventories.view(provider.key_of(*key)),
        )

    def decide(
        self, observed: provider.Observed, now: datetime
    ) -> Decision[provider.Action, forklift.ProviderStatus]:
        """Decide."""
        return provider.decide(observed, now)

    def perform(self, observed: provider.Observed, action: provider.Action) -> None:
        """Have the source watched, or not."""
        if isinstance(action, provider.Watch):
            self._seen.inventories.watch(action.key, action.access)
        else:
            self._seen.inventories.forget(action.key)

    def write_status(self, observed: provider.Observed, status: forklift.ProviderStatus) -> None:
        """Store the status."""
        one = observed.provider
        self._statuses.write(Key(one.metadata.namespace, one.metadata.name), one, status)


class Hosts:
    """The controller of Hosts."""

    name = world.HOST

    def __init__(self, seen: World) -> None:
        self._seen = seen
        self._statuses = _Statuses[forklift.Host](seen.client)

    def observe(self, key: Key) -> host.Observed | None:
        """Return a Host and what it names."""
        found = self._seen.hosts.get(*key)
        if found is None or self._statuses.is_outdated(key, found):
            return None
        reference = found.spec.provider
        return host.Observed(
            host=found,
            provider=self._seen.provider(reference, key.namespace),
            secret=self._seen.secret(found.spec.secret, key.namespace),
            view=self._seen.inventories.view(
                provider.key_of(reference.namespace or key.namespace, reference.name)
            ),
        )

    def decide(self, observed: host.Observed, now: datetime) -> Decision[None, forklift.HostStatus]:
        """Decide."""
        return host.decide(observed, now)

    def perform(self, observed: host.Observed, action: None) -> None:
        """Do nothing: Hosts have no effects."""

    def write_status(self, observed: host.Observed, status: forklift.HostStatus) -> None:
        """Store the status."""
        one = observed.host
        self._statuses.write(Key(one.metadata.namespace, one.metadata.name), one, status)


class Maps:
    """The controller of NetworkMaps, or of StorageMaps."""

    def __init__(self, seen: World, name: str) -> None:
        self.name = name
        self._seen = seen
        self._statuses = _Statuses[forklift.NetworkMap | forklift.StorageMap](seen.client)

    def observe(self, key: Key) -> maps.Observed | None:
        """Return a map with the providers on both sides."""
        found: forklift.NetworkMap | forklift.StorageMap | None
        if self.name == world.NETWORK_MAP:
            found = self._seen.network_maps.get(*key)
        else:
            found = self._seen.storage_maps.get(*key)
        if found is None or self._statuses.is_outdated(key, found):
            return None
        pair = found.spec.provider
        source = pair.source
        return maps.Observed(
            map=found,
            source=self._seen.provider(source, key.namespace),
            destination=self._seen.provider(pair.destination, key.namespace),
            view=self._seen.inventories.view(
                provider.key_of(source.namespace or key.namespace, source.name)
            ),
            target=self._seen.target(with_attachments=has_attachments(found)),
        )

    def decide(self, observed: maps.Observed, now: datetime) -> Decision[None, forklift.MapStatus]:
        """Decide."""
        return maps.decide(observed, now)

    def perform(self, observed: maps.Observed, action: None) -> None:
        """Do nothing: maps have no effects."""

    def write_status(self, observed: maps.Observed, status: forklift.MapStatus) -> None:
        """Store the status."""
        one = observed.map
        self._statuses.write(Key(one.metadata.namespace, one.metadata.name), one, status)


class Hooks:
    """The controller of Hooks."""

    name = world.HOOK

    def __init__(self, seen: World) -> None:
        self._seen = seen
        self._statuses = _Statuses[forklift.Hook](seen.client)

    def observe(self, key: Key) -> hook.Observed | None:
        """Return a Hook."""
        found = self._seen.hooks.get(*key)
        if found is None or self._statuses.is_outdated(key, found):
            return None
        return hook.Observed(hook=found)

    def decide(self, observed: hook.Observed, now: datetime) -> Decision[None, forklift.HookStatus]:
        """Decide."""
        return hook.decide(observed, now)

    def perform(self, observed: hook.Observed, action: None) -> None:
        """Do nothing: Hooks have no effects yet."""

    def write_status(self, observed: hook.Observed, status: forklift.HookStatus) -> None:
        """Store the status."""
        one = observed.hook
        self._statuses.write(Key(one.metadata.namespace, one.metadata.name), one, status)


class Plans:
    """The controller of Plans, which runs migrations.

    What an action of a VM was refused with is remembered until the run is over, so that the next
    decision can tell the user; whoever starts anew is refused again.
    """

    name = world.PLAN

    def __init__(self, seen: World, settings: Settings) -> None:
        self._seen = seen
        self._settings = settings
        self._statuses = _Statuses[forklift.Plan](seen.client)
        self._faults: dict[str, dict[str, dict[str, errors.MigrationError]]] = {}  # run, VM, action
        self._ledger = Ledger()

    def observe(self, key: Key) -> plan.Observed | None:
        """Return a Plan and everything around it."""
        seen, found = self._seen, self._seen.plans.get(*key)
        if found is None:
            self._statuses.forget(key)
            return None
        if self._statuses.is_outdated(key, found):
            return None
        spec, namespace = found.spec, found.spec.target_namespace
        network = _of(seen.network_maps.get, spec.map.network, key.namespace)
        storage = _of(seen.storage_maps.get, spec.map.storage, key.namespace)
        source = seen.provider(spec.provider.source, key.namespace)
        uid = run.active_uid(found)
        with_attachments = bool(spec.transfer_network) or (
            network is not None and has_attachments(network)
        )
        return plan.Observed(
            plan=found,
            source=source,
            destination=seen.provider(spec.provider.destination, key.namespace),
            network_map=network,
            storage_map=storage,
            view=seen.inventories.view(world.provider_key(found)),
            target=replace(
                seen.target(with_attachments=with_attachments), no_hooks=self._settings.no_hooks
            ),
            migrations=seen.migrations_of(found),
            secret=seen.secret(source.spec.secret, source.metadata.namespace) if source else None,
            secret_copy=seen.secrets.get(namespace, plan.secret_name(found)),
            transfers=_by_name(seen.transfers.list(namespace)),
            claims=_by_name(seen.claims.list(namespace)),
            adapters=_by_name(seen.adapters.list(namespace)),
            image=self._settings.image,
            vms=_by_name(seen.vms.list(namespace)),
            faults={vm: dict(found) for vm, found in self._faults.get(uid, {}).items()},
            snapshots=self._snapshots_of(found),
            shutdowns_s=self._shutdowns_s(found),
            jobs=_by_name(seen.jobs.list(key.namespace)),
            workloads=self._workloads(found),
            free=self._settings.vms_at_once - self._running_elsewhere(found),
        )

    def _shutdowns_s(self, found: forklift.Plan) -> tuple[int, ...]:
        """Return how long the guests of other plans of this source took to shut down."""
        if not plan_checks.is_warm(found.spec):
            return ()
        source = world.provider_key(found)
        return tuple(
            took_s
            for other in self._seen.plans.list()
            if other.metadata.uid != found.metadata.uid and world.provider_key(other) == source
            if other.status is not None and other.status.migration is not None
            for took_s in downtime.measured(other.status.migration.vms)
        )

    def _snapshots_of(self, found: forklift.Plan) -> dict[str, warm.Seen]:
        """Return what was seen last of our snapshots of a plan's VMs."""
        status = found.status.migration if found.status else None
        seen = {
            vm.id: self._ledger.of(warm.prefix(found.metadata.uid, vm.id))
            for vm in (status.vms if status else ())
            if vm.id and vm.warm
        }
        return {vm_id: one for vm_id, one in seen.items() if one is not None}

    def _workloads(self, found: forklift.Plan) -> dict[str, Mapping[str, Any]]:
        """Return what hooks are told of the VMs that have some."""
        inventory = self._seen.inventories.view(world.provider_key(found)).inventory
        if inventory is None:
            return {}
        wanted = {one.id for one in found.spec.vms if one.hooks}
        wanted |= {one.name for one in found.spec.vms if one.hooks}
        return {
            vm.id: self._settings.workload(inventory, vm)
            for vm in (inventory.vms.values() if wanted - {None} else ())
            if {vm.id, vm.name, vm.path} & wanted
        }

    def _running_elsewhere(self, own: forklift.Plan) -> int:
        return sum(
            1
            for other in self._seen.plans.list()
            if other.metadata.uid != own.metadata.uid and run.active_uid(other)
            for vm in (
                other.status.migration.vms if other.status and other.status.migration else ()
            )
            if run.is_under_way(vm)
        )

    def decide(self, observed: plan.Observed, now: datetime) -> plan.PlanDecision:
        """Decide."""
        return plan.decide(observed, now)

    def perform(self, observed: plan.Observed, action: actions.OfPlan) -> None:
        """Carry out one action; a refusal that concerns a VM is remembered and raised."""
        try:
            effects.perform(self._seen.client, self._seen.inventories, self._ledger, action)
        except errors.NeedsOperator as fault:
            uid, vm_id = run.active_uid(observed.plan), actions.vm_of(action)
            if uid and vm_id:
                of_vm = self._faults.setdefault(uid, {}).setdefault(vm_id, {})
                of_vm[type(action).__name__] = fault
            raise

    def write_status(self, observed: plan.Observed, status: forklift.PlanStatus) -> None:
        """Store the status; what a run was refused is forgotten at its end."""
        one = observed.plan
        self._statuses.write(Key(one.metadata.namespace, one.metadata.name), one, status)
        if status.migration and status.migration.completed:
            for past in status.migration.history:
                self._faults.pop(past.migration.uid, None)


class Migrations:
    """The controller of Migrations, which show the runs of Plans."""

    name = world.MIGRATION

    def __init__(self, seen: World) -> None:
        self._seen = seen
        self._statuses = _Statuses[forklift.Migration](seen.client)

    def observe(self, key: Key) -> migration.Observed | None:
        """Return a Migration and its Plan."""
        found = self._seen.migrations.get(*key)
        if found is None or self._statuses.is_outdated(key, found):
            return None
        return migration.Observed(
            migration=found, plan=self._seen.plans.get(*world.plan_key(found))
        )

    def decide(
        self, observed: migration.Observed, now: datetime
    ) -> Decision[None, forklift.MigrationStatus]:
        """Decide."""
        return migration.decide(observed, now)

    def perform(self, observed: migration.Observed, action: None) -> None:
        """Do nothing: the Plan's controller runs migrations."""

    def write_status(self, observed: migration.Observed, status: forklift.MigrationStatus) -> None:
        """Store the status."""
        one = observed.migration
        self._statuses.write(Key(one.metadata.namespace, one.metadata.name), one, status)


def has_attachments(found: forklift.NetworkMap | forklift.StorageMap) -> bool:
    """Tell whether a map names network attachment definitions."""
    return isinstance(found, forklift.NetworkMap) and any(
        pair.destination.type == "multus" for pair in found.spec.map
    )


def _of(get: Any, reference: meta.ObjectReference, namespace: str) -> Any:  # noqa: ANN401
    return get(reference.namespace or namespace, reference.name)


def _by_name(found: Sequence[ObjectT]) -> dict[str, ObjectT]:
    return {one.metadata.name: one for one in found}
