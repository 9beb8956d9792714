"""An OVA is imported by one command, up to a VirtualMachine with the disks of the package."""

import os
import subprocess
import sys

import migration_cluster
import ova_packages
import pytest
import servers
from migration_cluster import DEADLINE_S

from converters import testing

ONE = testing.sample_disk(3 << 20, seed=1)
TWO = testing.sample_disk(1 << 20, seed=2)
MAC = "00:50:56:01:02:03"
VMS = "/apis/kubevirt.io/v1/namespaces/prod/virtualmachines"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with migration_cluster.running(tmp_path_factory.mktemp("packages"), {"vms": []}) as running:
        yield running


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vmdks")
    disks = []
    for at, content in enumerate((ONE, TWO), 1):
        raw = folder / f"{at}.raw"
        raw.write_bytes(content)
        vmdk = ova_packages.stream_vmdk(raw, folder / f"{at}.vmdk").read_bytes()
        disks.append((f"disk{at}.vmdk", vmdk, len(content)))
    systems = [ova_packages.system("app", ["vmdisk1", "vmdisk2"], macs=[MAC], efi=True)]
    return ova_packages.members_of("app", disks, systems)


def transfer(cluster, wanted, folder):
    """Do what the pod of a transfer does; return the exit code and the folder of the claim."""
    data = folder / wanted["metadata"]["name"]
    data.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mtv_operator.transfer.main", "--namespace", "prod",
         "--name", wanted["metadata"]["name"], "--kubeconfig", str(cluster.api.kubeconfig),
         "--source", str(folder), "--data", str(data),
         "--package", os.path.dirname(wanted["spec"]["url"])],
        timeout=DEADLINE_S, capture_output=True, text=True,
    )  # fmt: skip
    return done, data / "disk.img"


def test_ova_when_imported_is_a_vm_with_the_disks_of_the_package(cluster, members, tmp_path):
    path = ova_packages.ova(tmp_path / "app.ova", members)
    begun = cluster.mtv(
        *("import", "app", "--from", str(path), "--target-namespace", "prod", "--no-wait"),
        "--virtio",  # no node is there that could adapt a guest
        *("--virtio", "--start"),
    )
    assert begun.returncode == 0, begun.stderr
    wanted = servers.until(
        lambda: found if len(found := cluster.transfers()) == 2 else None, "transfers", DEADLINE_S
    )
    copies = {}
    for one in wanted:
        assert one["spec"]["transport"] == "package"
        done, image = transfer(cluster, one, tmp_path)
        assert done.returncode == 0, done.stderr
        copies[one["spec"]["disk"]["file"]] = image.read_bytes()
    assert copies == {f"[{path}] disk1.vmdk": ONE, f"[{path}] disk2.vmdk": TWO}
    cluster.until_condition("plans", "app", "Succeeded")
    vm = cluster.api.get(f"{VMS}/app")
    spec = vm["spec"]["template"]["spec"]
    assert vm["spec"]["runStrategy"] == "Always"
    assert spec["domain"]["cpu"]["sockets"] == 2
    assert spec["domain"]["memory"]["guest"] == "512Mi"
    assert "efi" in spec["domain"]["firmware"]["bootloader"]
    assert [one["macAddress"] for one in spec["domain"]["devices"]["interfaces"]] == [MAC]
    assert len(spec["volumes"]) == 2
    listed = cluster.mtv("inventory", "vms", "--provider", "app", "-o", "name")
    assert listed.stdout.split() == ["app"]


def test_ova_when_a_disk_is_damaged_is_refused_with_a_condition(cluster, members, tmp_path):
    def spoiled(name, content):
        return content[:-700] + b"\x01" + content[-699:] if name == "disk2.vmdk" else content

    damaged = [(name, spoiled(name, content)) for name, content in members]
    path = ova_packages.ova(tmp_path / "bad.ova", damaged)
    begun = cluster.mtv(
        *("import", "app", "--from", str(path), "--target-namespace", "prod", "--no-wait"),
        *("--virtio", "--plan", "bad", "--name", "bad", "--network", "VM Network=ignored"),
    )
    assert begun.returncode == 0, begun.stderr

    def second():
        files = {one["spec"]["disk"]["file"]: one for one in cluster.transfers()}
        return files.get(f"[{path}] disk2.vmdk")

    wanted = servers.until(second, "the transfer", DEADLINE_S)
    done, _ = transfer(cluster, wanted, tmp_path)
    assert done.returncode == 65, done.stderr
    status = servers.until(second, "the transfer", DEADLINE_S)["status"]
    assert "SourceCorrupt" in {one["type"] for one in status["conditions"]}


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("nfs.example.org:/export", "UrlNotValid", "mount it on the node"),
        ("/no/such/folder/x.ova", "ConnectionTestFailed", "is not there"),
    ],
)
def test_provider_when_its_packages_cannot_be_had_says_so(cluster, url, kind, said):
    name = kind.lower()
    cluster.api.post(
        f"{migration_cluster.FORKLIFT}/providers",
        {
            "apiVersion": "forklift.konveyor.io/v1beta1",
            "kind": "Provider",
            "metadata": {"name": name},
            "spec": {"type": "ova", "url": url, "secret": {}},
        },
    )
    found = cluster.until_condition("providers", name, kind)
    assert said in f"{found['message']} {found.get('suggestion', '')}"
