"""A vSphere inventory as Forklift's inventory API shows it. Pure.

Field names and nesting are Forklift's (`pkg/controller/provider/web/vsphere`), as its clients read
them: `capacity` is bytes, `memoryMB` is MiB, a reference is `{kind, id}`.

Each resource has levels of detail: 0 says what it is, 1 what a table shows, 2 all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mtv.inventory.model import (
    VM,
    Cluster,
    Datastore,
    Disk,
    Folder,
    Host,
    Inventory,
    Moref,
    Network,
    Nic,
)
from mtv.planning import concerns

Document = dict[str, Any]

MIB = 1 << 20
ALL = 2  # the most that any resource has
DATACENTER = "Datacenter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One inventory, and where it is served."""

    inventory: Inventory
    link: str  # providers/vsphere/<uid>
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """One kind of resource: which there are, and what is said of one."""

    all: Callable[[Inventory], Iterable[Any]]
    describe: Callable[[Scene, Any, int], Document]
    list_detail: int | None = None  # lists have this detail whatever is asked


def real(vm: VM) -> bool:
    """Tell whether a VM can be migrated at all: neither a template nor an orphan's shadow."""
    return not vm.is_template and bool(vm.uuid or vm.host)


def reference(kind: str, identifier: str | None) -> Document:
    """Return a reference; both parts are empty where there is nothing."""
    return {"kind": kind if identifier else "", "id": identifier or ""}


def _base(scene: Scene, collection: str, one: Any, parent: Document) -> Document:  # noqa: ANN401
    return {
        "id": one.id,
        "parent": parent,
        "path": one.path,
        "revision": scene.revision,
        "name": one.name,
        "selfLink": f"{scene.link}/{collection}/{one.id}",
    }


# Virtual machines


def vm_document(scene: Scene, vm: VM, detail: int) -> Document:
    """Return a VM."""
    return _vm(scene, "vms", vm, detail)


def workload_document(scene: Scene, vm: VM, detail: int) -> Document:
    """Return a VM with its host, the host's cluster and the cluster's datacenter in it."""
    found = _vm(scene, "workloads", vm, ALL)
    inventory = scene.inventory
    host = inventory.hosts.get(vm.host) if vm.host else None
    if host is None:
        return found
    embedded = host_document(scene, host, ALL)
    cluster = inventory.clusters.get(host.cluster) if host.cluster else None
    if cluster is not None:
        datacenter = inventory.folders.get(vm.datacenter) if vm.datacenter else None
        embedded["cluster"] = {
            **cluster_document(scene, cluster, ALL),
            "datacenter": datacenter_document(scene, datacenter, ALL) if datacenter else None,
        }
    return {**found, "host": embedded}


def _vm(scene: Scene, collection: str, vm: VM, detail: int) -> Document:
    found = _base(scene, collection, vm, reference("Folder", vm.folder))
    if detail < 1:
        return found
    found |= {
        "revisionValidated": scene.revision,
        "isTemplate": vm.is_template,
        "powerState": str(vm.power_state),
        "host": vm.host or "",
        "networks": [reference("Network", one) for one in vm.networks],
        "disks": [_disk(one) for one in vm.disks],
        "concerns": [
            {
                "id": one.id,
                "label": one.label,
                "category": str(one.category),
                "assessment": one.assessment,
            }
            for one in concerns.evaluate(vm, scene.inventory)
        ],
        "policyVersion": concerns.RULES_VERSION,
    }
    return {**found, **_hardware(vm), **_guest(vm)} if detail >= ALL else found


