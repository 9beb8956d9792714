"""Websockets to aggregated APIs: after the request's head, bytes are passed both ways unread."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from mtv_operator.embedded.apiserver import status
from mtv_operator.embedded.apiserver.exchange import encode
from mtv_operator.embedded.apiserver.http_client import Endpoint, Headers

log = logging.getLogger(__name__)

CONNECT_S = 10.0
TOKEN_PROTOCOL = b"base64url.bearer.authorization.k8s.io."


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """Where an upgrade goes, and the head that is sent there."""

    endpoint: Endpoint
    head: bytes


Admit = Callable[[], Awaitable[Onward]]


class Side(asyncio.Protocol):
    """One end of the tunnel; what it receives goes out at the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way out."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's has no common base

    def join(self, other: Side) -> None:
        """Let what is received go out at the other side."""
        self.other = other
        assert other.transport is not None
        for content in self._early:
            other.transport.write(content)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self.other is None:
            self._early.append(data)
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """End the other side as well."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side as well, after what it has still to send."""
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        """Take no more from the other side while this one is slow."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


async def open_tunnel(transport: asyncio.Transport, admit: Admit) -> None:
    """Join a client's connection, whose upgrade was read, with the server that it is for."""
    inner = Side()
    inner.connection_made(transport)
    transport.set_protocol(inner)
    try:
        onward = await admit()
        endpoint = onward.endpoint
        async with asyncio.timeout(CONNECT_S):
            _, outer = await asyncio.get_running_loop().create_connection(
                Side,
                endpoint.host,
                endpoint.port,
                ssl=endpoint.tls,
                server_hostname=(endpoint.name or endpoint.host) if endpoint.tls else None,
            )
    except status.Refusal as refusal:
        _refuse(inner, refusal)
        return
    except (OSError, TimeoutError) as error:
        _refuse(inner, status.unavailable(f"error trying to reach service: {error}"))
        return
    if outer.transport is None:
        _refuse(inner, status.unavailable("the service closed the connection"))
        return
    outer.transport.write(onward.head)
    if inner.transport is None:  # the client left meanwhile
        outer.transport.close()
        return
    inner.join(outer)
    outer.join(inner)


def _refuse(side: Side, refusal: status.Refusal) -> None:
    if side.transport is None:
        return
    body = encode(refusal.body())
    lines = [
        b"HTTP/1.1 %d %s" % (refusal.code, refusal.reason.encode()),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        b"",
        body,
    ]
    side.transport.write(b"\r\n".join(lines))
    side.transport.close()


def request_head(method: str, url: bytes, headers: Headers) -> bytes:
    """Return the head of an upgrade request. Pure."""
    lines = [method.encode() + b" " + url + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    lines += [b"connection: Upgrade", b"upgrade: websocket", b"", b""]
    return b"\r\n".join(lines)


def split_token(headers: Headers) -> tuple[str, list[tuple[bytes, bytes]]]:
    """Return the bearer token that a browser hides among its subprotocols, and the rest. Pure.

    Browsers cannot send an Authorization header with a websocket (Kubernetes'
    `pkg/authentication/request/websocket`).
    """
    token, kept = "", []
    for name, value in headers:
        if name == b"sec-websocket-protocol":
            protocols = [one.strip() for one in value.split(b",")]
            for one in protocols:
                if one.startswith(TOKEN_PROTOCOL):
                    token = _decoded(one[len(TOKEN_PROTOCOL) :])
            left = [one for one in protocols if not one.startswith(TOKEN_PROTOCOL)]
            if not left:
                continue
            value = b", ".join(left)
        kept.append((name, value))
    return token, kept


def _decoded(text: bytes) -> str:
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return ""
