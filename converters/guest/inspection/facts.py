"""What was found in a guest. Frozen; every text in it is the guest's, unchecked and bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

DRIVERS = ("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net")


class System(StrEnum):
    """What kind of system a guest is."""

    LINUX = "linux"
    WINDOWS = "windows"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A partition, a logical volume, or a whole disk, and what is on it."""

    device: str  # as the guest called it under VMware: /dev/sda1, /dev/mapper/vg-root, /dev/sda
    disk: int  # which of the disks, from 0; that of the first part of a logical volume
    start: int  # on the disk; -1 where it is not one piece of one disk
    size_bytes: int
    kind: str
    uuid: str = ""
    label: str = ""
    version: str = ""
    names: tuple[str, ...] = ()  # all other names that the guest may use
    partition_type: str = ""
    partition_uuid: str = ""
    partition_name: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk of the guest, in the order of the controller."""

    file: str
    size_bytes: int
    table: str  # dos, gpt, none


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that is installed."""

    version: str
    modules: str  # the folder, links followed
    initramfs: str  # its path, links followed; empty where there is none
    packed_by: tuple[str, ...] = ()
    initramfs_bytes: int = 0
    builtin: tuple[str, ...] = ()  # of DRIVERS
    available: tuple[str, ...] = ()
    in_initramfs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()  # files of modules that the initramfs would need
    storage: tuple[str, ...] = ()  # drivers of emulated disks that its initramfs has
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of fstab."""

    source: str
    where: str
    type: str
    options: str = ""
    volume: str = ""  # the device of the volume that it means, empty where it is not on the disks


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How it boots."""

    firmware: str  # bios, efi
    loader: str  # grub2, grub, systemd-boot, syslinux, unknown
    files: tuple[str, ...] = ()  # its configuration
    roots: tuple[str, ...] = ()  # what `root=` says there
    console: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()  # of the first kernel found
    fallback: bool | None = None  # EFI/BOOT/BOOTX64.EFI; None where there is no ESP to look at
    loaders: tuple[str, ...] = ()  # *.EFI on the ESP
    unified: tuple[str, ...] = ()  # unified kernel images


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface that the guest configures by name."""

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    file: str = ""
    pinned: bool = False  # the guest itself binds the name to the MAC


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the guest configures its network."""

    tools: tuple[str, ...] = ()  # ifupdown, netplan, NetworkManager, ifcfg, networkd, wicked, ...
    interfaces: tuple[Interface, ...] = ()
    classic_names: bool = False  # net.ifnames=0 or an old udev: eth0, eth1 in the order of the bus


@dataclass(frozen=True, slots=True, kw_only=True)
class Linux:
    """A Linux guest."""

    name: str
    id: str
    like: tuple[str, ...] = ()
    version: str = ""
    host_name: str = ""
    architecture: str = ""
    root: str = ""  # device of the volume
    kernels: tuple[Kernel, ...] = ()
    boot: Boot
    mounts: tuple[Mount, ...] = ()
    crypttab: tuple[str, ...] = ()
    network: Network = field(default_factory=Network)
    selinux: str = ""  # enforcing, permissive, disabled; empty where there is none
    init: str = ""  # systemd or other
    packages: str = ""  # deb, rpm, apk, pacman
    vmware_services: tuple[str, ...] = ()
    agent: bool = False
    initramfs_tool: str = ""  # initramfs-tools, dracut, mkinitcpio, mkinitrd
    free_bytes: dict[str, int] = field(default_factory=dict)
    adapted: bool = False  # it carries a record of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """A Windows guest."""

    version: str = ""
    name: str = ""
    root: str = ""
    dirty: bool = False
    hibernated: bool = False
    drivers: tuple[str, ...] = ()
    virtio: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All that was found."""

    disks: tuple[Disk, ...]
    volumes: tuple[Volume, ...]
    system: System
    linux: Linux | None = None
    windows: Windows | None = None
    bitlocker: bool = False
    dynamic_disks: bool = False
    problems: tuple[str, ...] = ()  # what could not be looked at, and why

    def volume(self, device: str) -> Volume | None:
        """Return a volume by its device."""
        return next((volume for volume in self.volumes if volume.device == device), None)
