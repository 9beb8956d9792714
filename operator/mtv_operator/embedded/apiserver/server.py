"""Sockets: TLS, HTTP/1.1 by uvicorn, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mtv import errors
from mtv_operator.embedded.apiserver import authentication, tunnel
from mtv_operator.embedded.apiserver.application import Application
from mtv_operator.embedded.apiserver.exchange import User
from mtv_operator.embedded.apiserver.tunnel import Onward

log = logging.getLogger(__name__)

BACKLOG = 512
KEEPALIVE_S = 30  # a watcher whose machine is gone is noticed after four times this
IP_FREEBIND = 15  # linux/in.h; missing in `socket`
END_S = 5  # for requests that are being answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The server's certificate, and whose certificates it believes."""

    certificate: Path
    key: Path
    client_ca: Path


def tls_context(identity: Identity) -> ssl.SSLContext:
    """Return the server's side of TLS: a client may show a certificate, which must then be good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(identity.certificate, identity.key)
    context.load_verify_locations(identity.client_ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


class Protocol(HttpToolsProtocol):
    """One connection. Requests on it carry the user of its client certificate."""

    certificate_user: User | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look at the client's certificate; the handshake is over."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.certificate_user = authentication.certificate_user(certificate)

    def _should_upgrade(self) -> bool:
        return self._get_upgrade() == b"websocket"

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to a tunnel."""
        self.connections.discard(self)
        client = str(self.client[0]) if self.client else ""
        application: Application = self.config.app  # type: ignore[assignment]

        async def admit() -> Onward:
            return await application.admit_upgrade(
                str(self.scope["method"]), self.url, self.headers, self.certificate_user, client
            )

        task = self.loop.create_task(tunnel.open_tunnel(self.transport, admit))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        scope: Any = self.scope
        scope["mtv.certificate_user"] = self.certificate_user


class Server(uvicorn.Server):
    """uvicorn that ends watches when it is told to stop."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is open."""
        self._on_stop()
        await super().shutdown(sockets)


def listen(addresses: Sequence[str]) -> list[socket.socket]:
    """Return a listening socket for each ADDRESS:PORT. Raises BadInput when one cannot be had."""
    try:
        return [_listen(address) for address in addresses]
    except (OSError, ValueError) as error:
        raise errors.BadInput(
            f"cannot listen on {' and '.join(addresses)}: {error}",
            field="--listen",
            hint="ADDRESS:PORT of this machine that nobody else uses",
        ) from error


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # a bridge may come up after us
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted ones inherit these
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    opened.bind((host.strip("[]"), int(port)))
    opened.listen(BACKLOG)
    opened.setblocking(False)
    return opened


async def serve(
    application: Application,
    identity: Identity,
    sockets: list[socket.socket],
    on_stop: Callable[[], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        ssl_context_factory=lambda *_: tls_context(identity),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=90,
        timeout_graceful_shutdown=END_S,
        backlog=BACKLOG,
    )
    await Server(config, on_stop).serve(sockets)


@contextlib.contextmanager
def event_loop() -> Iterator[asyncio.Runner]:
    """Run coroutines on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner
