"""LVM2: which logical volumes the physical volumes of a disk make, and where their bytes lie.

Only linear volumes are mapped (one stripe per segment), which is what installers make; others are
named, not read. Source: LVM2's on-disk format as `pvck(8)` and `lvm.conf(5)` describe it: a label
in one of the first four sectors, areas behind it, and a text of sections and values.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.errors import CorruptGuest
from converters.guest import limits
from converters.guest.volumes.device import Device, Row, Segment
from converters.guest.volumes.signatures import lvm_uuid

_SECTOR = 512
_AREA_MAGIC = b"\x20\x4c\x56\x4d\x32\x20\x78\x5b\x35\x41\x25\x72\x30\x4e\x2a\x3e"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalVolume:
    """A logical volume. `device` is None where it is not linear or a part of it is elsewhere."""

    group: str
    name: str
    device: Row | None
    contiguous: tuple[str, int, int] | None = None  # PV's uuid, start in it, size: if one piece
    why_not: str = ""

    @property
    def path(self) -> str:
        """How fstab and boot loaders call it: a dash in a name is doubled by device-mapper."""
        return f"/dev/mapper/{self.group.replace('-', '--')}-{self.name.replace('-', '--')}"

    @property
    def paths(self) -> tuple[str, ...]:
        """All names that the guest may use."""
        return (self.path, f"/dev/{self.group}/{self.name}")


def read(members: Mapping[str, Device]) -> list[LogicalVolume]:
    """Return the logical volumes of physical volumes, given by the uuid that their label says."""
    texts: dict[str, str] = {}
    for device in members.values():
        text = _metadata(device)
        if text and (group := re.match(r"\s*([\w.+-]+)\s*\{", text)):
            texts.setdefault(group[1], text)
    found: list[LogicalVolume] = []
    for text in texts.values():
        for name, section in parse(text).items():
            if isinstance(section, dict) and "logical_volumes" in section:
                found += _group(name, section, members)
    if len(found) > limits.MOST_LOGICAL_VOLUMES:
        raise CorruptGuest(f"has {len(found)} logical volumes")
    return found


def _metadata(device: Device) -> str:
    """Return the newest text of a physical volume, or nothing."""
    start = device.read_at(0, min(4 * _SECTOR, device.size_bytes))
    for sector in range(0, len(start), _SECTOR):
        label = start[sector : sector + _SECTOR]
        if label[:8] == b"LABELONE":
            break
    else:
        return ""
    at = struct.unpack_from("<I", label, 20)[0] + 40  # behind the uuid and the device's size
    lists: list[list[tuple[int, int]]] = [[], []]
    for areas in lists:  # data areas, then areas of metadata; each list ends with zeros
        while at + 16 <= _SECTOR:
            offset, size = struct.unpack_from("<QQ", label, at)
            at += 16
            if not offset:
                break
            areas.append((offset, size))
    for offset, _ in lists[1]:
        header = device.read_at(offset, _SECTOR)
        if header[4:20] != _AREA_MAGIC:
            continue
        area_size = struct.unpack_from("<Q", header, 32)[0]
        place, length = struct.unpack_from("<QQ", header, 40)
        if not 0 < length <= limits.MOST_LVM_TEXT or place + 512 > area_size:
            continue
        head = min(length, area_size - place)  # the area is a ring behind its first sector
        raw = device.read_at(offset + place, head)
        if head < length:
            raw += device.read_at(offset + _SECTOR, length - head)
        return raw.rstrip(b"\0").decode("utf-8", "replace")
    return ""


_TOKEN = re.compile(
    r'\s+|#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)(?![\w-])'
    r"|(?P<word>[\w.+-]+)|(?P<mark>[={}\[\],])"
)


def parse(text: str) -> dict[str, Any]:
    """Return LVM's text as nested dicts. Raises CorruptGuest."""
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CorruptGuest("the metadata of LVM cannot be read", offset=at)
        if match.lastgroup:
            tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    root: dict[str, Any] = {}
    stack = [root]
    place = 0
    while place < len(tokens):
        kind, value = tokens[place]
        if (kind, value) == ("mark", "}"):
            if len(stack) == 1:
                raise CorruptGuest("the metadata of LVM has a bracket too much")
            stack.pop()
            place += 1
            continue
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if kind == "mark" or following not in ("=", "{"):
            raise CorruptGuest("the metadata of LVM cannot be read", value=value)
        if following == "{":
            if len(stack) > 8:
                raise CorruptGuest("the metadata of LVM is nested too deeply")
            section: dict[str, Any] = {}
            stack[-1][value] = section
            stack.append(section)
            place += 2
        else:
            stack[-1][value], place = _value(tokens, place + 2)
    return root


