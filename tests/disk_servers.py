"""An HTTP server of disks that goes wrong when it is told to."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator

from converters.sources.http_connection import Server


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives `server.files` by ranges, and goes wrong as `server.faults` says, one per request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        with server.lock:
            server.requests += 1
            server.on_request(self.headers)
            fault = server.faults.pop(0) if server.faults else {}
        if "status" in fault:
            body = b"not now\n"
            self.send_response(fault["status"])
            for name, value in fault.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        if server.token and self.headers.get("Cookie") != server.token:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if moved := server.moved.get(self.path):
            self.send_response(302)
            self.send_header("Location", moved)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        content = server.files[self.path]
        wanted = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range") or "")
        if wanted and not server.without_ranges:
            first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
            if first >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            body = content
            self.send_response(200)
        self.send_header("ETag", server.revision)
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body, fault)

    def _send(self, body, fault):
        server = self.server
        cut = fault.get("cut", len(body))
        for at in range(0, cut, 65536):
            piece = body[at : min(at + 65536, cut)]
            if server.chunked:
                piece = b"%x\r\n%s\r\n" % (len(piece), piece)
            self.wfile.write(piece)
            with server.lock:
                server.sent += len(piece)
            if fault.get("silent"):
                self.wfile.flush()
                server.silence.wait(30)
        if cut < len(body):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif server.chunked:
            self.wfile.write(b"0\r\n\r\n")


class HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.files, self.moved, self.faults = {}, {}, []
        self.requests = self.sent = 0
        self.token = ""
        self.on_request = lambda headers: None
        self.revision = '"1"'
        self.without_ranges = self.chunked = False
        self.silence = threading.Event()

    def handle_error(self, request, client_address):
        """Connections that the other side drops are part of the game."""

    @property
    def address(self):
        return Server(host="127.0.0.1", port=self.server_address[1])


@contextlib.contextmanager
def serving() -> Iterator[HttpServer]:
    """Serve on loopback."""
    with HttpServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.silence.set()
        running.shutdown()
        thread.join()
