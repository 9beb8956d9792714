"""cpio archives in the format newc, as an initramfs is made of them.

Source: the Linux kernel's documentation, "initramfs buffer format".
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from converters.errors import CorruptGuest
from converters.guest import limits
from converters.guest.initramfs import compression

_HEADER = 110
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of an archive."""

    name: str  # as stored, without a leading `./` or slash; not checked otherwise
    mode: int
    content: memoryview

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode & 0o170000 == 0o100000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All files of an initramfs; where a name stands twice the later one counts, as in Linux."""

    files: Mapping[str, memoryview]
    packed_by: tuple[str, ...]  # per archive; "none" for one that is not packed


def read(image: bytes) -> Contents:
    """Return what is in an initramfs. Raises CorruptGuest or UnsupportedGuest."""
    files: dict[str, memoryview] = {}
    kinds: list[str] = []
    left = [limits.MOST_UNPACKED, limits.MOST_MEMBERS]
    _read(image, files, kinds, left, nested=False)
    return Contents(files=files, packed_by=tuple(kinds))


def _read(
    data: bytes, files: dict[str, memoryview], kinds: list[str], left: list[int], *, nested: bool
) -> None:
    while data := data.lstrip(b"\0"):
        if data[:5] == b"07070":
            end = 0
            for member in members(data):
                end = member[1]
                left[1] -= 1
                if left[1] < 0:
                    raise CorruptGuest(f"has more than {limits.MOST_MEMBERS} files")
                if member[0].is_file:
                    files[member[0].name] = member[0].content
            if not nested:
                kinds.append("none")
            data = data[end:]
            continue
        if nested:
            raise CorruptGuest("a packed archive of the initramfs is none of cpio")
        kinds.append(compression.name(data[:8]))
        content, data = compression.unpack(data, left[0])
        left[0] -= len(content)
        _read(content, files, kinds, left, nested=True)


def members(data: bytes) -> Iterator[tuple[Member, int]]:
    """Yield the members of the first archive in data, each with the place behind it."""
    view, at = memoryview(data), 0
    while True:
        header = data[at : at + _HEADER]
        if len(header) < _HEADER or header[:6] not in (b"070701", b"070702"):
            raise CorruptGuest("an archive of the initramfs is damaged", offset=at)
        try:
            fields = [int(header[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        except ValueError:
            raise CorruptGuest("an archive of the initramfs is damaged", offset=at) from None
        mode, size, length = fields[1], fields[6], fields[11]
        body = at + _HEADER + length + 3 & ~3
        end = body + size + 3 & ~3
        if not 0 < length <= limits.MOST_NAME or body + size > len(data) or size < 0:
            raise CorruptGuest("an archive of the initramfs is damaged", offset=at)
        name = data[at + _HEADER : at + _HEADER + length - 1].decode("utf-8", "surrogateescape")
        at = end
        if name == _TRAILER:
            yield Member(name="", mode=0, content=view[:0]), end
            return
        stored = name.removeprefix("./").lstrip("/")
        yield Member(name=stored, mode=mode, content=view[body : body + size]), end


def build(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files by path, with the folders they need; owner root, time 0."""
    out = io.BytesIO()
    made: set[str] = set()

    def entry(name: str, mode: int, content: bytes) -> None:
        # Inode numbers must not be those of hard links; the archive's own order will do.
        fields = (
            len(made) + 1,
            mode,
            0,
            0,
            1,
            0,
            len(content),
            0,
            0,
            0,
            0,
            len(name.encode()) + 1,
            0,
        )
        head = b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
        out.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))
        made.add(name)

    for name in sorted(files):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise CorruptGuest("a name leaves the initramfs", value=name)
        for parent in [str(folder) for folder in reversed(path.parents)][1:]:
            if parent not in made:
                entry(parent, 0o040755, b"")
        entry(name, 0o100644, files[name])
    entry(_TRAILER, 0, b"")
    return out.getvalue()


def append(image: bytes, archive: bytes) -> bytes:
    """Return an initramfs with one archive more. The kernel unpacks it over those before."""
    return image + bytes(-len(image) % 512) + archive
