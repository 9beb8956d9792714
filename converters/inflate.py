"""Inflate one grain, by the fastest library there is.

libdeflate (wheel `deflate`) takes 1.1 s of CPU for what zlib takes 3.0; both let other threads run
meanwhile. The output is bounded by the caller, so a decompression bomb cannot grow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

Inflate = Callable[[memoryview, int], bytes | bytearray]


class InflateError(ValueError):
    """The data is not a zlib stream, is damaged, or holds more than was allowed."""


def inflate_by_zlib(data: memoryview, most_bytes: int) -> bytes | bytearray:
    """Inflate a zlib stream of at most `most_bytes` with the standard library."""
    unpacker = zlib.decompressobj()
    try:
        # One more than allowed tells "exactly full" from "more to come".
        content = unpacker.decompress(data, most_bytes + 1)
    except zlib.error as fault:
        raise InflateError(str(fault)) from fault
    if len(content) > most_bytes:
        raise InflateError(f"holds more than {most_bytes} bytes")
    if not unpacker.eof:
        raise InflateError("ends too early")
    return content


def _by_deflate() -> Inflate | None:
    try:
        import deflate
    except ImportError:
        return None
    decompress = deflate.zlib_decompress
    fault_class = deflate.DeflateError

    def inflate_by_deflate(data: memoryview, most_bytes: int) -> bytes | bytearray:
        try:
            content: bytes | bytearray = decompress(data, most_bytes)
        except fault_class as fault:
            raise InflateError(f"damaged, or more than {most_bytes} bytes") from fault
        return content

    return inflate_by_deflate


inflate: Inflate = _by_deflate() or inflate_by_zlib
LIBRARY = "zlib" if inflate is inflate_by_zlib else "libdeflate"
