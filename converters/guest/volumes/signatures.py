"""What lies on a partition or volume, by its superblock: file system, LVM, LUKS, RAID, swap.

Places and magics are those of util-linux' libblkid documentation and of each format's own.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from itertools import pairwise

from converters.guest.volumes.device import Device

_START = 70_000  # the farthest superblock that is looked for, that of btrfs, lies at 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is on a device. `kind` is libblkid's TYPE, or empty where nothing is known."""

    kind: str
    uuid: str = ""
    label: str = ""
    version: str = ""
    notes: tuple[str, ...] = ()


def probe(device: Device) -> Content:
    """Return what a device carries."""
    start = device.read_at(0, min(_START, device.size_bytes))
    for known in (_luks, _lvm, _ntfs_or_bitlocker, _ext, _xfs, _btrfs, _swap, _fat):
        if found := known(start):
            return found
    return _raid(device, start) or Content(kind="")


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace").strip()


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


def _ext(start: bytes) -> Content | None:
    if start[1024 + 56 : 1024 + 58] != b"\x53\xef":
        return None
    block = start[1024:2048]
    compat, incompat, ro = struct.unpack_from("<III", block, 92)
    extents = incompat & 0x40 or ro & 0x8 or incompat & 0x80
    kind = "ext4" if extents else "ext3" if compat & 0x4 else "ext2"
    notes = ("journal not replayed",) if incompat & 0x4 else ()
    return Content(kind=kind, uuid=_uuid(block[104:120]), label=_text(block[120:136]), notes=notes)


def _xfs(start: bytes) -> Content | None:
    if start[:4] != b"XFSB":
        return None
    version = struct.unpack_from(">H", start, 100)[0] & 0xF
    return Content(
        kind="xfs", uuid=_uuid(start[32:48]), label=_text(start[108:120]), version=str(version)
    )


def _btrfs(start: bytes) -> Content | None:
    if start[65536 + 64 : 65536 + 72] != b"_BHRfS_M":
        return None
    block = start[65536:]
    return Content(kind="btrfs", uuid=_uuid(block[32:48]), label=_text(block[0x12B : 0x12B + 256]))


def _swap(start: bytes) -> Content | None:
    if start[4086:4096] not in (b"SWAPSPACE2", b"SWAP-SPACE"):
        return None
    return Content(kind="swap", uuid=_uuid(start[1036:1052]), label=_text(start[1052:1068]))


def _fat(start: bytes) -> Content | None:
    if start[510:512] != b"\x55\xaa" or len(start) < 512:
        return None
    if start[82:90] == b"FAT32   ":
        serial, label = start[67:71], start[71:82]
    elif start[54:59] in (b"FAT12", b"FAT16"):
        serial, label = start[39:43], start[43:54]
    else:
        return None
    low, high = struct.unpack("<HH", serial)
    return Content(kind="vfat", uuid=f"{high:04X}-{low:04X}", label=_text(label))


def _ntfs_or_bitlocker(start: bytes) -> Content | None:
    if start[3:11] == b"-FVE-FS-":
        return Content(kind="BitLocker")
    if start[3:11] != b"NTFS    ":
        return None
    return Content(kind="ntfs", uuid=f"{struct.unpack_from('<Q', start, 72)[0]:016X}")


def _luks(start: bytes) -> Content | None:
    if start[:6] != b"LUKS\xba\xbe":
        return None
    version = struct.unpack_from(">H", start, 6)[0]
    notes: tuple[str, ...] = ()
    if version == 2 and b'"clevis"' in start[4096:]:
        notes = ("bound by clevis",)
    return Content(
        kind="crypto_LUKS", uuid=_text(start[168:208]), label=_text(start[24:72]),
        version=str(version), notes=notes,
    )  # fmt: skip


def _lvm(start: bytes) -> Content | None:
    for sector in range(0, 4 * 512, 512):
        label = start[sector : sector + 512]
        if label[:8] == b"LABELONE" and label[24:32] == b"LVM2 001":
            raw = label[32:64].decode("ascii", "replace")
            return Content(kind="LVM2_member", uuid=lvm_uuid(raw))
    return None


def lvm_uuid(raw: str) -> str:
    """Return LVM's 32 characters as it prints them."""
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(raw[a:b] for a, b in pairwise(cuts))


def _raid(device: Device, start: bytes) -> Content | None:
    """Find a superblock of Linux' RAID: 1.1 and 1.2 at the start, 1.0 and 0.90 at the end."""
    magic = b"\xfc\x4e\x2b\xa9"
    places = [0, 4096]
    if device.size_bytes > 1 << 20:
        places += [
            (device.size_bytes // 4096 - 2) * 4096,
            (device.size_bytes & ~0xFFFF) - 0x10000,
        ]
    for place in places:
        found = (
            start[place : place + 32]
            if place < len(start)
            else device.read_at(place, min(32, device.size_bytes - place))
        )
        if found[:4] == magic:
            identity = _uuid(found[16:32]) if len(found) >= 32 else ""
            return Content(kind="linux_raid_member", uuid=identity)
    return None