def _hardware(vm: VM) -> Document:
    current = next((one for one in vm.snapshots if one.current), None)
    return {
        "uuid": vm.uuid,
        "instanceUuid": vm.instance_uuid,
        "firmware": str(vm.firmware),
        "secureBoot": vm.secure_boot,
        "tpmEnabled": vm.vtpm,
        "connectionState": vm.connection_state,
        "snapshot": reference("VirtualMachineSnapshot", current.id if current else None),
        "changeTrackingEnabled": vm.change_tracking,
        "consolidationNeeded": vm.consolidation_needed,
        "cpuAffinity": list(vm.cpu_affinity),
        "cpuHotAddEnabled": vm.cpu_hot_add,
        "cpuHotRemoveEnabled": vm.cpu_hot_remove,
        "memoryHotAddEnabled": vm.memory_hot_add,
        "faultToleranceEnabled": vm.fault_tolerance,
        "nestedHVEnabled": vm.nested_hv,
        "diskEnableUuid": vm.disk_enable_uuid,
        "numaNodeAffinity": vm.numa_affinity.split(",") if vm.numa_affinity else [],
        "cpuCount": vm.cpu_count,
        "coresPerSocket": vm.cores_per_socket,
        "memoryMB": vm.memory_bytes // MIB,
        "balloonedMemory": vm.ballooned_bytes // MIB,
        "storageUsed": vm.storage_used_bytes,
        "devices": [
            {"kind": one.kind, "key": one.key, "pciSlotNumber": one.pci_slot or 0}
            for one in vm.devices
        ],
        "nics": [_nic(one) for one in vm.nics],
        "customDef": [{"key": at, "name": name} for at, (name, _) in enumerate(vm.custom_values)],
        "customValues": [
            {"key": at, "value": value} for at, (_, value) in enumerate(vm.custom_values)
        ],
        "tags": [{"category": one.category, "name": one.name} for one in vm.tags],
    }


def _guest(vm: VM) -> Document:
    """Return what the guest's tools said."""
    return {
        "guestId": vm.guest_id,
        "guestName": vm.guest_name,
        "guestNameFromVmwareTools": vm.guest_name_tools,
        "hostName": vm.hostname,
        "ipAddress": vm.ip_address,
        "toolsStatus": vm.tools_status,
        "toolsRunningStatus": "guestToolsRunning" if vm.tools_running else "guestToolsNotRunning",
        "toolsVersionStatus2": vm.tools_version_status,
        "guestNetworks": [
            {
                "device": one.device,
                "deviceConfigId": one.device_key,
                "mac": one.mac,
                "ip": one.ip,
                "origin": one.origin,
                "prefix": one.prefix,
                "dns": list(one.dns),
                "network": "",
            }
            for one in vm.guest_networks
        ],
        "guestDisks": [
            {
                "key": one.disk_key,
                "diskPath": one.path,
                "capacity": one.capacity_bytes,
                "freeSpace": one.free_bytes,
                "filesystemType": one.filesystem,
            }
            for one in vm.guest_disks
        ],
        "guestIpStacks": [
            {
                "device": one.device,
                "gateway": one.gateway,
                "network": "0.0.0.0",
                "prefix": 0,
                "dns": list(one.dns),
            }
            for one in vm.guest_networks
            if one.gateway
        ],
    }


def _disk(disk: Disk) -> Document:
    return {
        "key": disk.key,
        "unitNumber": disk.unit_number,
        "controllerKey": disk.controller_key,
        "file": disk.file,
        "datastore": reference("Datastore", disk.datastore),
        "capacity": disk.capacity_bytes,
        "shared": disk.shared,
        "rdm": disk.rdm,
        "physicalMode": disk.rdm_physical,
        "bus": str(disk.bus),
        "mode": disk.mode,
        "serial": disk.serial,
        "winDriveLetter": "",
        "changeTrackingEnabled": disk.change_tracking,
        "parent": disk.parent_files[0] if disk.parent_files else "",
        "deviceName": disk.device_name,
        "vvolId": disk.vvol_id,
        "lunUuid": disk.lun_uuid,
    }


def _nic(nic: Nic) -> Document:
    return {
        "network": reference("Network", nic.network),
        "mac": nic.mac,
        "order": nic.order,
        "deviceKey": nic.key,
        "pciAddress": str(nic.pci_slot) if nic.pci_slot is not None else "",
        "startConnected": nic.start_connected,
    }


# What virtual machines stand on


