"""VMs on real nodes: they move, are reached through Services, leave a drained node, outlive one."""

import json
import subprocess
import sys
from pathlib import Path

import cluster_vms
import kubevirt_objects
import pytest
import servers
from cluster_vms import boot_and_counter

CLUSTER = str(Path(__file__).with_name("cluster.py"))
VM = "mover"


@pytest.fixture(scope="module")
def vm(home):
    cluster_vms.begin(home, VM)
    yield VM
    cluster_vms.remove(home, VM)


def ended(home, name: str) -> dict:
    def found():
        one = home.get("vmim", name) or {}
        return one if one.get("status", {}).get("phase") in ("Succeeded", "Failed") else None

    return servers.until(found, f"the migration {name} has ended", 240)


def test_a_running_guest_moves_to_the_other_node_and_back(home, vm):
    cluster_vms.wait_condition(home, vm, "LiveMigratable", "True")
    boot, counter = boot_and_counter(home, vm)
    for turn in ("there", "back"):
        node = home.instance(vm)["nodeName"]
        migration = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {"name": turn},
            "spec": {"vmiName": vm},
        }
        cluster_vms.apply(home, migration)
        done = ended(home, turn)

        assert done["status"]["phase"] == "Succeeded", done["status"]
        assert home.instance(vm)["nodeName"] != node
        again, later = boot_and_counter(home, vm)
        assert again == boot, "the guest was started anew"
        assert later > counter
        counter = later


def test_it_is_reached_through_a_node_port_of_every_node(home, vm):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": vm},
        "spec": {
            "type": "NodePort",
            "selector": {"vm.kubevirt.io/name": vm},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }
    cluster_vms.apply(home, service)
    port = home.get("service", vm)["spec"]["ports"][0]["nodePort"]
    for node in home.items("nodes"):
        (address,) = [
            one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"
        ]
        url = f"http://{address}:{port}/cgi-bin/status"
        servers.until(
            lambda url=url: (
                "boot=" in home.run("curl", "-s", "-m", "3", "--noproxy", "*", url).stdout
            ),
            f"{url} answers",
            60,
        )


def test_drain_moves_it_away_without_a_restart(home, vm):
    boot, _ = boot_and_counter(home, vm)
    node = home.instance(vm)["nodeName"]
    try:
        home.kubectl(
            *("drain", node, "--delete-emptydir-data", "--force", "--ignore-daemonsets"),
            "--timeout=200s",
        )
        assert home.instance(vm)["nodeName"] != node
        assert boot_and_counter(home, vm)[0] == boot
    finally:
        home.kubectl("uncordon", node)


def test_a_lost_node_s_vms_start_elsewhere_once_it_is_declared_out_of_service(home, vm):
    boot, _ = boot_and_counter(home, vm)
    node = home.instance(vm)["nodeName"]
    subprocess.run([sys.executable, CLUSTER, "stop", node.removeprefix("node")], check=True)
    try:
        servers.until(lambda: not is_ready(home, node), f"{node} is not ready", 180)
        assert home.instance(vm)["nodeName"] == node, "nobody knows whether it still runs"
        home.kubectl("taint", "node", node, "node.kubernetes.io/out-of-service=lost:NoExecute")
        servers.until(
            lambda: home.instance(vm).get("nodeName") not in (node, None),
            f"{vm} runs elsewhere",
            240,
        )
        assert boot_and_counter(home, vm)[0] != boot
    finally:
        home.kubectl(
            "taint", "node", node, "node.kubernetes.io/out-of-service:NoExecute-", expect=None
        )
        subprocess.run([sys.executable, CLUSTER, "start", node.removeprefix("node")], check=True)
        servers.until(lambda: is_ready(home, node), f"{node} is ready", 180)


def is_ready(home, node: str) -> bool:
    found = home.get("node", node, "")
    states = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    return states["Ready"] == "True"


