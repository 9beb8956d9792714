"""The controllers of virtual machines: what they read from caches, and what they do to the API.

built = build(client, caches, Settings(image="…"))
loop = Loop(built.controllers, …)
built.wire(loop.enqueue)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mtv.api import cdi, core, installation, kubevirt, well_known
from mtv_operator.objects import Cache, Caches, Client, Key
from mtv_operator.reconciling import Controller
from mtv_operator.serving.exposition import Family
from mtv_operator.virt_controller import data_volume_templates, hotplug, instance, metrics
from mtv_operator.virt_controller.instance_controller import InstanceController
from mtv_operator.virt_controller.migration_controller import (
    EvacuationController,
    MigrationController,
)
from mtv_operator.virt_controller.replica_set_controller import ReplicaSetController
from mtv_operator.virt_controller.small_controllers import InstallationController, NodeController
from mtv_operator.virt_controller.virtual_machine_controller import VirtualMachineController

Enqueue = Callable[[str, Key], None]

LAUNCHERS = f"{well_known.APP}=virt-launcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process was started with."""

    image: str = "mtv"  # of launcher pods; on the embedded node every image is this machine
    version: str = "0"
    data_volumes: bool = False  # the API has DataVolumes
    keeps_installation: bool = True  # no virt-operator writes the KubeVirt object's status


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The caches that the controllers read."""

    vms: Cache[kubevirt.VirtualMachine]
    instances: Cache[kubevirt.VirtualMachineInstance]
    migrations: Cache[kubevirt.VirtualMachineInstanceMigration]
    pods: Cache[core.Pod]
    claims: Cache[core.PersistentVolumeClaim]
    nodes: Cache[core.Node]
    installations: Cache[installation.KubeVirt]
    data_volumes: Cache[cdi.DataVolume] | None = None
    attachments: Cache[core.Pod]
    replica_sets: Cache[kubevirt.VirtualMachineInstanceReplicaSet]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The controllers, and how they hear of changes."""

    controllers: tuple[Controller, ...]
    wire: Callable[[Enqueue], None]
    metrics: Callable[[], list[Family]]


def build(client: Client, caches: Caches, settings: Settings) -> Built:
    """Return the controllers; the caches know afterwards what is to be watched."""
    world = World(
        vms=caches.watch(kubevirt.VirtualMachine),
        instances=caches.watch(kubevirt.VirtualMachineInstance),
        migrations=caches.watch(kubevirt.VirtualMachineInstanceMigration),
        pods=caches.watch(core.Pod, labels=LAUNCHERS),
        claims=caches.watch(core.PersistentVolumeClaim),
        nodes=caches.watch(core.Node),
        installations=caches.watch(installation.KubeVirt),
        data_volumes=caches.watch(cdi.DataVolume) if settings.data_volumes else None,
        attachments=caches.watch(core.Pod, labels=f"{well_known.APP}={hotplug.APP}"),
        replica_sets=caches.watch(kubevirt.VirtualMachineInstanceReplicaSet),
    )
    found: tuple[Controller, ...] = (
        VirtualMachineController(client, world.vms, world.instances, world.data_volumes),
        InstanceController(
            client,
            instances=world.instances,
            pods=world.pods,
            claims=world.claims,
            nodes=world.nodes,
            vms=world.vms,
            installations=world.installations,
            image=settings.image,
            attachments=world.attachments,
        ),
        MigrationController(
            client,
            migrations=world.migrations,
            instances=world.instances,
            pods=world.pods,
            claims=world.claims,
            nodes=world.nodes,
            installations=world.installations,
            image=settings.image,
        ),
        EvacuationController(client, world.instances, world.migrations),
        NodeController(client, world.nodes),
        ReplicaSetController(client, world.replica_sets, world.instances),
    )
    if settings.keeps_installation:
        found += (InstallationController(client, world.installations, settings.version),)

    def wire(enqueue: Enqueue) -> None:
        _wire(world, enqueue)
        if settings.keeps_installation:
            name = InstallationController.name
            world.installations.on_change(lambda key, _: enqueue(name, key))

    return Built(controllers=found, wire=wire, metrics=_measured(world, settings.version))


