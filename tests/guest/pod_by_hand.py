"""A launcher pod without any kubelet: a network and a mount namespace, the folders, uid 107.

What the embedded node makes of a pod's spec, this makes by hand, so that launcher and handler can
be tested with nothing above them. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
UID = 107
FOLDERS = {
    "private": "/run/kubevirt-private",
    "public": "/run/kubevirt",
    "sockets": "/run/kubevirt/sockets",
    "ephemeral-disks": "/run/kubevirt-ephemeral-disks",
    "libvirt-runtime": "/run/libvirt",
}
GUEST_DISK = ROOT / "tests/guest/build/kvguest.raw"


class Pod:
    """One pod: `start` runs the launcher in it, leaving the `with` block takes all of it away."""

    def __init__(
        self,
        folder: Path,
        name: str,
        vmi_uid: str,
        *,
        kubelet_root: Path | None = None,
    ) -> None:
        self.name = name
        self.uid = str(uuid.uuid4())
        self.vmi_uid = vmi_uid
        self.kubelet_root = kubelet_root or folder / "kubelet"
        self.emptydirs = self.kubelet_root / f"pods/{self.uid}/volumes/kubernetes.io~empty-dir"
        self.claims: dict[str, Path] = {}
        self.log = folder / f"{name}.log"
        self.netns = f"mtvt{self.uid[:6]}"
        # By chance, so that tests which run at the same time, or were killed, do not meet.
        network = f"10.{96 + int(self.uid[0], 16) % 4}.{int(self.uid[1:3], 16)}"
        self.host_ip, self.ip = f"{network}.1", f"{network}.2"
        self.process: subprocess.Popen[bytes] | None = None
        self._etc = folder

    @property
    def namespace(self) -> Path:
        return Path("/run/netns") / self.netns

    @property
    def sockets(self) -> Path:
        return self.emptydirs / "sockets"

    def __enter__(self) -> Pod:
        for volume in FOLDERS:
            path = self.emptydirs / volume
            path.mkdir(parents=True)
            os.chown(path, UID, UID)
        # libvirt wants both: a user without a group record ends its daemon's connections.
        entries = {"passwd": f"qemu:x:{UID}:{UID}::/:/usr/sbin/nologin", "group": f"qemu:x:{UID}:"}
        for name, entry in entries.items():
            lines = Path("/etc", name).read_text().splitlines()
            kept = [line for line in lines if line.split(":")[2] != str(UID)]
            (self._etc / name).write_text("\n".join([*kept, entry, ""]))
        host, inside = f"vh{self.netns[4:]}"[:15], f"vp{self.netns[4:]}"[:15]
        run("ip", "netns", "add", self.netns)
        run("ip", "link", "add", host, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", self.netns)
        run("ip", "addr", "add", f"{self.host_ip}/24", "dev", host)
        run("ip", "link", "set", host, "up")
        ip = ("ip", "-n", self.netns)
        run(*ip, "link", "set", inside, "name", "eth0")
        run(*ip, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        run(*ip, "link", "set", "eth0", "up")
        run(*ip, "link", "set", "lo", "up")
        run(*ip, "route", "add", "default", "via", self.host_ip)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        wait_until(lambda: not self.members(), "the end of the pod's processes", 10)
        run("ip", "netns", "del", self.netns)

    def claim(self, volume: str, disk: Path | None = None) -> Path:
        """Make a claim's folder, with a copy of `disk` as its disk.img."""
        path = self._etc / "claims" / volume
        path.mkdir(parents=True)
        if disk is not None:
            shutil.copy(disk, path / "disk.img")
            os.chown(path / "disk.img", UID, UID)
        os.chown(path, UID, UID)
        self.claims[volume] = path
        return path

    def start(self, *options: str) -> None:
        """Start the launcher as the pod's first process."""
        mounts = [f"mount --bind {self.emptydirs / volume} {at}" for volume, at in FOLDERS.items()]
        folders = [f"mkdir -p {at}" for at in FOLDERS.values()]
        steps = [line for pair in zip(folders, mounts, strict=True) for line in pair]
        for volume, path in self.claims.items():
            at = f"/run/kubevirt-private/vmi-disks/{volume}"
            steps += [f"mkdir -p {at}", f"mount --bind {path} {at}"]
        command = [
            *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
            *("--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service"),
            *(sys.executable, "-m", "mtv_operator.virt_launcher.main"),
            *("--name", self.name, "--namespace", "demo", "--uid", self.vmi_uid, *options),
        ]
        script = "\n".join(
            [
                "mount -t tmpfs -o mode=755 tmpfs /run",
                *steps,
                f"mount --bind {self._etc}/passwd /etc/passwd",
                f"mount --bind {self._etc}/group /etc/group",
                f"exec {shlex.join(command)}",
            ]
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("nsenter", f"--net={self.namespace}"),
                    *("unshare", "--mount", "--propagation", "private", "sh", "-ec", script),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

    def members(self) -> list[int]:
        """Return the pids in the pod's network namespace."""
        try:
            mine = self.namespace.stat().st_ino
        except FileNotFoundError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if (entry / "ns/net").stat().st_ino == mine:
                        found.append(int(entry.name))
        return found

    def member(self, word: str) -> int:
        """Return the pid of the member whose command line has `word`."""
        for pid in self.members():
            with contextlib.suppress(OSError):
                if word in Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
        raise LookupError(f"no {word} in the pod")

    def console_path(self) -> Path:
        return self.emptydirs / f"private/{self.vmi_uid}/virt-serial0"

    def serial_log(self) -> str:
        path = self.console_path().with_name("virt-serial0-log")
        return path.read_text(errors="replace") if path.exists() else ""


def wait_until(condition, what: str, timeout_s: float = 60.0):
    """Return the first true value of `condition`; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.05)


def wait_http(address: str, timeout_s: float = 90.0) -> bytes:
    """Return what the guest answers; on a loaded machine it has its address after it is ready."""

    def ask() -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://{address}:8080/", timeout=5) as answer:
                return answer.read().strip()
        except OSError:
            return None

    return wait_until(ask, f"an answer of http://{address}:8080/", timeout_s)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def connect(path: Path) -> socket.socket:
    """Connect to a UNIX socket whose path may be too long for an address."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        found = socket.socket(socket.AF_UNIX)
        found.connect(f"/proc/self/fd/{descriptor}/{path.name}")
        return found
    finally:
        os.close(descriptor)


def to_json(value: object) -> bytes:
    return msgspec.json.encode(value)
