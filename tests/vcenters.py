"""Starts the vCenter double for tests, and talks to its control endpoints.

with vcenters.running({"vms": [...]}) as vcenter:
    session = vcenter.session()
    vcenter.fault(match="/folder/", count=1, cutAfter=100_000)
"""

from __future__ import annotations

import contextlib
import json
import random
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtv.providers.vsphere.session import Session

DOUBLE = Path(__file__).parent / "vcenter" / "vcenter-double"
START_TIMEOUT_S = 90.0
MIB = 1 << 20

_TLS = ssl.create_default_context()
_TLS.check_hostname = False
_TLS.verify_mode = ssl.CERT_NONE


class VCenter:
    """A double that runs."""

    user, password = "administrator@vsphere.local", "secret"

    def __init__(self, url: str) -> None:
        self.url = url
        self.root = url.removesuffix("/sdk")

    def session(self, **options: Any) -> Session:
        """Return a session that is not open yet."""
        trust = {} if options.keys() & {"ca_pem", "thumbprint", "insecure"} else {"insecure": True}
        login = {"user": self.user, "password": self.password}
        return Session(self.url, **{**login, **trust, **options})

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call `/double/…`; return the decoded answer."""
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        request = urllib.request.Request(
            f"{self.root}/double/{path}",
            data=content.encode() if isinstance(content, str) else content,
            method=method,
        )
        with urllib.request.urlopen(request, context=_TLS, timeout=60) as answer:
            text = answer.read()
            is_json = "json" in (answer.headers.get("Content-Type") or "")
            return json.loads(text) if is_json else text.decode()

    def fault(self, **fault: Any) -> None:
        """Make requests go wrong; see the double's README."""
        self.control("POST", "faults", fault)

    def mend(self) -> None:
        """Take all faults away."""
        self.control("DELETE", "faults")

    def stats(self) -> dict[str, int]:
        """Return what the double counted."""
        return self.control("GET", "stats")

    def vm(self, name: str) -> dict[str, Any]:
        """Return a VM as the double knows it: moref, disks with their files, snapshots."""
        return next(vm for vm in self.control("GET", "vms") if vm["name"] == name)

    def change(self, name: str, **change: Any) -> None:
        """Do to a VM what its administrator would do: power, annotation, destroy."""
        self.control("POST", f"change?vm={name}", change)

    def ca_pem(self) -> str:
        """Return the certificate of the CA that signed the double's."""
        return self.control("GET", "ca.pem")


@contextlib.contextmanager
def running(
    config: dict[str, Any] | None = None,
    *flags: str,
    folder: Path,
    listen: str = "127.0.0.1:0",
) -> Iterator[VCenter]:
    """Run the double in a folder of its own; skips the test where it is not built."""
    if not DOUBLE.exists():
        pytest.skip("the vCenter double is not built: `make setup` does it")
    described = folder / "vcenter.json"
    described.write_text(json.dumps(config or {}))
    state = folder / "vcenter-state"
    state.mkdir(exist_ok=True)
    command = [str(DOUBLE), "-listen", listen, "-config", str(described)]
    with (folder / "vcenter.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "-state", str(state), *flags], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield VCenter(_url(process, folder / "vcenter.log"))
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def _url(process: subprocess.Popen[str], log: Path) -> str:
    for line in process.stdout:
        if line.startswith("ready "):
            return line.split()[1]
    raise AssertionError(f"the vCenter double did not start: {log.read_text()}")


def sparse_disk(path: Path, size_bytes: int, *, seed: int = 1, data_share: float = 0.4) -> Path:
    """Write a raw disk with text, random bytes, written zeros and holes; return its path."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size_bytes)
        at = 0
        while at < size_bytes:
            length = min(4096 * chance.choice([1, 7, 16, 64, 300]), size_bytes - at)
            if chance.random() < data_share:
                file.seek(at)
                match chance.choice("trz"):
                    case "t":
                        file.write((b"%d lines of text, " % at * (length // 8))[:length])
                    case "r":
                        file.write(chance.randbytes(length))
                    case "z":
                        file.write(bytes(length))
            at += length
    return path