def _measured(world: World, version: str) -> Callable[[], list[Family]]:
    """Return what reads the metrics from the caches."""
    transitions = metrics.Transitions()
    world.instances.on_change(transitions.look)

    def measured() -> list[Family]:
        seen = metrics.Seen(
            vms=world.vms.list(),
            instances=world.instances.list(),
            migrations=world.migrations.list(),
            version=version,
        )
        return [*metrics.families(seen), *transitions.families()]

    return measured


def _wire(world: World, enqueue: Enqueue) -> None:
    """Have changes of one kind reconciled where they matter."""
    vm, vmi = VirtualMachineController.name, InstanceController.name

    def of_instance(key: Key, found: kubevirt.VirtualMachineInstance | None) -> None:
        of_vm(key, found)
        enqueue(EvacuationController.name, key)
        for owner in world.replica_sets.list(key.namespace):
            enqueue(ReplicaSetController.name, Key(key.namespace, owner.metadata.name))
        for one in world.migrations.list(key.namespace):
            if one.spec.vmi_name == key.name:
                enqueue(MigrationController.name, key_of(one))

    def of_migration(key: Key, found: kubevirt.VirtualMachineInstanceMigration | None) -> None:
        enqueue(MigrationController.name, key)
        if found is not None:
            enqueue(EvacuationController.name, Key(key.namespace, found.spec.vmi_name or ""))

    def of_vm(key: Key, _: object) -> None:
        enqueue(vm, key)
        enqueue(vmi, key)

    def of_pod(key: Key, pod: core.Pod | None) -> None:
        for name in owners(world, key, pod):
            enqueue(vmi, Key(key.namespace, name))
        job = pod.metadata.annotations.get(well_known.MIGRATION_NAME) if pod is not None else None
        if job:
            enqueue(MigrationController.name, Key(key.namespace, job))

    def of_claim(key: Key, _: object) -> None:
        for one in world.instances.list(key.namespace):
            if key.name in instance.claim_names(one):
                enqueue(vmi, Key(key.namespace, one.metadata.name))

    def of_data_volume(key: Key, found: cdi.DataVolume | None) -> None:
        for one in world.vms.list(key.namespace):
            if key.name in data_volume_templates.names(one):
                enqueue(vm, Key(key.namespace, one.metadata.name))

    def of_attachment(key: Key, pod: core.Pod | None) -> None:
        owners_of = {one.uid for one in pod.metadata.owner_references} if pod is not None else None
        for launcher in world.pods.list(key.namespace):
            if owners_of is None or launcher.metadata.uid in owners_of:
                of_pod(Key(key.namespace, launcher.metadata.name), launcher)

    world.attachments.on_change(of_attachment)
    if world.data_volumes is not None:
        world.data_volumes.on_change(of_data_volume)
    world.vms.on_change(of_vm)
    world.instances.on_change(of_instance)
    world.pods.on_change(of_pod)
    world.claims.on_change(of_claim)
    world.migrations.on_change(of_migration)
    world.replica_sets.on_change(lambda key, _: enqueue(ReplicaSetController.name, key))
    world.nodes.on_change(lambda key, _: enqueue(NodeController.name, key))


def key_of(one: kubevirt.VirtualMachineInstanceMigration) -> Key:
    """Return where a migration is."""
    return Key(one.metadata.namespace, one.metadata.name)


def owners(world: World, key: Key, pod: core.Pod | None) -> list[str]:
    """Return the instances that a pod may belong to; of one that is gone, all without a pod."""
    if pod is not None:
        kind = kubevirt.VirtualMachineInstance.kind_name()
        return [one.name for one in pod.metadata.owner_references if one.kind == kind]
    return [
        one.metadata.name
        for one in world.instances.list(key.namespace)
        if key.name.startswith(f"virt-launcher-{one.metadata.name}-")
    ]
