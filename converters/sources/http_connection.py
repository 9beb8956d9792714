"""One HTTP connection whose waiting can be ended from another thread, and what its answers mean.

http.client is used as it is (it costs the least processor time per byte); added are a socket that
`interrupt` reaches also while it connects, and the translation of failures.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from converters.errors import (
    Cancelled,
    ConversionError,
    SourceBroken,
    SourceRefused,
    SourceUnauthorized,
)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0  # without a single byte

_LONGEST_RETRY_AFTER_S = 30.0
_SHOWN_BYTES = 200  # of what a server says when it refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect to. Without `tls` it is plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Authorization(Protocol):
    """What lets us in. Called from several threads."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers to send."""
        ...

    def renew(self, refused: Mapping[str, str]) -> None:
        """Make other headers, because these were refused. Raises SourceError."""
        ...


class Busy(SourceBroken):
    """The server cannot serve us now. `pause_s` is how long it asks us to wait, or 0."""

    def __init__(self, problem: str, *, file: str, pause_s: float) -> None:
        super().__init__(problem, file=file)
        self.pause_s = pause_s


class Open:
    """No credentials are needed, or the URL carries them."""

    def headers(self) -> Mapping[str, str]:
        """Return no headers."""
        return {}

    def renew(self, refused: Mapping[str, str]) -> None:
        """There is nothing to renew."""
        raise SourceUnauthorized("the server wants credentials", status=HTTPStatus.UNAUTHORIZED)


class Connection(http.client.HTTPConnection):
    """A connection to a server. `interrupt` may be called from any thread, also twice."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.host, server.port, timeout=READ_TIMEOUT_S)
        self.server = server
        self._socket: socket.socket | None = None
        self._interrupted = False

    def connect(self) -> None:
        """Connect to the first address that answers. Raises OSError."""
        fault: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.server.host, self.server.port, type=socket.SOCK_STREAM
        ):
            plain = self._socket = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(CONNECT_TIMEOUT_S)
                plain.connect(address)
                break
            except OSError as error:
                plain.close()
                fault = error
                if self._interrupted:
                    break
        else:
            raise fault or OSError(f"{self.server.host} has no address")
        if self._interrupted:
            plain.close()
            raise Cancelled
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.server.tls is not None:
            self._secure(plain, self.server.tls)
        else:
            self.sock = plain
        self.sock.settimeout(READ_TIMEOUT_S)

    def _secure(self, plain: socket.socket, tls: ssl.SSLContext) -> None:
        # The handshake is a step of its own, so that `interrupt` finds the socket that does it.
        secured = tls.wrap_socket(
            plain, server_hostname=self.server.host, do_handshake_on_connect=False
        )
        self._socket = self.sock = secured
        try:
            secured.do_handshake()
        except BaseException:
            self.close()
            raise

    def interrupt(self) -> None:
        """Make a call that waits fail soon."""
        self._interrupted = True
        waiting = self._socket
        if waiting is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that changes the object under the thread that reads.
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def get(self, target: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send GET and return the answer. Raises OSError or HTTPException."""
        self.request("GET", target, headers={"Accept-Encoding": "identity", **headers})
        return self.getresponse()


@contextlib.contextmanager
def translated(server: Server, name: str) -> Iterator[None]:
    """Turn what goes wrong with a connection into SourceBroken or, for good, SourceRefused."""
    try:
        yield
    except ConversionError:
        raise
    except ssl.SSLCertVerificationError as fault:
        raise SourceRefused(
            f"the certificate of {server} is not trusted: {fault.verify_message}", file=name
        ) from fault
    except socket.gaierror as fault:
        raise SourceBroken(
            f"the host name {server.host!r} cannot be resolved", file=name,
            hint="the DNS of the machine that copies must know it",
        ) from fault  # fmt: skip
    except TimeoutError as fault:
        raise SourceBroken(f"{server} does not answer in time", file=name) from fault
    except OSError as fault:
        problem = fault.strerror or str(fault) or type(fault).__name__
        raise SourceBroken(f"the connection to {server} broke: {problem}", file=name) from fault
    except (http.client.HTTPException, ValueError) as fault:
        raise SourceBroken(
            f"the connection to {server} broke: {type(fault).__name__}", file=name
        ) from fault


def refusal(answer: http.client.HTTPResponse, server: Server, name: str) -> ConversionError:
    """Return the error for an answer that is not what was asked for; reads a little of it."""
    said = ""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        said = " ".join(answer.read(_SHOWN_BYTES).decode("utf-8", "replace").split())
    problem = f"{server} answers {answer.status} {answer.reason}" + (f": {said}" if said else "")
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return SourceUnauthorized(problem, status=answer.status, file=name)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status > 500:
        return Busy(problem, file=name, pause_s=_retry_after_s(answer))
    return SourceRefused(problem, status=answer.status, file=name)


def _retry_after_s(answer: http.client.HTTPResponse) -> float:
    """Return how long the server asks to wait: seconds or a date (RFC 9110, 10.2.3); 0 if not."""
    text = (answer.getheader("Retry-After") or "").strip()
    if text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER_S)
    with contextlib.suppress(TypeError, ValueError):
        until = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        return min(max(until, 0.0), _LONGEST_RETRY_AFTER_S)
    return 0.0
