"""The node's HTTPS server, as far as the API server asks a kubelet: logs, and that it lives.

Only who shows a certificate of our authority with a name that may ask is answered.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlsplit

from mtv import errors
from mtv.api.core import Pod
from mtv_operator.embedded.node import attempts, lifecycle, logs
from mtv_operator.embedded.node.attempts import PodFolder
from mtv_operator.embedded.pki import Pair

log = logging.getLogger(__name__)

MASTERS = "system:masters"
HANDSHAKE_S = 10.0
MOST_READERS = 64

FindByName = Callable[[str, str], Pod | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        """Shake hands in the request's own thread: a silent client holds up nobody else."""
        self.request.settimeout(HANDSHAKE_S)
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        """Answer a request."""
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        try:
            if parts == ["healthz"]:
                self._text(HTTPStatus.OK, "ok")
            elif not may_ask(self.request.getpeercert()):
                self._text(HTTPStatus.FORBIDDEN, "this certificate may not ask a node")
            elif parts[0] == "containerLogs" and len(parts) == 4:
                wanted = logs.parse(dict(parse_qsl(url.query)))
                self._logs(parts[1], parts[2], parts[3], wanted)
            else:
                self._text(HTTPStatus.NOT_FOUND, f"nothing is at {url.path}")
        except errors.NotFound as fault:
            self._text(HTTPStatus.NOT_FOUND, str(fault))
        except errors.MigrationError as fault:
            self._text(HTTPStatus.BAD_REQUEST, str(fault))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    def _logs(self, namespace: str, name: str, container: str, wanted: logs.Wanted) -> None:
        pod = self.server.find(namespace, name)
        if pod is None:
            raise errors.NotFound(f'pod "{namespace}/{name}" is not on this node')
        if container not in [one.name for one in lifecycle.all_containers(pod)]:
            raise errors.BadInput(f"container {container} is not valid for pod {name}")
        folder = PodFolder(self.server.folder / pod.metadata.uid)
        chosen = logs.choose(folder, container, wanted)
        state = folder.container(container, chosen.number)

        def running() -> bool:
            found = attempts.read_attempt(state, chosen.number)
            return found is not None and found.running and not self.server.closing

        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in logs.read(state / "log", wanted, running=running):
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            elif self._left():
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def _left(self) -> bool:
        """Tell whether the client has closed the connection."""
        self.request.settimeout(0.0)
        try:
            return not self.request.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            return True
        finally:
            self.request.settimeout(HANDSHAKE_S)

    def _text(self, status: HTTPStatus, text: str) -> None:
        body = text.encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log at debug level only: each `kubectl logs` is a request."""
        log.debug(format, *args)


class Server(ThreadingHTTPServer):
    """Serves on a socket that was opened in the node's network namespace."""

    daemon_threads = True

    def __init__(
        self, listening: socket.socket, folder: Path, find: FindByName, pair: Pair, ca: Path
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.socket = context.wrap_socket(
            listening, server_side=True, do_handshake_on_connect=False
        )
        self.folder = folder
        self.find = find
        self.closing = False
        self._places = threading.BoundedSemaphore(MOST_READERS)
        self._thread = threading.Thread(
            # Nothing is polled: the process ends without asking this thread.
            target=lambda: self.serve_forever(3600.0),
            name="server",
            daemon=True,
        )

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.closing = True
        self.socket.close()

    def process_request(self, request: object, client_address: object) -> None:
        """Give a request a thread, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve a request and give its place back."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what a broken connection leaves."""
        log.debug("a request of %s ended early: %s", client_address, sys.exc_info()[1])


def may_ask(certificate: object) -> bool:
    """Tell whether a verified peer certificate belongs to the API server or an administrator."""
    if not isinstance(certificate, dict):
        return False
    fields = [pair for group in certificate.get("subject", ()) for pair in group]
    return ("organizationName", MASTERS) in fields


def listen(address: str, port: int, namespace: str = "") -> socket.socket:
    """Return a listening socket; with `namespace`, one that belongs to that network namespace.

    Raises TargetRefused that names the address when it is taken.
    """
    result: list[socket.socket] = []
    fault: list[BaseException] = []

    def enter_and_listen() -> None:
        try:
            if namespace:
                from mtv_operator.embedded.node import stage

                stage.join_network(namespace)
            result.append(socket.create_server((address, port), reuse_port=False))
        except OSError as error:
            fault.append(error)

    # A namespace belongs to a thread; this one ends with it, the socket stays where it was made.
    thread = threading.Thread(target=enter_and_listen)
    thread.start()
    thread.join()
    if fault:
        raise errors.TargetRefused(
            f"cannot listen on {address}:{port}: {fault[0]}",
            hint="another kubelet or mtv may run here: `ss -ltnp` shows whose port it is",
        ) from fault[0]
    return result[0]
