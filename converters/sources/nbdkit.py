"""nbdkit as a child process that ends with us: VMware's VDDK, and anything else it has plugins for.

with Nbdkit(vddk(disk)) as server:
    source = NbdExport(server.uri)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from converters.errors import SourceBroken, SourceRefused

_START_S = 60.0  # VDDK logs in to vCenter on the first connection, not before
_STOP_S = 5.0
_POLL_S = 0.02
_PASSWORD_FD = "{password}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VddkDisk:
    """A disk as VDDK opens it; words as in nbdkit-vddk-plugin(1)."""

    libdir: str  # the unpacked vmware-vix-disklib-distrib of the user
    server: str
    user: str
    password: str = field(repr=False)
    thumbprint: str
    vm: str  # moref=vm-123
    file: str  # [datastore] web1/web1.vmdk
    snapshot: str = ""  # moref of a snapshot
    port: int = 0  # of the server, where it is not 443
    transports: str = ""  # nbdssl, hotadd …; empty: what VDDK chooses
    compression: str = ""  # skipz, fastlz, zlib


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What nbdkit is asked to serve: plugin and parameters, filters in front."""

    plugin: str
    parameters: tuple[str, ...]
    filters: tuple[str, ...] = ()
    password: str = field(default="", repr=False)


def vddk(disk: VddkDisk) -> Command:
    """Return how nbdkit serves a disk through VDDK. The password is no part of the command line."""
    parameters = [
        f"libdir={disk.libdir}", f"server={disk.server}", f"user={disk.user}",
        f"password=-{_PASSWORD_FD}", f"thumbprint={disk.thumbprint}", f"vm={disk.vm}",
        f"file={disk.file}",
    ]  # fmt: skip
    optional = ("snapshot", "port", "transports", "compression")
    parameters += [f"{key}={value}" for key in optional if (value := getattr(disk, key))]
    return Command(plugin="vddk", parameters=tuple(parameters), password=disk.password)


def command_line(command: Command, *, folder: str, password_fd: int = -1) -> list[str]:
    """Return the arguments of nbdkit. Pure."""
    filters = [f"--filter={name}" for name in command.filters]
    return [
        "nbdkit", "--foreground", "--exit-with-parent", "--readonly", "--newstyle",
        "--unix", os.path.join(folder, "socket"), "--pidfile", os.path.join(folder, "pid"),
        *filters, command.plugin,
        *(text.replace(_PASSWORD_FD, str(password_fd)) for text in command.parameters),
    ]  # fmt: skip


class Nbdkit:
    """A server in a folder of its own, from `__enter__` to `__exit__`."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._stack = contextlib.ExitStack()

    @property
    def uri(self) -> str:
        """Where it serves."""
        return f"nbd+unix:///?socket={self._folder}/socket"

    def __enter__(self) -> Self:
        if shutil.which("nbdkit") is None:
            raise SourceRefused(
                "nbdkit is not installed", hint="install the package nbdkit, or copy by HTTPS"
            )
        with self._stack:
            self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="nbdkit-"))
            self._log = self._stack.enter_context(open(os.path.join(self._folder, "log"), "w+b"))
            self._process = self._start()
            self._stack.callback(self._stop)
            self._wait_until_serving()
            self._stack = self._stack.pop_all()
        return self

    def _start(self) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            read_end, write_end = os.pipe()
            stack.callback(os.close, read_end)
            with os.fdopen(write_end, "wb") as secret:
                secret.write(self._command.password.encode())
            line = command_line(self._command, folder=self._folder, password_fd=read_end)
            return subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                pass_fds=(read_end,),
            )  # fmt: skip

    def _wait_until_serving(self) -> None:
        deadline = time.monotonic() + _START_S
        pidfile = os.path.join(self._folder, "pid")
        while not (os.path.exists(pidfile) and os.path.getsize(pidfile)):
            if self._process.poll() is not None:
                raise SourceRefused(f"nbdkit ended: {self.last_words()}", hint=self._hint())
            if time.monotonic() > deadline:
                raise SourceBroken(f"nbdkit did not start: {self.last_words()}")
            time.sleep(_POLL_S)

    def last_words(self) -> str:
        """Return the last line that nbdkit wrote."""
        self._log.flush()
        size = os.path.getsize(self._log.name)
        text = os.pread(self._log.fileno(), 2000, max(size - 2000, 0)).decode("utf-8", "replace")
        return (text.strip().splitlines() or ["it said nothing"])[-1]

    def _hint(self) -> str:
        if self._command.plugin == "vddk":
            return "see whether the VDDK library is in place and readable (libdir)"
        return ""

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def serving(plugin: str, parameters: Sequence[str], filters: Sequence[str] = ()) -> Nbdkit:
    """Return an nbdkit for any plugin."""
    return Nbdkit(Command(plugin=plugin, parameters=tuple(parameters), filters=tuple(filters)))
