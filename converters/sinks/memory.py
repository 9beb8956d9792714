"""A sink in memory: the model that the others are compared with."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from converters.errors import TargetBroken, TargetFull
from converters.extents import Extent
from converters.sinks.contract import Buffer
from converters.sources.contract import Source
from converters.sources.memory import MemorySource


class MemorySink:
    """A raw disk in memory. `room_bytes` is when it is full, counted in bytes written."""

    def __init__(self, content: bytes = b"", *, room_bytes: int | None = None) -> None:
        self.name = "memory"
        self.content = bytearray(content)
        self.room_bytes = room_bytes
        self.written_bytes = 0
        self.flushes = 0
        self._lock = threading.Lock()

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Make it a disk of this size that is zero outside `keep`."""
        old = self.content
        self.content = bytearray(capacity_bytes)
        for extent in keep:
            self.content[extent.offset : extent.end] = old[extent.offset : extent.end].ljust(
                extent.length, b"\0"
            )

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers from `offset` on."""
        for buffer in buffers:
            if offset < 0 or offset + len(buffer) > len(self.content):
                raise TargetBroken(
                    file=self.name, field="offset", value=offset,
                    expected=f"a place within {len(self.content)} bytes",
                )  # fmt: skip
            with self._lock:
                self.written_bytes += len(buffer)
                if self.room_bytes is not None and self.written_bytes > self.room_bytes:
                    raise TargetFull("no space left", file=self.name)
            self.content[offset : offset + len(buffer)] = buffer
            offset += len(buffer)

    def zero(self, extent: Extent) -> None:
        """Make an extent read as zeros."""
        self.content[extent.offset : extent.end] = bytes(extent.length)

    def flush(self) -> None:
        """Count the call."""
        self.flushes += 1

    def reader(self) -> Source:
        """Return a source of a copy of the content."""
        return MemorySource(bytes(self.content), name=self.name)

    def close(self) -> None:
        """Nothing is held."""


class NullSink:
    """Takes everything and keeps nothing: for reading a disk just to sum it."""

    name = "nothing"

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Do nothing."""

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Do nothing."""

    def zero(self, extent: Extent) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def reader(self) -> Source:
        """There is nothing to read."""
        return MemorySource(b"", name=self.name)

    def close(self) -> None:
        """Do nothing."""
