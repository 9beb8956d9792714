"""Which way a guest goes from VMware's devices to the target's, and what changes. Pure.

Ways in order; the first that will do is taken, and the last one always does:

    nothing     the guest has the drivers, and the target keeps its disks' and NICs' names
    inject      drivers are put into an offline Windows, from a virtio-win that is given
    light       files are changed from outside, by e2fsprogs, in seconds
    appliance   the same changes through libguestfs: XFS, btrfs, LUKS, RAID, scattered volumes
    virt-v2v    virt-v2v-in-place, for guests whose initramfs only their own tools can make
    emulated    SATA and e1000e: it runs as it is, slower, and a condition says so
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from converters.guest import obstacles
from converters.guest.inspection.facts import (
    Inspection,
    Interface,
    Kernel,
    Linux,
    Windows,
)

_WRITABLE = ("ext2", "ext3", "ext4")
_SOURCE_NAME = re.compile(r"/dev/(?:[shv]d|xvd)[a-z]{1,2}\d*$|/dev/disk/by-(?:path|id)/")
_PLACE_NAME = re.compile(r"(?:en[ospx]\w+|eth\d+|em\d+|p\d+p\d+)$")


class Way(StrEnum):
    """How a guest is made to run on the target."""

    NOTHING = "nothing"
    LIGHT = "light"
    INJECT = "inject"
    APPLIANCE = "appliance"
    VIRT_V2V = "virt-v2v"
    EMULATED = "emulated"


class Bus(StrEnum):
    """Where the guest's disks hang, in KubeVirt's words."""

    SCSI = "scsi"
    VIRTIO = "virtio"
    SATA = "sata"


class Kind(StrEnum):
    """What is changed."""

    INITRAMFS = "initramfs"
    NEXT_INITRAMFS = "next-initramfs"
    DISK_NAMES = "disk-names"
    INTERFACE = "interface"
    SERVICE = "service"
    AGENT = "agent"
    CONSOLE = "console"
    FALLBACK_LOADER = "fallback-loader"
    DRIVER = "driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A NIC as the source has it. `slot` is VMware's pciSlotNumber, 0 where it is not known."""

    mac: str
    name: str = ""
    slot: int = 0
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the one who migrates says."""

    bus: Bus = Bus.SCSI
    nics: tuple[Nic, ...] = ()
    compatible: bool = False  # useCompatibilityMode: emulated devices, whatever is possible
    skip: bool = False  # skipGuestConversion: nothing is changed
    console: bool = False
    packages: tuple[str, ...] = ()  # names of files for the first boot
    drivers: tuple[str, ...] | None = None  # `vioscsi/vioscsi.sys`; None where none were given


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Which ways this machine can go."""

    light: bool = True
    appliance: bool = False
    virt_v2v: bool = False
    inject: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A change that shall be made, to what, and why."""

    kind: Kind
    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The way, the devices that it leads to, and all changes."""

    way: Way
    bus: Bus
    nic_model: str
    reasons: tuple[str, ...]
    intents: tuple[Intent, ...] = ()
    names: tuple[tuple[str, str], ...] = ()  # (MAC, name) of NICs whose names are kept
    warnings: tuple[str, ...] = ()

    def of(self, kind: Kind) -> tuple[Intent, ...]:
        """Return the intents of one kind."""
        return tuple(intent for intent in self.intents if intent.kind is kind)


def decide(found: Inspection, wish: Wish, tools: Tools) -> Decision:
    """Return what shall be done with a guest."""
    if wish.skip:
        bus = Bus.SATA if wish.compatible else wish.bus
        return _untouched(Way.NOTHING, bus, "the plan says not to touch the guest", found)
    if wish.compatible:
        return _untouched(Way.EMULATED, Bus.SATA, "the plan asks for compatible devices", found)
    if found.linux is None:
        return _not_linux(found, wish, tools)
    return _linux(found, found.linux, wish, tools)


def _untouched(way: Way, bus: Bus, reason: str, found: Inspection) -> Decision:
    warnings = []
    if bus is Bus.SATA and found.linux is not None:
        poor = [one.version for one in found.linux.kernels if "ahci" not in one.storage]
        if poor:
            warnings.append(f"kernel {', '.join(poor)} has no AHCI driver in its initramfs")
    model = "e1000e" if bus is Bus.SATA else "virtio"
    return Decision(way=way, bus=bus, nic_model=model, reasons=(reason,), warnings=tuple(warnings))


