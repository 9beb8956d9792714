"""Which controllers the process runs, and which changes they hear of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mtv import errors
from mtv.api import core
from mtv.api.mtv import MigrationSchedule
from mtv.inventory.model import VM, Inventory, Moref
from mtv_operator.data_volumes import controllers as data_volumes
from mtv_operator.inventory_api import vsphere
from mtv_operator.migration import controllers as migration
from mtv_operator.migration import disk_transfer, hook_engine, provider
from mtv_operator.migration.disk_transfer_controller import DiskTransfers
from mtv_operator.migration.disk_transfer_pod import PodSettings
from mtv_operator.migration.hook_engine import HookJobs
from mtv_operator.migration.inventory_cache import Inventories
from mtv_operator.migration.world import World
from mtv_operator.objects import Caches, Client, Key
from mtv_operator.reconciling import Controller
from mtv_operator.scheduling.controller import Schedules
from mtv_operator.serving.exposition import Family
from mtv_operator.virt_controller import controllers as virtual_machines

Enqueue = Callable[[str, Key], None]


MIGRATION, VIRTUAL_MACHINES, DATA_VOLUMES = PARTS = (
    "migration",
    "virtual-machines",
    "data-volumes",  # where CDI is absent: two that fill the same claim would harm it
)
DEFAULT_PARTS = (MIGRATION, VIRTUAL_MACHINES)
NO_ENGINE = "hooks are containers, and no container engine (podman, docker) answers here"
DATA_VOLUME_API = "/apis/cdi.kubevirt.io/v1beta1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    kubeconfig: str = ""
    transfer_host_network: bool = False
    transfers_per_provider: int = disk_transfer.Settings().most_per_provider
    transfers_per_host: int = disk_transfer.Settings().most_per_host
    transfers_per_target: int = disk_transfer.Settings().most_per_target
    workers: int = 4
    vms_at_once: int = migration.VMS_AT_ONCE
    leader_election: bool = False
    namespace: str = "mtv"
    launcher_image: str = "mtv"
    lease: str = "mtv-controller"
    parts: tuple[str, ...] = DEFAULT_PARTS
    virt_operator: bool = False
    host_provider: bool = False
    metrics_listen: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    hook_folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """Controllers, and how they hear of changes."""

    controllers: tuple[Controller, ...]
    wire: Callable[[Enqueue], None]
    inventory_changed: Callable[[Enqueue, str], None]
    metrics: Callable[[], list[Family]] = list


def assemble(
    client: Client, caches: Caches, inventories: Inventories, options: Options
) -> Assembled:
    """Build the controllers; the caches know afterwards what is to be watched."""
    parts: list[Assembled] = []
    if MIGRATION in options.parts:
        parts.append(_migration(client, caches, inventories, options))
    if VIRTUAL_MACHINES in options.parts:
        parts.append(_virtual_machines(client, caches, options))
    if DATA_VOLUMES in options.parts:
        filling = data_volumes.build(client, caches, options.launcher_image)
        parts.append(
            Assembled(
                controllers=filling.controllers,
                wire=filling.wire,
                inventory_changed=lambda *_: None,
            )
        )

    def wire(enqueue: Enqueue) -> None:
        for part in parts:
            part.wire(enqueue)

    def inventory_changed(enqueue: Enqueue, key: str) -> None:
        for part in parts:
            part.inventory_changed(enqueue, key)

    return Assembled(
        controllers=tuple(one for part in parts for one in part.controllers),
        wire=wire,
        inventory_changed=inventory_changed,
        metrics=lambda: [family for part in parts for family in part.metrics()],
    )


def _migration(
    client: Client, caches: Caches, inventories: Inventories, options: Options
) -> Assembled:
    seen = World(client, caches, inventories)
    engine = hook_engine.find_engine() if options.hook_folder else ""
    own = migration.build(
        seen,
        migration.Settings(
            vms_at_once=options.vms_at_once,
            image=options.launcher_image,
            workload=_workload,
            no_hooks=NO_ENGINE if options.hook_folder and not engine else "",
        ),
    )
    if engine:
        jobs = HookJobs(client, seen.jobs, engine, Path(options.hook_folder))
        hooks: tuple[HookJobs, ...] = (jobs,)
    else:
        hooks = ()
    pods = PodSettings(image=options.launcher_image, host_network=options.transfer_host_network)
    transfers = DiskTransfers(
        client,
        seen.transfers,
        caches.watch(core.Pod),
        seen.claims,
        host_of=lambda key, vm_id: _host_of(inventories, key, vm_id),
        settings=disk_transfer.Settings(
            most_per_provider=options.transfers_per_provider,
            most_per_host=options.transfers_per_host,
            most_per_target=options.transfers_per_target,
            pod=pods,
        ),
    )

    schedules = Schedules(
        client, caches.watch(MigrationSchedule), seen.plans, seen.migrations, seen.transfers
    )

    def wire(enqueue: Enqueue) -> None:
        seen.wire(enqueue)
        schedules.wire(enqueue)
        transfers.wire(enqueue)
        for one in hooks:
            one.wire(enqueue)

    return Assembled(
        controllers=(*own, transfers, schedules, *hooks),
        wire=wire,
        inventory_changed=seen.inventory_changed,
    )


def _workload(inventory: Inventory, vm: VM) -> Mapping[str, Any]:
    """Return what a hook is told of a VM: what the inventory API says of it."""
    scene = vsphere.Scene(inventory=inventory, link="", revision=0)
    return vsphere.workload_document(scene, vm, vsphere.ALL)


def _virtual_machines(client: Client, caches: Caches, options: Options) -> Assembled:
    settings = virtual_machines.Settings(
        image=options.launcher_image,
        version=metadata.version("mtv"),
        data_volumes=DATA_VOLUMES in options.parts or _has_data_volumes(client),
        keeps_installation=not options.virt_operator,
    )
    built = virtual_machines.build(client, caches, settings)
    return Assembled(
        controllers=built.controllers,
        wire=built.wire,
        inventory_changed=lambda *_: None,
        metrics=built.metrics,
    )


def _has_data_volumes(client: Client) -> bool:
    """Tell whether the API has DataVolumes: CDI's, on a cluster."""
    try:
        client.raw("GET", DATA_VOLUME_API)
    except errors.MigrationError:
        return False
    return True


def _host_of(inventories: Inventories, key: Key, vm_id: str) -> str:
    """Return the id of the host that a VM of a provider is on; "" if that is not known."""
    inventory = inventories.view(provider.key_of(*key)).inventory
    vm = inventory.vms.get(Moref(vm_id)) if inventory is not None else None
    return (vm.host or "") if vm is not None else ""
