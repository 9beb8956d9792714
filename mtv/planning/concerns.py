"""What about a source VM a person should know before it moves.

Each rule is one row of `RULES`: an id, a category, a label, a sentence, and a pure function that
names the subjects (disks, devices, paths) for which the rule speaks; no subject, no concern. Ids
that begin with `vmware.` are Forklift's (its RULES_VERSION 5) with its categories and labels, so
that clients which know them keep working; `mtv.` rules are ours. The sentences are our own.

A concern is advice about the source as it stands. What blocks a plan is decided in
`mtv.planning.plan`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mtv.inventory.model import (
    VM,
    Bus,
    Cluster,
    Disk,
    DiskMode,
    Firmware,
    Inventory,
    PowerState,
)
from mtv.planning import guest_os

RULES_VERSION = 5  # of Forklift's validation policies that `vmware.` rules follow
MIB = 1 << 20
MAX_DISKS = 165  # Forklift: 33 PCIe slots are left of what virtio-scsi and hotplug can hold
MAX_NICS = 24  # one PCIe root port each, of the 32 that q35 offers beside disks and devices
MBR_LIMIT_BYTES = 2 << 40  # 2^32 sectors of 512 bytes

# virt-v2v's man page, "Free space in the guest": what a conversion needs to write its files.
_FREE_BYTES = {"/": 100 * MIB, "/boot": 50 * MIB, "c:": 100 * MIB}
_FREE_BYTES_ELSEWHERE = 10 * MIB
_READ_ONLY_FILESYSTEMS = frozenset({"squashfs", "iso9660", "udf", "cdfs", "erofs", "cramfs"})

_DNS_NAME = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9.]*)?[A-Za-z0-9])?$")
_SUPPORTED_OS = re.compile(
    r"rhel(7|8|9|10)_"
    r"|windows(9|10|11)_64guest|windows9guest|windows9server|windows(2016|2019|2022|2025)srv"
    r"|red hat enterprise linux (7|8|9|10)\b"
    r"|windows (10|11)\b|windows server (2016|2019|2022|2025)\b",
    re.IGNORECASE,
)
# Distributions whose installer made XFS version 4 (no metadata checksums) by default.
_XFS_V4_OS = re.compile(
    r"(rhel|centos|oracleLinux)(6|7)?_?(64)?guest|centos(6|7)?(-64)?_?(64)?guest|sles1[12]"
    r"|(red hat enterprise linux|centos|oracle linux) (4/5/)?(6|7)\b|suse linux enterprise 1[12]\b",
    re.IGNORECASE,
)


class Category(StrEnum):
    """How bad it is, in Forklift's words. Only `CRITICAL` blocks a plan."""

    CRITICAL = "Critical"
    WARNING = "Warning"
    INFORMATION = "Information"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """One thing worth knowing about one VM, as the inventory API shows it."""

    id: str
    category: Category
    label: str
    assessment: str


