"""QEMU's two sockets: the monitor, and the guest agent's."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

_MOST_REPLY = 1 << 20


def ask(path: str, *commands: tuple[str, dict[str, object]], timeout_s: float = 10) -> Any:  # noqa: ANN401 - any JSON value
    """Run commands on a monitor; return what the last one returns. Raises OSError, ValueError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout_s)
        sock.connect(path)
        stream = sock.makefile("rb")
        stream.readline(_MOST_REPLY)
        value: Any = None
        for name, arguments in (("qmp_capabilities", {}), *commands):
            sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
            while True:
                reply = json.loads(stream.readline(_MOST_REPLY) or b"null")
                if not isinstance(reply, dict) or "error" in reply:
                    raise ValueError(f"{name}: {reply}")
                if "return" in reply:
                    value = reply["return"]
                    break
        return value


def agent_answers(path: str, *, timeout_s: float = 5) -> bool:
    """Whether a guest agent answers on its socket."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout_s)
            sock.connect(path)
            number = int(time.monotonic() * 1000) & 0xFFFFFF
            request = {"execute": "guest-sync", "arguments": {"id": number}}
            sock.sendall(json.dumps(request).encode() + b"\n")
            stream = sock.makefile("rb")
            while time.monotonic() < deadline:  # an answer to an earlier request may come first
                reply = json.loads(stream.readline(_MOST_REPLY) or b"null")
                if reply is None:
                    return False
                if isinstance(reply, dict) and reply.get("return") == number:
                    return True
    except (OSError, ValueError):
        return False
    return False
