"""A VM's properties, as the property collector gives them, into `inventory.model.VM`.

Field names and meanings: vSphere Web Services API 8.0, `VirtualMachineConfigInfo`, `VirtualDevice`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyVmomi import vim

from mtv.inventory.model import (
    VM,
    Bus,
    Device,
    Disk,
    Firmware,
    GuestDisk,
    GuestNetwork,
    Moref,
    Nic,
    PowerState,
    Snapshot,
    Tag,
)
from mtv.providers.vsphere.properties import Properties

PATHS = (
    "name",
    "parent",
    "resourcePool",
    "datastore",
    "network",
    "snapshot",
    "customValue",
    "config.annotation",
    "config.bootOptions",
    "config.changeTrackingEnabled",
    "config.changeVersion",
    "config.cpuAffinity",
    "config.cpuHotAddEnabled",
    "config.cpuHotRemoveEnabled",
    "config.extraConfig",
    "config.firmware",
    "config.flags.diskUuidEnabled",
    "config.guestFullName",
    "config.guestId",
    "config.hardware.device",
    "config.hardware.memoryMB",
    "config.hardware.numCPU",
    "config.hardware.numCoresPerSocket",
    "config.instanceUuid",
    "config.keyId",
    "config.memoryHotAddEnabled",
    "config.nestedHVEnabled",
    "config.template",
    "config.uuid",
    "config.version",
    "guest.disk",
    "guest.guestFullName",
    "guest.hostName",
    "guest.ipAddress",
    "guest.ipStack",
    "guest.net",
    "guest.toolsRunningStatus",
    "guest.toolsStatus",
    "guest.toolsVersionStatus2",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.faultToleranceState",
    "runtime.host",
    "runtime.powerState",
    "summary.quickStats.balloonedMemory",
    "summary.storage.committed",
)

_MIB = 1 << 20

# Class of the controller -> (bus, model as VMX files spell it).
_CONTROLLERS = {
    "ParaVirtualSCSIController": (Bus.SCSI, "pvscsi"),
    "VirtualLsiLogicController": (Bus.SCSI, "lsilogic"),
    "VirtualLsiLogicSASController": (Bus.SCSI, "lsilogic-sas"),
    "VirtualBusLogicController": (Bus.SCSI, "buslogic"),
    "VirtualSCSIController": (Bus.SCSI, "lsilogic"),
    "VirtualAHCIController": (Bus.SATA, "ahci"),
    "VirtualSATAController": (Bus.SATA, "ahci"),
    "VirtualIDEController": (Bus.IDE, "ide"),
    "VirtualNVMEController": (Bus.NVME, "nvme"),
    "VirtualUSBController": (Bus.USB, "usb"),
    "VirtualUSBXHCIController": (Bus.USB, "usb"),
}
_NICS = {
    "VirtualVmxnet3": "vmxnet3",
    "VirtualVmxnet3Vrdma": "vmxnet3",
    "VirtualVmxnet2": "vmxnet2",
    "VirtualVmxnet": "vmxnet",
    "VirtualE1000": "e1000",
    "VirtualE1000e": "e1000e",
    "VirtualPCNet32": "pcnet32",
    "VirtualSriovEthernetCard": "sriov",
}
# "Disk.FileBackingInfo" and its kin, without what they have in common.
_BACKING_NAME = re.compile(r"^VirtualDisk(\w+?)BackingInfo$")
_TEXT_ESCAPES = (("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\"), ("%25", "%"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What ids inside a VM stand for; from the rest of the inventory."""

    path: Mapping[Moref, str] = field(default_factory=dict)  # of folders
    datacenter: Mapping[Moref, Moref] = field(default_factory=dict)  # of folders
    portgroup: Mapping[str, Moref] = field(default_factory=dict)  # by key
    opaque_network: Mapping[str, Moref] = field(default_factory=dict)  # by opaque id
    custom_field: Mapping[int, str] = field(default_factory=dict)
    tags: Mapping[Moref, tuple[Tag, ...]] = field(default_factory=dict)  # of VMs


def unescaped(name: str) -> str:
    """Return a name as people see it: vSphere stores /, \\ and % of names as %2f, %5c and %25."""
    if "%" in name:
        for escape, character in _TEXT_ESCAPES:
            name = name.replace(escape, character)
    return name


