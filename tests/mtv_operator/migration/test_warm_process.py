"""Warm migrations by the controller process: snapshots at a vCenter, kills, a cutover.

Where the test plays the part of the transfers (`bring`), it writes what they would end with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import migration_cluster
import pytest
import servers
from migration_cluster import TRANSFERS, Cluster

pytestmark = pytest.mark.vcenter

NICS = [{"network": "VM Network"}]


def vm(name: str, **more: Any) -> dict[str, Any]:
    disks = [{"sizeMB": 16}]
    runs = {"tools": True, "poweredOn": True, "shutdownSeconds": 1, "changeTracking": True}
    return {"name": name, "disks": disks, "nics": NICS, **runs, **more}


CONFIG = {
    "vms": [
        vm("played"),
        vm("canceled", snapshots=["theirs"]),
        vm("refused"),
        vm("deleted"),
    ]
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with migration_cluster.running(tmp_path_factory.mktemp("cluster"), CONFIG) as found:
        found.add_provider()
        yield found


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


def bring(cluster: Cluster, name: str) -> None:
    """Have the transfers of a plan bring what they are to bring, if they have not."""
    for one in of_plan(cluster, name):
        wanted = one["spec"].get("checkpoint")
        if wanted == one.get("status", {}).get("checkpoint"):
            continue
        ended = {
            "phase": "Succeeded",
            "checkpoint": wanted,
            "deltaBytes": 65536,
            "deltaSeconds": 0.5,
        }
        code, answer = cluster.api.request(
            "PATCH",
            f"{TRANSFERS}/{one['metadata']['name']}/status",
            {"status": ended},
            content_type="application/merge-patch+json",
        )
        assert code == 200, answer


def snapshots(cluster: Cluster, name: str) -> list[str]:
    with cluster.vcenter.session() as session:
        found = next(one for one in session.pull().vms.values() if one.name == name)
        return [one.name for one in found.snapshots]


def record(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(cluster.vm_status(name).get("warm") or {})


def until(cluster: Cluster, name: str, done: Callable[[], object], what: str) -> None:
    """Bring what is wanted until something is so."""

    def look() -> object:
        bring(cluster, name)
        return done()

    servers.until(look, what, 90)


def test_a_vm_is_copied_while_it_runs_and_cut_over_when_asked(cluster: Cluster) -> None:
    start(cluster, "played", precopyIntervalSeconds=1)
    cluster.until_phase("played", "CopyDisks")
    assert cluster.power("played") == "poweredOn"
    (name,) = snapshots(cluster, "played")
    assert name.startswith("mtv-precopy-")
    (first,) = of_plan(cluster, "played")
    assert first["spec"]["checkpoint"]["changeId"]
    cluster.kill_controller()
    cluster.start_controller()
    until(cluster, "played", lambda: record(cluster, "played").get("successes", 0) > 1, "two")
    assert cluster.power("played") == "poweredOn"
    asked = cluster.mtv("plan", "cutover", "played")
    assert asked.returncode == 0, asked.stderr
    until(cluster, "played", lambda: cluster.vm_status("played").get("completed"), "its end")
    assert "Succeeded" in cluster.conditions("plans", "played")
    assert cluster.power("played") == "poweredOff"
    assert snapshots(cluster, "played") == []
    (after,) = of_plan(cluster, "played")
    assert after["metadata"]["uid"] == first["metadata"]["uid"]
    for precopy in record(cluster, "played")["precopies"]:
        assert precopy["removed"]
        assert precopy["deltas"][0]["deltaId"]
    steps = [step["name"] for step in cluster.vm_status("played")["pipeline"]]
    assert steps == ["Initialize", "DiskTransfer", "Cutover", "VirtualMachineCreation"]


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