def _not_linux(found: Inspection, wish: Wish, tools: Tools) -> Decision:
    if found.windows is not None:
        return _windows(found, found.windows, wish, tools)
    kinds = sorted({one.kind for one in found.volumes if one.kind})
    foreign = [one for one in kinds if one in ("xfs", "btrfs", "linux_raid_member")]
    locked = [one for one in kinds if one in ("crypto_LUKS", "BitLocker")]
    scattered = any(one.kind == "LVM2_member" for one in found.volumes)
    if (foreign or scattered) and not locked and tools.appliance:
        return Decision(
            way=Way.APPLIANCE, bus=wish.bus, nic_model="virtio",
            reasons=(f"{', '.join(foreign or ['LVM'])} is read through libguestfs",),
            warnings=found.problems,
        )  # fmt: skip
    if locked:
        reason = f"{', '.join(locked)} hides the guest's files"
    elif foreign:
        reason = f"{', '.join(foreign)} cannot be changed here without libguestfs"
    else:
        reason = "no system that is known was found on the disks"
    return _untouched(Way.EMULATED, Bus.SATA, reason, found)


def _windows(found: Inspection, guest: Windows, wish: Wish, tools: Tools) -> Decision:
    driver = {Bus.SCSI: "vioscsi", Bus.VIRTIO: "viostor", Bus.SATA: ""}[wish.bus]
    obstacle = next(
        obstacles.of_windows(found, guest, driver=driver, given=wish.drivers, able=tools.inject), ""
    )
    if obstacle:
        reason = f"a Windows guest is started on SATA, whose driver it has: {obstacle}"
        return _untouched(Way.EMULATED, Bus.SATA, reason, found)
    given = wish.drivers or ()
    with_nic = "netkvm/netkvm.sys" in given
    return Decision(
        way=Way.INJECT, bus=wish.bus, nic_model="virtio" if with_nic else "e1000e",
        reasons=("drivers of virtio-win start with Windows, beside its own",),
        intents=tuple(
            Intent(kind=Kind.DRIVER, subject=name, reason="is put into the guest")
            for name in given if name.endswith(".sys")
        ),
        warnings=(
            "Windows is not booted in a test; where it does not start, set diskBus to sata: "
            "that it starts on SATA is kept",
            *(() if with_nic else ("virtio-win has no netkvm for it: its NIC is an e1000e",)),
        ),
    )  # fmt: skip


def _linux(found: Inspection, guest: Linux, wish: Wish, tools: Tools) -> Decision:
    reasons: list[str] = []
    warnings = list(found.problems)
    kernels = [
        one for one in guest.kernels if one.initramfs or _has_all(one, one.builtin, wish.bus)
    ]
    able = [one for one in kernels if _can(one, wish.bus)]
    if not able and next(_blockers(found, guest), ""):
        # Its initramfs may lie where only another way can look.
        way, reason = _way(found, guest, tools)
        if way is Way.EMULATED:
            return _untouched(way, Bus.SATA, reason, found)
        return Decision(
            way=way, bus=wish.bus, nic_model="virtio", reasons=(reason,), warnings=tuple(warnings)
        )
    if not able:
        reasons.append(_why_no_kernel(guest, wish.bus))
        if guest.kernels and guest.boot.unified and tools.virt_v2v:
            return Decision(
                way=Way.VIRT_V2V, bus=wish.bus, nic_model="virtio", reasons=tuple(reasons),
                warnings=tuple(warnings),
            )  # fmt: skip
        return _untouched(Way.EMULATED, Bus.SATA, reasons[0], found)
    warnings += [
        f"kernel {one.version} will not start on virtio" for one in guest.kernels if one not in able
    ]
    if wish.packages and not guest.agent and not _suit(guest, wish):
        warnings.append(f"the agent's packages are not for a guest of {guest.packages or 'none'}")
    names, unnamed = name_nics(guest, wish.nics)
    warnings += unnamed
    intents = tuple(_intents(found, guest, wish, able, names))
    needed = [one for one in intents if _is_needed(one, wish.bus)]
    asked = [one for one in intents if one.kind in (Kind.AGENT, Kind.CONSOLE)]
    if not needed and not asked:
        return Decision(
            way=Way.NOTHING, bus=wish.bus, nic_model="virtio", names=names,
            reasons=("every kernel has the drivers, and the names stay as they are",),
            warnings=tuple(warnings),
        )  # fmt: skip
    way, reason = _way(found, guest, tools)
    if way is Way.EMULATED:
        return _untouched(way, Bus.SATA, reason, found)
    return Decision(
        way=way, bus=wish.bus, nic_model="virtio", reasons=(reason, *reasons), intents=intents,
        names=names, warnings=tuple(warnings),
    )  # fmt: skip


