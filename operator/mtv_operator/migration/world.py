"""What the migration controllers see: caches of the kinds that they read, and who depends on whom.

One object for all controllers. Reads never wait, except for network attachment definitions, whose
kind may not exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mtv import errors
from mtv.api import batch, core, forklift, kubevirt, meta
from mtv.api.mtv import DiskTransfer
from mtv.planning import labels
from mtv.planning.target import Target
from mtv_operator.migration import conversion_pod, hook_jobs, provider
from mtv_operator.migration.inventory_cache import Inventories
from mtv_operator.objects import Caches, Client, Key, key_of

ATTACHMENTS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
_ATTACHMENTS_FRESH_S = 10.0

PROVIDER, HOST, NETWORK_MAP, STORAGE_MAP, HOOK, PLAN, MIGRATION = (
    "provider",
    "host",
    "networkmap",
    "storagemap",
    "hook",
    "plan",
    "migration",
)
Enqueue = Callable[[str, Key], None]  # the name of a controller, and what it is to look at


class World:
    """The caches, by name of what is in them."""

    def __init__(self, client: Client, caches: Caches, inventories: Inventories) -> None:
        self.client = client
        self.inventories = inventories
        self.providers = caches.watch(forklift.Provider)
        self.hosts = caches.watch(forklift.Host)
        self.network_maps = caches.watch(forklift.NetworkMap)
        self.storage_maps = caches.watch(forklift.StorageMap)
        self.hooks = caches.watch(forklift.Hook)
        self.plans = caches.watch(forklift.Plan)
        self.migrations = caches.watch(forklift.Migration)
        self.transfers = caches.watch(DiskTransfer)
        self.claims = caches.watch(core.PersistentVolumeClaim)
        self.vms = caches.watch(kubevirt.VirtualMachine)
        self.adapters = caches.watch(core.Pod, labels=conversion_pod.SELECTOR)
        self.secrets = caches.watch(core.Secret)
        self.jobs = caches.watch(batch.Job, labels=hook_jobs.SELECTOR)
        self.storage_classes = caches.watch(core.StorageClass)
        self._attachments: tuple[float, frozenset[str]] = (0.0, frozenset())

    def provider(self, reference: meta.ObjectReference, namespace: str) -> forklift.Provider | None:
        """Return the Provider that a reference names; `namespace` is that of who refers."""
        return self.providers.get(reference.namespace or namespace, reference.name)

    def secret(self, reference: meta.ObjectReference, namespace: str) -> core.Secret | None:
        """Return the Secret that a reference names."""
        return self.secrets.get(reference.namespace or namespace, reference.name)

    def migrations_of(self, plan: forklift.Plan) -> tuple[forklift.Migration, ...]:
        """Return the Migrations of a Plan, oldest first."""
        key = key_of(plan)
        found = [one for one in self.migrations.list() if plan_key(one) == key]
        return tuple(
            sorted(
                found,
                key=lambda one: (one.metadata.creation_timestamp or "", one.metadata.name),
            )
        )

    def target(self, *, with_attachments: bool) -> Target:
        """Return what is known of this cluster."""
        return Target(
            storage_classes={one.metadata.name: one for one in self.storage_classes.list()},
            network_attachments=self.attachments() if with_attachments else None,
            virtual_machines=tuple(self.vms.list()),
            claims=tuple(self.claims.list()),
            hooks={str(key_of(one)): one for one in self.hooks.list()},
        )

    def attachments(self) -> frozenset[str]:
        """Return the network attachment definitions, some seconds old, as `namespace/name`."""
        at, found = self._attachments
        if time.monotonic() - at > _ATTACHMENTS_FRESH_S or not at:
            found = read_attachments(self.client)
            self._attachments = (time.monotonic(), found)
        return found

    def wire(self, enqueue: Enqueue) -> None:
        """Have each change looked at by all whom it concerns."""
        self.providers.on_change(lambda key, _: self._provider_changed(enqueue, key))
        self.secrets.on_change(lambda key, _: self._secret_changed(enqueue, key))
        self.network_maps.on_change(lambda key, _: self._map_changed(enqueue, NETWORK_MAP, key))
        self.storage_maps.on_change(lambda key, _: self._map_changed(enqueue, STORAGE_MAP, key))
        self.hooks.on_change(lambda key, _: self._hook_changed(enqueue, key))
        self.hosts.on_change(lambda key, _: enqueue(HOST, key))
        self.plans.on_change(lambda key, _: self._plan_changed(enqueue, key))
        self.migrations.on_change(lambda key, one: _migration_changed(enqueue, key, one))
        self.storage_classes.on_change(lambda _key, _one: self._classes_changed(enqueue))
        for cache in (self.transfers, self.claims, self.vms, self.adapters, self.jobs):
            cache.on_change(lambda key, one: self._product_changed(enqueue, key, one))

    def inventory_changed(self, enqueue: Enqueue, key: str) -> None:
        """Have all looked at that depend on a source's inventory."""
        namespace, _, name = key.partition("/")
        self._provider_changed(enqueue, Key(namespace, name))

    def _provider_changed(self, enqueue: Enqueue, key: Key) -> None:
        enqueue(PROVIDER, key)
        for name, dependent in self._dependents(key):
            enqueue(name, dependent)

    def _dependents(self, key: Key) -> Iterator[tuple[str, Key]]:
        """Yield what refers to a Provider, maps first."""
        for one in self.network_maps.list():
            if key in _pair(one.spec.provider, one):
                yield NETWORK_MAP, key_of(one)
        for other in self.storage_maps.list():
            if key in _pair(other.spec.provider, other):
                yield STORAGE_MAP, key_of(other)
        for plan in self.plans.list():
            if key in _pair(plan.spec.provider, plan):
                yield PLAN, key_of(plan)
        for host in self.hosts.list():
            if key == _key(host.spec.provider, host):
                yield HOST, key_of(host)

    def _secret_changed(self, enqueue: Enqueue, key: Key) -> None:
        for one in self.providers.list():
            if _key(one.spec.secret, one) == key:
                enqueue(PROVIDER, key_of(one))
        for host in self.hosts.list():
            if _key(host.spec.secret, host) == key:
                enqueue(HOST, key_of(host))

    def _map_changed(self, enqueue: Enqueue, name: str, key: Key) -> None:
        enqueue(name, key)
        for plan in self.plans.list():
            named = plan.spec.map.network if name == NETWORK_MAP else plan.spec.map.storage
            if _key(named, plan) == key:
                enqueue(PLAN, key_of(plan))

    def _hook_changed(self, enqueue: Enqueue, key: Key) -> None:
        enqueue(HOOK, key)
        for plan in self.plans.list():
            if any(_key(hook.hook, plan) == key for vm in plan.spec.vms for hook in vm.hooks):
                enqueue(PLAN, key_of(plan))

    def _plan_changed(self, enqueue: Enqueue, key: Key) -> None:
        enqueue(PLAN, key)
        for one in self.migrations.list():
            if plan_key(one) == key:
                enqueue(MIGRATION, key_of(one))

    def _classes_changed(self, enqueue: Enqueue) -> None:
        for one in self.storage_maps.list():
            enqueue(STORAGE_MAP, key_of(one))
        for plan in self.plans.list():
            enqueue(PLAN, key_of(plan))

    def _product_changed(self, enqueue: Enqueue, key: Key, one: meta.Object | None) -> None:
        """Have the plan looked at that made an object; of a deleted one only the name is known."""
        if one is not None:
            uid = one.metadata.labels.get(labels.PLAN, "")
            for plan in self.plans.list() if uid else ():
                if plan.metadata.uid == uid:
                    enqueue(PLAN, key_of(plan))
            return
        for plan in self.plans.list():
            if plan.spec.target_namespace == key.namespace:
                enqueue(PLAN, key_of(plan))


def read_attachments(client: Client) -> frozenset[str]:
    """Return the network attachment definitions; none where the kind does not exist."""
    try:
        answer = client.raw("GET", ATTACHMENTS)
    except errors.NotFound:
        return frozenset()
    return frozenset(
        f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in (answer or {}).get("items", ())
    )


def plan_key(migration: forklift.Migration) -> Key:
    """Return the Plan that a Migration runs."""
    return _key(migration.spec.plan, migration)


def provider_key(plan: forklift.Plan) -> str:
    """Return the key of the inventory that a Plan's VMs come from."""
    return provider.key_of(*_key(plan.spec.provider.source, plan))


def _migration_changed(enqueue: Enqueue, key: Key, one: forklift.Migration | None) -> None:
    enqueue(MIGRATION, key)
    if one is not None:
        enqueue(PLAN, plan_key(one))


def _pair(pair: forklift.ProviderPair, referrer: meta.Object) -> tuple[Key, Key]:
    return _key(pair.source, referrer), _key(pair.destination, referrer)


def _key(reference: meta.ObjectReference, referrer: meta.Object) -> Key:
    return Key(reference.namespace or referrer.metadata.namespace, reference.name)
