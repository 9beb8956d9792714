"""Packed streams one behind the other, as the Linux kernel unpacks an initramfs.

gzip, xz, lzma and bzip2 by Python, whose decoders say where their stream ends. zstd and lz4 by
their programs: where their frames end is found here by the headers of blocks. Sources: RFC 8878,
3.1.1; lz4 `doc/lz4_Frame_format.md`, "Legacy frame".
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from typing import Protocol

from converters.errors import CorruptGuest, UnsupportedGuest
from converters.guest import programs

_STEP = 1 << 20


class _Decoder(Protocol):
    """What the decoders of Python share."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def name(start: bytes) -> str:
    """Return the program that packed what begins so; empty where none is known."""
    for magic, known in (
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\x5d\0\0", "lzma"),
    ):
        if start.startswith(magic):
            return known
    return ""


def unpack(data: bytes, most: int) -> tuple[bytes, bytes]:
    """Return the content of the first stream, and what follows it.

    Raises CorruptGuest where it is damaged or makes more than `most` bytes.
    """
    kind = name(data[:8])
    try:
        match kind:
            case "gzip":
                return _gzip(data, most)
            case "xz" | "lzma":
                return _python(lzma.LZMADecompressor(memlimit=1 << 29), data, most)
            case "bzip2":
                return _python(bz2.BZ2Decompressor(), data, most)
            case "zstd":
                end = zstd_end(data)
                tool = programs.find("zstd", "zstd")
                out = programs.run([tool, "-dcq", "--memory=512MB"], stdin=data[:end], most=most)
                return out, data[end:]
            case "lz4":
                end = lz4_end(data)
                tool = programs.find("lz4", "lz4")
                return programs.run([tool, "-dcq"], stdin=data[:end], most=most), data[end:]
    except (zlib.error, lzma.LZMAError, OSError, EOFError, struct.error, IndexError) as fault:
        raise CorruptGuest(f"a stream of {kind} is damaged: {fault}") from fault
    raise UnsupportedGuest("an archive of the initramfs is packed in an unknown way",
                           value=data[:4].hex())  # fmt: skip


def _gzip(data: bytes, most: int) -> tuple[bytes, bytes]:
    decoder = zlib.decompressobj(31)
    out = decoder.decompress(data, most + 1)
    if len(out) > most:
        raise CorruptGuest(f"a stream of gzip makes more than {most} bytes")
    if not decoder.eof:
        raise CorruptGuest("a stream of gzip is cut short")
    return out, decoder.unused_data


def _python(decoder: _Decoder, data: bytes, most: int) -> tuple[bytes, bytes]:
    out = decoder.decompress(data, most + 1)
    if len(out) > most:
        raise CorruptGuest(f"a packed stream makes more than {most} bytes")
    if not decoder.eof:
        raise CorruptGuest("a packed stream is cut short")
    return out, decoder.unused_data


def zstd_end(data: bytes) -> int:
    """Return where the frame that data begins with ends."""
    flags = data[4]
    single = flags >> 5 & 1
    sizes = (1 if single else 0, 2, 4, 8)
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + sizes[flags >> 6]
    while True:
        if at + 3 > len(data):
            raise CorruptGuest("a frame of zstd is cut short")
        head = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == 1 else size)  # a run is stored as one byte
        if last:
            break
    at += 4 if flags & 4 else 0
    if at > len(data):
        raise CorruptGuest("a frame of zstd is cut short")
    return at


def lz4_end(data: bytes) -> int:
    """Return where the frame that data begins with ends; a legacy one ends at what is no block."""
    if data[:4] == b"\x04\x22\x4d\x18":
        return _lz4_frame_end(data)
    at = 4
    while at + 4 <= len(data):
        size = struct.unpack_from("<I", data, at)[0]
        # A block of 8 MiB grows by at most 1/255 and 16 bytes; zero or more is padding or a magic.
        if not size or size > 8_421_520 or at + 4 + size > len(data):
            break
        at += 4 + size
    return at


def _lz4_frame_end(data: bytes) -> int:
    flags = data[4]
    at = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while True:
        size = struct.unpack_from("<I", data, at)[0] & 0x7FFFFFFF
        at += 4
        if not size:
            break
        at += size + (4 if flags & 0x10 else 0)
    at += 4 if flags & 4 else 0
    if at > len(data):
        raise CorruptGuest("a frame of lz4 is cut short")
    return at
