"""Unpack zstd by the system's libzstd, which Python 3.11 does not bring.

Debian and all that have dpkg or rpm have it. Output and window are bounded by the caller's size, so
that a small input cannot take much memory. Facts: zstd.h, "Streaming decompression".
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_char, c_char_p, c_int, c_size_t, c_uint, c_void_p

_WINDOW_LOG_MAX = 100  # ZSTD_d_windowLogMax
_LARGEST_WINDOW_LOG = 23  # 8 MiB: the most that readers must know (RFC 8878, 3.1.1.1.2)


class ZstdError(ValueError):
    """The data is no zstd stream, or is damaged."""


class Missing(OSError):
    """There is no libzstd here."""


class _In(Structure):
    _fields_ = (("src", c_char_p), ("size", c_size_t), ("pos", c_size_t))


class _Out(Structure):
    _fields_ = (("dst", c_void_p), ("size", c_size_t), ("pos", c_size_t))


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError as fault:
        raise Missing(str(fault)) from fault
    library.ZSTD_createDStream.restype = c_void_p
    library.ZSTD_freeDStream.argtypes = [c_void_p]
    library.ZSTD_DCtx_setParameter.argtypes = [c_void_p, c_int, c_int]
    library.ZSTD_DCtx_setParameter.restype = c_size_t
    library.ZSTD_decompressStream.argtypes = [c_void_p, POINTER(_Out), POINTER(_In)]
    library.ZSTD_decompressStream.restype = c_size_t
    library.ZSTD_isError.argtypes = [c_size_t]
    library.ZSTD_isError.restype = c_uint
    library.ZSTD_getErrorName.argtypes = [c_size_t]
    library.ZSTD_getErrorName.restype = c_char_p
    return library


def unpack(packed: bytes | bytearray | memoryview, most_bytes: int) -> bytes:
    """Return the first `most_bytes` of a stream, or all of it. Raises ZstdError, Missing.

    What follows the stream is not looked at. The interpreter's lock is let go meanwhile.
    """
    library = _library()
    content = bytes(packed)
    room = bytearray(most_bytes)
    stream = library.ZSTD_createDStream()
    if not stream:
        raise MemoryError("no memory for libzstd")
    try:
        library.ZSTD_DCtx_setParameter(stream, _WINDOW_LOG_MAX, _LARGEST_WINDOW_LOG)
        source = _In(content, len(content), 0)
        address = ctypes.addressof((c_char * max(most_bytes, 1)).from_buffer(room))
        target = _Out(address, most_bytes, 0)
        while target.pos < most_bytes:
            before = source.pos, target.pos
            left = library.ZSTD_decompressStream(stream, ctypes.byref(target), ctypes.byref(source))
            if library.ZSTD_isError(left):
                raise ZstdError(library.ZSTD_getErrorName(left).decode())
            if left == 0 or (source.pos, target.pos) == before:
                break  # the end of the frame, or of the input
        return bytes(memoryview(room)[: target.pos])
    finally:
        library.ZSTD_freeDStream(stream)
