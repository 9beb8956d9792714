"""The text that describes a VMDK: what kind it is, its extents, its parent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from converters.errors import CorruptImage, UnsupportedImage
from converters.images.vmdk.header import MOST_CAPACITY, SECTOR

OPENING = b"# Disk DescriptorFile"
NO_PARENT = 0xFFFF_FFFF
MOST_BYTES = 1 << 20
_MOST_EXTENTS = 4096  # 2 GiB each would be 8 TiB; real ones have a few hundred at most

# `RW 4192256 SPARSE "web1-s001.vmdk"`, `RW 4192256 FLAT "web1-f001.vmdk" 0`, `RW 63 ZERO`
_EXTENT = re.compile(
    r"(?P<access>RW|RDONLY|NOACCESS)\s+(?P<sectors>\d{1,20})\s+(?P<type>[A-Z0-9]+)"
    r'(?:\s+"(?P<file>[^"]*)"(?:\s+(?P<offset>\d{1,20}))?)?(?:\s+.*)?$'
)
_SETTING = re.compile(r'(?P<key>[A-Za-z][\w.]*)\s*=\s*"?(?P<value>[^"]*)"?\s*$')


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtentLine:
    """One line that says where a part of the disk is. `offset` is within the file."""

    access: str
    sectors: int
    type: str
    file: str = ""
    offset_sectors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A descriptor; what it does not say is empty or, for ids, None."""

    create_type: str
    cid: int | None
    parent_cid: int | None
    parent_file: str
    extents: tuple[ExtentLine, ...]
    settings: dict[str, str]

    @property
    def capacity_bytes(self) -> int:
        """The size of the disk: that of all its extents."""
        return sum(extent.sectors for extent in self.extents) * SECTOR

    @property
    def has_parent(self) -> bool:
        """Whether what is missing here is in another disk."""
        return self.parent_cid not in (None, NO_PARENT) or bool(self.parent_file)


def parse(content: bytes | bytearray | memoryview, *, file: str, offset: int = 0) -> Descriptor:
    """Return the descriptor in `content` (which may be padded with zero bytes).

    Unknown lines and settings are kept or passed over, as VMware's own programs do.
    Raises CorruptImage, naming the line.
    """
    raw = bytes(content[:MOST_BYTES]).split(b"\0", 1)[0]
    # encoding="windows-1252" occurs; only names of files could tell, and latin-1 loses none.
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    settings: dict[str, str] = {}
    lines: list[ExtentLine] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if match := _SETTING.match(line):
            settings[match["key"]] = match["value"]
        elif line.split(None, 1)[0] in ("RW", "RDONLY", "NOACCESS"):
            lines.append(_extent(line, number, file, offset))
            if len(lines) > _MOST_EXTENTS:
                raise CorruptImage(
                    file=file, offset=offset, field="number of extents", value=len(lines),
                    expected=f"at most {_MOST_EXTENTS}",
                )  # fmt: skip
    if "createType" not in settings and not lines:
        raise CorruptImage(
            "the descriptor has neither a createType nor an extent", file=file, offset=offset
        )
    return Descriptor(
        create_type=settings.get("createType", ""),
        cid=_identifier(settings, "CID", file, offset),
        parent_cid=_identifier(settings, "parentCID", file, offset),
        parent_file=settings.get("parentFileNameHint", ""),
        extents=tuple(lines),
        settings=settings,
    )


def _extent(line: str, number: int, file: str, offset: int) -> ExtentLine:
    match = _EXTENT.match(line)
    if match is None:
        raise CorruptImage(
            file=file, offset=offset, field=f"line {number}", value=line,
            expected='an extent like `RW 4192256 SPARSE "name.vmdk"`',
        )  # fmt: skip
    sectors = int(match["sectors"])
    if not 0 < sectors <= MOST_CAPACITY:
        raise CorruptImage(
            file=file, offset=offset, field=f"size in line {number}", value=sectors,
            expected=f"1 to {MOST_CAPACITY} sectors",
        )  # fmt: skip
    place = int(match["offset"] or 0)
    if place > MOST_CAPACITY:
        raise CorruptImage(
            file=file, offset=offset, field=f"offset in line {number}", value=place,
            expected=f"at most {MOST_CAPACITY} sectors",
        )  # fmt: skip
    return ExtentLine(
        access=match["access"],
        sectors=sectors,
        type=match["type"],
        file=match["file"] or "",
        offset_sectors=place,
    )


def _identifier(settings: dict[str, str], key: str, file: str, offset: int) -> int | None:
    value = settings.get(key)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{1,8}", value.strip()):
        raise CorruptImage(
            file=file, offset=offset, field=key, value=value, expected="up to 8 hexadecimal digits"
        )
    return int(value, 16)


def sibling(name: str, *, file: str) -> str:
    """Return the name of a file that the descriptor refers to, if it lies in the same folder.

    An image that comes from outside must not make us read `/etc/shadow` or `../other/disk`.
    Raises UnsupportedImage for any other path.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UnsupportedImage(
            file=file, field="file of an extent", value=name,
            expected="the plain name of a file in the same folder",
            hint="put the files of the disk into one folder and name them without a path",
        )  # fmt: skip
    return name