def _way(found: Inspection, guest: Linux, tools: Tools) -> tuple[Way, str]:
    blockers = list(_blockers(found, guest))
    if not blockers and tools.light:
        return Way.LIGHT, "its files lie on ext4 that can be changed from outside"
    blockers = blockers or ["e2fsprogs or /dev/fuse is missing here"]
    if tools.appliance:
        return Way.APPLIANCE, f"through libguestfs, since {blockers[0]}"
    if tools.virt_v2v:
        return Way.VIRT_V2V, f"by virt-v2v-in-place, since {blockers[0]}"
    return Way.EMULATED, f"{blockers[0]}, and libguestfs is not on this machine"


def _blockers(found: Inspection, guest: Linux) -> Iterator[str]:
    for device in {guest.root, *(one.volume for one in guest.mounts if _matters(one.where))}:
        volume = found.volume(device)
        if volume is None:
            continue
        if volume.kind not in _WRITABLE and volume.kind != "vfat":
            yield f"{device} has {volume.kind or 'an unknown file system'}"
        elif volume.start < 0:
            yield f"{device} is not one piece of one disk"


def _matters(where: str) -> bool:
    return where in ("/", "/boot", "/usr", "/etc", "/var", "/var/lib")


# -- kernels


def _driver(bus: Bus) -> str:
    return {Bus.SCSI: "virtio_scsi", Bus.VIRTIO: "virtio_blk", Bus.SATA: "ahci"}[bus]


def _has_all(kernel: Kernel, here: Sequence[str], bus: Bus) -> bool:
    return {"virtio_pci", _driver(bus)} <= {*here, *kernel.builtin}


def _can(kernel: Kernel, bus: Bus) -> bool:
    """Whether a kernel starts on a bus now, or after modules were appended to its initramfs."""
    if kernel.problem:
        return False
    return _has_all(kernel, kernel.in_initramfs, bus) or _has_all(kernel, kernel.available, bus)


def _why_no_kernel(guest: Linux, bus: Bus) -> str:
    if not guest.kernels:
        return "no kernel was found in /lib/modules"
    if not guest.boot.unified and not any(one.initramfs for one in guest.kernels):
        return "no initramfs was found for any kernel"
    broken = next((one for one in guest.kernels if one.problem), None)
    if broken is not None:
        return f"the initramfs of kernel {broken.version} cannot be read: {broken.problem}"
    if guest.boot.unified and not any(one.initramfs for one in guest.kernels):
        return "its initramfs is inside a unified kernel image, which is signed"
    return f"no kernel has the drivers virtio_pci and {_driver(bus)}"


# -- names of NICs


