"""A raw disk in one or more files that an HTTP server gives by ranges, over several connections.

Each feed owns a connection. Feeds take windows of the disk from one list, so that a slow one holds
up nobody. A window that breaks off is asked for again from the byte that is missing; as long as any
feed gets bytes, nobody gives up. How many feeds are at work is felt for (`http_width`).
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from converters import extents
from converters.checksum import BLOCK
from converters.errors import (
    Cancelled,
    ConversionError,
    SourceBroken,
    SourceChanged,
    SourceError,
    SourceRefused,
    SourceUnauthorized,
)
from converters.extents import Extent
from converters.sources.contract import Batch, Capabilities, Intake, RawBatch
from converters.sources.http_connection import (
    Authorization,
    Busy,
    Connection,
    Open,
    Server,
    refusal,
    translated,
)
from converters.sources.http_width import MOST, Adaptive

_BUFFER = 1 << 20
# Few requests, so that latency costs little: 4 MiB at 30 ms keep a connection at 130 MB/s.
_SMALLEST_WINDOW, _LARGEST_WINDOW = 4 << 20, 32 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_MOST_REFUSALS = 3  # in a row: of credentials that were just renewed
_IDLE_S = 0.05  # between looks whether one more connection is wanted
_MOST_SERVER_ERRORS = 3  # in a row of status 500, which rarely mends itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`length` bytes of the disk from `offset` on: those of the file at `target` from `start` on.

    Without a target they are zeros.
    """

    offset: int
    length: int
    target: str = ""
    start: int = 0

    @property
    def end(self) -> int:
        """The first byte of the disk behind it."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long nothing at all may come before the copy gives up, and who hears of each retry."""

    limit_s: float = 60.0
    on_retry: Callable[[ConversionError], None] = field(default=lambda _: None)


