"""VMs with the test guest on a claim, on the test cluster: no vCenter is needed for them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import homes
import servers
from cluster_homes import ClusterHome
from kubevirt_objects import movable_vm

GUEST_UID = 107
GUEST_SIZE = "128Mi"


def claim(name: str, *, mode: str = "ReadWriteMany", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": GUEST_SIZE}},
            **spec,
        },
    }


def apply(home: ClusterHome, *documents: dict[str, Any]) -> None:
    for one in documents:
        home.kubectl("apply", "-f", "-", stdin=json.dumps(one))


def fill(home: ClusterHome, name: str) -> None:
    """Put the test guest on a claim of the host-path provisioner, once that is bound."""

    def folder() -> Path | None:
        found = home.get("pvc", name)
        volume = found["spec"].get("volumeName") if found else None
        pv = home.get("pv", volume) if volume else None
        return Path(pv["spec"]["hostPath"]["path"]) if pv else None

    disk = servers.until(folder, f"the volume of {name}", 60) / "disk.img"
    shutil.copyfile(homes.GUEST, disk)
    os.chown(disk, GUEST_UID, GUEST_UID)


def begin(home: ClusterHome, name: str) -> None:
    """Have a VM run with the test guest on a shared claim of its own."""
    apply(home, claim(name))
    fill(home, name)
    apply(home, movable_vm(name))
    home.wait_guest(name, deadline_s=240)


def remove(home: ClusterHome, *names: str) -> None:
    for kind in ("vm", "pvc"):
        home.kubectl("delete", kind, *names, "--ignore-not-found", "--timeout=120s")


def boot_and_counter(home: ClusterHome, name: str) -> tuple[str, int]:
    """Return the guest's boot id and how far it has counted; it is asked again while it writes."""

    def counted() -> tuple[str, int] | None:
        page = home.wait_guest(name, deadline_s=240)
        boot, counter = re.search(r"boot=(\S+)", page), re.search(r"^counter=(\d+)", page, re.M)
        return (boot[1], int(counter[1])) if boot and counter else None

    found: tuple[str, int] = servers.until(counted, f"the guest of {name} counts", 120)
    return found


def wait_condition(home: ClusterHome, name: str, kind: str, status: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        listed = home.instance(name).get("conditions") or []
        return next((c for c in listed if (c["type"], c["status"]) == (kind, status)), None)

    condition: dict[str, Any] = servers.until(found, f"{kind} of {name} is {status}", 120)
    return condition


@contextlib.contextmanager
def block_device(file: Path) -> Iterator[str]:
    """Yield a loop device with the test guest on it."""
    shutil.copyfile(homes.GUEST, file)
    os.truncate(file, 128 << 20)
    made = subprocess.run(
        ["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=True
    )
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)


def local_volume(name: str, node: str, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a class that waits for its first consumer, and a volume that one node has."""
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return (
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "local-block"},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": GUEST_SIZE},
                "volumeMode": "Block",
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "local-block",
                "local": {"path": device},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            },
        },
    )
