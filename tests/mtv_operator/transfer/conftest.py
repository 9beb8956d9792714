"""A real API server, a vCenter double with disks, and transfers as processes between them."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import servers
import vcenters

from mtv.api import core, meta, schema
from mtv.api import mtv as api
from mtv_operator.objects import Client

MIB = 1 << 20
NAMESPACE = "moved"
WARM = (
    "vddk",
    "https",
    "untracked",
    "reset",
    "killed",
    "lies",
    "flipped",
    "moved",
    "device",
    "foreign",
)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def api_server(tmp_path_factory):
    with servers.api_server(tmp_path_factory.mktemp("apiserver")) as server:
        for definition in schema.definitions():
            if definition["metadata"]["name"] == "disktransfers.mtv.dev":
                server.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        servers.until(
            lambda: server.request("GET", "/apis/mtv.dev/v1alpha1/disktransfers")[0] == 200,
            "the kind DiskTransfer",
        )
        server.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield server


@pytest.fixture(scope="session")
def client(api_server):
    with Client.connect(str(api_server.kubeconfig)) as client:
        yield client


@pytest.fixture(scope="session")
def vcenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vcenter")
    big = vcenters.sparse_disk(folder / "big.raw", 192 * MIB, seed=11, data_share=0.7)
    small = vcenters.sparse_disk(folder / "small.raw", 9 * MIB + 512, seed=12)
    warm = vcenters.sparse_disk(folder / "warm.raw", 40 * MIB + 512, seed=13, data_share=0.6)
    config = {
        "vms": [
            {"name": "big", "disks": [{"file": str(big)}]},
            {"name": "small", "disks": [{"file": str(small)}]},
            {"name": "layers", "snapshots": ["one"], "disks": [{"file": str(big)}]},
            {"name": "runs", "poweredOn": True, "disks": [{"file": str(small)}]},
            *(
                {
                    "name": f"warm-{name}",
                    "poweredOn": True,
                    "snapshots": ["theirs"] if name == "foreign" else [],
                    "changeTracking": name != "untracked",
                    "disks": [{"file": str(warm)}],
                }
                for name in WARM
            ),
        ]
    }
    with vcenters.running(config, "-lease-timeout", "20s", folder=folder) as running:
        yield running


@dataclasses.dataclass
class Bench:
    """One claim, and the transfers into it."""

    api_server: servers.ApiServer
    client: Client
    vcenter: vcenters.VCenter
    folder: Path
    processes: list

    @property
    def data(self):
        return self.folder / "data"

    @property
    def image(self):
        return self.data / "disk.img"

    def wanted(self, vm="big", *, capacity=None, key=None, volume_mode="Filesystem", **spec):
        """Create a DiskTransfer of a VM's only disk and return it."""
        known = self.vcenter.vm(vm)
        disk = known["disks"][0]
        self.content = Path(disk["file"])
        name = f"{vm}-{uuid.uuid4().hex[:8]}"
        return self.client.create(
            api.DiskTransfer(
                metadata=meta.ObjectMeta(name=name, namespace=NAMESPACE),
                spec=api.DiskTransferSpec(
                    provider=api.NamespacedName(namespace=NAMESPACE, name="vcenter"),
                    secret=api.NamespacedName(namespace=NAMESPACE, name="vcenter"),
                    url=self.vcenter.url,
                    vm=api.SourceVM(id=known["moref"], name=vm),
                    disk=api.SourceDisk(
                        key=key or disk["key"],
                        file=disk["path"],
                        base_file=disk["path"],
                        capacity_bytes=capacity or disk["capacity"],
                    ),
                    target=api.TransferTarget(claim_name=name, volume_mode=volume_mode),
                    **spec,
                ),
            )
        )

    def secret(self, **changed):
        """Write the source's Secret as it is mounted."""
        folder = self.folder / "source"
        folder.mkdir(exist_ok=True)
        values = {
            "user": self.vcenter.user,
            "password": self.vcenter.password,
            "insecureSkipVerify": "true",
            **changed,
        }
        for key, value in values.items():
            (folder / key).write_text(value)
        return folder

    def start(self, transfer, *, device=None, kubeconfig=None):
        """Start a transfer process."""
        source = self.folder / "source"
        if not source.exists():
            self.secret()
        self.data.mkdir(exist_ok=True)
        log = (self.folder / "transfer.log").open("a")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mtv_operator.transfer.main"),
                *("--name", transfer.metadata.name, "--namespace", NAMESPACE),
                *("--kubeconfig", str(kubeconfig or self.api_server.kubeconfig)),
                *("--source", str(source), "--data", str(self.data)),
                *("--device", device or "/nonexistent"),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}", "NO_PROXY": "*"},
        )
        log.close()
        self.processes.append(process)
        return process

    def run(self, transfer, **options):
        """Run a transfer to its end; return its exit code."""
        return self.start(transfer, **options).wait(120)

    def status(self, transfer):
        found = self.client.get(api.DiskTransfer, transfer.metadata.name, NAMESPACE)
        return found.status or api.DiskTransferStatus()

    def until_done(self, transfer, bytes_):
        """Wait until so much is reported as done."""
        servers.until(
            lambda: (self.status(transfer).done_bytes or 0) >= bytes_, f"{bytes_} bytes", 60
        )

    def condition(self, transfer, kind):
        return next((c for c in self.status(transfer).conditions if c.type == kind), None)

    def events(self, transfer):
        return [
            event
            for event in self.client.list(core.Event, NAMESPACE)
            if event.involved_object.name == transfer.metadata.name
        ]

    def log(self):
        return (self.folder / "transfer.log").read_text()

    def assert_identical(self):
        assert digest(self.image) == digest(self.content), self.log()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def bench(api_server, client, vcenter, tmp_path):
    vcenter.mend()
    bench = Bench(api_server, client, vcenter, tmp_path, [])
    yield bench
    vcenter.mend()
    for process in bench.processes:
        if process.poll() is None:
            process.kill()
            process.wait()
