"""Warm migrations by the controller process: snapshots at a vCenter, deltas, kills, a cutover."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import migration_cluster
import pytest
import servers
import vcenters
from migration_cluster import Cluster

pytestmark = pytest.mark.vcenter

MIB = 1 << 20
PODS = "/api/v1/namespaces/prod/pods"
NICS = [{"network": "VM Network"}]


def vm(name: str, **more: Any) -> dict[str, Any]:
    disks = [{"sizeMB": 16}]
    runs = {"tools": True, "poweredOn": True, "shutdownSeconds": 1, "changeTracking": True}
    return {"name": name, "disks": disks, "nics": NICS, **runs, **more}


CONFIG = {
    "vms": [
        vm("canceled", snapshots=["theirs"]),
        vm("refused"),
        vm("deleted"),
    ]
}


class TransferNode:
    """Plays the node: runs each pod of a transfer as a process, and says what became of it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        secret = {
            "user": cluster.vcenter.user,
            "password": cluster.vcenter.password,
            "insecureSkipVerify": "true",
        }
        (folder / "source").mkdir()
        for key, value in secret.items():
            (folder / "source" / key).write_text(value)

    def image(self, claim: str) -> Path:
        return self.folder / claim / "disk.img"

    def until(self, done: Callable[[], object], what: str) -> None:
        """Run pods until something is so."""

        def look() -> object:
            self._look()
            return done()

        servers.until(look, what, 120)

    def _look(self) -> None:
        for pod in self.cluster.api.get(PODS)["items"]:
            name = pod["metadata"]["name"]
            transfer = pod["metadata"].get("annotations", {}).get("mtv.dev/disk-transfer")
            if not transfer:
                continue
            if name not in self.processes:
                self._start(name, transfer, pod)
            code = self.processes[name].poll()
            if code is None:
                self._say(name, "Running", {"running": {}})
            elif pod["status"].get("phase") not in ("Succeeded", "Failed"):
                phase = "Failed" if code else "Succeeded"
                self._say(name, phase, {"terminated": {"exitCode": code}})
            if pod["metadata"].get("deletionTimestamp"):
                self.processes[name].kill()
                self.cluster.api.request("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")

    def _start(self, name: str, transfer: str, pod: dict[str, Any]) -> None:
        claim = next(
            one["persistentVolumeClaim"]["claimName"]
            for one in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in one
        )
        (self.folder / claim).mkdir(exist_ok=True)
        with (self.folder / "transfer.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mtv_operator.transfer.main"),
                    *("--name", transfer, "--namespace", "prod"),
                    *("--kubeconfig", str(self.cluster.api.kubeconfig)),
                    *("--source", str(self.folder / "source")),
                    *("--data", str(self.folder / claim), "--device", "/nonexistent"),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "NO_PROXY": "*"},
            )

    def _say(self, name: str, phase: str, state: dict[str, Any]) -> None:
        container = {"name": "transfer", "state": state}
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        self.cluster.api.request(
            "PATCH",
            f"{PODS}/{name}/status",
            body,
            content_type="application/merge-patch+json",
        )

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    raw = vcenters.sparse_disk(folder / "writes.raw", 24 * MIB, seed=7)
    writes = vm("writes", disks=[{"file": str(raw)}])
    with migration_cluster.running(folder, {"vms": [*CONFIG["vms"], writes]}) as found:
        found.add_provider()
        yield found


@pytest.fixture
def nodes(cluster: Cluster, tmp_path: Path) -> Iterator[TransferNode]:
    found = TransferNode(cluster, tmp_path)
    yield found
    found.end()


def start(cluster: Cluster, name: str, **spec: Any) -> None:
    """Make a warm plan with maps of its own, and start it."""
    pair = {
        "source": {"name": "vc", "namespace": "mtv"},
        "destination": {"name": "host", "namespace": "mtv"},
    }
    network = {"source": {"name": "VM Network"}, "destination": {"type": "pod"}}
    storage = {"source": {"name": "LocalDS_0"}, "destination": {"storageClass": "local"}}
    made = {
        "networkmaps": {"provider": pair, "map": [network]},
        "storagemaps": {"provider": pair, "map": [storage]},
        "plans": {
            "provider": pair,
            "targetNamespace": "prod",
            "map": {
                "network": {"name": name, "namespace": "mtv"},
                "storage": {"name": name, "namespace": "mtv"},
            },
            "vms": [{"name": name}],
            "warm": True,
            "skipGuestConversion": True,  # no node is there that could adapt a guest
            **spec,
        },
    }
    kinds = {"networkmaps": "NetworkMap", "storagemaps": "StorageMap", "plans": "Plan"}
    for plural, body in made.items():
        cluster.api.post(
            f"{migration_cluster.FORKLIFT}/{plural}",
            {
                "apiVersion": "forklift.konveyor.io/v1beta1",
                "kind": kinds[plural],
                "metadata": {"name": name, "namespace": "mtv"},
                "spec": body,
            },
        )
    cluster.until_condition("plans", name, "Ready")
    started = cluster.mtv("plan", "start", name)
    assert started.returncode == 0, started.stderr


