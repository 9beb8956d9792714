"""Live migration between two nodes of one machine: the guest goes on, whatever becomes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import homes
import pytest
import servers
from kubevirt_objects import movable_vm

NETWORK = 249
SLOW, FAST = "4Mi", None
GUEST_UID = 107


def claim(name: str, storage_class: str, mode: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": storage_class,
            "accessModes": [mode],
            "resources": {"requests": {"storage": "128Mi"}},
        },
    }


@pytest.fixture(scope="module")
def nodes() -> Iterator[homes.Home]:
    """An installation with two nodes."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with homes.home(nodes=2, network=NETWORK) as found:
        yield found


@pytest.fixture(scope="module")
def vm(nodes: homes.Home) -> str:
    """A VM on a shared claim, whose guest counts and answers HTTP."""
    name = "mover"
    nodes.kubectl("apply", "-f", "-", stdin=json.dumps(claim(name, "shared", "ReadWriteMany")))
    disk = volume_folder(nodes, name) / "disk.img"
    shutil.copyfile(homes.GUEST, disk)
    os.chown(disk, GUEST_UID, GUEST_UID)
    nodes.kubectl("apply", "-f", "-", stdin=json.dumps(movable_vm(name, "Halted")))
    nodes.mtv("vm", "start", name)
    nodes.wait_guest(name)
    wait_condition(nodes, name, "LiveMigratable", "True")
    return name


def volume_folder(home: homes.Home, name: str) -> Path:
    """Return the folder of a claim's volume, once it is bound."""

    def folder() -> Path | None:
        found = home.get("pvc", name)
        volume = found["spec"].get("volumeName") if found else None
        path = home.folder / "volumes" / volume if volume else None
        return path if path is not None and path.is_dir() else None

    path: Path = servers.until(folder, f"the volume of {name}", 30)
    return path


def wait_condition(home: homes.Home, name: str, kind: str, status: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        listed = home.instance(name).get("conditions") or []
        return next((c for c in listed if (c["type"], c["status"]) == (kind, status)), None)

    condition: dict[str, Any] = servers.until(found, f"{kind} of {name} is {status}", 60)
    return condition


def boot_and_counter(home: homes.Home, vm: str) -> tuple[str, int]:
    """Return the guest's boot id and how far it has counted; it is asked again while it writes."""

    def counted() -> tuple[str, int] | None:
        page = home.wait_guest(vm)
        boot, counter = re.search(r"boot=(\S+)", page), re.search(r"^counter=(\d+)", page, re.M)
        return (boot[1], int(counter[1])) if boot and counter else None

    found: tuple[str, int] = servers.until(counted, f"the guest of {vm} counts", 60)
    return found


def migrations(home: homes.Home) -> dict[str, dict[str, Any]]:
    listed = json.loads(home.kubectl("get", "vmim", "-o", "json"))["items"]
    return {one["metadata"]["name"]: one for one in listed}


def phase(one: dict[str, Any]) -> str:
    return str(one.get("status", {}).get("phase", ""))


def wait_phase(home: homes.Home, name: str, *phases: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        one = migrations(home).get(name)
        return one if one is not None and phase(one) in phases else None

    one: dict[str, Any] = servers.until(found, f"{name} is {' or '.join(phases)}", 120)
    return one


def begin(home: homes.Home, vm: str) -> str:
    """Begin a migration; return its name."""
    before = set(migrations(home))
    home.mtv("vm", "migrate", vm)
    (name,) = set(migrations(home)) - before
    return name


def set_bandwidth(home: homes.Home, bandwidth: str | None) -> None:
    migrations = {"bandwidthPerMigration": bandwidth}
    patch = json.dumps({"spec": {"configuration": {"migrations": migrations}}})
    home.kubectl("patch", "kubevirt", "kubevirt", "-n", "kubevirt", "--type=merge", "-p", patch)


def test_the_guest_goes_on_through_three_migrations_in_a_row(nodes, vm):
    boot, counter = boot_and_counter(nodes, vm)
    for _ in range(3):
        node = nodes.instance(vm)["nodeName"]
        ended = wait_phase(nodes, begin(nodes, vm), "Succeeded", "Failed")

        state = ended["status"]["migrationState"]
        assert phase(ended) == "Succeeded", state
        passed = [one["phase"] for one in ended["status"]["phaseTransitionTimestamps"]]
        assert passed[:4] == ["Pending", "Scheduling", "Scheduled", "PreparingTarget"]
        assert state["progress"]["percent"] == 100
        assert state["progress"]["downtimeMs"] > 0
        there = nodes.instance(vm)
        assert there["nodeName"] == state["targetNode"] != node
        again, later = boot_and_counter(nodes, vm)
        assert (again, later > counter) == (boot, True)
        counter = later


def test_a_cancelled_migration_leaves_the_guest_where_it_is(nodes, vm):
    before = nodes.instance(vm)
    boot, counter = boot_and_counter(nodes, vm)
    set_bandwidth(nodes, SLOW)
    try:
        name = begin(nodes, vm)
        wait_phase(nodes, name, "Running")
        nodes.kubectl("delete", "vmim", name)
    finally:
        set_bandwidth(nodes, FAST)

    after = nodes.instance(vm)
    assert (after["nodeName"], after["activePods"]) == (before["nodeName"], before["activePods"])
    state = after["migrationState"]
    assert (state["failed"], state["abortStatus"]) == (True, "Succeeded")
    again, later = boot_and_counter(nodes, vm)
    assert (again, later > counter) == (boot, True)


def test_drain_moves_the_guest_away(nodes, vm):
    boot, _ = boot_and_counter(nodes, vm)
    node = nodes.instance(vm)["nodeName"]
    try:
        nodes.kubectl("drain", node, "--delete-emptydir-data", "--force", "--timeout=120s")
    finally:
        nodes.kubectl("uncordon", node)

    assert nodes.instance(vm)["nodeName"] != node
    assert boot_and_counter(nodes, vm)[0] == boot


def test_a_disk_of_one_node_cannot_migrate_and_says_so(nodes):
    name = "stays"
    nodes.kubectl("apply", "-f", "-", stdin=json.dumps(claim(name, "local", "ReadWriteOnce")))
    nodes.kubectl("apply", "-f", "-", stdin=json.dumps(movable_vm(name, "Halted")))
    nodes.mtv("vm", "start", name)
    said = wait_condition(nodes, name, "LiveMigratable", "False")
    assert said["reason"] == "DisksNotLiveMigratable"

    refused = nodes.run(str(homes.BIN / "mtv"), "vm", "migrate", name)
    assert refused.returncode != 0
    assert f"PVC {name} is not shared" in refused.stderr
    listed = nodes.kubectl("get", "pods", "-l", f"vmi.kubevirt.io/id={name}", "-o", "json")
    pod = json.loads(listed)["items"][0]["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "default"},
    }
    path = f"/api/v1/namespaces/default/pods/{pod}/eviction"
    answer = nodes.kubectl(
        "create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), expect=None
    )
    found = nodes.get("pod", pod)
    assert found is not None, answer
    assert "deletionTimestamp" not in found["metadata"], answer
