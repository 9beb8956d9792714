"""A whole mtv on this machine, for end-to-end tests: started by `mtv up`, purged at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import servers

from mtv_operator.objects import Client

ROOT = Path(__file__).parents[1]
BIN = ROOT / ".venv/bin"
GUEST = ROOT / "tests/guest/build/kvguest.raw"
COMMAND_TIMEOUT_S = 240
GUEST_PORT = 8080


@dataclass
class Home:
    """One installation, reached as its administrator does: `mtv`, `kubectl`, HTTP."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def client(self) -> Client:
        return Client.connect(str(self.kubeconfig))

    def run(
        self, *command: str, stdin: str = "", timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the administrator; never raises for its exit code."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "MTV_DATA_DIR": str(self.folder),
            "HOME": str(self.folder),
            "NO_PROXY": "*",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=environment
        )

    def mtv(
        self,
        *arguments: str,
        stdin: str = "",
        expect: int = 0,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> str:
        """Return what `mtv` prints on stdout; with another exit code expected, on stderr."""
        done = self.run(str(BIN / "mtv"), *arguments, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout if expect == 0 else done.stderr

    def kubectl(self, *arguments: str, stdin: str = "", expect: int | None = 0) -> str:
        """Return what stock kubectl prints."""
        done = self.run("kubectl", *arguments, stdin=stdin)
        assert expect is None or done.returncode == expect, f"{arguments}: {done.stderr}"
        return done.stdout + (done.stderr if expect != 0 else "")

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return an object as JSON, or None."""
        done = self.run("kubectl", "get", kind, name, "-n", namespace, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def components(self) -> dict[str, dict[str, Any]]:
        """Return what `mtv status` knows of each component."""
        text = self.run(str(BIN / "mtv"), "status", "-o", "json").stdout
        return {one["name"]: one for one in json.loads(text)["components"]} if text else {}

    def kill(self, component: str) -> None:
        """SIGKILL a component; its supervisor starts it again."""
        os.kill(self.components()[component]["pid"], signal.SIGKILL)

    def wait_ready(self, component: str) -> None:
        """Wait until a component is there again."""
        servers.until(
            lambda: self.components().get(component, {}).get("ready"), f"{component} is ready", 60
        )

    def instance(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """Return the status of a VMI; empty while there is none."""
        found = self.get("vmi", name, namespace)
        return found.get("status", {}) if found else {}

    def wait_phase(
        self, name: str, *phases: str, namespace: str = "default", deadline_s: float = 120
    ) -> str:
        """Wait until a VMI is in one of these phases; return it."""

        def phase() -> str | None:
            seen = self.instance(name, namespace).get("phase")
            return seen if seen in phases else None

        return str(servers.until(phase, f"{name} is {' or '.join(phases)}", deadline_s))

    def wait_guest(self, name: str, namespace: str = "default", deadline_s: float = 150) -> str:
        """Wait until the test guest answers on its pod address; return what it says."""

        def answer() -> str | None:
            interfaces = self.instance(name, namespace).get("interfaces") or [{}]
            address = interfaces[0].get("ipAddress")
            return status_page(address) if address else None

        return str(servers.until(answer, f"the guest of {name} answers", deadline_s))

    def type_on_console(self, name: str, namespace: str, text: str) -> bytes:
        """Type a line on the serial console; return what comes back in two seconds."""
        path = (
            f"/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/"
            f"{name}/console"
        )
        with self.client() as client, client.websocket(path, "plain.kubevirt.io") as console:
            seen = b""
            while b"# " not in seen:  # the shell's prompt: before it, keys may be lost
                console.send(b"\n")
                seen += _read(console, 1.0)
            console.send(text.encode() + b"\n")
            return _read(console, 2.0)

    def logs(self) -> str:
        """Return the end of each component's log, for a failed test."""
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:])
            for path in sorted((self.folder / "logs").glob("*.log"))
        )


def _read(console: Any, seconds: float) -> bytes:
    """Return what a console says within so many seconds."""
    said, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            piece = console.recv(timeout=left)
            said += piece if isinstance(piece, bytes) else piece.encode()
    return said


def status_page(address: str) -> str | None:
    """Return the test guest's status page, or None while it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}:{GUEST_PORT}/cgi-bin/status", timeout=2) as found:
            return str(found.read().decode())
    except OSError:
        return None


@contextlib.contextmanager
def home(*, nodes: int = 1, network: int = 246) -> Iterator[Home]:
    """Run an installation of its own; everything of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mtv-e2e-", dir="/var/tmp"))
    found = Home(folder)
    try:
        found.mtv(
            "up",
            *("--data-dir", str(folder), "--nodes", str(nodes)),
            *("--listen", f"127.0.0.1:{servers.free_port()}"),
            *("--bridge", f"mtvt{network}", "--pod-cidr", f"10.{network}.0.0/16"),
            *("--emulation", "allow"),
        )
        yield found
    except BaseException:
        print(found.logs())
        raise
    finally:
        found.run(str(BIN / "mtv"), "down", "--data-dir", str(folder), "--purge")
        shutil.rmtree(folder, ignore_errors=True)
