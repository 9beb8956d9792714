"""uvicorn as our processes run it: a signal ends it in peace, newer certificates are taken."""

from __future__ import annotations

import asyncio
import ssl
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from mtv import errors
from mtv_operator.certificates.reloading import Reloading
from mtv_operator.serving import tls

RELOAD_TICKS = 300  # of a tenth of a second
PING_S, PONG_S = 20.0, 60.0
GRACE_S = 2


def configured(
    application: Starlette, listen: str, context: ssl.SSLContext, *, websockets: bool = False
) -> uvicorn.Config:
    """Return how to serve an application at `host:port`."""
    host, _, port = listen.rpartition(":")
    return uvicorn.Config(
        application,
        host=host.strip("[]"),
        port=int(port),
        http=tls.Http,
        ws=tls.WebSockets if websockets else "none",
        ws_per_message_deflate=False,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PONG_S,
        ssl_context_factory=lambda *_: context,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


class Server(uvicorn.Server):
    """uvicorn that takes a signal as the wish to end, not as a fault, and newer certificates."""

    def __init__(self, config: uvicorn.Config, reloading: Reloading | None = None) -> None:
        super().__init__(config)
        self._reloading = reloading

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second."""
        if self._reloading is not None and counter % RELOAD_TICKS == 0:
            self._reloading.look()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self.should_exit = True

    async def answer(self) -> None:
        """Serve until a signal. Raises TargetRefused where nothing can listen."""
        try:
            await self.serve()
        except SystemExit as fault:  # uvicorn's way to say that the port is taken: it has logged
            where = f"{self.config.host}:{self.config.port}"
            raise errors.TargetRefused(
                f"nothing can listen on {where}", hint="is another one running?"
            ) from fault

    def run_until_signal(self) -> None:
        """Serve until a signal, where nothing else is to be done in the loop."""
        asyncio.run(self.answer())
