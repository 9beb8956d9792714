"""The handler's side of the launcher's socket: one call, and who is at the other end."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import msgspec

from mtv import errors
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.protocol import Domain, Reply, Request

CALL_TIMEOUT_S = 10.0
START_TIMEOUT_S = 120.0  # QEMU's start on a node that is short of everything


class NotListening(errors.TargetUnavailable):
    """There is no socket: the launcher has not come so far, or its folder is gone."""


class Gone(errors.TargetUnavailable):
    """There is a socket and nobody behind it: the launcher has ended."""


_encode = msgspec.json.Encoder().encode
_replies = msgspec.json.Decoder(Reply)


def path_of(kubelet_root: Path, pod_uid: str) -> Path:
    """Return where a pod's launcher listens, seen from the node."""
    folder = f"pods/{pod_uid}/volumes/kubernetes.io~empty-dir/sockets"
    return kubelet_root / folder / protocol.SOCKET


def connect(path: Path, timeout_s: float = CALL_TIMEOUT_S) -> socket.socket:
    """Connect; raises TargetUnavailable where nobody listens.

    Through the folder's descriptor: an address has 107 bytes, and a kubelet's paths are longer.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError as fault:
        connection.close()
        kinds = {errno.ENOENT: NotListening, errno.ECONNREFUSED: Gone}
        kind = kinds.get(fault.errno or 0, errors.TargetUnavailable)
        raise kind(f"the launcher does not answer: {fault.strerror or fault}") from fault
    return connection


def last_state(path: Path) -> Domain | None:
    """Return what a launcher wrote last beside its socket; None when it never did."""
    try:
        return msgspec.json.decode(path.with_name(protocol.STATE_FILE).read_bytes(), type=Domain)
    except (OSError, msgspec.DecodeError):
        return None


def peer_pid(connection: socket.socket) -> int:
    """Return the pid of the process that listens at the other end."""
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(pid)


def encode(request: Request) -> bytes:
    """Return a request as its line."""
    return _encode(request) + b"\n"


def decode(line: bytes) -> Reply:
    """Return the reply of a line; raises TargetUnavailable for what is none."""
    try:
        return _replies.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError) as fault:
        raise errors.TargetUnavailable(f"the launcher answers nonsense: {fault}") from fault


def call(path: Path, request: Request, timeout_s: float = CALL_TIMEOUT_S) -> Reply:
    """Send one request and return its reply; raises the launcher's error as it was raised there."""
    with connect(path, timeout_s) as connection:
        try:
            connection.sendall(encode(request))
            with connection.makefile("rb") as lines:
                line = lines.readline(protocol.MOST_BYTES)
        except OSError as fault:
            raise errors.TargetUnavailable(
                f"the launcher does not answer {type(request).__name__}: {fault}"
            ) from fault
    if not line:
        raise errors.TargetUnavailable(
            f"the launcher ended while it was asked to {type(request).__name__}"
        )
    reply = decode(line)
    if reply.failure is not None:
        raise reply.failure.error()
    return reply
