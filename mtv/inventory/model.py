"""Virtual machines, disks, NICs and what they stand on, as read from a source.

Sizes are bytes unless the name says otherwise. Identifiers are the source's own (`vm-34`,
`network-12`, `datastore-11`: morefs on vSphere). All values are frozen and compare by value, so
that a change is seen by `==`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

Moref = NewType("Moref", str)


class PowerState(StrEnum):
    """vSphere's own words (VirtualMachinePowerState)."""

    ON = "poweredOn"
    OFF = "poweredOff"
    SUSPENDED = "suspended"


class Firmware(StrEnum):
    """What the machine boots with."""

    BIOS = "bios"
    EFI = "efi"


class Bus(StrEnum):
    """The kind of controller a disk hangs on."""

    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"
    NVME = "nvme"
    USB = "usb"


class DiskMode(StrEnum):
    """VirtualDiskMode of the vSphere API."""

    PERSISTENT = "persistent"
    NONPERSISTENT = "nonpersistent"
    UNDOABLE = "undoable"
    APPEND = "append"
    INDEPENDENT_PERSISTENT = "independent_persistent"
    INDEPENDENT_NONPERSISTENT = "independent_nonpersistent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One virtual disk of a VM.

    `file` is the datastore path of the *current* backing (`[ds1] web1/disk-0-000001.vmdk`),
    `base_file` that of the bottom of its chain; the second is what names the disk for life.
    """

    key: int
    file: str
    base_file: str
    capacity_bytes: int
    datastore: Moref | None
    controller_key: int
    controller_model: str  # pvscsi, lsilogic, lsilogic-sas, buslogic, ahci, nvme, ide
    bus: Bus
    bus_number: int
    unit_number: int
    mode: str = DiskMode.PERSISTENT
    serial: str = ""  # the backing's uuid, as the guest sees it with disk.enableUUID
    label: str = ""  # "Hard disk 1"
    change_id: str = ""
    change_tracking: bool = False
    shared: bool = False
    rdm: bool = False
    rdm_physical: bool = False
    thin: bool = False
    parent_files: tuple[str, ...] = ()  # the chain below `file`, nearest first
    encrypted: bool = False
    backing: str = ""  # how the current file is made: FlatVer2, SeSparse, RawDiskMappingVer1, ...
    device_name: str = ""  # of an RDM: vml.02000…
    lun_uuid: str = ""  # of an RDM
    vvol_id: str = ""
    package: str = ""  # path or URL of the OVA or OVF that has `file`; empty at vSphere


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One network card. `network` is the id of a Network, or None when it is not connected."""

    key: int
    network: Moref | None
    mac: str
    model: str  # vmxnet3, vmxnet2, e1000, e1000e, pcnet32, sriov
    order: int
    label: str = ""
    pci_slot: int | None = None
    start_connected: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestNetwork:
    """An address that the guest's tools reported."""

    mac: str
    ip: str
    prefix: int = 0
    device: str = ""
    device_key: int = -1
    origin: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDisk:
    """A file system that the guest's tools reported."""

    path: str
    capacity_bytes: int
    free_bytes: int
    filesystem: str = ""
    disk_key: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Any other virtual device, by its vSphere class name (`VirtualUSBController`)."""

    kind: str
    key: int
    label: str = ""
    pci_slot: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One snapshot in a VM's tree, flattened; `parent` is None at a root."""

    id: Moref
    name: str
    parent: Moref | None = None
    created: str = ""  # RFC 3339
    current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A vSphere tag: `category/name`."""

    category: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VM:
    """A virtual machine of the source."""

    id: Moref
    name: str
    path: str  # /DC0/vm/folder/name
    uuid: str  # BIOS uuid
    instance_uuid: str
    power_state: PowerState
    cpu_count: int
    cores_per_socket: int
    memory_bytes: int
    firmware: Firmware
    secure_boot: bool = False
    vtpm: bool = False
    guest_id: str = ""  # rhel9_64Guest
    guest_name: str = ""  # as configured
    guest_name_tools: str = ""  # as reported by the guest's tools
    hostname: str = ""
    ip_address: str = ""
    tools_status: str = ""  # toolsOk, toolsNotRunning, toolsNotInstalled, ...
    tools_running: bool = False
    tools_version_status: str = ""
    hardware_version: str = ""  # vmx-19
    annotation: str = ""
    connection_state: str = "connected"
    is_template: bool = False
    host: Moref | None = None
    folder: Moref | None = None
    datacenter: Moref | None = None
    resource_pool: Moref | None = None
    datastores: tuple[Moref, ...] = ()
    networks: tuple[Moref, ...] = ()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    devices: tuple[Device, ...] = ()
    guest_networks: tuple[GuestNetwork, ...] = ()
    guest_disks: tuple[GuestDisk, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    boot_order: tuple[str, ...] = ()  # "disk:2000", "net:4000", "cdrom", "floppy"
    boot_delay_ms: int = 0
    change_tracking: bool = False
    consolidation_needed: bool = False
    cpu_affinity: tuple[int, ...] = ()
    numa_affinity: str = ""
    cpu_hot_add: bool = False
    cpu_hot_remove: bool = False
    memory_hot_add: bool = False
    fault_tolerance: bool = False
    nested_hv: bool = False
    disk_enable_uuid: bool = False
    encrypted: bool = False
    ballooned_bytes: int = 0
    storage_used_bytes: int = 0
    time_zone_offset_s: int | None = None  # of the virtual RTC against UTC; None: UTC
    extra_config: tuple[tuple[str, str], ...] = ()
    custom_values: tuple[tuple[str, str], ...] = ()
    tags: tuple[Tag, ...] = ()
    revision: str = ""  # config.changeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that NICs attach to."""

    id: Moref
    name: str
    path: str = ""
    variant: str = "Standard"  # Standard, DvPortGroup, DvSwitch, OpaqueNetwork
    dv_switch: Moref | None = None
    key: str = ""
    vlan: str = ""  # "100", "0-4094" for a trunk
    uplink: bool = False  # a port group for the hosts' own cables, not for VMs
    opaque_id: str = ""  # what NICs on an OpaqueNetwork name it by
    hosts: tuple[Moref, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Datastore:
    """A datastore."""

    id: Moref
    name: str
    path: str = ""
    type: str = ""  # VMFS, NFS, vsan, VVOL
    capacity_bytes: int = 0
    free_bytes: int = 0
    maintenance: str = ""
    accessible: bool = True
    datacenter: Moref | None = None
    nas_host: str = ""
    nas_path: str = ""
    backing_devices: tuple[str, ...] = ()  # naa.… of a VMFS
    hosts: tuple[Moref, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An ESXi host."""

    id: Moref
    name: str
    path: str = ""
    cluster: Moref | None = None
    in_maintenance: bool = False
    connection_state: str = "connected"
    status: str = "green"
    product_name: str = ""
    product_version: str = ""
    cpu_sockets: int = 0
    cpu_cores: int = 0
    memory_bytes: int = 0
    management_ip: str = ""  # the host's own address
    management_server_ip: str = ""  # the vCenter's, as the host knows it
    thumbprint: str = ""  # SHA-1 of its certificate
    time_zone: str = ""
    networks: tuple[Moref, ...] = ()
    datastores: tuple[Moref, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster of hosts (or the single compute resource of a lone host)."""

    id: Moref
    name: str
    path: str = ""
    drs_enabled: bool = False
    drs_behavior: str = ""
    dpm_enabled: bool = False
    ha_enabled: bool = False
    hosts: tuple[Moref, ...] = ()
    host_affinity_vms: tuple[Moref, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder or a datacenter; `kind` says which."""

    id: Moref
    name: str
    path: str = ""
    kind: str = "Folder"  # Folder, Datacenter
    parent: Moref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A whole source at one moment."""

    kind: str = "vsphere"  # the type of its Provider: vsphere, ova
    product: str = ""  # VMware vCenter Server
    version: str = ""
    instance_uuid: str = ""
    is_vcenter: bool = True
    notes: tuple[str, ...] = ()  # what could not be read, and why: tags, a VM without permission
    vms: dict[Moref, VM] = field(default_factory=dict)
    networks: dict[Moref, Network] = field(default_factory=dict)
    datastores: dict[Moref, Datastore] = field(default_factory=dict)
    hosts: dict[Moref, Host] = field(default_factory=dict)
    clusters: dict[Moref, Cluster] = field(default_factory=dict)
    folders: dict[Moref, Folder] = field(default_factory=dict)
