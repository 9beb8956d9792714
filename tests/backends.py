"""A small HTTPS server that plays a webhook or an aggregated API server, for tests."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from servers import ApiServer

Answer = Callable[["Request"], tuple[int, Any]]


class Request:
    """What was asked of the backend."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.method = handler.command
        self.path = handler.path
        self.headers = handler.headers
        self.certificate = handler.connection.getpeercert()  # type: ignore[attr-defined]
        length = int(handler.headers.get("Content-Length") or 0)
        self.body = handler.rfile.read(length)

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Backend:
    """The backend: its address, and what it was asked."""

    def __init__(self, port: int, bundle: str) -> None:
        self.port = port
        self.bundle = bundle
        self.seen: list[Request] = []


@contextlib.contextmanager
def backend(server: ApiServer, name: str, answer: Answer) -> Iterator[Backend]:
    """Serve on loopback with a certificate for `name` until left."""
    pair = server.pki.issue(f"backend-{name}", common_name=name, addresses=[name, "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(server.pki.certificate_path)
    context.verify_mode = ssl.CERT_OPTIONAL

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def _answer(self) -> None:
            request = Request(self)
            running.seen.append(request)
            if self.headers.get("Upgrade") == "websocket":
                echo(self)
                return
            code, document = answer(request)
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            pass

    listening = Listener(("127.0.0.1", 0), Handler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    bundle = base64.b64encode(server.pki.certificate_path.read_bytes()).decode()
    running = Backend(listening.server_address[1], bundle)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def echo(handler: BaseHTTPRequestHandler) -> None:
    """Accept an upgrade and send every byte back."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Protocol: {handler.headers.get('Sec-WebSocket-Protocol', '')}",
        "",
        "",
    ]
    handler.wfile.write("\r\n".join(lines).encode())
    handler.close_connection = True
    while content := handler.connection.recv(65536):
        handler.connection.sendall(content)