def name_nics(guest: Linux, nics: Sequence[Nic]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """Return (MAC, name) of the NICs whose name must be kept, and what could not be found out.

    A name that is given counts; then a MAC or an address in the guest's own files; then
    VMware's slot (ens192 has slot 192); then the only name for the only NIC.
    """
    wanted = [one for one in guest.network.interfaces if _PLACE_NAME.match(one.name) or one.mac]
    names: dict[str, str] = {}
    warnings: list[str] = []
    for nic in nics:
        mac = nic.mac.lower().replace("-", ":")
        taken = set(names.values())
        free = [one for one in wanted if one.name not in taken]
        name = nic.name or _own_name(nic, mac, free)
        if not name and len(nics) == len(names) + 1 and len(free) == 1 and not free[0].mac:
            name = free[0].name
        if name in taken:
            warnings.append(f"two NICs would be called {name}; {mac} keeps what it gets")
        elif name:
            names[mac] = name
        elif free and not guest.network.classic_names:
            warnings.append(f"which of {', '.join(one.name for one in free)} is {mac} is unknown")
    pinned = {one.name for one in guest.network.interfaces if one.pinned}
    kept = tuple(
        (mac, name)
        for mac, name in names.items()
        if name not in pinned
        and not (guest.network.classic_names and re.fullmatch(r"eth\d+", name))
    )
    return kept, warnings


def _own_name(nic: Nic, mac: str, free: Sequence[Interface]) -> str:
    for one in free:
        if one.mac == mac:
            return one.name
    mine = {address.split("/")[0] for address in nic.addresses}
    for one in free:
        if mine & {address.split("/")[0] for address in one.addresses}:
            return one.name
    if nic.slot and f"ens{nic.slot}" in {one.name for one in free}:
        return f"ens{nic.slot}"
    return ""


# -- changes


def _intents(
    found: Inspection,
    guest: Linux,
    wish: Wish,
    kernels: Sequence[Kernel],
    names: tuple[tuple[str, str], ...],
) -> Iterator[Intent]:
    for kernel in kernels:
        if kernel.initramfs and kernel.lacks:
            lacking = sorted({*_drivers_of(kernel)})
            yield Intent(
                kind=Kind.INITRAMFS, subject=kernel.initramfs,
                reason=f"lacks {', '.join(lacking)}; {len(kernel.lacks)} modules are appended",
            )  # fmt: skip
    if any(one.lacks for one in kernels) and guest.initramfs_tool:
        yield Intent(
            kind=Kind.NEXT_INITRAMFS, subject=guest.initramfs_tool,
            reason="the next kernel shall have the drivers, too",
        )  # fmt: skip
    yield from _disk_names(guest)
    for mac, name in names:
        yield Intent(
            kind=Kind.INTERFACE, subject=name,
            reason=f"the guest's configuration names {name}; it stays with {mac}",
        )  # fmt: skip
    for service in guest.vmware_services:
        yield Intent(
            kind=Kind.SERVICE, subject=service, reason="serves VMware only; masked, not removed"
        )
    if _suit(guest, wish) and not guest.agent:
        yield Intent(
            kind=Kind.AGENT, subject=", ".join(wish.packages),
            reason="the QEMU guest agent is installed at the first boot, without a repository",
        )  # fmt: skip
    if wish.console and not any("ttyS0" in one for one in guest.boot.console):
        yield Intent(kind=Kind.CONSOLE, subject="ttyS0", reason="a serial console was asked for")
    if guest.boot.fallback is False and (loader := fallback_of(guest.boot.loaders)):
        yield Intent(
            kind=Kind.FALLBACK_LOADER, subject=loader,
            reason="the firmware's own entries stay behind; it looks for EFI/BOOT/BOOTX64.EFI",
        )  # fmt: skip


def _suit(guest: Linux, wish: Wish) -> bool:
    """Whether there are packages, and the guest's own tools and systemd can install them."""
    return (
        bool(wish.packages)
        and guest.init == "systemd"
        and all(name.endswith(f".{guest.packages}") for name in wish.packages)
    )


def _drivers_of(kernel: Kernel) -> Iterator[str]:
    for path in kernel.lacks:
        name = path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")
        if name in kernel.available and name not in kernel.in_initramfs:
            yield name


def _disk_names(guest: Linux) -> Iterator[Intent]:
    """Yield where a disk is called by its place, which another controller changes."""
    sources = [(mount.source, "/etc/fstab") for mount in guest.mounts if mount.volume]
    sources += [(one, "the boot loader's configuration") for one in guest.boot.roots]
    sources += [(one.split()[-1], "/etc/crypttab") for one in guest.crypttab]
    seen = set()
    for source, where in sources:
        if _SOURCE_NAME.match(source) and (source, where) not in seen:
            seen.add((source, where))
            yield Intent(
                kind=Kind.DISK_NAMES, subject=where, reason=f"names {source}; its UUID is steady"
            )


def fallback_of(loaders: Sequence[str]) -> str:
    """Return the loader that shall stand at the fallback path: shim before GRUB."""
    lowered = {one.lower(): one for one in loaders}
    for wanted in ("shimx64.efi", "grubx64.efi", "systemd-bootx64.efi"):
        for low, one in lowered.items():
            if low.endswith("/" + wanted):
                return one
    return ""


def _is_needed(intent: Intent, bus: Bus) -> bool:
    """Whether a guest would not run as before without it. On SCSI a disk stays /dev/sdX."""
    if intent.kind is Kind.DISK_NAMES:
        return bus is not Bus.SCSI or "/dev/sd" not in intent.reason
    return intent.kind in (Kind.INITRAMFS, Kind.INTERFACE, Kind.FALLBACK_LOADER)