def test_a_claim_of_one_node_s_raw_block_device_boots_there(home, tmp_path_factory):
    """Block mode, WaitForFirstConsumer, and a volume that only one node has."""
    name, node = "block", "node2"
    with cluster_vms.block_device(tmp_path_factory.mktemp("block") / "disk.raw") as device:
        cluster_vms.apply(home, *cluster_vms.local_volume(name, node, device))
        wanted = {"storageClassName": "local-block", "volumeMode": "Block"}
        cluster_vms.apply(home, cluster_vms.claim(name, mode="ReadWriteOnce", **wanted))
        cluster_vms.apply(home, kubevirt_objects.movable_vm(name))
        try:
            home.wait_guest(name, deadline_s=240)
            assert home.instance(name)["nodeName"] == node
            said = cluster_vms.wait_condition(home, name, "LiveMigratable", "False")
            assert said["reason"] == "DisksNotLiveMigratable"
        finally:
            cluster_vms.remove(home, name)
            home.kubectl("delete", "pv", name)


def test_disks_come_to_a_class_that_waits_for_its_first_consumer(home, vcenter):
    waiting = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "waiting"},
        "provisioner": "kubernetes.io/host-path",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    cluster_vms.apply(home, waiting)
    home.mtv(
        *("import", "second", "--from", "vc", "-n", "mtv", "--target-namespace", "moved"),
        *("--network", "VM Network=pod", "--storage", "LocalDS_0=waiting", "--virtio", "--start"),
        timeout_s=400,
    )
    assert "boot" in home.wait_guest("second", "moved", deadline_s=240)
    home.mtv("vm", "stop", "second", "-n", "moved", "--wait")


def test_a_data_volume_is_filled_from_a_url_without_cdi(home, guest_url):
    volume = {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": "filled"},
        "spec": {
            "source": {"http": {"url": guest_url}},
            "storage": {"resources": {"requests": {"storage": "256Mi"}}},
        },
    }
    cluster_vms.apply(home, volume)
    servers.until(
        lambda: (home.get("dv", "filled") or {}).get("status", {}).get("phase") == "Succeeded",
        "the DataVolume is filled",
        240,
    )
    cluster_vms.apply(home, kubevirt_objects.movable_vm("filled"))
    home.wait_guest("filled", deadline_s=240)
    cluster_vms.remove(home, "filled")
    home.kubectl("delete", "dv", "filled")


def test_the_inventory_is_answered_to_who_may_read_the_provider(home):
    uid = home.get("provider", "vc", "mtv")["metadata"]["uid"]
    bundle = home.get("configmap", "mtv-inventory-ca", "mtv")["data"]["ca-bundle"]
    authority = home.folder / "inventory-ca.crt"
    authority.write_text(bundle)
    address = home.get("service", "mtv-inventory", "mtv")["spec"]["clusterIP"]
    for name, namespace in (("reader", "mtv"), ("stranger", "default")):
        home.kubectl("create", "serviceaccount", name, "-n", namespace)
    binding = ("create", "rolebinding", "reader", "-n", "mtv", "--clusterrole=view")
    home.kubectl(*binding, "--serviceaccount=mtv:reader")

    def ask(token: str) -> tuple[str, str]:
        url = f"https://mtv-inventory.mtv.svc:8443/providers/vsphere/{uid}/vms"
        done = home.node_run(
            1,
            *("curl", "-s", "-m", "30", "--noproxy", "*", "--cacert", str(authority)),
            *("--resolve", f"mtv-inventory.mtv.svc:8443:{address}", "-w", "\n%{http_code}"),
            *("-H", f"Authorization: Bearer {token}", url),
        )
        body, _, code = done.stdout.rpartition("\n")
        return code, body

    def token(name: str, namespace: str) -> str:
        return home.kubectl("create", "token", name, "-n", namespace).strip()

    try:
        servers.until(
            lambda: ask(token("reader", "mtv"))[0] == "200", "the inventory is answered", 120
        )
        names = {one["name"] for one in json.loads(ask(token("reader", "mtv"))[1])}
        assert "story" in names
        assert ask(token("stranger", "default"))[0] == "403"
        assert ask("nonsense")[0] == "401"
    finally:
        home.kubectl("delete", "rolebinding,serviceaccount", "reader", "-n", "mtv")
        home.kubectl("delete", "serviceaccount", "stranger")
