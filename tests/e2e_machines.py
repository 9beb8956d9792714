"""The VMs of the end-to-end stories, and how they are imported."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import homes
import small_guests
import vcenters

from mtv.inventory.model import PowerState
from mtv.providers.vsphere import power

NETWORK = {"type": "vmxnet3", "network": "VM Network"}


def machine(name: str, *data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A running VM of the double with the test guest on its first disk, others behind it."""
    guest = {"file": str(homes.GUEST), "controller": "pvscsi", "datastore": "LocalDS_0"}
    return {
        "name": name,
        "cpus": 1,
        "memoryMB": 192,
        "guestId": "debian12_64Guest",
        "firmware": "bios",
        "poweredOn": True,
        "tools": True,
        "shutdownSeconds": 1,
        "disks": [guest, *data],
        "nics": [NETWORK],
        **more,
    }


COMPONENTS = (
    "apiserver",
    "controller",
    "scheduler",
    "virt-api",
    "node",
    "virt-handler",
    "transfer",
)


def machines(folder: Path) -> list[dict[str, Any]]:
    """The VMs of all stories."""
    disk = vcenters.sparse_disk(folder / "data.raw", 96 << 20)
    data = {"file": str(disk), "controller": "sata", "datastore": "LocalDS_1"}
    return [
        machine("story"),
        machine("efi-two-disks", data, firmware="efi", cpus=2),
        machine("Web Server_1 (old)"),
        machine("stubborn", shutdownSeconds=-1),
        _small_debian(folder),
        machine("runs"),
        machine("warm", data, changeTracking=True),
        *[machine(f"kill-{component}", data) for component in COMPONENTS],
    ]


def _small_debian(folder: Path) -> dict[str, Any]:
    """A Linux of a few MiB that has all that is adapted, and a kernel that is none."""
    disk = {"file": str(small_guests.debian_disk(folder)), "controller": "pvscsi",
            "datastore": "LocalDS_0"}  # fmt: skip
    return {**machine("small-debian"), "disks": [disk]}


IMPORT = (
    *("--from", "vc", "-n", "mtv", "--target-namespace", "moved"),
    *("--network", "VM Network=pod", "--storage", "LocalDS_0=local"),
    *("--storage", "LocalDS_1=local"),
)


def source_sums(vcenter: vcenters.VCenter, name: str) -> list[str]:
    """Return the SHA-256 of each disk of a VM, as the source has it."""
    return [sha256(Path(disk["file"])) for disk in vcenter.vm(name)["disks"]]


def target_sums(home: homes.Home, vm: str, namespace: str = "moved") -> list[str]:
    """Return the SHA-256 of each disk of a target VM, in its order."""
    found = home.get("vm", vm, namespace)
    assert found is not None, f"there is no VM {vm}"
    sums = []
    for volume in found["spec"]["template"]["spec"]["volumes"]:
        claim = home.get("pvc", volume["persistentVolumeClaim"]["claimName"], namespace)
        assert claim is not None
        persistent = home.get("pv", claim["spec"]["volumeName"])
        assert persistent is not None
        source = persistent["spec"].get("hostPath") or persistent["spec"]["local"]
        sums.append(sha256(Path(source["path"]) / "disk.img"))
    return sums


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_on(vcenter: vcenters.VCenter, name: str) -> bool:
    """Tell whether a source VM runs."""
    with vcenter.session() as session:
        return power.state(session, vcenter.vm(name)["moref"]) is PowerState.ON