class HttpRange:
    """The disk that these parts make up, in order and without gaps.

    `connections` is the most that are open at once.
    """

    block_bytes = BLOCK

    def __init__(
        self,
        server: Server,
        parts: Sequence[Part],
        *,
        name: str,
        authorization: Authorization | None = None,
        connections: int = MOST,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.server = server
        self.parts = tuple(parts)
        self.authorization = authorization or Open()
        self.capacity_bytes = self.parts[-1].end
        self.capabilities = Capabilities(
            seekable=True, feeds=connections, buffer_bytes=_BUFFER, direct=True, gap_bytes=1 << 20
        )
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._revisions: dict[str, str] = {}
        self._readers: list[Reader] = []
        self._last_progress = time.monotonic()
        self.width = Adaptive(most=connections)
        self.interrupted = False

    def probe(self) -> str:
        """Ask for one byte of each file; return what tells this state of them from another.

        Raises SourceError where they cannot be read by ranges, or have another size.
        """
        reader = self.reader()
        room = memoryview(bytearray(1))
        self.progressed()
        for part in self.parts:
            if part.target:
                reader.read(part, part.end - 1, part.end, room, time.sleep)
        reader.close()
        return " ".join(self._revisions.get(part.target, "") for part in self.parts).strip()

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return one feed per connection; they share the work."""
        self.progressed()
        self.width.begin()
        windows = _Windows(wanted, self.capabilities.feeds)
        readers = [self.reader() for _ in range(self.capabilities.feeds)]
        return [self._feed(at, reader, windows, intake) for at, reader in enumerate(readers)]

    def reader(self) -> Reader:
        """Return a reader with a connection of its own, which `interrupt` and `close` reach."""
        made = Reader(self)
        self._readers.append(made)
        return made

    def _feed(
        self, number: int, reader: Reader, windows: _Windows, intake: Intake
    ) -> Iterator[Batch]:
        try:
            while True:
                while number >= self.width.connections and not windows.ended:
                    reader.close()
                    intake.wait(_IDLE_S)
                window = windows.take()
                if window is None:
                    return
                for extent in extents.split([window], _BUFFER):
                    buffer = intake.take_buffer()
                    self._fill(reader, buffer, extent, window.end, intake)
                    yield RawBatch(intake, buffer, [(extent.offset, 0, extent.length)], [extent])
        finally:
            reader.close()

    def _fill(
        self, reader: Reader, buffer: bytearray, extent: Extent, end: int, intake: Intake
    ) -> None:
        """Fill the buffer with an extent; what follows up to `end` is wanted next."""
        room = memoryview(buffer)[: extent.length]
        done = 0
        while done < extent.length:
            offset = extent.offset + done
            part = next(part for part in self.parts if part.end > offset)
            piece = room[done : min(done + intake.piece_bytes, done + part.end - offset)]
            if not part.target:
                piece[:] = bytes(len(piece))
                done += len(piece)
                continue
            count = reader.read(part, offset, min(end, part.end), piece, intake.wait)
            self.width.came(count)
            done += count
            intake.came_in(count)

    def check(self, part: Part, first: int, answer: http.client.HTTPResponse) -> None:
        """Check that an answer gives `part`'s file from byte `first` on. Raises SourceError."""
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise SourceChanged(
                "the file is shorter than the disk", file=self.name, offset=first,
                hint="the disk was changed in the source: begin again",
            )  # fmt: skip
        if answer.status == HTTPStatus.OK:
            raise SourceRefused(
                f"{self.server} does not give parts of files", status=answer.status, file=self.name
            )
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            raise refusal(answer, self.server, self.name)
        given = answer.getheader("Content-Range") or ""
        match = _CONTENT_RANGE.match(given.strip())
        if match is None or int(match[1]) != first:
            raise SourceBroken(
                f"{self.server} answers with the range {given!r}, expected one from {first} on",
                file=self.name,
            )
        if match[3] != "*" and int(match[3]) < part.start + part.length:
            raise SourceChanged(
                f"the file has {match[3]} bytes, expected {part.start + part.length}",
                file=self.name,
                hint="the disk was changed in the source: begin again",
            )
        self._check_revision(part.target, answer)

    def _check_revision(self, target: str, answer: http.client.HTTPResponse) -> None:
        """Compare with the first answer for this file: nobody may write to it meanwhile."""
        now = answer.getheader("ETag") or answer.getheader("Last-Modified") or ""
        with self._lock:
            before = self._revisions.setdefault(target, now)
        if now != before:
            raise SourceChanged(
                f"the file was changed while it was read (from {before!r} to {now!r})",
                file=self.name,
                hint="keep the VM powered off until the disk is copied",
            )

    def progressed(self) -> None:
        """Note that something came."""
        self._last_progress = time.monotonic()

    def tolerate(self, fault: ConversionError) -> None:
        """Return if it is worth to go on after a failure; raise it otherwise."""
        if self.interrupted:
            raise Cancelled from None
        if time.monotonic() - self._last_progress > self._patience.limit_s:
            raise fault
        self._patience.on_retry(fault)

    def interrupt(self) -> None:
        """Make reads that wait fail soon."""
        self.interrupted = True
        for reader in self._readers:
            reader.interrupt()

    def close(self) -> None:
        """Close what is open."""
        for reader in self._readers:
            reader.close()


class Reader:
    """One connection, and the answer that is being read from it."""

    def __init__(self, source: HttpRange) -> None:
        self._source = source
        self._connection: Connection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._at = -1  # byte of the disk that the answer gives next
        self._left = 0  # bytes that the answer still has
        self._sent: Mapping[str, str] = {}
        # In a row, without a byte in between.
        self._breaks = self._refusals = self._server_errors = 0

    def read(
        self, part: Part, offset: int, end: int, room: memoryview, wait: Callable[[float], None]
    ) -> int:
        """Read from `offset` of the disk into `room`, at least one byte; retry as is sensible.

        The request, if one has to be made, goes up to `end`.
        """
        source = self._source
        while True:
            try:
                with translated(source.server, source.name):
                    if self._answer is None or self._at != offset or not self._left:
                        self._ask(part, offset, end)
                    count = self._take(room)
            except (SourceBroken, SourceRefused) as fault:
                self.close()
                wait(self._pause_after(fault))
            else:
                source.progressed()
                self._breaks = self._refusals = self._server_errors = 0
                return count

    def _ask(self, part: Part, offset: int, end: int) -> None:
        """Send a request for the disk's bytes from `offset` to `end`, and check the answer."""
        source = self._source
        if self._answer is not None and self._left:
            self.close()  # the rest of an answer that nobody wants
        self._answer = None
        if self._connection is None:
            self._connection = Connection(source.server)
        if source.interrupted:
            raise Cancelled
        first = part.start + offset - part.offset
        last = first + end - offset - 1
        self._sent = source.authorization.headers()
        answer = self._connection.get(part.target, {**self._sent, "Range": f"bytes={first}-{last}"})
        source.check(part, first, answer)
        self._answer, self._at, self._left = answer, offset, end - offset

    def _take(self, room: memoryview) -> int:
        assert self._answer is not None
        count = self._answer.readinto(room[: self._left])
        if not count:
            source = self._source
            raise SourceBroken(f"{source.server} broke off its answer", file=source.name)
        self._at += count
        self._left -= count
        return count

    def _pause_after(self, fault: SourceError) -> float:
        """Return how long to wait before the next try; raise the failure if there shall be none."""
        if isinstance(fault, SourceUnauthorized):
            self._refusals += 1
            if self._refusals > _MOST_REFUSALS:
                raise fault
            try:
                self._source.authorization.renew(self._sent)
            except SourceBroken as unreachable:
                fault = unreachable
            else:
                return 0.0
        elif isinstance(fault, SourceRefused):
            self._server_errors += 1
            if fault.status != 500 or self._server_errors > _MOST_SERVER_ERRORS:
                raise fault
        if isinstance(fault, Busy):
            self._source.width.busy()
        self._source.tolerate(fault)
        self._breaks += 1
        own: float = min(_FIRST_PAUSE_S * 2 ** min(self._breaks, 10), _LONGEST_PAUSE_S)
        return max(own, fault.pause_s) if isinstance(fault, Busy) else own

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        if self._connection is not None:
            self._connection.interrupt()

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        connection, self._connection, self._answer = self._connection, None, None
        if connection is not None:
            connection.close()


class _Windows:
    """What is wanted, cut: large windows first, small ones so that all end together."""

    def __init__(self, wanted: Sequence[Extent], feeds: int) -> None:
        self._all = _windows(wanted, feeds)
        self._lock = threading.Lock()
        self.ended = False

    def take(self) -> Extent | None:
        """Return the next window, None at the end."""
        with self._lock:
            window = next(self._all, None)
            self.ended = window is None
        return window


def _windows(wanted: Sequence[Extent], feeds: int) -> Iterator[Extent]:
    left = extents.total(wanted)
    for extent in wanted:
        at = extent.offset
        while at < extent.end:
            size = min(left // (2 * feeds), _LARGEST_WINDOW) // _BUFFER * _BUFFER
            end = min(at // _BUFFER * _BUFFER + max(size, _SMALLEST_WINDOW), extent.end)
            yield Extent(at, end - at)
            left -= end - at
            at = end
