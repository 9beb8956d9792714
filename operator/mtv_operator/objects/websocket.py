"""Websockets to the API server: consoles and screens of VMs."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from kubernetes.client import Configuration

from mtv import errors
from mtv_operator.objects.connection import error_of

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

OPEN_TIMEOUT_S = 20.0


def open_websocket(
    configuration: Configuration, headers: dict[str, str], path: str, subprotocol: str
) -> ClientConnection:
    """Open a websocket. Raises the error that a refusal means, TargetUnavailable otherwise."""
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    server = str(configuration.host).rstrip("/")
    secure = server.startswith("https:")
    uri = ("wss:" if secure else "ws:") + server.partition(":")[2] + path
    try:
        return connect(
            uri,
            ssl=_tls(configuration) if secure else None,
            additional_headers=headers,
            subprotocols=[Subprotocol(subprotocol)],
            open_timeout=OPEN_TIMEOUT_S,
            max_size=None,
            compression=None,
            proxy=None,
        )
    except InvalidStatus as fault:
        response = fault.response
        raise error_of(response.status_code, bytes(response.body or b""), f"GET {path}") from fault
    except (OSError, InvalidHandshake) as fault:
        raise errors.TargetUnavailable(f"{server}{path}: {fault}") from fault


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
