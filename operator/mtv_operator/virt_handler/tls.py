"""Mutual TLS in front of the server: who may call is decided by the name in the certificate."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

TRANSPORT = "mtv.transport"  # in a websocket's scope: the connection itself
FORBIDDEN = (
    b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,'
    b'"message":"this client certificate may not call virt-handler"}'
)


def context(certificate: str, key: str, client_ca: str) -> ssl.SSLContext:
    """Return the server's TLS: with `client_ca`, only clients with a certificate of it come in."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    load(found, certificate, key, client_ca)
    if client_ca:
        found.verify_mode = ssl.CERT_REQUIRED
    return found


def load(context: ssl.SSLContext, certificate: str, key: str, client_ca: str) -> None:
    """Have a context use these files for connections to come. Raises OSError or SSLError."""
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.load_verify_locations(client_ca)


def common_name(transport: asyncio.BaseTransport) -> str | None:
    """Return the name in the client's certificate; None where there is no TLS."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    subject = (tls.getpeercert() or {}).get("subject", ())
    pairs = {name: value for part in subject for name, value in part}
    return str(pairs.get("commonName", ""))


def http_protocol(allowed: frozenset[str]) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol, but for clients of other names: those get 403 for everything."""

    class Checked(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            name = common_name(transport)
            if name is not None and name not in allowed:
                self.app = cast(Any, _forbid)
                self.ws_protocol_class = None  # an upgrade is then a request like others

    return Checked


async def _forbid(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": FORBIDDEN})


class WithTransport(WebSocketsSansIOProtocol):
    """uvicorn's websockets, with the connection in the scope: a session can be cut off.

    A client that is cut off sees code 1006, which `virtctl` explains: another user connected.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the connection where the application finds it."""
        super().connection_made(transport)
        application: ASGIApp = cast(ASGIApp, self.app)

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = transport
            await application(scope, receive, send)

        self.app = cast(Any, with_transport)
