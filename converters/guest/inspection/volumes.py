"""Which volumes the disks of a guest have, and how the guest calls them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from converters.errors import ConversionError
from converters.guest import limits
from converters.guest.filesystems.contract import FileSystem
from converters.guest.filesystems.ext4 import Ext4
from converters.guest.filesystems.fat import Fat
from converters.guest.filesystems.ntfs import Ntfs
from converters.guest.inspection.facts import Volume
from converters.guest.volumes import lvm, partitions, signatures
from converters.guest.volumes.device import Device, Part

READABLE = ("ext2", "ext3", "ext4", "vfat")


@dataclass(frozen=True, slots=True)
class Found:
    """A volume and, where its bytes can be read, its device."""

    volume: Volume
    device: Device | None


def disk_name(index: int) -> str:
    """Return how Linux calls the disk with this index on SCSI: sda, sdb, ..., sdz, sdaa."""
    letters = ascii_lowercase[index % 26]
    while index := index // 26:
        index -= 1
        letters = ascii_lowercase[index % 26] + letters
    return f"sd{letters}"


def read(disks: Sequence[Device], problems: list[str]) -> tuple[list[str], list[Found]]:
    """Return each disk's kind of partition table, and all volumes."""
    labels, found = [], []
    for index, disk in enumerate(disks):
        try:
            table = partitions.read(disk)
        except ConversionError as fault:
            problems.append(f"/dev/{disk_name(index)}: {fault}")
            labels.append("unreadable")
            continue
        labels.append(table.label)
        if table.label == "none":
            found.append(_volume(disk, f"/dev/{disk_name(index)}", index, 0, None))
        for one in table.partitions[: limits.MOST_PARTITIONS]:
            part = Part(disk, one.start, one.size_bytes)
            device = f"/dev/{disk_name(index)}{one.number}"
            found.append(_volume(part, device, index, one.start, one))
    found += _logical(found, problems)
    return labels, found


def _volume(
    device: Device, name: str, disk: int, start: int, one: partitions.Partition | None
) -> Found:
    content = signatures.probe(device)
    notes = content.notes
    if one is not None and one.is_dynamic:
        notes = (*notes, "dynamic disk")
    return Found(
        Volume(
            device=name,
            disk=disk,
            start=start,
            size_bytes=device.size_bytes,
            kind=content.kind,
            uuid=content.uuid,
            label=content.label,
            version=content.version,
            partition_type=one.type if one else "",
            partition_uuid=one.uuid if one else "",
            partition_name=one.name if one else "",
            notes=notes,
        ),
        device,
    )


def _logical(found: list[Found], problems: list[str]) -> Iterator[Found]:
    members = {
        one.volume.uuid: one for one in found if one.volume.kind == "LVM2_member" and one.device
    }
    if not members:
        return
    try:
        volumes = lvm.read({uuid: one.device for uuid, one in members.items() if one.device})
    except ConversionError as fault:
        problems.append(f"LVM: {fault}")
        return
    for one in volumes:
        if one.device is None:
            problems.append(f"{one.path} cannot be read: {one.why_not}")
        content = signatures.probe(one.device) if one.device else signatures.Content(kind="")
        start, disk = -1, 0
        if one.contiguous is not None:
            member = members[one.contiguous[0]].volume
            start, disk = member.start + one.contiguous[1], member.disk
        yield Found(
            Volume(
                device=one.path,
                disk=disk,
                start=start,
                size_bytes=one.device.size_bytes if one.device else 0,
                kind=content.kind,
                uuid=content.uuid,
                label=content.label,
                version=content.version,
                names=one.paths[1:],
                notes=(*content.notes, f"logical volume of {one.group}"),
            ),
            one.device,
        )


def open_file_system(found: Found) -> FileSystem | None:
    """Return a volume's file system, None where it is none that is read here."""
    if found.device is None:
        return None
    if found.volume.kind in ("ext2", "ext3", "ext4"):
        return Ext4(found.device)
    if found.volume.kind == "vfat":
        return Fat(found.device)
    if found.volume.kind == "ntfs":
        return Ntfs(found.device)
    return None


_BY_PATH = re.compile(r"-scsi-0:0:(?P<disk>\d{1,3}):0(?:-part(?P<part>\d{1,3}))?$")
_PLAIN = re.compile(r"/dev/(?:sd|hd|vd|xvd)(?P<letters>[a-z]{1,2})(?P<part>\d{0,3})$")


def meant(source: str, volumes: Sequence[Volume]) -> Volume | None:
    """Return the volume that a name in fstab, crypttab or `root=` means, if any."""
    source = source.strip("\"'")
    tag, equals, value = source.partition("=")
    if equals:
        return _by_tag(tag.upper(), value.strip("\"'"), volumes)
    for prefix, kind in (
        ("/dev/disk/by-uuid/", "UUID"),
        ("/dev/disk/by-label/", "LABEL"),
        ("/dev/disk/by-partuuid/", "PARTUUID"),
        ("/dev/disk/by-partlabel/", "PARTLABEL"),
    ):
        if source.startswith(prefix):
            return _by_tag(kind, source.removeprefix(prefix), volumes)
    if source.startswith("/dev/disk/by-path/") and (match := _BY_PATH.search(source)):
        source = f"/dev/{disk_name(int(match['disk']))}{match['part'] or ''}"
    if match := _PLAIN.match(source):
        source = f"/dev/sd{match['letters']}{match['part']}"
    return next((one for one in volumes if source == one.device or source in one.names), None)


def _by_tag(tag: str, value: str, volumes: Sequence[Volume]) -> Volume | None:
    for one in volumes:
        has = {
            "UUID": one.uuid,
            "LABEL": one.label,
            "PARTUUID": one.partition_uuid,
            "PARTLABEL": one.partition_name,
        }.get(tag, "")
        if has and has.lower() == value.lower():
            return one
    return None