def network_document(scene: Scene, network: Network, detail: int) -> Document:
    """Return a network."""
    found = _base(scene, "networks", network, reference("", None))
    found["variant"] = network.variant
    if detail < 1:
        return found
    return found | {
        "dvSwitch": reference("DvSwitch", network.dv_switch),
        "vlanId": network.vlan,
        "host": [reference("Host", one) for one in network.hosts],
        "tag": "",
        "key": network.key,
    }


def datastore_document(scene: Scene, store: Datastore, detail: int) -> Document:
    """Return a datastore."""
    found = _base(scene, "datastores", store, reference(DATACENTER, store.datacenter))
    if detail < 1:
        return found
    return found | {
        "type": store.type,
        "capacity": store.capacity_bytes,
        "free": store.free_bytes,
        "maintenance": store.maintenance,
        "backingDevicesNames": list(store.backing_devices),
        "nasRemoteHost": store.nas_host,
        "nasRemotePath": store.nas_path,
        "hosts": [reference("Host", one) for one in store.hosts],
    }


def host_document(scene: Scene, host: Host, detail: int) -> Document:
    """Return an ESXi host."""
    found = _base(scene, "hosts", host, reference("Cluster", host.cluster))
    if detail < 1:
        return found
    adapters = [
        {
            "name": "Management Network",
            "ipAddress": host.management_ip,
            "subnetMask": "",
            "linkSpeed": 0,
            "mtu": 0,
        }
    ]
    return found | {
        "cluster": host.cluster or "",
        "status": host.status,
        "inMaintenance": host.in_maintenance,
        "managementServerIp": host.management_server_ip,
        "thumbprint": host.thumbprint,
        "timezone": host.time_zone,
        "cpuSockets": host.cpu_sockets,
        "cpuCores": host.cpu_cores,
        "memoryBytes": host.memory_bytes,
        "productName": host.product_name,
        "productVersion": host.product_version,
        "networking": {"pNICs": [], "vNICs": [], "portGroups": [], "switches": []},
        "networks": [reference("Network", one) for one in host.networks],
        "datastores": [reference("Datastore", one) for one in host.datastores],
        "vms": [
            reference("VM", one.id)
            for one in scene.inventory.vms.values()
            if one.host == host.id and real(one)
        ]
        if detail >= ALL
        else [],
        "networkAdapters": adapters if host.management_ip else [],
    }


def cluster_document(scene: Scene, cluster: Cluster, detail: int) -> Document:
    """Return a cluster."""
    found = _base(scene, "clusters", cluster, reference("", None))
    if detail < 1:
        return found
    return found | {
        "dasEnabled": cluster.ha_enabled,
        "drsEnabled": cluster.drs_enabled,
        "drsBehavior": cluster.drs_behavior,
        "dpmEnabled": cluster.dpm_enabled,
        "hosts": [reference("Host", one) for one in cluster.hosts],
        "hostAffinityVms": [reference("VM", one) for one in cluster.host_affinity_vms],
    }


def datacenter_document(scene: Scene, datacenter: Folder, detail: int) -> Document:
    """Return a datacenter, with the folders that every datacenter has."""
    found = _base(scene, "datacenters", datacenter, reference("Folder", datacenter.parent))
    if detail < 1:
        return found
    below = {
        one.name: one for one in scene.inventory.folders.values() if one.parent == datacenter.id
    }
    for field, name in (
        ("clusters", "host"),
        ("networks", "network"),
        ("datastores", "datastore"),
        ("vms", "vm"),
    ):
        found[field] = reference("Folder", below[name].id if name in below else None)
    return found


def folder_document(scene: Scene, folder: Folder, detail: int) -> Document:
    """Return a folder."""
    above = scene.inventory.folders.get(folder.parent) if folder.parent else None
    found = _base(
        scene, "folders", folder, reference(above.kind if above else "Folder", folder.parent)
    )
    if detail < 1:
        return found
    inventory = scene.inventory
    folders = [one for one in inventory.folders.values() if one.parent == folder.id]
    return found | {
        "folder": folder.parent or "",
        "children": [
            *(reference(one.kind, one.id) for one in folders),
            *(reference("VM", one.id) for one in inventory.vms.values() if one.folder == folder.id),
        ],
    }