def moref(reference: Any) -> Moref | None:
    """Return the id of a managed object, None for none."""
    return None if reference is None else Moref(reference._moId)


def morefs(references: Any) -> tuple[Moref, ...]:
    """Return the ids of managed objects."""
    return tuple(Moref(reference._moId) for reference in references or ())


def rfc3339(moment: datetime | None) -> str:
    """Return a time as the API writes it, in UTC and whole seconds."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_readable(properties: Properties) -> bool:
    """Whether the configuration could be read; that of an inaccessible VM cannot."""
    return "config.uuid" in properties and "config.hardware.device" in properties


def of_properties(id_: Moref, properties: Properties, names: Names) -> VM:
    """Return the VM that these properties (of `PATHS`) describe."""
    get = properties.get
    devices = get("config.hardware.device") or ()
    extra = {item.key: str(item.value) for item in get("config.extraConfig") or ()}
    folder = moref(get("parent"))
    name = unescaped(get("name", ""))
    boot = get("config.bootOptions")
    guest_net = get("guest.net") or ()
    return VM(
        id=id_,
        name=name,
        path=f"{names.path.get(folder, '') if folder else ''}/{get('name', '')}",
        uuid=get("config.uuid", ""),
        instance_uuid=get("config.instanceUuid", ""),
        power_state=PowerState(get("runtime.powerState", "poweredOff")),
        cpu_count=get("config.hardware.numCPU", 1),
        cores_per_socket=get("config.hardware.numCoresPerSocket") or 1,
        memory_bytes=get("config.hardware.memoryMB", 0) * _MIB,
        firmware=Firmware.EFI if get("config.firmware") == "efi" else Firmware.BIOS,
        secure_boot=bool(boot and boot.efiSecureBootEnabled),
        vtpm=any(device._wsdlName == "VirtualTPM" for device in devices),
        guest_id=get("config.guestId", ""),
        guest_name=get("config.guestFullName", ""),
        guest_name_tools=get("guest.guestFullName", ""),
        hostname=get("guest.hostName", ""),
        ip_address=get("guest.ipAddress", ""),
        tools_status=str(get("guest.toolsStatus", "")),
        tools_running=get("guest.toolsRunningStatus") == "guestToolsRunning",
        tools_version_status=get("guest.toolsVersionStatus2", ""),
        hardware_version=get("config.version", ""),
        annotation=get("config.annotation", ""),
        connection_state=str(get("runtime.connectionState", "connected")),
        is_template=bool(get("config.template")),
        host=moref(get("runtime.host")),
        folder=folder,
        datacenter=names.datacenter.get(folder) if folder else None,
        resource_pool=moref(get("resourcePool")),
        datastores=morefs(get("datastore")),
        networks=morefs(get("network")),
        disks=tuple(disks_of(devices, extra)),
        nics=tuple(_nics(devices, names)),
        devices=tuple(_other_devices(devices)),
        guest_networks=tuple(_guest_networks(guest_net, get("guest.ipStack") or ())),
        guest_disks=tuple(_guest_disk(item) for item in get("guest.disk") or ()),
        snapshots=tuple(snapshots_of(get("snapshot"))),
        boot_order=tuple(_boot_order(boot)),
        boot_delay_ms=int(boot.bootDelay or 0) if boot else 0,
        change_tracking=bool(get("config.changeTrackingEnabled")),
        consolidation_needed=bool(get("runtime.consolidationNeeded")),
        cpu_affinity=_cpu_affinity(get("config.cpuAffinity")),
        numa_affinity=extra.get("numa.nodeAffinity", ""),
        cpu_hot_add=bool(get("config.cpuHotAddEnabled")),
        cpu_hot_remove=bool(get("config.cpuHotRemoveEnabled")),
        memory_hot_add=bool(get("config.memoryHotAddEnabled")),
        fault_tolerance=str(get("runtime.faultToleranceState") or "notConfigured")
        != "notConfigured",
        nested_hv=bool(get("config.nestedHVEnabled")),
        disk_enable_uuid=bool(get("config.flags.diskUuidEnabled"))
        or extra.get("disk.EnableUUID", "").lower() == "true",
        encrypted=get("config.keyId") is not None,
        ballooned_bytes=int(get("summary.quickStats.balloonedMemory") or 0) * _MIB,
        storage_used_bytes=int(get("summary.storage.committed") or 0),
        time_zone_offset_s=_time_zone_offset_s(extra),
        extra_config=tuple(sorted(extra.items())),
        custom_values=tuple(_custom_values(get("customValue") or (), names.custom_field)),
        tags=names.tags.get(id_, ()),
        revision=get("config.changeVersion", ""),
    )


def disks_of(devices: Any, extra: Mapping[str, str]) -> Iterator[Disk]:
    """Give the disks among a VM's devices, in the order of the devices."""
    controllers = {device.key: device for device in devices if hasattr(device, "busNumber")}
    for device in devices:
        if device._wsdlName == "VirtualDisk":
            yield _disk(device, controllers.get(device.controllerKey), extra)


