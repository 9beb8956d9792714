"""mtv on the test cluster (`tests/cluster/cluster.py up`), reached as its administrator does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import homes
import servers

STATE = Path(os.environ.get("E2E_STATE", "/var/tmp/mtv-e2e"))
BINARIES = Path(os.environ.get("E2E_CACHE", Path.home() / ".cache/mtv-e2e")) / "bin"
KUBECONFIG = STATE / "admin.kubeconfig"
GATEWAY = "10.213.0.1"  # of the nodes: where pods reach what runs on this machine
IMAGE = os.environ.get("MTV_TEST_IMAGE", "mtv.test/mtv:test")
STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "hostpath",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "kubernetes.io/host-path",
}
IMPORT = (
    *("--from", "vc", "-n", "mtv", "--target-namespace", "moved"),
    *("--network", "VM Network=pod", "--storage", "LocalDS_0=hostpath"),
    *("--storage", "LocalDS_1=hostpath"),
)
INSTALL_S = 300


class ClusterHome(homes.Home):
    """The embedded home's stories run here too; what is killed is a pod."""

    def install(self, *more: str) -> None:
        self.mtv(
            *("install", *(more or ("--image", IMAGE)), "--emulation", "allow"),
            *("--timeout", str(INSTALL_S)),
            timeout_s=INSTALL_S + 60,
        )

    def leader(self, lease: str, namespace: str) -> str:
        """Return the pod that leads."""
        found = self.get("lease", lease, namespace)
        assert found is not None, f"there is no lease {lease}"
        return str(found["spec"].get("holderIdentity") or "").partition("_")[0]

    def kill_pod(self, name: str, namespace: str) -> None:
        """End a pod's processes at once, as a lost machine does."""
        self.kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force")

    def items(self, kind: str, *more: str) -> list[dict[str, Any]]:
        """Return all objects of a kind, as JSON."""
        return list(json.loads(self.kubectl("get", kind, "-o", "json", *more))["items"])

    def node_run(self, node: int, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the network of a node."""
        holder = (STATE / f"pid/node{node}").read_text().split()[0]
        return self.run("nsenter", "-t", holder, "-n", *command)

    def logs(self) -> str:
        """Return the end of each component's log, for a failed test."""
        said = [self.run("kubectl", "get", "pods,vmi,pvc", "-A", "-o", "wide").stdout]
        for label, namespace in (("kubevirt.io", "kubevirt"), ("app.kubernetes.io/name", "mtv")):
            said.append(
                self.run(
                    *("kubectl", "logs", "-n", namespace, "-l", label, "--tail", "15"),
                    *("--prefix", "--ignore-errors"),
                ).stdout
            )
        return "\n".join(said)


def connect(folder: Path) -> ClusterHome:
    """Return the cluster that runs; the kubectl of its version is used."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(KUBECONFIG, folder / "kubeconfig")
    os.environ["PATH"] = f"{BINARIES}:{os.environ['PATH']}"
    return ClusterHome(folder)


def is_up() -> bool:
    """Tell whether the test cluster runs."""
    if not KUBECONFIG.exists():
        return False
    command = [str(BINARIES / "kubectl"), "get", "--raw", "/readyz"]
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}
    return subprocess.run(command, capture_output=True, env=environment).returncode == 0


def new_leader(home: ClusterHome, lease: str, namespace: str, old: str) -> str:
    """Wait until another pod leads; return it."""

    def other() -> str | None:
        found = home.leader(lease, namespace)
        return found if found and found != old else None

    return str(servers.until(other, f"another pod than {old} leads {lease}", 60))
