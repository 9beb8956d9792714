"""A vCenter double for the tests of a module, with VMs of every kind."""

import pytest
import vcenters

MIB = 1 << 20


def described(folder):
    """Return the double's configuration; the disks it names are made in `folder`."""
    odd = 5 * MIB + 3 * 512
    web = vcenters.sparse_disk(folder / "web.raw", 24 * MIB, seed=1)
    data = vcenters.sparse_disk(folder / "data.raw", odd, seed=2)
    return {
        "networks": [
            {"name": "Trunk", "vlan": "1-100,200"},
            {"name": "Plain", "kind": "standard", "vlan": "7"},
        ],
        "vms": [
            {
                "name": "web1",
                "folder": "Prod/Web",
                "tools": True,
                "shutdownSeconds": 0.2,
                "cpus": 4,
                "coresPerSocket": 2,
                "memoryMB": 2048,
                "firmware": "efi",
                "secureBoot": True,
                "vtpm": True,
                "tags": ["env/prod", "team/web"],
                "disks": [
                    {"file": str(web)},
                    {"file": str(data), "controller": "nvme", "datastore": "LocalDS_1"},
                ],
                "nics": [
                    {"network": "VM Network", "mac": "00:50:56:aa:bb:01"},
                    {"network": "Trunk", "type": "e1000e"},
                    {"network": "Plain", "type": "e1000", "disconnected": True},
                    {"network": "DC0_NSX0"},
                ],
            },
            {
                "name": "buses",
                "disks": [
                    {"sizeMB": 1, "controller": kind}
                    for kind in (
                        "pvscsi:1",
                        "lsilogic:2",
                        "lsilogic-sas:3",
                        "buslogic",
                        "sata",
                        "nvme",
                        "ide",
                    )
                ],
            },
            {
                "name": "special",
                "disks": [
                    {"file": str(data), "independent": True},
                    {"sizeMB": 2, "rdm": True},
                    {"file": str(data), "rdm": True, "rdmMode": "virtualMode"},
                    {"sizeMB": 2, "multiwriter": True},
                    {"sizeMB": 2, "controller": "lsilogic-sas:1", "busSharing": "physicalSharing"},
                    {"file": str(web), "extents": 3},
                ],
            },
            {"name": "sharer", "disks": [{"sharedWith": "special:3", "multiwriter": True}]},
            {
                "name": "layers",
                "changeTracking": True,
                "snapshots": ["first", "second"],
                "disks": [{"file": str(web)}],
            },
            {"name": "runs", "poweredOn": True, "tools": True, "disks": [{"file": str(data)}]},
            {"name": "deaf", "poweredOn": True, "disks": [{"sizeMB": 1}]},
            {"name": "stubborn", "poweredOn": True, "tools": True, "shutdownSeconds": -1},
            {"name": "a/b%c", "disks": [{"file": str(data)}]},
        ],
    }


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory):
    """A double that a whole module shares; faults are mended after each test."""
    folder = tmp_path_factory.mktemp("vcenter")
    with vcenters.running(
        described(folder), "-opaque-networks", "1", "-lease-timeout", "3s", folder=folder
    ) as running:
        yield running


@pytest.fixture
def mended(vcenter):
    """The double without faults, also after the test."""
    vcenter.mend()
    yield vcenter
    vcenter.mend()
