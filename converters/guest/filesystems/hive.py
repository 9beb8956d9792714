"""Registry hives of Windows, read only: keys and values by path.

Source: the layout that hivex's documentation describes: a base block of 4 KiB, then cells; `nk` is
a key, `vk` a value, `lf`, `lh`, `li` and `ri` are lists of keys. Values of over 16 KiB (`db`) are
not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from converters.errors import CorruptGuest

_BASE = 4096
_MOST_KEYS = 100_000
_INLINE = 0x80000000


class Hive:
    """A hive in memory."""

    def __init__(self, content: bytes) -> None:
        if content[:4] != b"regf" or len(content) < _BASE + 32:
            raise CorruptGuest("has no header of a registry hive")
        self._content = content
        self._root = struct.unpack_from("<I", content, 36)[0]

    def _cell(self, offset: int, least: int) -> bytes:
        at = _BASE + offset
        if offset < 0 or at + 4 + least > len(self._content):
            raise CorruptGuest("a registry hive is damaged", offset=at)
        size = -struct.unpack_from("<i", self._content, at)[0]
        if size < 4 + least:
            raise CorruptGuest("a registry hive names a cell that is not in use", offset=at)
        return self._content[at + 4 : at + size]

    def _key(self, offset: int) -> bytes:
        cell = self._cell(offset, 76)
        if cell[:2] != b"nk":
            raise CorruptGuest("a registry hive has no key where it names one")
        return cell

    def _subkeys(self, key: bytes) -> Iterator[int]:
        if struct.unpack_from("<I", key, 20)[0]:
            yield from self._listed(struct.unpack_from("<I", key, 28)[0], 2)

    def _listed(self, offset: int, depth: int) -> Iterator[int]:
        cell = self._cell(offset, 4)
        count = struct.unpack_from("<H", cell, 2)[0]
        step = 8 if cell[:2] in (b"lf", b"lh") else 4
        if cell[:2] not in (b"lf", b"lh", b"li", b"ri") or 4 + count * step > len(cell):
            raise CorruptGuest("a list of keys in a registry hive is damaged")
        for index in range(count):
            inner = struct.unpack_from("<I", cell, 4 + index * step)[0]
            if cell[:2] != b"ri":
                yield inner
            elif depth:
                yield from self._listed(inner, depth - 1)

    def values(self, path: str) -> dict[str, bytes]:
        """Return the values of a key by name, as stored; none where there is no such key."""
        key, left = self._key(self._root), _MOST_KEYS
        for part in path.split("\\"):
            for offset in self._subkeys(key):
                left -= 1
                if left < 0:
                    raise CorruptGuest("a registry hive has too many keys")
                found = self._key(offset)
                if _name(found, 72, 76, 0x20, 2).lower() == part.lower():
                    key = found
                    break
            else:
                return {}
        return dict(self._values(key))

    def _values(self, key: bytes) -> Iterator[tuple[str, bytes]]:
        count, place = struct.unpack_from("<II", key, 36)
        if not count:
            return
        listed = self._cell(place, 4 * min(count, _MOST_KEYS))
        for index in range(min(count, len(listed) // 4)):
            cell = self._cell(struct.unpack_from("<I", listed, index * 4)[0], 20)
            size, offset = struct.unpack_from("<II", cell, 4)
            if size & _INLINE:
                content = cell[8 : 8 + min(size & ~_INLINE, 4)]
            else:
                content = self._cell(offset, 4)[:size]
            yield _name(cell, 2, 20, 0x1, 16), content


def _name(cell: bytes, length_at: int, at: int, flag: int, flags_at: int) -> str:
    length = struct.unpack_from("<H", cell, length_at)[0]
    narrow = struct.unpack_from("<H", cell, flags_at)[0] & flag
    raw = cell[at : at + length]
    return raw.decode("latin-1" if narrow else "utf-16-le", "replace")


def text(value: bytes) -> str:
    """Return a value of the type REG_SZ."""
    return value.decode("utf-16-le", "replace").split("\0")[0]
