"""What of a disk is settled: kept in memory while copying, and as text for the next process.

The text is short, because a copy goes mostly from front to back: it fits into an extended attribute
or a field of an object. Whoever stores it must flush the disk first (`State` says nothing about
that), or know that the machine has not been restarted since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from converters.errors import ConversionError
from converters.extents import Extent, ExtentSet


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Extents that are settled, and the sum of their blocks (see `checksum`)."""

    extents: Sequence[Extent] = ()
    block_sum: int = 0

    def encode(self) -> str:
        """Return `sum;offset-end,offset-end…`, numbers in hexadecimal."""
        parts = ",".join(f"{extent.offset:x}-{extent.end:x}" for extent in self.extents)
        return f"{self.block_sum:016x};{parts}"


def decode(text: str, *, capacity_bytes: int) -> State:
    """Return the state that `State.encode` wrote.

    Raises ConversionError for anything else: a journal that is not understood is not believed.
    """
    try:
        head, _, tail = text.partition(";")
        block_sum = int(head, 16)
        pairs = [part.split("-") for part in tail.split(",") if part]
        extents = [Extent(int(low, 16), int(high, 16) - int(low, 16)) for low, high in pairs]
    except ValueError as fault:
        raise ConversionError(field="journal", value=text, expected="sum;start-end,…") from fault
    end = 0
    for extent in extents:
        if extent.offset < end or extent.length <= 0:
            raise ConversionError(field="journal", value=text, expected="extents in order")
        end = extent.end
    if end > capacity_bytes or not 0 <= block_sum < 1 << 64:
        raise ConversionError(
            field="journal", value=text, expected=f"extents within {capacity_bytes} bytes"
        )
    return State(extents=tuple(extents), block_sum=block_sum)


class Journal:
    """The settled extents of a copy that runs. Thread-safe.

    `on_settled` is called after each batch, under the journal's lock, by the thread that wrote it.
    """

    def __init__(
        self, start: State | None = None, *, on_settled: Callable[[Journal], None] | None = None
    ) -> None:
        start = start or State()
        self._settled = ExtentSet(start.extents)
        self._sum = start.block_sum
        self._lock = threading.RLock()
        self._on_settled = on_settled

    def settle(self, extents: Iterable[Extent], block_sum: int) -> None:
        """Note that these extents are written, with the sum of their blocks."""
        with self._lock:
            for extent in extents:
                self._settled.add(extent)
            self._sum = (self._sum + block_sum) & ((1 << 64) - 1)
            if self._on_settled is not None:
                self._on_settled(self)

    @property
    def settled_bytes(self) -> int:
        """How much of the disk is settled, holes included."""
        return self._settled.total_bytes

    def state(self) -> State:
        """Return what is settled at this moment."""
        with self._lock:
            return State(extents=tuple(self._settled.extents()), block_sum=self._sum)
