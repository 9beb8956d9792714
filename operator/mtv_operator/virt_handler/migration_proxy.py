"""The way of a migration between two nodes: sockets in the pods, TLS between the handlers.

    QEMU, libvirtd ─ UNIX ─► handler of the source ═ TLS ═► handler of the target ─ UNIX ─► QEMU, …

Both handlers show their certificate, and believe only one with the handlers' name. What is open
stays open until one end closes: a migration that is over may still have an answer on its way.
Sockets are in folders that a launcher owns: no link in them is followed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtv import errors
from mtv_operator.objects import Key

log = logging.getLogger(__name__)

HANDLER_NAME = "virt-handler"  # in every handler's certificate, as virt-api expects it
CHUNK = 1 << 18
HANDSHAKE_S = 10.0
BACKLOG = 16
FIRST = -15  # of a thread's nice values, which go from -20 to 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The files of a handler's certificate, and of who signs those of all handlers."""

    certificate: str
    key: str
    authority: str

    def inbound(self) -> ssl.SSLContext:
        """Return TLS for who is called. Raises TargetRefused where there is no certificate."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def outbound(self) -> ssl.SSLContext:
        """Return TLS for who calls."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, side: int) -> ssl.SSLContext:
        if not (self.certificate and self.key and self.authority):
            raise errors.TargetRefused(
                "virt-handler has no certificate: memory is not sent in the clear",
                hint="--tls-cert, --tls-key and --client-ca make live migration possible",
            )
        found = ssl.SSLContext(side)
        found.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            found.load_cert_chain(self.certificate, self.key)
            found.load_verify_locations(self.authority)
        except (OSError, ssl.SSLError) as fault:
            raise errors.Retryable(f"the certificate of virt-handler: {fault}") from fault
        found.verify_mode = ssl.CERT_REQUIRED
        return found