Subjects = Callable[[VM, Inventory], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: `{}` in label and assessment stands for the subject."""

    id: str
    category: Category
    label: str
    assessment: str
    subjects: Subjects

    def evaluate(self, vm: VM, inventory: Inventory) -> Iterator[Concern]:
        """Yield a concern for each subject."""
        for subject in self.subjects(vm, inventory):
            yield Concern(
                id=self.id,
                category=self.category,
                label=self.label.replace("{}", subject),
                assessment=self.assessment.replace("{}", subject),
            )


def evaluate(vm: VM, inventory: Inventory) -> tuple[Concern, ...]:
    """Return every concern about `vm`, worst first, in the order of the table."""
    from mtv.planning import package_concerns  # rules of its own, in the words of this module

    rules = package_concerns.RULES if inventory.kind == "ova" else RULES
    found = [concern for rule in rules for concern in rule.evaluate(vm, inventory)]
    rank = {Category.CRITICAL: 0, Category.WARNING: 1, Category.INFORMATION: 2}
    return tuple(sorted(found, key=lambda concern: rank[concern.category]))


def disk_address(disk: Disk) -> str:
    """Return where the disk hangs, as vSphere's user interface writes it: `scsi0:1`."""
    return f"{disk.bus}{disk.bus_number}:{disk.unit_number}"


def minimum_free_bytes(path: str) -> int:
    """Return the free space that a conversion needs on the file system mounted at `path`."""
    return _FREE_BYTES.get(path.lower().rstrip("\\/") or "/", _FREE_BYTES_ELSEWHERE)


def sharing_vms(disk: Disk, vm: VM, inventory: Inventory) -> tuple[VM, ...]:
    """Return the other VMs that have the same base file attached, by name."""
    file = disk.base_file
    others = [
        other
        for other in inventory.vms.values()
        for theirs in other.disks
        if theirs.base_file == file and other.id != vm.id
    ]
    return tuple(sorted(others, key=lambda other: other.name))


def _when(predicate: Callable[[VM], object]) -> Subjects:
    """Make a rule of a yes/no question about the VM."""
    return lambda vm, _inventory: ("",) if predicate(vm) else ()


def _disks(predicate: Callable[[Disk], object], name: Callable[[Disk], str]) -> Subjects:
    """Make a rule that speaks once for each disk that fits."""
    return lambda vm, _inventory: [name(disk) for disk in vm.disks if predicate(disk)]


def _any_disk(predicate: Callable[[Disk], object]) -> Subjects:
    """Make a rule that speaks once, and names all disks that fit."""
    return _joined(_disks(predicate, disk_address))


def _joined(subjects: Subjects) -> Subjects:
    def joined(vm: VM, inventory: Inventory) -> Iterable[str]:
        names = sorted(set(subjects(vm, inventory)))
        return (", ".join(names),) if names else ()

    return joined


def _device(kind: str) -> Subjects:
    return _when(lambda vm: any(device.kind == kind for device in vm.devices))


def _file(disk: Disk) -> str:
    return disk.file or disk.label or disk_address(disk)


def _cluster(vm: VM, inventory: Inventory) -> Cluster | None:
    host = inventory.hosts.get(vm.host) if vm.host else None
    return inventory.clusters.get(host.cluster) if host and host.cluster else None


def _in_cluster(predicate: Callable[[Cluster, VM], object]) -> Subjects:
    def subjects(vm: VM, inventory: Inventory) -> Iterable[str]:
        cluster = _cluster(vm, inventory)
        return (cluster.name,) if cluster and predicate(cluster, vm) else ()

    return subjects


def _on_datastore(predicate: Callable[[str, bool], object]) -> Subjects:
    """Make a rule over (type in lower case, accessible) of the datastores that hold disks."""

    def subjects(vm: VM, inventory: Inventory) -> Iterable[str]:
        for disk in vm.disks:
            datastore = inventory.datastores.get(disk.datastore) if disk.datastore else None
            if datastore and predicate(datastore.type.lower(), datastore.accessible):
                yield f"{disk_address(disk)} on {datastore.name}"

    return _joined(subjects)


def _disk_count(vm: VM, _inventory: Inventory) -> Iterable[str]:
    return (str(len(vm.disks)),) if len(vm.disks) > MAX_DISKS else ()


def _full_filesystems(vm: VM, _inventory: Inventory) -> Iterable[str]:
    for disk in vm.guest_disks:
        if disk.filesystem.lower() in _READ_ONLY_FILESYSTEMS:
            continue  # a snap or a CD is always full
        if disk.free_bytes < minimum_free_bytes(disk.path):
            yield disk.path


def _unmapped_guest_disks(vm: VM, _inventory: Inventory) -> Iterable[str]:
    if not guest_os.is_windows(vm):
        return ()
    return [disk.path for disk in vm.guest_disks if disk.disk_key == 0]


def _unsupported_os(vm: VM, _inventory: Inventory) -> Iterable[str]:
    names = (vm.guest_id, vm.guest_name_tools, vm.guest_name)
    if any(_SUPPORTED_OS.search(name) for name in names):
        return ()
    return (vm.guest_name_tools or vm.guest_name or vm.guest_id or "unknown",)


def _invalid_name(vm: VM) -> bool:
    return not _DNS_NAME.match(vm.name) or len(vm.name) >= 64


def _multi_writer(vm: VM, inventory: Inventory) -> Iterable[str]:
    """`scsi1:0.sharing = "multi-writer"` in the VMX, or the same file in a second VM."""
    settings = {key.lower(): value.lower() for key, value in vm.extra_config}
    for disk in vm.disks:
        others = ", ".join(other.name for other in sharing_vms(disk, vm, inventory))
        if others:
            yield f"{disk_address(disk)} (also of {others})"
        elif settings.get(f"{disk_address(disk)}.sharing") == "multi-writer":
            yield disk_address(disk)


def _spanned_volumes(vm: VM, _inventory: Inventory) -> Iterable[str]:
    """Windows volumes larger than any one disk, or lying on two: only a dynamic disk does that."""
    if not guest_os.is_windows(vm) or not vm.disks:
        return
    largest = max(disk.capacity_bytes for disk in vm.disks)
    keys: dict[str, set[int]] = {}
    for disk in vm.guest_disks:
        keys.setdefault(disk.path, set()).add(disk.disk_key)
    for path, on in keys.items():
        capacity = max(disk.capacity_bytes for disk in vm.guest_disks if disk.path == path)
        if capacity > largest or len(on - {0}) > 1:
            yield path


def _filesystem(vm: VM, *names: str) -> list[str]:
    return [disk.path for disk in vm.guest_disks if disk.filesystem.lower() in names]


def _xfs_v4(vm: VM, _inventory: Inventory) -> Iterable[str]:
    named = (vm.guest_id, vm.guest_name_tools, vm.guest_name)
    return _filesystem(vm, "xfs") if any(_XFS_V4_OS.search(name) for name in named) else ()


def _may_be_hibernated(vm: VM) -> bool:
    """Windows client since 8: "shut down" hibernates the kernel unless fast startup is off."""
    text = f"{vm.guest_id} {vm.guest_name_tools} {vm.guest_name}".lower()
    client = re.search(r"windows(8|9|10|11)_?(64)?guest|windows (8|8\.1|10|11)\b", text)
    return bool(client) and "server" not in text


def _cannot_shut_down(vm: VM) -> bool:
    return vm.power_state is PowerState.ON and not vm.tools_running


def _large_on_bios(vm: VM, _inventory: Inventory) -> Iterable[str]:
    if vm.firmware is not Firmware.BIOS:
        return ()
    return [disk_address(disk) for disk in vm.disks if disk.capacity_bytes > MBR_LIMIT_BYTES]


_INDEPENDENT = (DiskMode.INDEPENDENT_PERSISTENT, DiskMode.INDEPENDENT_NONPERSISTENT)

# fmt: off
RULES: tuple[Rule, ...] = (
    Rule("vmware.changed_block_tracking.disabled", Category.WARNING,
         "Changed Block Tracking (CBT) not enabled",
         "A warm migration copies only what changed, and asks CBT for it; without CBT it reads the "
         "whole disk for each precopy and compares. Enable CBT for this VM (it takes effect at "
         "the next snapshot or power cycle).",
         _when(lambda vm: not vm.change_tracking)),
    Rule("vmware.changed_block_tracking.disk.disabled", Category.WARNING,
         "Disk - `{}` does not have CBT enabled",
         "Disk {} is without Changed Block Tracking: each precopy of a warm migration reads it "
         "whole, and compares.",
         _disks(lambda disk: not disk.change_tracking, disk_address)),
    Rule("vmware.consolidation_needed", Category.WARNING, "Snapshot consolidation required",
         "Left-over delta files hang below the disks. Consolidate them in vSphere first: reading "
         "long chains is slow.",
         _when(lambda vm: vm.consolidation_needed)),
    Rule("vmware.cpu_affinity.detected", Category.WARNING, "CPU affinity detected",
         "The VM is pinned to CPUs of its host. The pinning is not carried over: use dedicated "
         "CPU placement on the target if it is still wanted.",
         _when(lambda vm: vm.cpu_affinity)),
    Rule("vmware.cpu_memory.hotplug.enabled", Category.WARNING, "CPU/Memory hotplug detected",
         "CPUs or memory can be changed while this VM runs. The target gets what is configured "
         "now, and hot-plug works there by the rules of KubeVirt.",
         _when(lambda vm: vm.cpu_hot_add or vm.cpu_hot_remove or vm.memory_hot_add)),
    Rule("vmware.datastore.missing", Category.CRITICAL, "Disk is not located on a datastore",
         "No datastore is known for {}, so there is nowhere to read it from. Attach the disk "
         "again, or remove it from the VM.",
         _joined(_disks(lambda disk: not disk.datastore, _file))),
    Rule("vmware.disk.count.exceeds.limit", Category.WARNING,
         f"VM has {{}} disks, exceeds the limit of {MAX_DISKS}",
         f"The VM has {{}} disks; the target can hold {MAX_DISKS}.",
         _disk_count),
    Rule("vmware.disk_mode.independent", Category.WARNING, "Independent disk detected",
         "Snapshots leave out independent disks ({}): they are copied only while the VM is off.",
         _any_disk(lambda disk: disk.mode in _INDEPENDENT)),
    Rule("vmware.disk_serial.truncated", Category.INFORMATION,
         "Disk serial numbers may be truncated",
         "disk.EnableUUID shows the guest a serial number for each SCSI disk. It is kept, but a "
         "virtio disk shows only its first 20 characters.",
         _when(lambda vm: vm.disk_enable_uuid and any(d.bus is Bus.SCSI for d in vm.disks))),
    Rule("vmware.disk.capacity.invalid", Category.CRITICAL, "Disk '{}' has an invalid capacity",
         "The source reports a capacity of zero or less for {}.",
         _disks(lambda disk: disk.capacity_bytes <= 0, _file)),
    Rule("vmware.dpm.enabled", Category.INFORMATION, "vSphere DPM detected",
         "Cluster {} powers hosts off when they idle. The target does not.",
         _in_cluster(lambda cluster, _vm: cluster.dpm_enabled)),
    Rule("vmware.drs.enabled", Category.INFORMATION, "VM running in a DRS-enabled cluster",
         "Cluster {} balances VMs over its hosts by DRS. The target places a VM when it starts.",
         _in_cluster(lambda cluster, _vm: cluster.drs_enabled)),
    Rule("vmware.fault_tolerance.enabled", Category.INFORMATION, "Fault tolerance",
         "vSphere keeps a running shadow of this VM. The target has no such thing: the VM "
         "restarts after a host failure.",
         _when(lambda vm: vm.fault_tolerance)),
    Rule("vmware.guestDisks.freespace", Category.CRITICAL,
         "Insufficient free space for conversion on '{}'",
         "Adapting the guest writes to '{}': / and C: need 100 MiB free, /boot 50 MiB, others "
         "10 MiB. Free some space in the guest, or migrate with skipGuestConversion.",
         _full_filesystems),
    Rule("vmware.guestDisks.key.not_found", Category.INFORMATION,
         "Missing disk key mapping for '{}'",
         "VMware Tools do not say which disk holds {}, so the template variable .WinDriveLetter "
         "stays empty.",
         _unmapped_guest_disks),
    Rule("vmware.host_affinity.detected", Category.WARNING, "VM-Host affinity detected",
         "A rule of cluster {} ties the VM to hosts. Use node affinity on the target if it is "
         "still wanted.",
         _in_cluster(lambda cluster, vm: vm.id in cluster.host_affinity_vms)),
    Rule("vmware.hostname.empty", Category.WARNING, "Empty Host Name",
         "The guest reports no host name: its tools do not run, or it has none.",
         _when(lambda vm: not vm.hostname)),
    Rule("vmware.hostname.default", Category.WARNING, "Default Host Name",
         "The guest's host name is localhost.localdomain. DHCP on the target may name it anew.",
         _when(lambda vm: vm.hostname == "localhost.localdomain")),
    Rule("vmware.vm_missing_ip.detected", Category.WARNING, "VM is missing IP addresses",
         "The guest reports no addresses, so they can neither be kept nor compared afterwards. "
         "Start the VM with its tools running.",
         _when(lambda vm: not vm.guest_networks)),
    Rule("vmware.vm.name.invalid", Category.WARNING, "Invalid VM Name",
         "The name is no DNS name of at most 63 characters. The target VM gets a name made of it; "
         "the original is kept in an annotation.",
         _when(_invalid_name)),
    Rule("vmware.numa_affinity.detected", Category.WARNING, "NUMA node affinity detected",
         "The VM is tied to NUMA nodes of its host. That is not carried over.",
         _when(lambda vm: vm.numa_affinity)),
    Rule("vmware.passthrough_device.detected", Category.CRITICAL, "Passthrough device detected",
         "A PCI device of the host is passed through to the VM. It stays behind: remove it from "
         "the VM first.",
         _device("VirtualPCIPassthrough")),
    Rule("vmware.disk.rdm.detected", Category.WARNING, "Raw Device Mapped disk detected",
         "{} maps a LUN. In virtual mode its content is copied like any disk's; in physical mode "
         "it cannot be read through vSphere.",
         _any_disk(lambda disk: disk.rdm)),
    Rule("vmware.disk.shared.detected", Category.WARNING, "Shared disk detected",
         "{} can be written by several VMs. Migrate them together, all powered off; the target "
         "volume must be ReadWriteMany.",
         _any_disk(lambda disk: disk.shared)),
    Rule("vmware.snapshot.detected", Category.INFORMATION, "VM snapshot detected",
         "The current state is migrated; snapshots stay behind.",
         _when(lambda vm: vm.snapshots)),
    Rule("vmware.device.sriov.detected", Category.WARNING,
         "SR-IOV passthrough adapter configuration detected",
         "An SR-IOV adapter becomes an ordinary virtual NIC on the target.",
         _when(lambda vm: any(device.kind == "VirtualSriovEthernetCard" for device in vm.devices)
               or any(nic.model == "sriov" for nic in vm.nics))),
    Rule("vmware.tpm.detected", Category.WARNING, "TPM detected",
         "The VM gets a TPM, but a new and empty one: keys sealed in the old one are lost. Have "
         "recovery keys at hand, or suspend what uses the TPM first.",
         _when(lambda vm: vm.vtpm)),
    Rule("vmware.usb_controller.detected", Category.WARNING, "USB controller detected",
         "USB devices that are attached to the VM stay behind.",
         _device("VirtualUSBController")),
    Rule("vmware.os.unsupported", Category.WARNING, "Unsupported operating system detected",
         "Guest {} is not on Forklift's list (RHEL 7 to 10, Windows 10 and 11, Server 2016 to "
         "2025). It is migrated all the same; check that it starts.",
         _unsupported_os),
    # --- ours: what Forklift's rules do not see ---
    Rule("mtv.vm.encrypted", Category.CRITICAL, "VM is encrypted by vSphere",
         "Disks of an encrypted VM leave vSphere only as ciphertext. Decrypt the VM (change its "
         "storage policy) before it is migrated.",
         _when(lambda vm: vm.encrypted or any(disk.encrypted for disk in vm.disks))),
    Rule("mtv.vm.suspended", Category.CRITICAL, "VM is suspended",
         "Half of its state is in a memory image that cannot be moved. Resume it, then let it "
         "run or shut it down.",
         _when(lambda vm: vm.power_state is PowerState.SUSPENDED)),
    Rule("mtv.vm.unreachable", Category.CRITICAL, "VM is not reachable in vSphere",
         "vCenter calls this VM disconnected, orphaned, inaccessible or invalid: its files "
         "cannot be read now.",
         _when(lambda vm: vm.connection_state != "connected")),
    Rule("mtv.datastore.inaccessible", Category.CRITICAL, "Datastore is not accessible",
         "vSphere cannot reach the datastore of {}.",
         _on_datastore(lambda _type, accessible: not accessible)),
    Rule("mtv.disk.rdm_physical", Category.CRITICAL, "Physical-mode RDM cannot be read",
         "vSphere gives no access to the content of a LUN in physical mode ({}). Change it to "
         "virtual mode while the VM is off, or attach the LUN to the target by other means.",
         _any_disk(lambda disk: disk.rdm_physical)),
    Rule("mtv.disk.multi_writer", Category.WARNING, "Disk is written by several VMs",
         "{}: it must be migrated once, with all of its VMs off, onto a ReadWriteMany volume.",
         _joined(_multi_writer)),
    Rule("mtv.disk.nvme", Category.WARNING, "NVMe disk detected",
         "{} is /dev/nvme0n1 (or the like) inside the guest, and becomes a SCSI disk. A guest "
         "that names its disks by device and not by UUID will not find it.",
         _any_disk(lambda disk: disk.bus is Bus.NVME)),
    Rule("mtv.disk.large_on_bios", Category.WARNING, "Disk above 2 TiB on a BIOS machine",
         "{} is larger than an MBR partition table can describe. It must be partitioned by GPT, "
         "and a boot disk that size needs a BIOS boot partition.",
         _large_on_bios),
    Rule("mtv.disk.dynamic", Category.WARNING, "Windows dynamic disk detected",
         "Volume {} is larger than any one disk or lies on several, so it is a dynamic disk or a "
         "storage pool. All of its disks must move together, and offline adaptation cannot "
         "write to it.",
         _spanned_volumes),
    Rule("mtv.datastore.vsan", Category.INFORMATION, "Disk on vSAN",
         "{}: vSAN objects are not readable as files, so the transport is nfc or vddk, not https.",
         _on_datastore(lambda kind, _accessible: kind == "vsan")),
    Rule("mtv.datastore.vvol", Category.INFORMATION, "Disk on a VVol datastore",
         "{}: virtual volumes are not readable as files, so the transport is nfc or vddk, not "
         "https.",
         _on_datastore(lambda kind, _accessible: kind == "vvol")),
    Rule("mtv.guest.bitlocker", Category.WARNING, "BitLocker is likely",
         "Windows with a TPM: if BitLocker is on, the new TPM does not unlock it. Suspend "
         "BitLocker before the migration, or have the recovery key at hand.",
         _when(lambda vm: vm.vtpm and guest_os.is_windows(vm))),
    Rule("mtv.guest.hibernation", Category.WARNING, "Windows fast startup is likely",
         "Windows 8 to 11 hibernate their kernel at shutdown and leave NTFS locked. Turn fast "
         "startup off (powercfg /h off), or shut down with shutdown /s /t 0 while shift is held.",
         _when(_may_be_hibernated)),
    Rule("mtv.guest.no_shutdown", Category.WARNING, "Guest cannot be shut down by its tools",
         "The VM runs and VMware Tools do not, so that it can only be powered off hard, which "
         "leaves file systems dirty. Shut it down from inside, or allow a forced power-off.",
         _when(_cannot_shut_down)),
    Rule("mtv.guest.btrfs", Category.INFORMATION, "btrfs file system detected",
         "{} is btrfs: offline adaptation needs libguestfs for it.",
         _joined(lambda vm, _inventory: _filesystem(vm, "btrfs"))),
    Rule("mtv.guest.xfs_v4", Category.INFORMATION, "XFS version 4 is likely",
         "{} is XFS of a distribution that made version 4, which new kernels refuse to mount. "
         "The guest itself is fine; tools that look into it may not be.",
         _joined(_xfs_v4)),
    Rule("mtv.nic.count", Category.WARNING, "VM has {} network cards",
         f"The VM has {{}} network cards; the target machine type has room for {MAX_NICS}.",
         lambda vm, _inventory: (str(len(vm.nics)),) if len(vm.nics) > MAX_NICS else ()),
)
# fmt: on
