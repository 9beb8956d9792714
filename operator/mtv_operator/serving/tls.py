"""TLS in front of an application: who the client's certificate names is put into the scope.

uvicorn hands connections to protocol classes; ours look at the certificate once, at the beginning.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# In the scope: the name in a verified client certificate, or None; and the connection itself. A
# client whose websocket is cut off by the latter sees code 1006, which `virtctl` explains.
PEER = "mtv.peer"
TRANSPORT = "mtv.transport"


def context(
    certificate: Path | str, key: Path | str, client_ca: bytes = b"", *, required: bool = False
) -> ssl.SSLContext:
    """Return the server's TLS. A client certificate is looked at if there is one, or required.

    Raises OSError or ValueError for files that are of no use.
    """
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    load(found, certificate, key, client_ca)
    if client_ca:
        found.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return found


def load(
    given: ssl.SSLContext, certificate: Path | str, key: Path | str, client_ca: bytes = b""
) -> None:
    """Have a context use these for connections to come. Raises OSError or SSLError."""
    given.load_cert_chain(certificate, key)
    if client_ca:
        given.load_verify_locations(cadata=client_ca.decode())


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


def only_for(allowed: frozenset[str], message: str) -> type[HttpToolsProtocol]:
    """Return uvicorn's HTTP, but for clients of other names: those get 403 for everything.

    Without TLS nobody has a name, and everybody may call.
    """
    body = (
        '{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,'
        f'"message":"{message}"}}'
    ).encode()

    async def forbid(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    class Checked(Http):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            name = peer_of(transport)
            if transport.get_extra_info("ssl_object") is not None and name not in allowed:
                self.app = cast(Any, forbid)
                self.ws_protocol_class = None  # an upgrade is then a request like others

    return Checked