def _value(tokens: Sequence[tuple[str, str]], place: int) -> tuple[Any, int]:
    def scalar(kind: str, value: str) -> str | int:
        if kind == "string":
            return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        return int(value.split(".")[0][:24]) if kind == "number" else value

    if place >= len(tokens):
        raise CorruptGuest("the metadata of LVM ends too early")
    if tokens[place] != ("mark", "["):
        return scalar(*tokens[place]), place + 1
    items: list[str | int] = []
    for at in range(place + 1, len(tokens)):
        if tokens[at] == ("mark", "]"):
            return items, at + 1
        if tokens[at] != ("mark", ","):
            items.append(scalar(*tokens[at]))
    raise CorruptGuest("the metadata of LVM ends too early")


def _group(
    name: str, section: dict[str, Any], members: Mapping[str, Device]
) -> list[LogicalVolume]:
    extent = _number(section, "extent_size") * _SECTOR
    physical = {
        key: (lvm_uuid(str(pv.get("id", "")).replace("-", "")), _number(pv, "pe_start") * _SECTOR)
        for key, pv in _sections(section, "physical_volumes")
    }
    found = []
    for key, volume in _sections(section, "logical_volumes"):
        if "VISIBLE" not in _items(volume, "status"):
            continue
        segments, places, why = [], [], ""
        count = min(_number(volume, "segment_count"), limits.MOST_LOGICAL_VOLUMES)
        for index in range(1, count + 1):
            part = volume.get(f"segment{index}")
            if not isinstance(part, dict):
                raise CorruptGuest(f"{name}/{key} lacks segment {index}")
            stripes = _items(part, "stripes")
            if part.get("type") != "striped" or len(stripes) != 2:
                why = f"{part.get('type', 'unknown')} is not linear"
                break
            uuid, start = physical.get(str(stripes[0]), ("", 0))
            if uuid not in members:
                why = f"its physical volume {uuid} is not on this disk"
                break
            at = start + _whole(stripes[1], f"{name}/{key} stripes") * extent
            segments.append(Segment(members[uuid], at, _number(part, "extent_count") * extent))
            places.append((uuid, at, segments[-1].size_bytes))
        found.append(
            LogicalVolume(
                group=name,
                name=key,
                device=None if why or not segments else Row(segments),
                contiguous=_contiguous(places) if not why else None,
                why_not=why,
            )
        )
    return found


def _contiguous(places: Sequence[tuple[str, int, int]]) -> tuple[str, int, int] | None:
    if not places:
        return None
    uuid, start, size = places[0]
    for other, at, length in places[1:]:
        if other != uuid or at != start + size:
            return None
        size += length
    return uuid, start, size


def _sections(section: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    inner = section.get(key, {})
    if not isinstance(inner, dict):
        return []
    return [(name, value) for name, value in inner.items() if isinstance(value, dict)]


def _items(section: dict[str, Any], key: str) -> list[Any]:
    value = section.get(key, [])
    return value if isinstance(value, list) else [value]


def _number(section: dict[str, Any], key: str) -> int:
    return _whole(section.get(key), key)


def _whole(value: object, field: str) -> int:
    if not isinstance(value, int) or not 0 <= value <= 1 << 50:
        raise CorruptGuest(field=field, value=value, expected="a number of LVM's metadata")
    return value