def _disk(device: Any, controller: Any, extra: Mapping[str, str]) -> Disk:
    backing = device.backing
    chain = list(_chain(backing))
    bus, model = _CONTROLLERS.get(controller._wsdlName if controller else "", (Bus.SCSI, ""))
    bus_number = controller.busNumber if controller else 0
    kind = _BACKING_NAME.sub(r"\1", backing._wsdlName)
    node = f"{bus}{bus_number}:{device.unitNumber or 0}"
    change_id = getattr(backing, "changeId", None) or ""
    capacity = device.capacityInBytes
    return Disk(
        key=device.key,
        file=getattr(backing, "fileName", None) or "",
        base_file=chain[-1],
        # pyvmomi has a subclass of int for longs, which encoders do not take.
        capacity_bytes=int(device.capacityInKB * 1024 if capacity is None else capacity),
        datastore=moref(getattr(backing, "datastore", None)),
        controller_key=device.controllerKey or 0,
        controller_model=model,
        bus=bus,
        bus_number=bus_number,
        unit_number=device.unitNumber or 0,
        mode=getattr(backing, "diskMode", None) or "persistent",
        serial=getattr(backing, "uuid", None) or "",
        label=device.deviceInfo.label if device.deviceInfo else "",
        change_id=change_id,
        change_tracking=extra.get(f"{node}.ctkEnabled", str(bool(change_id))).lower() == "true",
        shared=getattr(backing, "sharing", None) == "sharingMultiWriter"
        or getattr(controller, "sharedBus", None) in ("physicalSharing", "virtualSharing"),
        rdm=kind.startswith("RawDisk"),
        rdm_physical=getattr(backing, "compatibilityMode", None) == "physicalMode",
        thin=bool(getattr(backing, "thinProvisioned", None)),
        parent_files=tuple(chain[1:]),
        encrypted=getattr(backing, "keyId", None) is not None,
        backing=kind,
        device_name=getattr(backing, "deviceName", None) or "",
        lun_uuid=getattr(backing, "lunUuid", None) or "",
        vvol_id=getattr(backing, "backingObjectId", None) or "",
    )


def _chain(backing: Any) -> Iterator[str]:
    """Give the files of a disk, the current one first, the base last."""
    while backing is not None:
        yield getattr(backing, "fileName", None) or ""
        backing = getattr(backing, "parent", None)


def _nics(devices: Any, names: Names) -> Iterator[Nic]:
    cards = (device for device in devices if isinstance(device, vim.vm.device.VirtualEthernetCard))
    for order, card in enumerate(cards):
        connectable = card.connectable
        yield Nic(
            key=card.key,
            network=_nic_network(card.backing, names),
            mac=(card.macAddress or "").lower(),
            model=_NICS.get(card._wsdlName, card._wsdlName),
            order=order,
            label=card.deviceInfo.label if card.deviceInfo else "",
            pci_slot=_pci_slot(card),
            start_connected=connectable is None or bool(connectable.startConnected),
        )


def _nic_network(backing: Any, names: Names) -> Moref | None:
    match backing._wsdlName if backing is not None else "":
        case "VirtualEthernetCardDistributedVirtualPortBackingInfo":
            return names.portgroup.get(backing.port.portgroupKey or "")
        case "VirtualEthernetCardOpaqueNetworkBackingInfo":
            return names.opaque_network.get(backing.opaqueNetworkId)
    return moref(getattr(backing, "network", None))


