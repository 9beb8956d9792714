"""A small HTTP/1.1 client on the event loop: for webhooks, aggregated servers, logs of pods."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httptools

READ_BYTES = 64 << 10
IDLE_KEPT = 8  # connections per endpoint
IDLE_S = 30.0

Headers = Sequence[tuple[bytes, bytes]]


class Unreachable(Exception):
    """The other side does not answer, or not in HTTP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect to. Without `tls` the connection is plain."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str = ""  # that the server's certificate must carry


class _Response:
    """What the parser has seen of an answer."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.have_head = False
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.have_head = True

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


class Connection:
    """One connection, and one exchange at a time on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._response = _Response()
        self._parser = httptools.HttpResponseParser(self._response)
        self.used_at = 0.0
        self.reusable = False

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Connection:
        """Return a new connection. Raises Unreachable."""
        try:
            reader, writer = await asyncio.open_connection(
                endpoint.host,
                endpoint.port,
                ssl=endpoint.tls,
                server_hostname=(endpoint.name or endpoint.host) if endpoint.tls else None,
            )
        except (OSError, ssl.SSLError) as error:
            place = f"{endpoint.host}:{endpoint.port}"
            raise Unreachable(f"dial tcp {place}: {error}") from error
        return cls(reader, writer)

    async def begin(self, method: str, path: str, headers: Headers, body: bytes = b"") -> None:
        """Send a request. Raises Unreachable."""
        lines = [f"{method} {path} HTTP/1.1".encode("latin-1")]
        lines += [name + b": " + value for name, value in headers]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(b"content-length: " + str(len(body)).encode())
        self._response = _Response()
        self._parser = httptools.HttpResponseParser(self._response)
        try:
            self._writer.write(
                b"\r\n".join([*lines, b"", body]) if body else b"\r\n".join([*lines, b"", b""])
            )
            await self._writer.drain()
        except OSError as error:
            raise Unreachable(str(error)) from error

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return the status and the headers of the answer. Raises Unreachable."""
        while not self._response.have_head:
            await self._feed()
        return self._parser.get_status_code(), self._response.headers

    async def parts(self) -> AsyncIterator[bytes]:
        """Return the body as it comes. Raises Unreachable when it breaks off."""
        response = self._response
        while True:
            while response.chunks:
                yield response.chunks.pop(0)
            if response.complete:
                break
            await self._feed()
        self.reusable = bool(self._parser.should_keep_alive())

    async def _feed(self) -> None:
        try:
            content = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise Unreachable(str(error)) from error
        if not content:
            if self._response.have_head and not _has_length(self._response.headers):
                self._response.complete = True  # the end of the connection ends the body
                return
            raise Unreachable("the connection was closed in the middle of the answer")
        try:
            self._parser.feed_data(content)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise Unreachable(f"the answer is not HTTP: {error}") from error

    def close(self) -> None:
        """Close it, whatever it is doing."""
        self._writer.close()

    @property
    def is_open(self) -> bool:
        """Return whether the other side has not closed it, as far as is known."""
        return not self._reader.at_eof() and not self._writer.is_closing()


def _has_length(headers: Headers) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


class Pool:
    """Connections that are kept open between requests."""

    def __init__(self) -> None:
        self._idle: dict[Endpoint, list[Connection]] = {}

    async def request(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        timeout_s: float,
    ) -> tuple[int, bytes]:
        """Return the status and the whole body of an answer. Raises Unreachable."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._request(endpoint, method, path, headers, body)
        except TimeoutError as error:
            raise Unreachable("context deadline exceeded") from error

    async def _request(
        self, endpoint: Endpoint, method: str, path: str, headers: Headers, body: bytes
    ) -> tuple[int, bytes]:
        while kept := self._take(endpoint):
            try:
                return await self._exchange(endpoint, kept, method, path, headers, body)
            except Unreachable:  # it was closed while it was idle
                continue
        fresh = await Connection.open(endpoint)
        return await self._exchange(endpoint, fresh, method, path, headers, body)

    def _take(self, endpoint: Endpoint) -> Connection | None:
        now = asyncio.get_running_loop().time()
        idle = self._idle.get(endpoint, [])
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.used_at > now - IDLE_S:
                return connection
            connection.close()
        return None

    async def _exchange(
        self,
        endpoint: Endpoint,
        connection: Connection,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
    ) -> tuple[int, bytes]:
        try:
            await connection.begin(method, path, headers, body)
            code, _ = await connection.head()
            content = b"".join([part async for part in connection.parts()])
        except BaseException:
            connection.close()
            raise
        idle = self._idle.setdefault(endpoint, [])
        if connection.reusable and len(idle) < IDLE_KEPT:
            connection.used_at = asyncio.get_running_loop().time()
            idle.append(connection)
        else:
            connection.close()
        return code, content

    def close(self) -> None:
        """Close all that are kept."""
        for idle in self._idle.values():
            for connection in idle:
                with contextlib.suppress(OSError):
                    connection.close()
        self._idle.clear()
