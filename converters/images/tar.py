"""Headers of a tar archive, as OVA uses it: ustar, with the long names and sizes of GNU and pax.

Names are for comparing only: nothing is ever written to a path that an archive names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from converters.errors import CorruptImage

BLOCK = 512
MOST_EXTENDED = 64 * 1024  # of a long name or a pax header
_MOST_SIZE = 128 << 40
_REGULAR = (b"0", b"\0", b"7")
_LONG_NAME, _PAX, _PAX_GLOBAL = b"L", b"x", b"g"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header. `extends` says that its content is about the next one."""

    name: str
    size_bytes: int
    regular: bool
    extends: str = ""  # "name" or "pax"; other extensions are passed over


def padded(size_bytes: int) -> int:
    """Return how much of an archive a content of this size takes."""
    return -(-size_bytes // BLOCK) * BLOCK


def parse(block: bytes, *, file: str, offset: int) -> Header | None:
    """Return the header in a block of 512 bytes, None for a block of zeros (the end).

    Raises CorruptImage, naming the field.
    """
    if not any(block):
        return None
    said = _number(block[148:156], "checksum", file, offset + 148)
    counted = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if said != counted:
        raise CorruptImage(
            file=file, offset=offset + 148, field="checksum of a tar header", value=said,
            expected=f"{counted}", hint="the archive is damaged: fetch it again",
        )  # fmt: skip
    size = _number(block[124:136], "size", file, offset + 124)
    if not 0 <= size <= _MOST_SIZE:
        raise CorruptImage(
            file=file, offset=offset + 124, field="size of a tar member", value=size,
            expected=f"0 to {_MOST_SIZE}",
        )  # fmt: skip
    kind = block[156:157]
    extends = {_LONG_NAME: "name", _PAX: "pax"}.get(kind, "")
    if (extends or kind == _PAX_GLOBAL) and size > MOST_EXTENDED:
        raise CorruptImage(
            file=file, offset=offset + 124, field="size of an extended tar header", value=size,
            expected=f"at most {MOST_EXTENDED}",
        )  # fmt: skip
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    return Header(name=name, size_bytes=size, regular=kind in _REGULAR, extends=extends)


def parse_pax(content: bytes, *, file: str, offset: int) -> dict[str, str]:
    """Return the records of a pax header. Raises CorruptImage."""
    records: dict[str, str] = {}
    while content:
        digits, space, _ = content.partition(b" ")
        length = int(digits) if space and digits.isdigit() and len(digits) < 8 else 0
        record = content[len(digits) + 1 : length]
        if not len(digits) + 3 < length <= len(content) or not record.endswith(b"\n"):
            raise CorruptImage(
                file=file, offset=offset, field="pax record", value=content[:40],
                expected="`length key=value`",
            )  # fmt: skip
        key, _, value = record[:-1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return records


def pax_size(records: dict[str, str], size_bytes: int, *, file: str, offset: int) -> int:
    """Return the size of a member: that of its pax header, else that of its own."""
    text = records.get("size")
    if text is None:
        return size_bytes
    if not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) > _MOST_SIZE:
        raise CorruptImage(
            file=file, offset=offset, field="size in a pax header", value=text,
            expected=f"0 to {_MOST_SIZE}",
        )  # fmt: skip
    return int(text)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(field: bytes, name: str, file: str, offset: int) -> int:
    if field[0] & 0x80:  # GNU: base 256
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    digits = field.strip(b" \0") or b"0"
    if not all(48 <= digit < 56 for digit in digits):
        raise CorruptImage(
            file=file, offset=offset, field=f"{name} of a tar header", value=field,
            expected="an octal number",
        )  # fmt: skip
    return int(digits, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of an archive, and where its content begins."""

    name: str
    offset: int
    size_bytes: int
    regular: bool


def next_member(read: Callable[[int], bytes], offset: int, *, file: str) -> Member | None:
    """Return the member whose header is at `offset`, None at the end of the archive.

    `read` gives the next bytes, fewer only at the end. Raises CorruptImage.
    """
    name, records = "", dict[str, str]()
    while True:
        block = read(BLOCK)
        if len(block) < BLOCK:
            if block or name or records:
                raise CorruptImage(
                    "the archive ends in the middle of a header", file=file, offset=offset,
                    hint="it was cut short: fetch it again",
                )  # fmt: skip
            return None
        header = parse(block, file=file, offset=offset)
        if header is None:
            return None
        offset += BLOCK
        if header.regular or not (header.extends or _is_global(block)):
            size = pax_size(records, header.size_bytes, file=file, offset=offset)
            return Member(
                name=(records.get("path") or name or header.name).removeprefix("./"),
                offset=offset,
                size_bytes=size,
                regular=header.regular,
            )
        content = read(padded(header.size_bytes))[: header.size_bytes]
        if header.extends == "name":
            name = _text(content)
        elif header.extends == "pax":
            records = parse_pax(content, file=file, offset=offset)
        offset += padded(header.size_bytes)


def _is_global(block: bytes) -> bool:
    return block[156:157] == _PAX_GLOBAL
