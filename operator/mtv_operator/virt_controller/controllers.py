"""The controllers of virtual machines: what they read from caches, and what they do to the API.

built = build(client, caches, Settings(image="…"))
loop = Loop(built.controllers, …)
built.wire(loop.enqueue)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mtv.api import core, installation, kubevirt, well_known
from mtv_operator.objects import Cache, Caches, Client, Key
from mtv_operator.reconciling import Controller
from mtv_operator.virt_controller import instance
from mtv_operator.virt_controller.instance_controller import InstanceController
from mtv_operator.virt_controller.small_controllers import (
    InstallationController,
    MigrationController,
    NodeController,
)
from mtv_operator.virt_controller.virtual_machine_controller import VirtualMachineController

Enqueue = Callable[[str, Key], None]

LAUNCHERS = f"{well_known.APP}=virt-launcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process was started with."""

    image: str = "mtv"  # of launcher pods; on the embedded node every image is this machine
    version: str = "0"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The controllers, and how they hear of changes."""

    controllers: tuple[Controller, ...]
    wire: Callable[[Enqueue], None]


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
    )
    found: tuple[Controller, ...] = (
        VirtualMachineController(client, world.vms, world.instances),
        InstanceController(
            client,
            instances=world.instances,
            pods=world.pods,
            claims=world.claims,
            nodes=world.nodes,
            vms=world.vms,
            installations=world.installations,
            image=settings.image,
        ),
        MigrationController(client, world.migrations),
        NodeController(client, world.nodes),
    )
    if settings.keeps_installation:
        found += (InstallationController(client, world.installations, settings.version),)

    def wire(enqueue: Enqueue) -> None:
        _wire(world, enqueue)
        if settings.keeps_installation:
            name = InstallationController.name
            world.installations.on_change(lambda key, _: enqueue(name, key))

    return Built(controllers=found, wire=wire)


def _wire(world: World, enqueue: Enqueue) -> None:
    """Have changes of one kind reconciled where they matter."""
    vm, vmi = VirtualMachineController.name, InstanceController.name

    def of_vm(key: Key, _: object) -> None:
        enqueue(vm, key)
        enqueue(vmi, key)

    def of_pod(key: Key, pod: core.Pod | None) -> None:
        for name in owners(world, key, pod):
            enqueue(vmi, Key(key.namespace, name))

    def of_claim(key: Key, _: object) -> None:
        for one in world.instances.list(key.namespace):
            if key.name in instance.claim_names(one):
                enqueue(vmi, Key(key.namespace, one.metadata.name))

    world.vms.on_change(of_vm)
    world.instances.on_change(of_vm)
    world.pods.on_change(of_pod)
    world.claims.on_change(of_claim)
    world.migrations.on_change(lambda key, _: enqueue(MigrationController.name, key))
    world.nodes.on_change(lambda key, _: enqueue(NodeController.name, key))


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
