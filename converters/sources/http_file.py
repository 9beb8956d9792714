"""A file on an HTTP server that is read at any place: an image with tables, one of a chain.

Small reads (headers, tables) are answered from blocks that are kept; large ones are ranges of their
own, over as many connections as there are readers at once.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

from converters.errors import Cancelled, CorruptImage
from converters.extents import Extent
from converters.sources.http_connection import Authorization, Server
from converters.sources.http_range import HttpRange, Part, Patience, Reader

_BLOCK = 128 * 1024
_KEPT = 32  # 4 MiB: tables of a chain of some images


class HttpFile:
    """`size_bytes` of the file at `target`. Its `version` is empty where the server tells none."""

    def __init__(
        self,
        server: Server,
        target: str,
        *,
        name: str,
        size_bytes: int,
        version: str,
        authorization: Authorization | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.path = f"{server}{target}"
        self.size_bytes = size_bytes
        self.identity = (str(server), target, 0)
        self.version = version
        self.server, self.target, self.authorization = server, target, authorization
        self._part = Part(offset=0, length=max(size_bytes, 1), target=target)
        self.ranges = HttpRange(
            server, [self._part], name=name, authorization=authorization, patience=patience
        )
        self._stopped = threading.Event()
        self._free: list[Reader] = []
        self._lock = threading.Lock()
        self._block = functools.lru_cache(maxsize=_KEPT)(self._read_block)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes. Raises CorruptImage where the file ends before."""
        self._within(offset, length)
        if length > _BLOCK:
            content = bytearray(length)
            self.read_into(memoryview(content), offset)
            return bytes(content)
        first, last = offset // _BLOCK, (offset + max(length, 1) - 1) // _BLOCK
        content = bytearray().join(self._block(number) for number in range(first, last + 1))
        start = offset - first * _BLOCK
        return bytes(content[start : start + length])

    def _read_block(self, number: int) -> bytes:
        start = number * _BLOCK
        content = bytearray(min(_BLOCK, self.size_bytes - start))
        self.read_into(memoryview(content), start)
        return bytes(content)

    def read_into(self, room: memoryview, offset: int) -> None:
        """Fill `room` from `offset` on. Raises as `read_at`, and SourceError."""
        self._within(offset, len(room))
        end = offset + len(room)
        with self._reader() as reader:
            done = 0
            while done < len(room):
                count = reader.read(self._part, offset + done, end, room[done:], self._wait)
                self.ranges.width.came(count)
                done += count

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Reader]:
        """Lend a connection; as many are made as are used at once."""
        with self._lock:
            reader = self._free.pop() if self._free else self.ranges.reader()
        self.ranges.progressed()
        try:
            yield reader
        finally:
            with self._lock:
                self._free.append(reader)

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise Cancelled

    def data_extents(self, start: int, end: int) -> Iterator[Extent]:
        """Yield all: a server does not tell where a file has holes."""
        if start < end:
            yield Extent(start, end - start)

    def _within(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size_bytes:
            raise CorruptImage(
                "the file ends in the middle of what the image says is there",
                file=self.name, offset=min(max(offset, 0), self.size_bytes),
                hint="it was cut short: fetch it again",
            )  # fmt: skip

    def interrupt(self) -> None:
        """Make reads that wait fail soon."""
        self._stopped.set()
        self.ranges.interrupt()

    def close(self) -> None:
        """Close the connections."""
        self.ranges.close()
