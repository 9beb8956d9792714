"""VMs leave vCenter and boot as pods of real kubelets: the README's stories, on Kubernetes."""

import json
import re

import cluster_homes
import servers
from cluster_homes import IMPORT
from e2e_machines import is_on, source_sums, target_sums

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "story", "namespace": "moved"},
    "spec": {
        "selector": {"vm.kubevirt.io/name": "story"},
        "ports": [{"port": 80, "targetPort": 8080}],
    },
}


def test_a_vm_leaves_vcenter_and_answers_at_its_pod_and_through_a_service(home, vcenter):
    home.mtv("import", "story", *IMPORT, "--start", "--virtio", timeout_s=400)

    assert not is_on(vcenter, "story")
    assert "boot" in home.wait_guest("story", "moved", deadline_s=240)
    home.kubectl("apply", "-f", "-", stdin=json.dumps(SERVICE))
    address = home.get("service", "story", "moved")["spec"]["clusterIP"]
    url = f"http://{address}/cgi-bin/status"
    for node in (1, 2):
        servers.until(
            lambda node=node: (
                "boot="
                in home.node_run(node, "curl", "-s", "-m", "3", "--noproxy", "*", url).stdout
            ),
            f"the service answers on node{node}",
            30,
        )


def test_its_launcher_is_an_ordinary_pod_without_rights(home):
    (pod,) = home.items("pods", "-n", "moved", "-l", "kubevirt.io=virt-launcher")

    assert pod["spec"]["nodeName"] in ("node1", "node2")
    assert pod["spec"]["automountServiceAccountToken"] is False
    (container,) = pod["spec"]["containers"]
    assert not container["securityContext"].get("privileged")
    assert container["resources"]["limits"]["devices.kubevirt.io/tun"] == "1"
    conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
    assert conditions["Ready"] == "True"


def test_console_and_guest_agent_work_through_the_aggregated_api(home):
    assert b"Linux" in home.type_on_console("story", "moved", "uname -a")
    path = "/apis/subresources.kubevirt.io/v1/namespaces/moved/virtualmachineinstances/story"
    servers.until(
        lambda: home.run("kubectl", "get", "--raw", f"{path}/guestosinfo").returncode == 0,
        "the guest agent answers",
        60,
    )


def test_stopped_and_started_it_boots_again_with_its_disk(home):
    first = home.wait_guest("story", "moved", deadline_s=240)
    home.mtv("vm", "stop", "story", "-n", "moved", "--wait")
    servers.until(lambda: home.get("vmi", "story", "moved") is None, "its instance is gone", 120)
    home.mtv("vm", "start", "story", "-n", "moved")
    again = home.wait_guest("story", "moved", deadline_s=240)
    assert boot_of(first) != boot_of(again)
    home.mtv("vm", "stop", "story", "-n", "moved", "--wait")


def boot_of(page: str) -> str:
    found = re.search(r"boot=(\S+)", page)
    assert found is not None, page
    return found[1]


def test_a_leader_that_is_lost_is_replaced_and_nothing_is_done_twice(home, vcenter):
    name = "kill-controller"
    vcenter.fault(match="/folder/", bytesPerSecond=6_000_000)
    home.mtv("import", name, *IMPORT, "--no-start", "--virtio", "--no-wait")
    try:
        servers.until(
            lambda: any(
                one["status"].get("phase") == "Running"
                for one in home.items("disktransfers", "-n", "moved")
                if one["metadata"]["name"].startswith(name) and "status" in one
            ),
            "a disk is being copied",
            120,
        )
        old = home.leader("mtv-controller", "mtv")
        home.kill_pod(old, "mtv")
        cluster_homes.new_leader(home, "mtv-controller", "mtv", old)
    finally:
        vcenter.mend()

    servers.until(
        lambda: (home.get("vm", name, "moved") or {}).get("status", {}).get("printableStatus"),
        "the VM is there",
        300,
    )
    assert target_sums(home, name)[1] == source_sums(vcenter, name)[1]
    transfers = [
        one
        for one in home.items("disktransfers", "-n", "moved")
        if one["metadata"]["name"].startswith(name)
    ]
    assert len(transfers) in (0, 2)
    for one in transfers:
        assert one["status"]["phase"] == "Succeeded"
        assert one["status"].get("attempts", 1) == 1
    assert not is_on(vcenter, name)


def test_virt_controllers_leader_lost_a_vm_starts_all_the_same(home):
    old = home.leader("virt-controller", "kubevirt")
    home.kill_pod(old, "kubevirt")
    home.mtv("vm", "start", "kill-controller", "-n", "moved")
    home.wait_phase("kill-controller", "Running", namespace="moved", deadline_s=240)
    assert home.leader("virt-controller", "kubevirt") != old
    home.mtv("vm", "stop", "kill-controller", "-n", "moved", "--wait")