def of_plan(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    uid = cluster.forklift("plans", name)["metadata"]["uid"]
    return [one for one in cluster.transfers() if one["metadata"]["labels"]["plan"] == uid]


def snapshots(cluster: Cluster, name: str) -> list[str]:
    with cluster.vcenter.session() as session:
        found = next(one for one in session.pull().vms.values() if one.name == name)
        return [one.name for one in found.snapshots]


def record(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(cluster.vm_status(name).get("warm") or {})


def write(cluster: Cluster, name: str, *offsets: int) -> None:
    """Have the guest write."""
    for offset in offsets:
        path = f"write?vm={name}&disk=0&offset={offset}"
        cluster.vcenter.control("POST", path, os.urandom(4096))


def test_a_vm_that_writes_is_the_same_at_the_target_and_its_precopies_are_deltas(
    cluster: Cluster, nodes: TransferNode
) -> None:
    start(cluster, "writes", precopyIntervalSeconds=1)

    def until_successes(count: int) -> None:
        nodes.until(lambda: record(cluster, "writes").get("successes", 0) >= count, f"{count}")

    until_successes(1)
    (first,) = of_plan(cluster, "writes")
    write(cluster, "writes", 0, 5 * MIB + 512, 23 * MIB)
    until_successes(2)
    cluster.kill_controller()
    write(cluster, "writes", 5 * MIB, 11 * MIB)
    cluster.start_controller()
    cluster.until_phase("writes", "CopyDisks")
    write(cluster, "writes", 11 * MIB + 100, 17 * MIB)
    assert cluster.power("writes") == "poweredOn"
    asked = cluster.mtv("plan", "cutover", "writes")
    assert asked.returncode == 0, asked.stderr
    nodes.until(lambda: cluster.vm_status("writes").get("completed"), "its end")
    assert "Succeeded" in cluster.conditions("plans", "writes")
    assert cluster.power("writes") == "poweredOff"
    (after,) = of_plan(cluster, "writes")
    assert after["metadata"]["uid"] == first["metadata"]["uid"]
    frozen = Path(cluster.vcenter.vm("writes")["disks"][0]["file"]).read_bytes()
    assert nodes.image(after["spec"]["target"]["claimName"]).read_bytes() == frozen
    assert snapshots(cluster, "writes") == []
    found = record(cluster, "writes")
    assert all(precopy["removed"] for precopy in found["precopies"])
    deltas = [precopy.get("deltaBytes") for precopy in found["precopies"][1:]]
    assert all(size is not None and size < 4 * MIB for size in deltas), deltas
    assert found["downtimeSeconds"] < 120


def test_a_cancel_takes_our_snapshot_away_and_no_other(cluster: Cluster) -> None:
    start(cluster, "canceled")
    cluster.until_phase("canceled", "CopyDisks")
    assert len(snapshots(cluster, "canceled")) == 2
    cluster.kill_controller()
    done = cluster.mtv("plan", "cancel", "canceled")
    assert done.returncode == 0, done.stderr
    cluster.start_controller()
    cluster.until_condition("plans", "canceled", "Canceled")
    servers.until(lambda: snapshots(cluster, "canceled") == ["theirs"], "ours is gone", 60)
    assert cluster.power("canceled") == "poweredOn"


def test_a_snapshot_that_is_refused_is_told_and_tried_again(cluster: Cluster) -> None:
    cluster.vcenter.fault(match="CreateSnapshot_Task", count=1, soap="NoPermission")
    start(cluster, "refused")
    servers.until(lambda: record(cluster, "refused").get("failures"), "a failed precopy", 60)
    cluster.vcenter.fault(match="RemoveSnapshot_Task", count=1, soap="FileLocked")
    cluster.until_phase("refused", "CopyDisks")
    cluster.mtv("plan", "cancel", "refused")
    cluster.until_condition("plans", "refused", "Canceled")
    servers.until(lambda: snapshots(cluster, "refused") == [], "it is gone", 60)
    servers.until(
        lambda: all(one.get("removed") for one in record(cluster, "refused")["precopies"]),
        "that is known",
        60,
    )


def test_a_deleted_plan_leaves_no_snapshot(cluster: Cluster) -> None:
    start(cluster, "deleted")
    cluster.until_phase("deleted", "CopyDisks")
    cluster.vcenter.control("POST", "expire-sessions")
    cluster.api.request("DELETE", f"{migration_cluster.FORKLIFT}/plans/deleted")
    servers.until(lambda: not cluster.forklift("plans", "deleted"), "the plan is gone", 60)
    assert snapshots(cluster, "deleted") == []
    assert cluster.power("deleted") == "poweredOn"
