"""What a sink is. `converters.testing.SinkTests` is the suite that every sink passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from converters.batching import Piece, Readable, Sum
from converters.extents import Extent
from converters.sources.contract import Source

Buffer = bytes | bytearray | memoryview


class Sink(Protocol):
    """A place that a disk is written to. `write` and `zero` are called from several threads."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Make it a disk of this size that is zero outside `keep`; in there nothing changes.

        Raises TargetTooSmall, TargetFull or TargetBroken, as all that follows.
        """
        ...

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write all bytes of the buffers, one behind the other, from `offset` on."""
        ...

    def zero(self, extent: Extent) -> None:
        """Make an extent read as zeros."""
        ...

    def flush(self) -> None:
        """Return when all that was written survives a loss of power."""
        ...

    def reader(self) -> Source:
        """Return a source that reads what was written, from the medium where that is possible."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@runtime_checkable
class ScanningSink(Protocol):
    """A sink of plain bytes, which finds the zeros of what it writes by itself: one step fewer."""

    def write_scanned(
        self, buffer: Readable, pieces: Sequence[Piece], block_bytes: int, sums: bool
    ) -> tuple[int, list[Sum]]:
        """Write what of the pieces is not zero; return how much that was, and sums by extent."""
        ...
