"""What the pieces of the cluster share: places, certificates, processes that outlive us."""

import base64
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

STATE = Path(os.environ.get("E2E_STATE", "/var/tmp/mtv-e2e"))
CACHE = Path(os.environ.get("E2E_CACHE", Path.home() / ".cache/mtv-e2e"))
BIN = Path(os.environ.get("E2E_BIN", CACHE / "bin"))

BRIDGE = "mtv-e2e"
GATEWAY = "10.213.0.1"
API = f"https://{GATEWAY}:6443"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
POD_CIDR = "10.244.0.0/16"
DOMAIN = "cluster.local"
PAUSE_IMAGE = "mtv.test/pause:1"
CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "mtv-e2e"
# Where kube-controller-manager's host-path provisioner puts its volumes; the
# path is fixed in Kubernetes.
HOSTPATH_VOLUMES = Path("/tmp/hostpath_pv")

# How openssl makes a key.
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def run(*argv, **kwargs):
    return subprocess.run([str(arg) for arg in argv], check=True, **kwargs)


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def write_json(path: Path, value: dict) -> Path:
    return write(path, json.dumps(value, indent=1), 0o600)


def wait_for(what: str, ready, seconds: float = 120):
    began = time.monotonic()
    while True:
        result = ready()
        if result:
            return result
        if time.monotonic() - began > seconds:
            raise SystemExit(f"no {what} after {seconds:.0f} s")
        time.sleep(0.2)


# Certificates


class Authority:
    def __init__(self, name: str):
        self.key = STATE / f"pki/{name}.key"
        self.cert = STATE / f"pki/{name}.crt"
        if not self.cert.exists():
            self.cert.parent.mkdir(parents=True, exist_ok=True)
            run("openssl", "req", "-x509", "-nodes", *KEY,
                "-days", "365", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert,
                "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
                stderr=subprocess.DEVNULL)  # fmt: skip

    def issue(self, name: str, subject: str, *alternatives: str) -> tuple[Path, Path]:
        """A certificate for both client and server use, with its key."""
        key, cert = STATE / f"pki/{name}.key", STATE / f"pki/{name}.crt"
        if not cert.exists():
            request = ["openssl", "req", "-nodes", *KEY,
                       "-subj", subject, "-keyout", str(key),
                       "-addext", "extendedKeyUsage=clientAuth,serverAuth"]  # fmt: skip
            if alternatives:
                request += ["-addext", "subjectAltName=" + ",".join(alternatives)]
            csr = run(*request, capture_output=True).stdout
            run("openssl", "x509", "-req", "-CA", self.cert, "-CAkey", self.key, "-days", "365",
                "-copy_extensions", "copyall", "-out", cert,
                input=csr, stderr=subprocess.DEVNULL)  # fmt: skip
        return cert, key


def kubeconfig(name: str, authority: Authority, cert: Path, key: Path) -> Path:
    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    return write_json(
        STATE / f"{name}.kubeconfig",
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "e2e",
                    "cluster": {
                        "server": API,
                        "certificate-authority-data": inline(authority.cert),
                    },
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": inline(cert),
                        "client-key-data": inline(key),
                    },
                }
            ],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
            "current-context": "e2e",
        },
    )


# Processes


def start(name: str, *argv, inside: tuple[str, ...] = ()) -> int:
    """Start a daemon that outlives us; its log and pid lie in STATE."""
    log = STATE / f"log/{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [*inside, *(str(arg) for arg in argv)]
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    write(STATE / f"pid/{name}", f"{process.pid} {start_time(process.pid)}")
    return process.pid


def start_time(pid: int) -> str:
    """What tells a process from a later one with the same pid; empty once it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def stop(name: str, seconds: float = 10) -> None:
    record = STATE / f"pid/{name}"
    if not record.exists():
        return
    pid, began = record.read_text().split(" ")
    pid = int(pid)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        if began and start_time(pid) == began:
            os.kill(pid, sig)
        deadline = time.monotonic() + seconds
        while began and start_time(pid) == began and time.monotonic() < deadline:
            time.sleep(0.05)
    record.unlink()


# What is there


def get(path: str) -> str:
    """The body of a GET as admin; empty while there is no answer."""
    context = ssl.create_default_context(cafile=STATE / "pki/ca.crt")
    context.load_cert_chain(STATE / "pki/admin.crt", STATE / "pki/admin.key")
    try:
        with urllib.request.urlopen(API + path, context=context, timeout=5) as answer:
            return answer.read().decode()
    except (OSError, urllib.error.HTTPError):
        return ""


def cgroups() -> list[Path]:
    """The cluster's own cgroup in each hierarchy (cgroup v1)."""
    return [path / CGROUP for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists()]
