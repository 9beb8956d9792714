"""The inner loops over a whole batch: inflate its grains, look for zeros, sum.

Each is there twice: here in Python, and in Rust (`converters/native`), where the interpreter's lock
is let go once for a batch. `make setup` builds the latter where there is a Rust toolchain; without
it everything works the same, with more CPU. `CONVERTERS_NATIVE=0` keeps it out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from converters import checksum
from converters.images import raw
from converters.inflate import InflateError, inflate

Readable = bytes | bytearray
Packed = bytes | bytearray | memoryview
Piece = tuple[int, int, int]  # offset on the disk, start in the buffer, length
Sum = tuple[int, int]  # extent of 1 MiB, what its blocks add to its sum

InflateGrains = Callable[[Packed, Sequence[Piece], bytearray | memoryview, int], list[int]]
Scan = Callable[[Readable, Sequence[Piece], int, bool], tuple[list[Piece], list[Sum]]]

ScanAndWrite = Callable[[Readable, Sequence[Piece], int, bool, int], tuple[int, list[Sum]]]

BAD = -1  # the length of a grain that is damaged, or larger than a grain


def inflate_grains_by_python(
    packed: Packed, grains: Sequence[Piece], room: bytearray | memoryview, grain_bytes: int
) -> list[int]:
    """Inflate grains into `room`, each into its own `grain_bytes`; return their lengths.

    A length of BAD is the last: that grain is damaged or too large.
    """
    view = memoryview(packed)
    lengths: list[int] = []
    at = 0
    for _, start, size in grains:
        try:
            content = inflate(view[start : start + size], grain_bytes)
        except InflateError:
            lengths.append(BAD)
            break
        room[at : at + len(content)] = content
        lengths.append(len(content))
        at += grain_bytes
    return lengths


def scan_by_python(
    buffer: Readable, pieces: Sequence[Piece], block_bytes: int, sums: bool
) -> tuple[list[Piece], list[Sum]]:
    """Return the runs of data in pieces of a buffer, and the sums of their blocks by extent.

    Pieces begin at multiples of `block_bytes` of the disk. Runs leave out zeros by 4 KiB of the
    disk, and go on where the disk and the buffer both go on. An extent may come twice.
    """
    view = memoryview(buffer)
    runs: list[Piece] = []
    found: list[Sum] = []
    sum_of, extent_bytes = checksum.block_sum, checksum.EXTENT
    for offset, start, length in pieces:
        end = start + length
        while start < end:
            high = min(start + block_bytes, end)
            spans = raw.data_spans(buffer, start, high)
            if spans is None:
                spans = [(start, high)]
            for low, stop in spans:
                _join(runs, offset + low - start, low, stop - low)
            if spans and sums:
                value = sum_of(view[start:high], offset // block_bytes)
                found.append((offset // extent_bytes, value))
            start = high
            offset += block_bytes
    return runs, found


def scan_and_write_by_python(
    buffer: Readable, pieces: Sequence[Piece], block_bytes: int, sums: bool, file: int
) -> tuple[int, list[Sum]]:
    """Scan, and write the runs to an open file; return how much that was, and the sums.

    Raises OSError.
    """
    runs, found = scan_by_python(buffer, pieces, block_bytes, sums)
    view = memoryview(buffer)
    for offset, start, length in runs:
        done = 0
        while done < length:
            done += os.pwrite(file, view[start + done : start + length], offset + done)
    return sum(length for _, _, length in runs), found


def _join(runs: list[Piece], offset: int, start: int, length: int) -> None:
    if runs:
        before, place, so_far = runs[-1]
        if before + so_far == offset and place + so_far == start:
            runs[-1] = (before, place, so_far + length)
            return
    runs.append((offset, start, length))


def _native() -> tuple[InflateGrains, Scan, ScanAndWrite] | None:
    if os.environ.get("CONVERTERS_NATIVE") == "0":
        return None
    try:
        from converters import _native as native

        return native.inflate_grains, native.scan, native.scan_and_write
    except (ImportError, AttributeError):  # not built, or built before this was written
        return None


NATIVE = _native()
inflate_grains: InflateGrains
scan: Scan
scan_and_write: ScanAndWrite
inflate_grains, scan, scan_and_write = NATIVE or (
    inflate_grains_by_python,
    scan_by_python,
    scan_and_write_by_python,
)
