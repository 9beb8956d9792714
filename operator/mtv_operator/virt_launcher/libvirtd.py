"""The VM's own libvirtd: a session daemon under this process's uid, inside the pod.

Nothing of it is shared with the node: its sockets, configuration and state lie below one folder
of the pod. A daemon that dies is started again and finds its QEMU by what lies there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import time
from pathlib import Path

from mtv import errors

log = logging.getLogger(__name__)

PROGRAMS = ("virtqemud", "libvirtd")  # where the modular daemon exists it needs no other
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.01
DAEMON_CONF = """\
unix_sock_rw_perms = "0700"
log_outputs = "3:file:{log}"
"""
QEMU_CONF = """\
stdio_handler = "file"
remember_owner = 0
namespaces = []
security_driver = "none"
cgroup_controllers = []
seccomp_sandbox = 1
max_core = 0
"""


class Libvirtd:
    """One daemon below `base`; `start` may be called again after it died."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.log = base / "libvirtd.log"
        self.cache = base / "cache/libvirt/qemu"
        self._process: subprocess.Popen[bytes] | None = None
        self._program = ""

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.base / f"run/libvirt/{self._socket_name}"

    @property
    def _socket_name(self) -> str:
        return "virtqemud-sock" if self._program.endswith("virtqemud") else "libvirt-sock"

    @property
    def uri(self) -> str:
        """How to connect to it."""
        return f"qemu+unix:///session?socket={self.socket}"

    @property
    def capabilities_folder(self) -> Path:
        """Where the daemon keeps what it found out about QEMU."""
        return self.cache / "cache/capabilities"

    def domain_log(self, name: str) -> Path:
        """Return the file into which a domain's QEMU writes its standard error."""
        return self.cache / f"log/{name}.log"

    def alive(self) -> bool:
        """Tell whether the daemon runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the daemon and wait for its socket. Raises TargetRefused or TargetUnavailable."""
        program = next((p for p in PROGRAMS if shutil.which(p, path=SEARCH_PATH)), None)
        if program is None:
            raise errors.TargetRefused(
                "no libvirtd on this node", hint="on Debian: apt-get install libvirt-daemon"
            )
        self._program = shutil.which(program, path=SEARCH_PATH) or program
        configuration = self._prepare()
        self.socket.unlink(missing_ok=True)
        command = [self._program, "--config", str(configuration)]
        with self.log.with_suffix(".out").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait_for_socket(self._process)

    def _prepare(self) -> Path:
        """Make the folders and files the daemon starts from; return its configuration."""
        for name in ("run", "cache", "data", "home", "tmp", "config/libvirt"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        folder = self.base / "config/libvirt"
        (folder / "qemu.conf").write_text(QEMU_CONF)
        configuration = folder / "daemon.conf"
        configuration.write_text(DAEMON_CONF.format(log=self.log))
        return configuration

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": SEARCH_PATH,
            "HOME": str(self.base / "home"),
            "XDG_RUNTIME_DIR": str(self.base / "run"),
            "XDG_CONFIG_HOME": str(self.base / "config"),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "XDG_DATA_HOME": str(self.base / "data"),
            "TMPDIR": str(self.base / "tmp"),
            "LIBVIRT_DISABLE_AUDIT": "1",
        }

    def _wait_for_socket(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.socket.exists():
            if process.poll() is not None:
                raise errors.TargetRefused(
                    f"libvirtd ended with {process.returncode}: {self._last_words()}",
                    hint=f"uid {os.geteuid()} needs an entry in /etc/passwd",
                )
            if time.monotonic() > deadline:
                self.stop()
                raise errors.TargetUnavailable(
                    f"libvirtd made no socket in {START_TIMEOUT_S:.0f} s: {self._last_words()}"
                )
            time.sleep(POLL_S)

    def _last_words(self) -> str:
        for path in (self.log.with_suffix(".out"), self.log):
            with contextlib.suppress(OSError):
                if lines := path.read_text(errors="replace").strip().splitlines():
                    return lines[-1][:300]
        return "no reason given"

    def stop(self) -> None:
        """End the daemon; QEMU is not touched."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
