"""The controller process against a vCenter and an API server: whole migrations, kills, bad input.

The transfer pods' part is played by the test (`finish_transfers`): there is no node here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import migration_cluster
import pytest
import servers
from migration_cluster import Cluster

pytestmark = pytest.mark.vcenter

NICS = [{"network": "VM Network"}]


def vm(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "tools": True, "disks": [{"sizeMB": 16}], "nics": NICS, **more}


CONFIG = {
    "vms": [
        vm("on1", poweredOn=True, shutdownSeconds=1),
        vm("on2", poweredOn=True, shutdownSeconds=1),
        vm("on3", poweredOn=True, shutdownSeconds=1),
        vm("on4", poweredOn=True, shutdownSeconds=1),
        vm("on5", poweredOn=True, shutdownSeconds=1),
        vm("off1"),
        vm("off2"),
        vm("off3"),
        vm("on6", poweredOn=True, shutdownSeconds=1),
        vm("stubborn", poweredOn=True, shutdownSeconds=-1),
        vm("stubborn2", poweredOn=True, shutdownSeconds=-1),
        vm("Ärger_01 (old)"),
    ]
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with migration_cluster.running(tmp_path_factory.mktemp("cluster"), CONFIG) as found:
        found.add_provider()
        yield found


def import_vm(cluster: Cluster, name: str, *more: str) -> None:
    done = cluster.mtv(
        *("import", name, "--from", "vc", "--network", "VM Network=pod"),
        *("--storage", "LocalDS_0=local", "--target-namespace", "prod", "--no-wait"),
        *("--virtio", *more),  # no node is there that could adapt a guest
    )
    assert done.returncode == 0, done.stderr


def target_vms(cluster: Cluster) -> dict[str, Any]:
    found = cluster.api.get("/apis/kubevirt.io/v1/namespaces/prod/virtualmachines")["items"]
    return {one["metadata"]["name"]: one for one in found}


def claims(cluster: Cluster, plan: str) -> list[dict[str, Any]]:
    uid = cluster.forklift("plans", plan)["metadata"]["uid"]
    path = f"/api/v1/namespaces/prod/persistentvolumeclaims?labelSelector=plan%3D{uid}"
    return list(cluster.api.get(path)["items"])


def secrets(cluster: Cluster) -> list[str]:
    found = cluster.api.get("/api/v1/namespaces/prod/secrets")["items"]
    return [one["metadata"]["name"] for one in found]


def test_a_vm_that_runs_is_shut_down_and_its_target_is_made(cluster: Cluster) -> None:
    import_vm(cluster, "on1")
    cluster.until_phase("on1", "CopyDisks")
    assert cluster.power("on1") == "poweredOff"
    assert "on1-source-" in " ".join(secrets(cluster))
    cluster.finish_transfers()
    cluster.until_condition("plans", "on1", "Succeeded")
    made = target_vms(cluster)["on1"]
    assert made["spec"]["runStrategy"] == "Always"
    (claim,) = claims(cluster, "on1")
    assert [owner["kind"] for owner in claim["metadata"]["ownerReferences"]] == ["VirtualMachine"]
    status = cluster.vm_status("on1")
    assert status["restorePowerState"] == "On"
    assert [step["phase"] for step in status["pipeline"]] == ["Completed"] * 3
    servers.until(lambda: not secrets(cluster), "the copy of the secret is gone")


def test_the_migration_shows_what_the_plan_does(cluster: Cluster) -> None:
    import_vm(cluster, "off1")
    (one,) = [
        found
        for found in cluster.api.get(f"{migration_cluster.FORKLIFT}/migrations")["items"]
        if found["spec"]["plan"]["name"] == "off1"
    ]
    name = one["metadata"]["name"]
    cluster.until_condition("migrations", name, "Running")
    cluster.until_phase("off1", "CopyDisks")
    cluster.finish_transfers()
    cluster.until_condition("migrations", name, "Succeeded")
    status = cluster.forklift("migrations", name)["status"]
    assert status["completed"]
    assert status["vms"][0]["phase"] == "Completed"
    assert "Running" not in cluster.conditions("migrations", name)
    plan = cluster.forklift("plans", "off1")
    assert one["spec"]["plan"]["uid"] == plan["metadata"]["uid"]
    assert plan["status"]["migration"]["history"][-1]["migration"]["name"] == name
    assert target_vms(cluster)["off1"]["spec"]["runStrategy"] == "Halted"


def test_a_cancel_switches_the_source_on_again_and_a_start_copies_anew(cluster: Cluster) -> None:
    import_vm(cluster, "on2")
    cluster.until_phase("on2", "CopyDisks")
    assert cluster.power("on2") == "poweredOff"
    done = cluster.mtv("plan", "cancel", "on2")
    assert done.returncode == 0, done.stderr
    cluster.until_condition("plans", "on2", "Canceled")
    assert cluster.power("on2") == "poweredOn"
    assert len(claims(cluster, "on2")) == 1
    assert cluster.mtv("plan", "start", "on2").returncode == 0
    cluster.until_phase("on2", "CopyDisks")
    cluster.finish_transfers()
    cluster.until_condition("plans", "on2", "Succeeded")
    assert cluster.power("on2") == "poweredOff"


def test_a_failed_transfer_is_told_with_its_cause(cluster: Cluster) -> None:
    import_vm(cluster, "on3")
    cluster.until_phase("on3", "CopyDisks")
    why = {"type": "Failed", "status": "True", "reason": "TargetFull", "message": "it is full"}
    cluster.finish_transfers(
        phase="Failed", conditions=[{**why, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    )
    cluster.until_condition("plans", "on3", "Failed")
    assert cluster.power("on3") == "poweredOn"
    done = cluster.mtv("plan", "watch", "on3")
    assert done.returncode == 1
    assert "[LocalDS_0] on3/disk-0.vmdk: it is full" in done.stderr


def test_a_guest_that_does_not_stop_is_left_on(cluster: Cluster) -> None:
    import_vm(cluster, "stubborn", "--power-off", "graceful; timeout=3s")
    cluster.until_condition("plans", "stubborn", "Failed")
    assert cluster.power("stubborn") == "poweredOn"
    (reason,) = cluster.vm_status("stubborn")["error"]["reasons"]
    assert "did not shut down within 3 s" in reason


def test_a_guest_that_does_not_stop_is_forced_where_the_plan_allows_it(cluster: Cluster) -> None:
    import_vm(cluster, "stubborn2", "--power-off", "force-after=2s")
    cluster.until_phase("stubborn2", "CopyDisks")
    assert cluster.power("stubborn2") == "poweredOff"
    cluster.mtv("plan", "cancel", "stubborn2")
    cluster.until_condition("plans", "stubborn2", "Canceled")
    assert cluster.power("stubborn2") == "poweredOn"


def test_a_deleted_plan_leaves_nothing_but_the_vms(cluster: Cluster) -> None:
    import_vm(cluster, "on4")
    cluster.until_phase("on4", "CopyDisks")
    uid = cluster.forklift("plans", "on4")["metadata"]["uid"]
    cluster.api.request("DELETE", f"{migration_cluster.FORKLIFT}/plans/on4")
    servers.until(lambda: not cluster.forklift("plans", "on4"), "the plan is gone", 30)
    assert cluster.power("on4") == "poweredOn"

    def left() -> list[str]:
        return [
            one["metadata"]["name"]
            for path in (
                "/api/v1/namespaces/prod/persistentvolumeclaims",
                "/api/v1/namespaces/prod/secrets",
                migration_cluster.TRANSFERS,
            )
            for one in cluster.api.get(f"{path}?labelSelector=plan%3D{uid}")["items"]
        ]

    servers.until(lambda: not left(), "nothing is left")


def test_a_controller_killed_in_each_phase_goes_on(cluster: Cluster) -> None:
    import_vm(cluster, "on5", "--start")
    for phase in ("WaitForPowerOff", "CopyDisks"):
        cluster.until_phase("on5", phase, "CopyDisks")
        cluster.kill_controller()
        cluster.start_controller()
    cluster.until_phase("on5", "CopyDisks")
    cluster.kill_controller()
    cluster.finish_transfers()
    cluster.start_controller()
    cluster.until_condition("plans", "on5", "Succeeded")
    assert list(target_vms(cluster)).count("on5") == 1
    assert cluster.power("on5") == "poweredOff"


def test_a_name_that_is_no_label_is_made_one_and_kept(cluster: Cluster) -> None:
    import_vm(cluster, "Ärger_01 (old)", "--plan", "odd")
    cluster.until_phase("odd", "CopyDisks")
    cluster.finish_transfers()
    cluster.until_condition("plans", "odd", "Succeeded")
    made = target_vms(cluster)["rger-01-old"]
    assert made["metadata"]["annotations"]["openshift.io/display-name"] == "Ärger_01 (old)"


def test_a_plan_with_bad_references_says_which(cluster: Cluster) -> None:
    reference = {"name": "nowhere", "namespace": "mtv"}
    pair = {"source": {"name": "vc", "namespace": "mtv"}, "destination": {"name": "host"}}
    cluster.api.post(
        f"{migration_cluster.FORKLIFT}/plans",
        {
            "apiVersion": "forklift.konveyor.io/v1beta1",
            "kind": "Plan",
            "metadata": {"name": "bad", "namespace": "mtv"},
            "spec": {
                "targetNamespace": "Prod",
                "provider": pair,
                "map": {"network": reference, "storage": reference},
                "vms": [{"name": "nobody"}],
            },
        },
    )
    cluster.until_condition("plans", "bad", "VMNotFound")
    found = cluster.conditions("plans", "bad")
    assert {
        "NamespaceNotValid",
        "NetworkMapRefNotValid",
        "StorageRefNotValid",
        "VMNotFound",
    } <= set(found)
    assert "Ready" not in found
    assert all(
        found[kind]["category"] == "Critical" for kind in ("VMNotFound", "NamespaceNotValid")
    )
    done = cluster.mtv("plan", "check", "bad", "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ready"] is False


def test_a_provider_loses_ready_with_its_password_and_gets_it_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_provider("second")
    secret = cluster.forklift("providers", "second")["spec"]["secret"]["name"]
    path = f"/api/v1/namespaces/mtv/secrets/{secret}"

    def set_password(text: str) -> None:
        body = json.dumps({"stringData": {"password": text}}).encode()
        code, answer = cluster.api.request(
            "PATCH", path, body, content_type="application/merge-patch+json"
        )
        assert code == 200, answer

    set_password("wrong")
    found = cluster.until_condition("providers", "second", "ConnectionAuthFailed")
    assert found["category"] == "Critical"
    assert "wrong user name or password" in found["message"]
    assert "Ready" not in cluster.conditions("providers", "second")
    set_password(cluster.vcenter.password)
    cluster.until_condition("providers", "second", "Ready")
    assert cluster.mtv("provider", "delete", "second").returncode == 0
    assert cluster.api.request("GET", path)[0] == 404


def test_rollback_stops_the_target_and_switches_the_source_on_again(cluster: Cluster) -> None:
    import_vm(cluster, "on6")
    cluster.finish_transfers()
    cluster.until_condition("plans", "on6", "Succeeded")
    assert cluster.power("on6") == "poweredOff"
    unknown = cluster.mtv("rollback", "on6", "nobody")
    assert unknown.returncode != 0
    assert "has not migrated nobody" in unknown.stderr
    done = cluster.mtv("rollback", "on6")
    assert done.returncode == 0, done.stderr
    assert "rolled back on6" in done.stderr
    assert cluster.power("on6") == "poweredOn"
    target = target_vms(cluster)["on6"]
    assert target["spec"]["runStrategy"] == "Halted"
    assert target["metadata"]["annotations"]["mtv.dev/rolled-back"] == "true"
    instances = "/apis/kubevirt.io/v1/namespaces/prod/virtualmachineinstances/on6"
    assert cluster.api.request("GET", instances)[0] == 404
    assert "Canceled" in cluster.conditions("plans", "on6")


def test_rollback_after_acceptance_is_refused(cluster: Cluster) -> None:
    import_vm(cluster, "off3")
    cluster.finish_transfers()
    cluster.until_condition("plans", "off3", "Succeeded")
    assert cluster.mtv("plan", "accept", "off3").returncode == 0
    servers.until(
        lambda: any(
            one["type"] == "Accepted" for one in cluster.vm_status("off3").get("conditions", ())
        ),
        "it is accepted",
        60,
    )
    refused = cluster.mtv("rollback", "off3")
    assert refused.returncode != 0
    assert "accepted, and so not rolled back: off3" in refused.stderr
