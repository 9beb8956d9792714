"""Takes one upload, inside the pod that fills a claim: CDI's upload server as virtctl knows it.

Who may upload shows a token made with the claim's key. `POST …/upload` answers when the disk is
written, `…/upload-async` as well: a disk is written while it comes, so nothing is left to wait for.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from converters.errors import ConversionError
from converters.sources.byte_stream import ByteStream
from mtv.api import upload_token
from mtv_operator.data_volumes.streams import FileObjectStream

log = logging.getLogger("upload")

PATHS = ("/v1beta1/upload", "/v1beta1/upload-async", "/v1alpha1/upload", "/v1alpha1/upload-async")
IDLE_TIMEOUT_S = 60.0
DRAIN_S = 5.0
Take = Callable[[ByteStream], None]


def serve(port: int, key: bytes, take: Take, *, host: str = "") -> None:
    """Serve until one upload was taken whole."""
    done = threading.Event()

    class Handler(_Handler):
        settings = (key, take, done)

    with ThreadingHTTPServer((host, port), Handler) as server:
        server.daemon_threads = True
        worker = threading.Thread(target=server.serve_forever, daemon=True)
        worker.start()
        done.wait()
        server.shutdown()
        worker.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT_S
    settings: ClassVar[tuple[bytes, Take, threading.Event]]
    _busy: ClassVar[threading.Lock] = threading.Lock()

    def do_GET(self) -> None:
        """Answer the pod's probe."""
        self._answer(200 if self.path == "/healthz" else 404)

    def do_HEAD(self) -> None:
        """Say that an upload would be taken."""
        self._answer(200 if self._is_allowed() else 401)

    def do_POST(self) -> None:
        """Take the disk."""
        _, take, done = self.settings
        self.close_connection = True
        if self.path.partition("?")[0] not in PATHS:
            self._answer(404, "no such path")
        elif not self._is_allowed():
            self._answer(401, "the token is not for this claim, or too old")
        elif not self._busy.acquire(blocking=False):
            self._answer(503, "another upload is being taken")
        else:
            try:
                self._take(take, done)
            finally:
                self._busy.release()

    def _take(self, take: Take, done: threading.Event) -> None:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body: Any = _Chunked(self.rfile)
            stream = FileObjectStream("upload", body, None)
        else:
            announced = int(length) if length.isdecimal() else 0
            stream = FileObjectStream("upload", _Open(self.rfile), announced)
        try:
            take(stream)
        except (ConversionError, OSError) as fault:
            hint = getattr(fault, "hint", "")
            log.warning("the upload failed: %s", fault)
            self._answer(400, f"{fault}. {hint}" if hint else str(fault))
            self._drain(stream)
            return
        self._answer(200)
        done.set()

    def _drain(self, stream: FileObjectStream) -> None:
        """Read on for a moment: closed at once, the connection would take the answer with it."""
        room = memoryview(bytearray(1 << 20))
        end = time.monotonic() + DRAIN_S
        with contextlib.suppress(ConversionError):
            while time.monotonic() < end and stream.readinto(room):
                pass

    def _is_allowed(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and upload_token.is_good(
            token.strip(), self.settings[0], time.time()
        )

    def _answer(self, code: int, text: str = "") -> None:
        content = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Log as everybody else."""
        if self.path != "/healthz":
            log.info("%s", format % args)


class _Open:
    """A connection's file that is not closed with the stream: an answer follows."""

    def __init__(self, file: Any) -> None:  # noqa: ANN401 - a binary file
        self._file = file

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        return bytes(self._file.read1(count))

    def close(self) -> None:
        """Leave it open."""


class _Chunked(_Open):
    """The body of a request in chunks. RFC 9112, section 7.1."""

    _left = 0
    _ended = False

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        if self._ended:
            return b""
        if not self._left:
            self._left = int(self._file.readline(64).partition(b";")[0] or b"0", 16)
            if not self._left:
                self._ended = True
                while self._file.readline(8192) not in (b"\r\n", b"\n", b""):
                    pass
                return b""
        part = bytes(self._file.read(min(count, self._left)))
        self._left -= len(part)
        if not self._left:
            self._file.readline(4)
        return part
