"""Consoles and displays: a websocket on one side, a socket of QEMU on the other.

Messages are binary and arbitrary parts of the byte stream, as upstream. One console and one display
per VMI: a new one cuts the old one off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from starlette.websockets import WebSocket, WebSocketDisconnect

from mtv import errors
from mtv_operator.serving import tls
from mtv_operator.virt_handler import launcher_socket

log = logging.getLogger(__name__)

SUBPROTOCOL = "plain.kubevirt.io"
CHUNK = 32768
HAND_OVER_S = 2.0


class Sessions:
    """The sessions that are open now, by VMI and device."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def serve(self, websocket: WebSocket, uid: str, device: str, path: Path) -> None:
        """Join the websocket and the socket at `path` until one of them ends."""
        key = (uid, device)
        await self._take_over(key)
        try:
            connection = launcher_socket.connect(path)
            connection.setblocking(False)
        except errors.MigrationError as fault:
            log.info("%s of %s: %s", device, uid, fault)
            await websocket.close(1011, str(fault)[:120])
            return
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        offered = websocket.scope.get("subprotocols", ())
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        task = asyncio.create_task(_join(websocket, reader, writer))
        self._open[key] = task
        try:
            await task
            with contextlib.suppress(RuntimeError):
                await websocket.close(1000)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            websocket.scope[tls.TRANSPORT].abort()
        finally:
            if self._open.get(key) is task:
                del self._open[key]
            writer.close()

    async def _take_over(self, key: tuple[str, str]) -> None:
        """Cut the session off that has the device now, and wait until it let go."""
        old = self._open.get(key)
        if old is not None:
            old.cancel()
            await asyncio.wait([old], timeout=HAND_OVER_S)


async def _join(
    websocket: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes both ways until either side ends."""
    directions = [
        asyncio.create_task(_from_guest(websocket, reader)),
        asyncio.create_task(_to_guest(websocket, writer)),
    ]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in directions:
            one.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        writer.close()


async def _from_guest(websocket: WebSocket, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError, WebSocketDisconnect, RuntimeError):
        while content := await reader.read(CHUNK):
            await websocket.send_bytes(content)


async def _to_guest(websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, WebSocketDisconnect):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            content = message.get("bytes")  # text is ignored, as upstream
            if content:
                writer.write(content)
                await writer.drain()
