"""Pictures of displays: from a portable pixmap, as QEMU makes them, to PNG. Pure.

PNG: RFC 2083; portable pixmap: netpbm's ppm(5), the raw kind with one byte per sample.
"""

from __future__ import annotations

import re
import struct
import zlib

from mtv import errors

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 16384 * 16384
FAST = 1  # zlib: a screen shrinks well with any level
_HEAD = re.compile(rb"P6\s(?:#[^\n]*\n)?(\d{1,5})\s(\d{1,5})\s255\s")
TRUE_COLOUR, EIGHT_BITS = 2, 8


def png(picture: bytes) -> bytes:
    """Return a picture as PNG; one that is PNG already as it is. Raises TargetRefused."""
    if picture.startswith(SIGNATURE):
        return picture
    head = _HEAD.match(picture)
    if head is None:
        raise errors.TargetRefused("the display gave no picture", hint="is the VM's screen on?")
    width, height = int(head[1]), int(head[2])
    row = width * 3
    pixels = memoryview(picture)[head.end() :]
    if not 0 < width * height <= MOST_PIXELS or len(pixels) < row * height:
        raise errors.TargetRefused(f"the picture of {width} x {height} pixels is cut short")
    deflate = zlib.compressobj(FAST)
    parts = []
    for at in range(0, row * height, row):
        parts.append(deflate.compress(b"\0"))  # no filter
        parts.append(deflate.compress(pixels[at : at + row]))
    parts.append(deflate.flush())
    shape = struct.pack(">IIBBBBB", width, height, EIGHT_BITS, TRUE_COLOUR, 0, 0, 0)
    body = (_chunk(b"IHDR", shape), _chunk(b"IDAT", b"".join(parts)), _chunk(b"IEND", b""))
    return SIGNATURE + b"".join(body)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join(
        (
            struct.pack(">I", len(content)),
            kind,
            content,
            struct.pack(">I", zlib.crc32(kind + content)),
        )
    )
