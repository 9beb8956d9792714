"""A disk behind NBD: nbdkit with VDDK, qemu-nbd, anything that speaks newstyle.

Each feed has a connection of its own and several requests in flight, so that the time a request
takes does not add up. What the server's map says is zero is not read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from converters.checksum import BLOCK
from converters.extents import Extent, Kind
from converters.images import nbd
from converters.sources.contract import Batch, Capabilities, Intake, Piece, RawBatch, ZeroBatch
from converters.sources.nbd_connection import Connection

CONNECTIONS = 4
_IN_FLIGHT = 4  # buffers of a connection
_BUFFER = 1 << 20
_REQUEST = 1 << 20  # each costs two wakeups here; smaller ones do not come sooner
_STATUS_STEP = 1 << 30
_MOST_SETTLED = 1000  # zero extents in one batch


class NbdExport:
    """The disk of an export. Raises SourceError or CorruptImage."""

    block_bytes = BLOCK

    def __init__(self, uri: str, *, connections: int = CONNECTIONS, name: str = "") -> None:
        address = nbd.parse_uri(uri)
        self.name = name or address.export or "NBD export"
        first = Connection(address, name=self.name)
        self._connections = [first]
        self.capacity_bytes = first.size_bytes
        self.has_map = first.has_map
        try:
            if first.multi_conn:
                self._connections += [
                    Connection(address, name=self.name) for _ in range(connections - 1)
                ]
        except Exception:
            self.close()
            raise
        self.capabilities = Capabilities(
            seekable=True,
            feeds=len(self._connections),
            buffer_bytes=_BUFFER,
            feed_buffers=_IN_FLIGHT,
            direct=True,
        )

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return a feed for each connection; they share the work as they are free."""
        work = _Work(wanted, self.capacity_bytes)
        return [self._feed(connection, work, intake) for connection in self._connections]

    def _feed(self, connection: Connection, work: _Work, intake: Intake) -> Iterator[Batch]:
        asked: dict[int, _Loading] = {}
        loading = 0
        ended = False
        size = min(_REQUEST, connection.most_request)
        while True:
            while not ended and loading < _IN_FLIGHT:
                pieces, zeros = work.take(connection)
                if zeros:
                    yield ZeroBatch(zeros)
                if not pieces:
                    ended = not zeros
                    continue
                load = _Loading(intake.take_buffer(), pieces)
                loading += 1
                for offset, room in load.requests(size):
                    asked[connection.ask_read(offset, room)] = load
                    load.left += 1
            if not loading:
                return
            load = asked.pop(connection.finished())
            load.left -= 1
            if not load.left:
                loading -= 1
                intake.came_in(sum(length for _, _, length in load.pieces))
                settled = [Extent(offset, length) for offset, _, length in load.pieces]
                yield RawBatch(intake, load.buffer, load.pieces, settled)

    def interrupt(self) -> None:
        """Make reads that wait fail soon."""
        for connection in self._connections:
            connection.interrupt()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


@dataclass(slots=True, eq=False)
class _Loading:
    """A buffer that requests fill."""

    buffer: bytearray
    pieces: list[Piece]
    left: int = 0

    def requests(self, size: int) -> Iterator[tuple[int, memoryview]]:
        """Yield offset and room of each request, of at most `size` bytes."""
        view = memoryview(self.buffer)
        for offset, start, length in self.pieces:
            for step in range(0, length, size):
                end = min(step + size, length)
                yield offset + step, view[start + step : start + end]


@dataclass(slots=True)
class _Share:
    """What one feed takes at once."""

    pieces: list[Piece] = field(default_factory=list)
    zeros: list[Extent] = field(default_factory=list)
    filled: int = 0


class _Work:
    """What is left to read, shared by the feeds. The map is asked for as it is needed."""

    def __init__(self, wanted: Sequence[Extent], capacity_bytes: int) -> None:
        self._lock = threading.Lock()
        self._capacity = capacity_bytes
        self._connection: Connection | None = None
        self._parts = self._all(wanted)
        self._part: Extent | None = None

    def take(self, connection: Connection) -> tuple[list[Piece], list[Extent]]:
        """Return pieces that fit into one buffer, and extents of zeros; neither at the end."""
        share = _Share()
        with self._lock:
            self._connection = connection
            while share.filled < _BUFFER and len(share.zeros) < _MOST_SETTLED:
                part = self._part or next(self._parts, None)
                self._part = None
                if part is None:
                    break
                if part.kind is Kind.ZERO:
                    share.zeros.append(part)
                    continue
                length = min(part.length, _BUFFER - share.filled)
                share.pieces.append((part.offset, share.filled, length))
                # Pieces begin at whole blocks of the buffer, also behind a disk's last one.
                share.filled += -(-length // BLOCK) * BLOCK
                if length < part.length:
                    self._part = Extent(part.offset + length, part.length - length)
        return share.pieces, share.zeros

    def _all(self, wanted: Sequence[Extent]) -> Iterator[Extent]:
        """Yield data and zeros of what is wanted, both by whole blocks."""
        for area in wanted:
            at = area.offset
            for zero in self._zeros(area):
                low = -(-zero.offset // BLOCK) * BLOCK
                high = zero.end if zero.end == area.end else zero.end // BLOCK * BLOCK
                if low >= high:
                    continue
                if low > at:
                    yield Extent(at, low - at)
                yield Extent(low, high - low, Kind.ZERO)
                at = high
            if at < area.end:
                yield Extent(at, area.end - at)

    def _zeros(self, area: Extent) -> Iterator[Extent]:
        """Yield where the map says zero, joined over replies, but not over all of the disk."""
        at = area.offset
        zero: Extent | None = None
        while at < area.end:
            for length, is_zero in self._status(at, min(area.end - at, _STATUS_STEP)):
                length = min(length, area.end - at)
                if is_zero and zero is not None and zero.end == at:
                    zero = Extent(zero.offset, zero.length + length)
                elif is_zero:
                    if zero is not None:
                        yield zero
                    zero = Extent(at, length)
                at += length
                if at >= area.end:
                    break
            # Data that was found must not wait for the map of the whole disk.
            if zero is not None and zero.end < at:
                yield zero
                zero = None
        if zero is not None:
            yield zero

    def _status(self, offset: int, length: int) -> list[tuple[int, bool]]:
        connection = self._connection
        if connection is None or not connection.has_map:
            return [(length, False)]
        return connection.status(offset, length) or [(length, False)]
