"""Finding zeros in raw data. Pure.

A file system's block is the least that a sparse file can leave out, so zeros are looked for in
pieces of 4 KiB.
"""

from __future__ import annotations

PIECE = 4096
_ZEROS = bytes(PIECE)

Span = tuple[int, int]  # start and end in a buffer


def data_spans(buffer: bytes | bytearray, start: int, end: int) -> list[Span] | None:
    """Return the parts of `buffer[start:end]` that are not zero, or None if all of it is data.

    `start` stands for a multiple of 4 KiB on the disk. Most blocks are settled by looking at one
    byte in 4096: searching for 4 KiB of zeros costs 8 µs per grain, this 0.1 µs.
    """
    probe = buffer[start:end:PIECE]
    at = probe.find(0)
    if at < 0:
        return None
    spans: list[Span] = []
    data_start = start
    while at >= 0:
        low = start + at * PIECE
        high = min(low + PIECE, end)
        if buffer.startswith(_ZEROS if high - low == PIECE else _ZEROS[: high - low], low):
            if low > data_start:
                spans.append((data_start, low))
            data_start = high
        at = probe.find(0, at + 1)
    if data_start == start:
        return None
    if data_start < end:
        spans.append((data_start, end))
    return spans