def _of_kind(kind: str) -> Callable[[Inventory], Iterable[Folder]]:
    return lambda inventory: [one for one in inventory.folders.values() if one.kind == kind]


def _real_vms(inventory: Inventory) -> list[VM]:
    return [one for one in inventory.vms.values() if real(one)]


COLLECTIONS: Mapping[str, Collection] = {
    # Forklift gives lists of VMs in full, as its console needs their concerns.
    "vms": Collection(all=_real_vms, describe=vm_document, list_detail=ALL),
    "workloads": Collection(all=_real_vms, describe=workload_document),
    "networks": Collection(all=lambda all_: all_.networks.values(), describe=network_document),
    "datastores": Collection(
        all=lambda all_: all_.datastores.values(), describe=datastore_document
    ),
    "hosts": Collection(all=lambda all_: all_.hosts.values(), describe=host_document),
    "clusters": Collection(all=lambda all_: all_.clusters.values(), describe=cluster_document),
    "datacenters": Collection(all=_of_kind(DATACENTER), describe=datacenter_document),
    "folders": Collection(all=_of_kind("Folder"), describe=folder_document),
}


# Counts, for the Provider, and trees


def counts(inventory: Inventory) -> Document:
    """Return what Forklift counts of a Provider."""
    return {
        "apiVersion": inventory.version,
        "product": inventory.product,
        "instanceUuid": inventory.instance_uuid,
        "datacenterCount": len(list(_of_kind(DATACENTER)(inventory))),
        "clusterCount": len(inventory.clusters),
        "hostCount": len(inventory.hosts),
        "vmCount": len(_real_vms(inventory)),
        "networkCount": len(inventory.networks),
        "datastoreCount": len(inventory.datastores),
    }


def tree(scene: Scene, kind: str, detail: int) -> Document:
    """Return all datacenters with what is below them: `host` (by cluster) or `vm` (by folder)."""
    below = _hosts_below if kind == "host" else _folders_below
    children = [
        _node("Datacenter", datacenter_document(scene, one, detail), below(scene, one, detail))
        for one in _of_kind(DATACENTER)(scene.inventory)
    ]
    return _node("", None, children)


def _node(kind: str, described: Document | None, children: Iterable[Document]) -> Document:
    return {"kind": kind, "object": described, "children": list(children)}


def _vm_nodes(scene: Scene, detail: int, where: Callable[[VM], bool]) -> Iterator[Document]:
    for vm in _real_vms(scene.inventory):
        if where(vm):
            yield _node("VM", vm_document(scene, vm, detail), ())


def _folders_below(scene: Scene, folder: Folder, detail: int) -> Iterator[Document]:
    for one in scene.inventory.folders.values():
        if one.parent != folder.id or (folder.kind == DATACENTER and one.name != "vm"):
            continue
        children = list(_folders_below(scene, one, detail))
        if folder.kind == DATACENTER:  # the folder `vm` itself is not shown
            yield from children
        else:
            yield _node("Folder", folder_document(scene, one, detail), children)
    yield from _vm_nodes(scene, detail, lambda vm: vm.folder == folder.id)


def _hosts_below(scene: Scene, datacenter: Folder, detail: int) -> Iterator[Document]:
    inventory = scene.inventory
    for cluster in inventory.clusters.values():
        if _datacenter_of(inventory, cluster) != datacenter.id:
            continue
        hosts = [
            _node(
                "Host",
                host_document(scene, host, detail),
                _vm_nodes(scene, detail, lambda vm, at=host.id: vm.host == at),  # type: ignore[misc]
            )
            for host in inventory.hosts.values()
            if host.cluster == cluster.id
        ]
        yield _node("Cluster", cluster_document(scene, cluster, detail), hosts)


def _datacenter_of(inventory: Inventory, cluster: Cluster) -> Moref | None:
    """Return the datacenter in whose path a cluster is."""
    for one in inventory.folders.values():
        if one.kind == DATACENTER and cluster.path.startswith(f"{one.path or '/' + one.name}/"):
            return one.id
    return None
