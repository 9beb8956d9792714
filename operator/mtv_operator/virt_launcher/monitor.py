"""The pod's first process: starts the launcher, and leaves nothing behind when it is gone.

Orphans (QEMU, libvirtd, swtpm) become its children, since it is their subreaper. When the launcher
ends, for whatever reason, they are ended too: a QEMU that nobody watches must not keep a disk.
When the monitor itself is killed, the launcher gets SIGUSR1 and destroys the VM.

Nothing big is imported here: the fork comes before the launcher's imports.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
LEFTOVERS_TIMEOUT_S = 10.0
POLL_S = 0.05


def run(launcher: Callable[[], int]) -> int:
    """Run `launcher` in a child process; return its exit status (128 + signal when killed)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
        os._exit(_guarded(launcher))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: _send(child, got))
    status = _reap_until(child)
    _end_leftovers()
    return status


def _guarded(launcher: Callable[[], int]) -> int:
    """Run the launcher so that the child never returns into the monitor's code."""
    try:
        return launcher()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70  # EX_SOFTWARE
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


def _reap_until(child: int) -> int:
    """Wait for all children until `child` ends; return its status."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_leftovers() -> None:
    """Ask what is left to end, then kill it."""
    deadline = time.monotonic() + LEFTOVERS_TIMEOUT_S
    for pid in children():
        _send(pid, signal.SIGTERM)
    while _reap() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    while _reap():
        for pid in children():
            _send(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _reap() -> bool:
    """Collect what has ended; True while children are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def children(parent: int | None = None) -> list[int]:
    """Return the pids of the children of this process, or of `parent`."""
    parent = parent or os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # pid (comm) state ppid …; comm may hold anything, so split after its last bracket.
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != b"Z":
            found.append(int(entry.name))
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
