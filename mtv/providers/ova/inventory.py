"""From the packages of a place to an inventory: VMs that are off, one storage, networks by name.

As with Forklift, all disks lie on one storage, which is named after the Provider; ids are made of
names, and so are the same wherever the packages are mounted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from converters.package_contents import Contents
from mtv.inventory.model import (
    VM,
    Bus,
    Datastore,
    Device,
    Disk,
    Firmware,
    Inventory,
    Moref,
    Network,
    Nic,
    PowerState,
)
from mtv.providers.ova import hardware
from mtv.providers.ova.hardware import Described, System, SystemDisk

KIND = "ova"
FROM_VMWARE = ("ovf.source", "VMware")  # in a VM's extra_config
_SPACE = uuid.UUID("7f3f1c2e-5b1d-5e0a-9d3a-0c8a6c1f2b47")
_FIRST_DISK_KEY, _FIRST_NIC_KEY = 2000, 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that could be read: its name within the place, and where it lies."""

    name: str  # sub/app.ova
    location: str  # path or URL
    contents: Contents
    version: str


def storage_name(provider: str) -> str:
    """Return the name that the one storage of a Provider has in maps; it is Forklift's."""
    return f"Dummy storage for source provider {provider}"


def build(provider: str, packages: Iterable[Package], notes: Iterable[str]) -> Inventory:
    """Return the inventory of a place."""
    store = Moref(_id("storage"))
    vms: dict[Moref, VM] = {}
    networks: dict[Moref, Network] = {}
    for package in packages:
        described = hardware.read(package.contents.descriptor)
        taken: set[str] = set()
        for system in described.systems:
            vm = _vm(package, system, described, store, taken)
            vms[vm.id] = vm
        used = [nic.network for system in described.systems for nic in system.nics]
        for name in dict.fromkeys([*(name for name, _ in described.networks), *used]):
            if name:
                networks[_network_id(name)] = Network(id=_network_id(name), name=name)
    return Inventory(
        kind=KIND,
        product="Open Virtualization Format",
        is_vcenter=False,
        notes=tuple(notes),
        vms=vms,
        networks=networks,
        datastores={store: Datastore(id=store, name=storage_name(provider), type="OVA")},
    )


def _id(*parts: str) -> str:
    return str(uuid.uuid5(_SPACE, "\0".join(parts)))


def _network_id(name: str) -> Moref:
    return Moref(_id("network", name))


def _vm(
    package: Package, system: System, described: Described, store: Moref, taken: set[str]
) -> VM:
    disks = _disks(package, system, store, taken)
    nics = tuple(
        Nic(
            key=_FIRST_NIC_KEY + at,
            network=_network_id(nic.network) if nic.network else None,
            mac=nic.mac,
            model=nic.model,
            order=at,
            label=nic.label,
            start_connected=nic.connected,
        )
        for at, nic in enumerate(system.nics)
    )
    identifier = Moref(_id("vm", package.name, system.id))
    return VM(
        id=identifier,
        name=system.name,
        path=f"/{package.name}/{system.name}",
        uuid=system.uuid or identifier,
        instance_uuid="",
        power_state=PowerState.OFF,
        cpu_count=system.cpus,
        cores_per_socket=system.cores_per_socket,
        memory_bytes=system.memory_bytes,
        firmware=Firmware.EFI if system.efi else Firmware.BIOS,
        secure_boot=system.secure_boot,
        vtpm=system.tpm,
        guest_id=system.guest_id,
        guest_name=system.guest_name,
        hardware_version=system.hardware_version,
        annotation=system.annotation,
        datastores=(store,) if disks else (),
        networks=tuple(dict.fromkeys(nic.network for nic in nics if nic.network)),
        disks=disks,
        nics=nics,
        devices=tuple(
            Device(kind=kind, key=7000 + at, label=label)
            for at, (kind, label) in enumerate(system.devices)
        ),
        cpu_hot_add=system.cpu_hot_add,
        memory_hot_add=system.memory_hot_add,
        nested_hv=system.nested_hv,
        storage_used_bytes=sum(package.contents.sizes.get(_member(one), 0) for one in disks),
        extra_config=(FROM_VMWARE,) if described.from_vmware else (),
        revision=package.version,
    )


def _member(disk: Disk) -> str:
    return member_of(disk.file, disk.package)


def file_name(member: str, location: str) -> str:
    """Return how a disk's file is written in plans and transfers, as `[datastore] path` is."""
    return f"[{location}] {member}"


def member_of(file: str, location: str) -> str:
    """Return the file of the package that `file_name` was made of."""
    return file.removeprefix(f"[{location}] ")


def _disks(package: Package, system: System, store: Moref, taken: set[str]) -> tuple[Disk, ...]:
    """Return the disks that have a file. A file that another VM has too is copied for each."""
    files = {file.id: file.href for file in package.contents.envelope.files}
    by_id = {disk.id: disk for disk in package.contents.envelope.disks}
    found: list[Disk] = []
    for at, one in enumerate(system.disks):
        if one.reference.startswith("file:"):
            member, capacity = files.get(one.reference[5:], ""), 0
        else:
            packed = by_id.get(one.reference)
            member = packed.file.href if packed is not None and packed.file is not None else ""
            capacity = package.contents.capacities.get(one.reference, 0)
        if not member:  # an empty disk, or one that is not in the package
            continue
        file = file_name(member, package.location)
        base = file if file not in taken else f"{file} #{system.id}-{at}"
        taken.add(file)
        found.append(_disk(one, at, file, base, capacity, store, package.location))
    return tuple(found)


def _disk(
    one: SystemDisk, at: int, file: str, base: str, capacity: int, store: Moref, location: str
) -> Disk:
    return Disk(
        key=_FIRST_DISK_KEY + at,
        file=file,
        base_file=base,
        capacity_bytes=capacity,
        datastore=store,
        controller_key=one.controller,
        controller_model=one.model,
        bus=Bus(one.bus),
        bus_number=one.bus_number,
        unit_number=one.unit,
        label=one.label,
        thin=True,
        package=location,
    )
