"""A sink that writes only what differs from what is there.

So a delta is found without anybody's help: the source is read as a whole, the target is read as
well, and what is the same stays as it is. Contents are compared by 128 bits of XXH3.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import xxhash

from converters.checksum import BLOCK
from converters.errors import TargetBroken
from converters.extents import Extent
from converters.images import raw
from converters.sinks.contract import Buffer, Sink
from converters.sinks.raw_file import translated
from converters.sources.contract import Source

_PIECE = 1 << 20


class ComparingSink:
    """Writes to `sink`, whose file or device is at `path`, where that has other content."""

    def __init__(self, sink: Sink, path: str) -> None:
        self._sink = sink
        self.name = sink.name
        with translated(self.name):
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._rooms: list[bytearray] = []
        self.different_bytes = 0

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Prepare the sink."""
        self._sink.prepare(capacity_bytes, keep)

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write what differs, by 64 KiB."""
        for buffer in buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), _PIECE):
                piece = view[start : start + _PIECE]
                self._write_piece(offset + start, piece)
            offset += len(view)

    def _write_piece(self, offset: int, piece: memoryview) -> None:
        room = self._read(offset, len(piece))
        try:
            there = memoryview(room)[: len(piece)]
            if _digest(there) == _digest(piece):
                return
            for start in range(0, len(piece), BLOCK):
                part = piece[start : start + BLOCK]
                if _digest(part) != _digest(there[start : start + BLOCK]):
                    self._sink.write(offset + start, [part])
                    self._count(len(part))
        finally:
            self._give_back(room)

    def zero(self, extent: Extent) -> None:
        """Make zero what is not yet."""
        for offset in range(extent.offset, extent.end, _PIECE):
            length = min(_PIECE, extent.end - offset)
            room = self._read(offset, length)
            try:
                for start in range(0, length, BLOCK):
                    size = min(BLOCK, length - start)
                    if raw.data_spans(room, start, start + size) != []:
                        self._sink.zero(Extent(offset + start, size))
                        self._count(size)
            finally:
                self._give_back(room)

    def _read(self, offset: int, length: int) -> bytearray:
        with self._lock:
            room = self._rooms.pop() if self._rooms else bytearray(_PIECE)
        view = memoryview(room)[:length]
        done = 0
        with translated(self.name):
            while done < length:
                count = os.preadv(self._file, [view[done:]], offset + done)
                if not count:
                    raise TargetBroken("ends before the disk does", file=self.name, offset=offset)
                done += count
        return room

    def _give_back(self, room: bytearray) -> None:
        with self._lock:
            self._rooms.append(room)

    def _count(self, count: int) -> None:
        with self._lock:
            self.different_bytes += count

    def flush(self) -> None:
        """Flush the sink."""
        self._sink.flush()

    def reader(self) -> Source:
        """Return the sink's reader."""
        return self._sink.reader()

    def close(self) -> None:
        """Close what was opened here; the sink is its owner's."""
        os.close(self._file)


def _digest(view: memoryview) -> bytes:
    return xxhash.xxh3_128_digest(view)
