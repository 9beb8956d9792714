"""A serial console on this terminal: raw keys out, raw bytes in, ctrl-] leaves."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

ESCAPE = b"\x1d"  # ctrl-], as telnet, virsh and virtctl
CHUNK = 4096


def attach(console: ClientConnection) -> str:
    """Join the terminal to a console until either side ends it; return why it ended."""
    ended = threading.Event()
    reasons: list[str] = []
    receiver = threading.Thread(target=_receive, args=(console, reasons, ended), daemon=True)
    with _raw(sys.stdin.fileno()):
        receiver.start()
        try:
            _send_keys(console, ended)
        finally:
            ended.set()
            console.close()
    receiver.join(5)
    return reasons[0] if reasons else ""


def _receive(console: ClientConnection, reasons: list[str], ended: threading.Event) -> None:
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

    out = sys.stdout.buffer
    try:
        for message in console:
            out.write(message if isinstance(message, bytes) else message.encode())
            out.flush()
    except ConnectionClosedOK:
        pass
    except ConnectionClosed:
        reasons.append("disconnected: the VM ended, or somebody else opened the console")
    ended.set()


def _send_keys(console: ClientConnection, ended: threading.Event) -> None:
    import select

    from websockets.exceptions import ConnectionClosed

    descriptor = sys.stdin.fileno()
    while not ended.is_set():
        ready, _, _ = select.select([descriptor], [], [], 0.2)
        if not ready:
            continue
        keys = os.read(descriptor, CHUNK)
        kept, escape, _ = keys.partition(ESCAPE)
        with contextlib.suppress(ConnectionClosed):
            if kept:
                console.send(kept)
        if escape or not keys:
            return


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Have keys come at once and unseen, and put the terminal back afterwards."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