def _pci_slot(device: Any) -> int | None:
    slot = device.slotInfo
    return getattr(slot, "pciSlotNumber", None)


def _other_devices(devices: Any) -> Iterator[Device]:
    for device in devices:
        if device._wsdlName != "VirtualDisk":
            yield Device(
                kind=device._wsdlName,
                key=device.key,
                label=device.deviceInfo.label if device.deviceInfo else "",
                pci_slot=_pci_slot(device),
            )


def _guest_networks(nics: Any, stacks: Any) -> Iterator[GuestNetwork]:
    gateways = _gateways(stacks)
    for index, nic in enumerate(nics):
        dns = tuple(nic.dnsConfig.ipAddress or ()) if nic.dnsConfig else ()
        configured = nic.ipConfig.ipAddress if nic.ipConfig else None
        addresses = (
            [(item.ipAddress, item.prefixLength or 0, item.origin or "") for item in configured]
            if configured
            else [(address, 0, "") for address in nic.ipAddress or ()]
        )
        for address, prefix, origin in addresses:
            family = ":" in address
            yield GuestNetwork(
                mac=(nic.macAddress or "").lower(),
                ip=address,
                prefix=prefix,
                device=str(index),
                device_key=nic.deviceConfigId,
                origin=str(origin),
                gateway=gateways.get((index, family), ""),
                dns=dns,
            )


def _gateways(stacks: Any) -> dict[tuple[int, bool], str]:
    """Return the default gateway by (index of the NIC, whether IPv6)."""
    found: dict[tuple[int, bool], str] = {}
    for stack in stacks:
        for route in (stack.ipRouteConfig.ipRoute if stack.ipRouteConfig else None) or ():
            gateway = route.gateway
            if route.prefixLength == 0 and gateway.ipAddress and (gateway.device or "0").isdigit():
                key = int(gateway.device or 0), ":" in gateway.ipAddress
                found.setdefault(key, gateway.ipAddress)
    return found


def _guest_disk(item: Any) -> GuestDisk:
    mappings = getattr(item, "mappings", None) or ()
    return GuestDisk(
        path=item.diskPath or "",
        capacity_bytes=int(item.capacity or 0),
        free_bytes=int(item.freeSpace or 0),
        filesystem=item.filesystemType or "",
        disk_key=mappings[0].key if mappings else 0,
    )


def snapshots_of(tree: Any) -> Iterator[Snapshot]:
    """Yield the snapshots of a VirtualMachineSnapshotInfo, parents first; none of None."""
    if tree is None:
        return
    current = moref(tree.currentSnapshot)
    waiting: list[tuple[Any, Moref | None]] = [
        (root, None) for root in reversed(tree.rootSnapshotList or ())
    ]
    while waiting:
        node, parent = waiting.pop()
        id_ = Moref(node.snapshot._moId)
        yield Snapshot(
            id=id_,
            name=unescaped(node.name),
            parent=parent,
            created=rfc3339(node.createTime),
            current=id_ == current,
        )
        waiting.extend((child, id_) for child in reversed(node.childSnapshotList or ()))


def _boot_order(boot: Any) -> Iterator[str]:
    for device in (boot.bootOrder if boot else None) or ():
        match device._wsdlName:
            case "VirtualMachineBootOptionsBootableDiskDevice":
                yield f"disk:{device.deviceKey}"
            case "VirtualMachineBootOptionsBootableEthernetDevice":
                yield f"net:{device.deviceKey}"
            case "VirtualMachineBootOptionsBootableCdromDevice":
                yield "cdrom"
            case "VirtualMachineBootOptionsBootableFloppyDevice":
                yield "floppy"


def _cpu_affinity(affinity: Any) -> tuple[int, ...]:
    return tuple(affinity.affinitySet or ()) if affinity is not None else ()


def _time_zone_offset_s(extra: Mapping[str, str]) -> int | None:
    """Return `rtc.diffFromUTC` (seconds), the VMX setting for a clock that is not in UTC."""
    try:
        return int(extra["rtc.diffFromUTC"])
    except (KeyError, ValueError):
        return None


def _custom_values(values: Any, fields: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    for value in values:
        text: str = getattr(value, "value", "")
        if value.key in fields and text:
            yield fields[value.key], text
