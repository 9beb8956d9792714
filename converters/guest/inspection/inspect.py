"""Looks into the disks of a guest and says what is there. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from converters import opening
from converters.errors import ConversionError
from converters.guest.filesystems.contract import FileSystem
from converters.guest.filesystems.ntfs import Ntfs
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection import linux, volumes, windows
from converters.guest.inspection.facts import Disk, Inspection, System, Volume, Windows
from converters.guest.inspection.volumes import Found
from converters.guest.volumes.device import ChainDevice, Device
from converters.images.identify import Format

_NEVER_MOUNTED = ("/proc", "/sys", "/dev", "/run", "/tmp")


@dataclass(frozen=True, slots=True)
class Guest:
    """An open guest: what was found, and its files as far as they can be read."""

    inspection: Inspection
    tree: Tree | None
    mounted: dict[str, Volume]  # mount point -> volume


@contextmanager
def open_disks(files: Sequence[str], *, known: Format | None = None) -> Iterator[list[Device]]:
    """Open disk images of any format, in the guest's order. Raises ConversionError."""
    with ExitStack() as stack:
        yield [
            ChainDevice(stack.enter_context(opening.open_chain(file, known=known)))
            for file in files
        ]


def look(disks: Sequence[Device], files: Sequence[str], *, root: str = "") -> Guest:
    """Return what is in a guest's disks. What cannot be read is named, not raised.

    `root` tells which of several systems is meant: a device, or the number of a disk from 0.
    """
    problems: list[str] = []
    labels, found = volumes.read(disks, problems)
    systems = _file_systems(found, problems)
    all_volumes = [one.volume for one in found]
    system, tree, mounted, guest = System.UNKNOWN, None, dict[str, Volume](), None
    roots = [
        one
        for one, system in systems.items()
        if system.kind == "ext4" and _is_root(Tree({"/": system}), problems)
    ]
    if len(roots) > 1 and root:
        roots = _meant(roots, root, all_volumes) or roots
    if len(roots) > 1:
        problems.append(
            "several systems: " + ", ".join(roots) + "; name the one to adapt (rootDisk)"
        )
    if len(roots) == 1:
        home = next(one for one in all_volumes if one.device == roots[0])
        tree, mounted = _mount(home, systems, all_volumes, problems)
        esp_volume = _esp(mounted, all_volumes)
        esp = None
        if esp_volume is not None and esp_volume.device in systems:
            esp = Tree({"/": systems[esp_volume.device]})
        system = System.LINUX
        try:
            guest = linux.read(tree, home, all_volumes, esp, problems)
        except ConversionError as fault:
            problems.append(str(fault))
            system, tree = System.UNKNOWN, None
    machine = None if system is System.LINUX else _windows(systems, all_volumes, problems)
    inspection = Inspection(
        disks=tuple(
            Disk(file=file, size_bytes=disk.size_bytes, table=label)
            for file, disk, label in zip(files, disks, labels, strict=True)
        ),
        volumes=tuple(all_volumes),
        system=System.WINDOWS if machine is not None else system,
        linux=guest,
        windows=machine,
        bitlocker=any(one.kind == "BitLocker" for one in all_volumes),
        dynamic_disks=any("dynamic disk" in one.notes for one in all_volumes),
        problems=tuple(dict.fromkeys(problems)),
    )
    return Guest(inspection, tree, mounted)


def _meant(roots: Sequence[str], root: str, all_volumes: Sequence[Volume]) -> list[str]:
    return [
        one.device
        for one in all_volumes
        if one.device in roots and root in (one.device, *one.names, str(one.disk))
    ]


def _windows(
    systems: dict[str, FileSystem], all_volumes: Sequence[Volume], problems: list[str]
) -> Windows | None:
    """Return the Windows on the disks, if there is one."""
    for volume in all_volumes:
        system = systems.get(volume.device)
        if not isinstance(system, Ntfs):
            continue
        try:
            if windows.is_root(system):
                return windows.read(system, volume)
        except ConversionError as fault:
            problems.append(f"{volume.device}: {fault}")
    return None


def _file_systems(found: Sequence[Found], problems: list[str]) -> dict[str, FileSystem]:
    systems = {}
    for one in found:
        try:
            if (system := volumes.open_file_system(one)) is not None:
                systems[one.volume.device] = system
            elif one.volume.kind in ("xfs", "btrfs", "crypto_LUKS", "linux_raid_member"):
                problems.append(f"{one.volume.device} ({one.volume.kind}) cannot be read here")
        except ConversionError as fault:
            problems.append(f"{one.volume.device}: {fault}")
    return systems


def _is_root(tree: Tree, problems: list[str]) -> bool:
    try:
        has_release = any(
            tree.exists(path)
            for path in ("/etc/os-release", "/usr/lib/os-release", "/etc/redhat-release")
        )
        return has_release and (tree.exists("/etc/fstab") or tree.exists("/etc/passwd"))
    except ConversionError as fault:
        problems.append(str(fault))
        return False


def _mount(
    root: Volume, systems: dict[str, FileSystem], all_volumes: list[Volume], problems: list[str]
) -> tuple[Tree, dict[str, Volume]]:
    """Mount what fstab names and what can be read, parents before their children."""
    mounted = {"/": root}
    lines = linux.fstab(Tree({"/": systems[root.device]}).text("/etc/fstab"), all_volumes)
    by_device = {one.device: one for one in all_volumes}
    for line in sorted(lines, key=lambda one: one.where.count("/")):
        where = "/" + "/".join(part for part in line.where.split("/") if part)
        skipped = where in ("/", *_NEVER_MOUNTED) or ".." in where.split("/")
        if skipped or not line.where.startswith("/") or not line.volume:
            continue
        if line.volume in systems:
            mounted.setdefault(where, by_device[line.volume])
        elif line.type != "swap":
            problems.append(f"{where} is on {line.volume}, which cannot be read here")
    return Tree({where: systems[one.device] for where, one in mounted.items()}), mounted


def _esp(mounted: dict[str, Volume], all_volumes: Sequence[Volume]) -> Volume | None:
    for where in ("/boot/efi", "/efi", "/boot"):
        if where in mounted and mounted[where].kind == "vfat":
            return mounted[where]
    types = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef")
    return next((one for one in all_volumes if one.partition_type in types), None)