def names_of(connection: ssl.SSLSocket) -> set[str]:
    """Return the DNS names in the certificate of the other end."""
    found: dict[str, Any] = dict(connection.getpeercert() or {})
    return {str(value) for kind, value in found.get("subjectAltName", ()) if kind == "DNS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFolder:
    """A folder of a pod's emptyDir volume, seen from the node."""

    kubelet_root: Path
    pod_uid: str
    volume: str
    parts: tuple[str, ...] = ()

    @contextlib.contextmanager
    def opened(self, *, make: bool = False) -> Iterator[int]:
        """Open the folder without following links; with `make`, for the pod's owner."""
        root = self.kubelet_root / f"pods/{self.pod_uid}/volumes/kubernetes.io~empty-dir"
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(root / self.volume, flags)
        try:
            for part in self.parts:
                if make:
                    _make_folder(found, part)
                inner = os.open(part, flags, dir_fd=found)
                os.close(found)
                found = inner
            yield found
        finally:
            os.close(found)

    def connect(self, name: str) -> socket.socket:
        """Connect to a socket in the folder. Raises OSError."""
        with self.opened() as folder:
            if not stat.S_ISSOCK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise OSError(f"{name} is no socket")
            found = socket.socket(socket.AF_UNIX)
            try:
                found.settimeout(HANDSHAKE_S)
                found.connect(f"/proc/self/fd/{folder}/{name}")
            except OSError:
                found.close()
                raise
        return found

    def listen(self, name: str, uid: int) -> socket.socket:
        """Listen in the folder, for a user. Raises OSError."""
        with self.opened(make=True) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            found = socket.socket(socket.AF_UNIX)
            try:
                found.bind(f"/proc/self/fd/{folder}/{name}")
                os.chown(name, uid, uid, dir_fd=folder, follow_symlinks=False)
            except OSError:
                found.close()
                raise
            found.listen(BACKLOG)
        return found


def _make_folder(parent: int, name: str) -> None:
    about = os.fstat(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        owner = about.st_uid or about.st_gid  # a pod's volume is of its fsGroup
        os.chown(name, owner, owner, dir_fd=parent, follow_symlinks=False)


Connect = Callable[[], socket.socket]


@dataclass(slots=True)
class _Way:
    """What is listened on for one migration."""

    uid: str
    listeners: list[socket.socket] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)


class Proxies:
    """The ways that begin or end at this node, by VMI."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._lock = threading.Lock()
        self._ways: dict[Key, _Way] = {}

    def ports(self, key: Key, uid: str) -> dict[str, int] | None:
        """Return the ports of a migration and what each leads to; None: it has no way here."""
        way = self._ways.get(key)
        return dict(way.ports) if way is not None and way.uid == uid else None

    def receive(self, key: Key, uid: str, host: str, ends: Mapping[int, Connect]) -> None:
        """Listen with TLS on a port for each of `ends`. Raises MigrationError."""
        tls = self._identity.inbound()
        way = _Way(uid)
        for number in ends:
            try:
                listener = socket.create_server((host, 0), family=_family(host), backlog=BACKLOG)
            except OSError as fault:
                _close(way)
                raise errors.Retryable(f"nothing can listen on {host}: {fault}") from fault
            way.listeners.append(listener)
            way.ports[str(listener.getsockname()[1])] = number
        self._put(key, way)
        for listener, connect in zip(way.listeners, ends.values(), strict=True):
            _accept(listener, lambda got, end=connect: _received(got, tls, end))  # type: ignore[misc]

    def send(self, key: Key, uid: str, host: str, sockets: Mapping[int, socket.socket]) -> None:
        """Lead what comes in on each of the sockets to a port of another node."""
        tls = self._identity.outbound()
        way = _Way(uid, listeners=list(sockets.values()))
        way.ports = {str(port): port for port in sockets}
        self._put(key, way)
        for port, listener in sockets.items():
            _accept(listener, lambda got, to=port: _sent(got, tls, host, to))  # type: ignore[misc]

    def close(self, key: Key) -> None:
        """Take no more connections for a VMI; those that are open end by themselves."""
        with self._lock:
            way = self._ways.pop(key, None)
        if way is not None:
            _close(way)

    def _put(self, key: Key, way: _Way) -> None:
        self.close(key)
        with self._lock:
            self._ways[key] = way


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _close(way: _Way) -> None:
    for listener in way.listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        listener.close()


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Serve each connection in a thread of its own, until the listener is closed."""

    def turn() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(
                target=serve, args=(connection,), name="migration", daemon=True
            ).start()

    threading.Thread(target=turn, name="migration-accept", daemon=True).start()


def _received(got: socket.socket, tls: ssl.SSLContext, end: Connect) -> None:
    """Lead a connection of another handler to its end in a pod."""
    try:
        with got:
            got.settimeout(HANDSHAKE_S)
            with tls.wrap_socket(got, server_side=True) as secure:
                if HANDLER_NAME not in names_of(secure):
                    log.warning("refused %s: it is no virt-handler", secure.getpeername())
                    return
                with end() as local:
                    pump(secure, local)
    except OSError as fault:
        log.warning("a migration's connection: %s", fault)


def _sent(got: socket.socket, tls: ssl.SSLContext, host: str, port: int) -> None:
    """Lead a connection out of a pod to the other handler."""
    try:
        with got, socket.create_connection((host, port), HANDSHAKE_S) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with tls.wrap_socket(plain, server_hostname=HANDLER_NAME) as secure:
                pump(secure, got)
    except OSError as fault:
        log.warning("a migration's connection to %s:%d: %s", host, port, fault)


_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(slots=True)
class _Direction:
    """Bytes from one socket to the other; what was read and not yet written waits in `held`."""

    source: socket.socket
    sink: socket.socket
    held: memoryview = field(default_factory=lambda: memoryview(b""))
    ended: bool = False

    def turn(self) -> bool:
        """Read or write once; tell whether anything happened."""
        try:
            if self.held:
                self.held = self.held[self.sink.send(self.held) :]
                return True
            if self.ended:
                return False
            found = self.source.recv(CHUNK)
        except _WAITS:
            return False
        self.held, self.ended = memoryview(found), not found
        return True


def _go_first() -> None:
    """Put this thread before others of the machine: a guest stands still while it waits."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FIRST)


def pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one end closes; what came before that is still delivered.

    In one thread: OpenSSL allows no two at once on the same connection.
    """
    _go_first()
    for end in (one, other):
        end.setblocking(False)
    ways = (_Direction(one, other), _Direction(other, one))
    while not any(way.ended and not way.held for way in ways):
        if any([way.turn() for way in ways]):
            continue
        waiting = select.poll()
        wanted = {one.fileno(): 0, other.fileno(): 0}
        for way in ways:
            if way.held:
                wanted[way.sink.fileno()] |= select.POLLOUT
            elif not way.ended:
                wanted[way.source.fileno()] |= select.POLLIN
        for number, events in wanted.items():
            if events:
                waiting.register(number, events)
        waiting.poll()
