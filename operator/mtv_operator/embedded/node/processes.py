"""Who a process is, for longer than one run of this program: pid, start time and boot.

A pid alone may belong to somebody else by the time it is used. So an identity is compared before
each use, and signals go through a pidfd that was opened before the comparison.
"""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path

import msgspec

PROC = Path("/proc")


class Identity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One process of one boot. `start_time` is field 22 of /proc/PID/stat, in clock ticks."""

    pid: int
    start_time: int
    boot_id: str


@cache
def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks; None when it is gone or a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process."""
    started = start_time(pid)
    return None if started is None else Identity(pid=pid, start_time=started, boot_id=boot_id())


def read(path: Path) -> Identity | None:
    """Return the identity kept in a file; None when there is none, or only half of one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(path: Path, identity: Identity) -> None:
    """Keep an identity in a file, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(msgspec.json.encode(identity))
    temporary.replace(path)


def alive(identity: Identity) -> bool:
    """Tell whether exactly this process still runs."""
    return identity.boot_id == boot_id() and start_time(identity.pid) == identity.start_time


def open_pidfd(identity: Identity) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None if it has ended."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if alive(identity):  # compared after opening: the descriptor cannot change its process
        return descriptor
    os.close(descriptor)
    return None


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; tell whether it was still there."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found
