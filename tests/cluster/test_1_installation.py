"""What `mtv install` puts on a cluster: ready, repeatable, with no more rights than needed."""

import json

import pytest
import servers

ACCOUNTS = {
    "kubevirt-operator": "kubevirt",
    "kubevirt-controller": "kubevirt",
    "kubevirt-apiserver": "kubevirt",
    "kubevirt-handler": "kubevirt",
    "mtv-controller": "mtv",
}


def may(home, account: str, *what: str) -> bool:
    user = f"system:serviceaccount:{ACCOUNTS[account]}:{account}"
    return home.kubectl("auth", "can-i", *what, "--as", user, expect=None).strip() == "yes"


def test_the_kubevirt_object_says_deployed_and_what_is_so(cluster):
    status = cluster.get("kubevirt", "kubevirt", "kubevirt")["status"]

    assert status["phase"] == "Deployed"
    states = {one["type"]: one["status"] for one in status["conditions"]}
    assert states["Available"] == "True"
    assert states["Degraded"] == "False"


def test_components_have_upstreams_names_and_two_replicas(cluster):
    found = {one["metadata"]["name"]: one for one in cluster.items("deployments", "-A")}

    for name in ("virt-operator", "virt-api", "virt-controller", "mtv-controller"):
        assert found[name]["status"]["availableReplicas"] == 2
    pods = cluster.items("pods", "-n", "kubevirt", "-l", "kubevirt.io=virt-handler")
    assert len({one["spec"]["nodeName"] for one in pods}) == 2


def test_installed_again_nothing_is_started_anew(cluster):
    def uids() -> set[str]:
        return {one["metadata"]["uid"] for one in cluster.items("pods", "-n", "kubevirt")}

    before = uids()
    cluster.install()
    assert uids() == before


def test_the_aggregated_api_and_the_webhooks_answer(cluster):
    version = cluster.kubectl("get", "--raw", "/apis/subresources.kubevirt.io/v1/version")
    assert json.loads(version)
    wrong = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "wrong", "namespace": "default"},
        "spec": {
            "runStrategy": "Halted",
            "template": {
                "spec": {
                    "domain": {"devices": {"disks": [{"name": "nowhere", "disk": {}}]}},
                    "volumes": [],
                }
            },
        },
    }
    said = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(wrong), expect=1)
    assert "nowhere" in said


def test_nodes_offer_tun_through_the_kubelet_and_say_what_kvm_is(cluster):
    def offered() -> bool:
        nodes = cluster.items("nodes")
        return all(
            one["status"]["allocatable"].get("devices.kubevirt.io/tun") in ("1k", "1000")
            for one in nodes
        )

    servers.until(offered, "each node offers tun", 30)
    for node in cluster.items("nodes"):
        assert node["metadata"]["labels"]["kubevirt.io/schedulable"] == "true"
        assert "KVM" in node["metadata"]["annotations"]["mtv.dev/kvm"]


# mtv-controller reads the secrets of providers, virt-api the keys of uploads.
@pytest.mark.parametrize(
    "account", ["kubevirt-operator", "kubevirt-controller", "kubevirt-handler"]
)
def test_no_component_of_the_runtime_reads_secrets_of_others(cluster, account):
    assert not may(cluster, account, "get", "secrets", "-n", "default")


@pytest.mark.parametrize("account", ACCOUNTS)
def test_no_component_may_become_somebody_else(cluster, account):
    assert not may(cluster, account, "create", "clusterrolebindings")
    assert not may(cluster, account, "impersonate", "users")
    assert not may(cluster, account, "create", "pods", "--subresource=exec")
