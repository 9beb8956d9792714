"""Calls that become a stream: console, VNC and forwarded ports, over websockets.

Messages are binary and arbitrary parts of the byte stream; close code 1000 means its end. What
cannot be is refused before the upgrade, with a status that `virtctl` understands: it asks again
each second on 400, and only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import websockets
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from mtv.api import core
from mtv_operator.serving import tls as server_tls
from mtv_operator.virt_api import handler_link, statuses
from mtv_operator.virt_api.backend import Backend, Vmi
from mtv_operator.virt_api.statuses import Refusal

SUBPROTOCOL = "plain.kubevirt.io"
CHUNK = 32768
CUT_OFF = 1006  # RFC 6455 section 7.1.5: the connection ended without a close
OPEN_TIMEOUT_S = 10.0
DIAL_TIMEOUT_S = 10.0
RESOURCE = "virtualmachineinstances"


def console_target(vmi: Vmi) -> None:
    """Raise Refusal unless the instance has a serial console now. Pure."""
    name = vmi.metadata.name
    phase = (vmi.status.phase if vmi.status else None) or ""
    if vmi.spec.domain.devices.autoattach_serial_console is False:
        raise Refusal(400, "No serial consoles are present.", name=name, kind=RESOURCE)
    if phase == "Failed":
        raise statuses.conflict(RESOURCE, name, "VMI is in failed status")
    _running(vmi, phase)


def vnc_target(vmi: Vmi) -> None:
    """Raise Refusal unless the instance has a display now. Pure."""
    if vmi.spec.domain.devices.autoattach_graphics_device is False:
        message = "No graphics devices are present."
        raise Refusal(400, message, name=vmi.metadata.name, kind=RESOURCE)
    _running(vmi, (vmi.status.phase if vmi.status else None) or "")


def _running(vmi: Vmi, phase: str) -> None:
    if phase != "Running":
        raise Refusal(400, "VMI is not running", name=vmi.metadata.name, kind=RESOURCE)


def forward_address(vmi: Vmi) -> str:
    """Return the address that ports are forwarded to. Raises Refusal. Pure."""
    name = vmi.metadata.name
    phase = (vmi.status.phase if vmi.status else None) or ""
    if phase != "Running":
        raise statuses.conflict(RESOURCE, name, "VMI is not running")
    if any(one.type == "Paused" and one.status == "True" for one in _conditions(vmi)):
        raise statuses.conflict(RESOURCE, name, "VMI is paused")
    interfaces = vmi.status.interfaces if vmi.status else ()
    address = interfaces[0].ip_address if interfaces else None
    if not address:
        message = "no network interfaces are present"
        raise Refusal(500, message, name=name, kind=RESOURCE)
    return address


def _conditions(vmi: Vmi) -> Any:  # noqa: ANN401 - a tuple of conditions
    return vmi.status.conditions if vmi.status else ()


async def join_handler(
    websocket: WebSocket,
    backend: Backend,
    vmi: Vmi,
    node: core.Node,
    device: str,
    tls: ssl.SSLContext,
) -> None:
    """Join the client with a device of the instance, through its node's handler."""
    query = websocket.url.query
    url = f"wss://{backend.handlers.authority(node)}{handler_link.path_of(vmi, device)}"
    try:
        onward = await connect(
            f"{url}?{query}" if query else url,
            ssl=tls,
            server_hostname=handler_link.HANDLER_NAME,
            subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=None,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=None,
            proxy=None,
        )
    except InvalidStatus as fault:
        raise _as_handler_said(fault) from fault
    except (OSError, TimeoutError, InvalidHandshake) as fault:
        raise handler_link.unreachable(node, fault) from fault
    async with onward:
        await accept(websocket)
        await _carry(
            _client_to(websocket, onward.send),
            _handler_to(onward, websocket.send_bytes),
        )
        if onward.close_code == CUT_OFF:
            # Passed on as it came: `virtctl` explains 1006 with another user who connected.
            websocket.scope[server_tls.TRANSPORT].abort()
            return
        with contextlib.suppress(RuntimeError):
            await websocket.close(1000)


def _as_handler_said(fault: InvalidStatus) -> Refusal:
    """Return the refusal of the handler as ours."""
    code = fault.response.status_code
    message = bytes(fault.response.body or b"").decode("utf-8", "replace")
    with contextlib.suppress(msgspec.DecodeError, TypeError, AttributeError):
        message = msgspec.json.decode(fault.response.body or b"{}").get("message") or message
    return Refusal(code if code >= 400 else 500, message or f"virt-handler answered {code}")


async def accept(websocket: WebSocket) -> None:
    """Upgrade, with upstream's subprotocol if it was offered; browsers may offer none."""
    offered = websocket.scope.get("subprotocols") or ()
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)


async def forward(websocket: WebSocket, address: str, port: int, protocol: str) -> None:
    """Join the client with a port of the guest."""
    if protocol == "udp":
        await _forward_udp(websocket, address, port)
        return
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError) as fault:
        message = (
            f"dialing {address}:{port}: {fault!s}"
            if str(fault)
            else f"dialing {address}:{port} timed out"
        )
        raise Refusal(500, message) from fault
    await accept(websocket)

    async def write(content: bytes) -> None:
        writer.write(content)
        await writer.drain()

    async def read() -> None:
        while content := await reader.read(CHUNK):
            await websocket.send_bytes(content)

    try:
        await _carry(_client_to(websocket, write), read())
    finally:
        writer.close()
    with contextlib.suppress(RuntimeError):
        await websocket.close(1000)


class _Datagrams(asyncio.DatagramProtocol):
    """Datagrams of the guest, in order of arrival."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1024)

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401 - asyncio's type
        """Keep a datagram; those that nobody fetches are lost, as the protocol has it."""
        with contextlib.suppress(asyncio.QueueFull):
            self.arrived.put_nowait(data)

    async def each(self) -> AsyncIterator[bytes]:
        """Yield datagrams."""
        while (content := await self.arrived.get()) is not None:
            yield content


async def _forward_udp(websocket: WebSocket, address: str, port: int) -> None:
    """Carry datagrams, each as one message."""
    loop = asyncio.get_running_loop()
    transport, datagrams = await loop.create_datagram_endpoint(
        _Datagrams, remote_addr=(address, port)
    )
    await accept(websocket)

    async def write(content: bytes) -> None:
        transport.sendto(content)

    async def read() -> None:
        async for content in datagrams.each():
            await websocket.send_bytes(content)

    try:
        await _carry(_client_to(websocket, write), read())
    finally:
        transport.close()
    with contextlib.suppress(RuntimeError):
        await websocket.close(1000)


async def _carry(*directions: Awaitable[None]) -> None:
    """Run both directions until either ends."""
    tasks = [asyncio.ensure_future(one) for one in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _client_to(websocket: WebSocket, write: Callable[[bytes], Awaitable[None]]) -> None:
    with contextlib.suppress(OSError, WebSocketDisconnect, ConnectionClosed):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            content = message.get("bytes")  # text is ignored, as upstream
            if content:
                await write(content)


async def _handler_to(onward: ClientConnection, write: Callable[[bytes], Awaitable[None]]) -> None:
    with contextlib.suppress(OSError, WebSocketDisconnect, ConnectionClosed, RuntimeError):
        async for content in onward:
            if isinstance(content, bytes):
                await write(content)
