"""An application on a port in a thread of its own, beside a loop of controllers."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mtv import errors
from mtv_operator.certificates.reloading import Reloading
from mtv_operator.serving import server, tls

log = logging.getLogger(__name__)

START_S = 10.0
MOST_PORT = 65535


class Background:
    """The application, from `with` to the end of the block.

    With `client_ca` only clients with a certificate of it come in.
    """

    def __init__(
        self,
        application: ASGIApp,
        *,
        host: str,
        port: int,
        certificate: str = "",
        key: str = "",
        client_ca: str = "",
        http: type[HttpToolsProtocol] = tls.Http,
    ) -> None:
        config = uvicorn.Config(
            application,
            host=host,
            port=port,
            http=http,
            ws=tls.WebSockets,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        config.load()
        reloading: Reloading | None = None
        if certificate:
            context = tls.context(certificate, key, _content(client_ca), required=True)
            config.ssl = context
            reloading = Reloading(
                [Path(path) for path in (certificate, key, client_ca) if path],
                lambda: tls.load(context, certificate, key, _content(client_ca)),
            )
        self._server = server.Server(config, reloading)
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._ended = threading.Event()
        self.address = f"{host}:{port}"

    @classmethod
    def at(cls, listen: str, application: ASGIApp, *, certificate: str = "", key: str = "") -> Self:
        """Return the application at `host:port`, for clients without certificates.

        Raises BadInput for an address that is none.
        """
        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > MOST_PORT:
            raise errors.BadInput(f"{listen!r} is not ADDRESS:PORT", field="--metrics-listen")
        return cls(
            application, host=host.strip("[]"), port=int(port), certificate=certificate, key=key
        )

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:  # uvicorn's way to say that the port is taken: it has logged why
            log.debug("the server ended")
        finally:
            self._ended.set()

    def __enter__(self) -> Self:
        """Begin to answer. Raises TargetRefused where nothing can listen."""
        self._thread.start()
        while not self._server.started:
            if self._ended.wait(0.01):
                raise errors.TargetRefused(
                    f"nothing can listen on {self.address}",
                    hint="is another one running? another port can be given",
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what is answered."""
        self._server.should_exit = True
        self._thread.join(START_S)

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        number: int = self._server.servers[0].sockets[0].getsockname()[1]
        return number


def _content(path: str) -> bytes:
    return Path(path).read_bytes() if path else b""
