"""HTTP to an API server: where it is, as whom, and what its refusals mean."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import urllib3
import yaml
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.kube_config import load_kube_config

from mtv import errors

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
POOL_SIZE = 32


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of several things that are wrong with an object."""

    field: str = ""
    message: str = ""
    reason: str = ""


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a Status is about."""

    name: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] = ()


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """metav1.Status: how the API server says no."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


statuses = msgspec.json.Decoder(Status)


class Expired(errors.Retryable):
    """The resource version of a watch or list is too old: list again."""


class Connection:
    """A pool of connections to one API server. Thread-safe."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self.server = str(configuration.host).rstrip("/")
        self.warned: Callable[[str], None] = _ignore  # told each warning that the server sends

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        query: Iterable[tuple[str, str]] = (),
        accept: str = "application/json",
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> bytes:
        """Return the body of the answer. Raises the error that the answer means."""
        response = self._send(
            method, path, body, content_type, query, accept=accept, read_timeout_s=timeout_s
        )
        try:
            content = bytes(response.data)
        except urllib3.exceptions.HTTPError as fault:
            raise self._unreachable(fault) from fault
        for text in warnings_of(response.headers.getlist("Warning")):
            self.warned(text)
        if response.status >= 400:
            raise error_of(response.status, content, f"{method} {path}")
        return content

    def stream(
        self, path: str, query: Iterable[tuple[str, str]], *, read_timeout_s: float
    ) -> Stream:
        """Open a watch or a log. Raises the error that a refusal means."""
        response = self._send(
            "GET",
            path,
            None,
            "",
            query,
            accept="application/json",
            read_timeout_s=read_timeout_s,
            preload=False,
        )
        if response.status >= 400:
            content = response.read()
            response.release_conn()
            raise error_of(response.status, bytes(content), f"GET {path}")
        return Stream(response)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        content_type: str,
        query: Iterable[tuple[str, str]],
        *,
        accept: str,
        read_timeout_s: float,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        pairs = list(query)
        url = self.server + path + (f"?{urlencode(pairs)}" if pairs else "")
        headers = {"Accept": accept, "User-Agent": "mtv", **self._credentials()}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            return self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout_s),
                # A connection that the server had closed is opened again; an answer that was lost
                # is never asked for twice.
                retries=urllib3.Retry(connect=2, read=0, redirect=0, status=0, other=0),
                preload_content=preload,
            )
        except urllib3.exceptions.HTTPError as fault:
            raise self._unreachable(fault) from fault

    def websocket(self, path: str, subprotocol: str) -> ClientConnection:
        """Open a websocket, see `websocket.open_websocket`."""
        from mtv_operator.objects.websocket import open_websocket

        return open_websocket(self._configuration, self._credentials(), path, subprotocol)

    def _credentials(self) -> dict[str, str]:
        """Return the headers that say who we are; tokens are renewed by the library."""
        settings: Any = self._configuration.auth_settings()
        token = settings.get("BearerToken")
        return {str(token["key"]): str(token["value"])} if token and token.get("value") else {}

    def _unreachable(self, fault: Exception) -> errors.MigrationError:
        text = str(getattr(fault, "reason", None) or fault)
        if "CERTIFICATE" in text.upper():
            return errors.Forbidden(
                f"{self.server}: {text}",
                hint="the kubeconfig's certificate authority is not that of this server",
            )
        return errors.TargetUnavailable(
            f"the API server {self.server} does not answer: {text}",
            hint="`mtv status` shows whether it runs; KUBECONFIG says where it is",
        )


class Stream:
    """Lines of an answer that does not end."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Yield whole lines until the server ends. Raises TargetUnavailable when it breaks."""
        rest = b""
        try:
            for piece in self._response.stream(65536, decode_content=True):
                *whole, rest = (rest + piece).split(b"\n")
                yield from (line for line in whole if line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as fault:
            raise errors.TargetUnavailable(f"the stream broke: {fault}") from fault
        finally:
            self._response.close()

    def interrupt(self) -> None:
        """Make a blocked `lines` end. From any thread."""
        connection = getattr(self._response, "connection", None) or getattr(
            self._response, "_connection", None
        )
        sock = getattr(connection, "sock", None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def connect(kubeconfig: str | None) -> Connection:
    """Return a connection to the server that a kubeconfig names, or that this pod belongs to.

    Raises NotFound when there is no kubeconfig, BadInput when it cannot be understood.
    """
    configuration = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG") or ""
    try:
        if not path and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path or None, client_configuration=configuration
            )
    except FileNotFoundError as fault:
        raise _no_kubeconfig(path) from fault
    except ConfigException as fault:
        if "No configuration found" in str(fault) or not _exists(path):
            raise _no_kubeconfig(path) from fault
        raise errors.BadInput(str(fault), field=path or "~/.kube/config") from fault
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as fault:
        raise errors.BadInput(
            f"not a kubeconfig: {fault}", field=path, hint="`mtv up` prints which one to use"
        ) from fault
    configuration.connection_pool_maxsize = POOL_SIZE
    configuration.proxy = None if _is_local(str(configuration.host)) else configuration.proxy
    return Connection(configuration)


def _exists(path: str) -> bool:
    places: Sequence[str] = path.split(os.pathsep) if path else ("~/.kube/config",)
    return any(os.path.exists(os.path.expanduser(place)) for place in places)


def _is_local(host: str) -> bool:
    return host.startswith(("https://127.", "https://localhost", "https://[::1]"))


def _no_kubeconfig(path: str) -> errors.NotFound:
    return errors.NotFound(
        f"there is no kubeconfig at {path or '~/.kube/config'}",
        hint="start mtv with `mtv up` and set KUBECONFIG as it says, or give --kubeconfig",
    )


def _ignore(text: str) -> None:
    """Let a warning go."""


def warnings_of(headers: Iterable[str]) -> list[str]:
    """Return the texts of Warning headers, `299 - "text"`; quotes and backslashes are escaped."""
    found = []
    for header in headers:
        _, opened, rest = header.partition('"')
        text, closed, _ = rest.rpartition('"')
        if opened and closed:
            found.append(text.replace('\\"', '"').replace("\\\\", "\\"))
    return found


def error_of(code: int, content: bytes, request: str) -> errors.MigrationError:
    """Return the error that an answer means."""
    try:
        status = statuses.decode(content)
    except (msgspec.DecodeError, msgspec.ValidationError):
        status = Status(message=content[:200].decode("utf-8", "replace").strip())
    message = status.message or f"{request}: HTTP {code}"
    if code == 404:
        return errors.NotFound(message)
    if code == 409:
        exists = status.reason == "AlreadyExists"
        return errors.AlreadyExists(message) if exists else errors.Conflict(message)
    if code == 410:
        return Expired(message)
    if code in (401, 403):
        return errors.Forbidden(message, hint="the kubeconfig's user may not do this")
    if code in (400, 405, 406, 413, 415, 422):
        return errors.BadInput(message)
    return errors.TargetUnavailable(f"{request}: HTTP {code}: {message}")
