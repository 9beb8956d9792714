"""A small source to plan against: one VM of each kind, made by functions with defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mtv.inventory.model import (
    VM,
    Bus,
    Cluster,
    Datastore,
    Disk,
    Firmware,
    GuestDisk,
    GuestNetwork,
    Host,
    Inventory,
    Moref,
    Network,
    Nic,
    PowerState,
)

GIB = 1 << 30


def disk(key: int = 2000, **changes: Any) -> Disk:
    unit = key - 2000
    suffix = f"_{unit}" if unit else ""
    return replace(
        Disk(
            key=key,
            file=f"[ds1] web1/web1{suffix}.vmdk",
            base_file=f"[ds1] web1/web1{suffix}.vmdk",
            capacity_bytes=8 * GIB,
            datastore=Moref("datastore-1"),
            controller_key=1000,
            controller_model="pvscsi",
            bus=Bus.SCSI,
            bus_number=0,
            unit_number=unit,
            serial="6000c292-8cbd-8a5e-3c1f-0123456789ab",
            label=f"Hard disk {unit + 1}",
            change_tracking=True,
            thin=True,
        ),
        **changes,
    )


def nic(key: int = 4000, **changes: Any) -> Nic:
    return replace(
        Nic(
            key=key,
            network=Moref("network-1"),
            mac=f"00:50:56:aa:bb:{key - 4000 + 1:02x}",
            model="vmxnet3",
            order=key - 4000,
            pci_slot=192,
        ),
        **changes,
    )


def vm(**changes: Any) -> VM:
    """A healthy RHEL 9 VM that no rule speaks about."""
    return replace(
        VM(
            id=Moref("vm-34"),
            name="web1",
            path="/DC0/vm/web1",
            uuid="420f1c2e-aaaa-bbbb-cccc-0123456789ab",
            instance_uuid="500f1c2e-aaaa-bbbb-cccc-0123456789ab",
            power_state=PowerState.ON,
            cpu_count=4,
            cores_per_socket=2,
            memory_bytes=4 * GIB,
            firmware=Firmware.BIOS,
            guest_id="rhel9_64Guest",
            guest_name="Red Hat Enterprise Linux 9 (64-bit)",
            hostname="web1.example.org",
            ip_address="10.0.0.5",
            tools_status="toolsOk",
            tools_running=True,
            host=Moref("host-1"),
            datastores=(Moref("datastore-1"),),
            networks=(Moref("network-1"),),
            disks=(disk(),),
            nics=(nic(),),
            guest_networks=(GuestNetwork(mac="00:50:56:aa:bb:01", ip="10.0.0.5", prefix=24),),
            guest_disks=(
                GuestDisk(
                    path="/",
                    capacity_bytes=8 * GIB,
                    free_bytes=4 * GIB,
                    filesystem="ext4",
                    disk_key=2000,
                ),
            ),
            change_tracking=True,
        ),
        **changes,
    )


def inventory(*vms: VM, **changes: Any) -> Inventory:
    return replace(
        Inventory(
            product="VMware vCenter Server",
            version="8.0.2",
            instance_uuid="11111111-2222-3333-4444-555555555555",
            vms={one.id: one for one in vms},
            networks={
                Moref("network-1"): Network(
                    id=Moref("network-1"), name="VM Network", path="/DC0/network/VM Network"
                ),
                Moref("dvportgroup-2"): Network(
                    id=Moref("dvportgroup-2"),
                    name="prod",
                    path="/DC0/network/prod",
                    variant="DvPortGroup",
                    vlan="100",
                ),
            },
            datastores={
                Moref("datastore-1"): Datastore(
                    id=Moref("datastore-1"), name="ds1", path="/DC0/datastore/ds1", type="VMFS"
                ),
                Moref("datastore-2"): Datastore(
                    id=Moref("datastore-2"), name="ds2", path="/DC0/datastore/ds2", type="NFS"
                ),
            },
            hosts={
                Moref("host-1"): Host(id=Moref("host-1"), name="esx1", cluster=Moref("domain-c1"))
            },
            clusters={Moref("domain-c1"): Cluster(id=Moref("domain-c1"), name="C0")},
        ),
        **changes,
    )
