"""TLS in front of the application: who the client's certificate names is put into the scope."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# In the scope: the name in a verified client certificate, or None; and the connection itself.
PEER = "mtv.peer"
TRANSPORT = "mtv.transport"


def context(certificate: Path, key: Path, client_ca: bytes) -> ssl.SSLContext:
    """Return the server's TLS. A client certificate is looked at if there is one, as upstream."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.load_cert_chain(certificate, key)
    if client_ca:
        found.load_verify_locations(cadata=client_ca.decode())
        found.verify_mode = ssl.CERT_OPTIONAL
    return found


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """Return the name in the client's certificate; None where it showed none."""
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return None
    pairs = {name: value for part in certificate.get("subject", ()) for name, value in part}
    return str(pairs.get("commonName", ""))


def _with_peer(application: object, transport: asyncio.BaseTransport) -> Any:  # noqa: ANN401 - uvicorn's type
    peer = peer_of(transport)
    inner = cast(ASGIApp, application)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = peer
        scope[TRANSPORT] = transport
        await inner(scope, receive, send)

    return outer


class Http(HttpToolsProtocol):
    """uvicorn's HTTP, with the client's name in the scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look at the certificate; the handshake is over."""
        super().connection_made(transport)
        self.app = _with_peer(self.app, transport)


class WebSockets(WebSocketsSansIOProtocol):
    """uvicorn's websockets, with the client's name in the scope."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at the certificate of the connection that is handed over."""
        super().connection_made(transport)
        self.app = _with_peer(self.app, transport)
