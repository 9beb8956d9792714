"""`mtv uninstall` leaves nothing of mtv, and every volume."""

import json

import pytest

OURS = ("kubevirt.io", "konveyor.io", "mtv.dev")
CLUSTER_WIDE = (
    "customresourcedefinitions",
    "apiservices",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "clusterroles",
    "clusterrolebindings",
    "priorityclasses",
    "namespaces",
)

MACHINE = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "kept", "namespace": "moved"},
    "spec": {
        "runStrategy": "Halted",
        "template": {
            "spec": {
                "domain": {
                    "memory": {"guest": "64Mi"},
                    "devices": {"disks": [{"name": "root", "disk": {}}]},
                },
                "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "kept"}}],
            }
        },
    },
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "kept", "namespace": "moved"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}


@pytest.fixture(scope="module", autouse=True)
def _machine(home):
    for one in (CLAIM, MACHINE):
        home.kubectl("apply", "-f", "-", stdin=json.dumps(one))


def test_while_vms_exist_it_refuses_and_says_which(home):
    said = home.mtv("uninstall", expect=69)

    assert "moved/kept" in said
    assert "--delete-vms" in said


def test_afterwards_nothing_is_left_but_volumes(home):
    volumes = {one["metadata"]["name"] for one in home.items("pvc", "-n", "moved")}
    assert volumes

    home.mtv("uninstall", "--delete-vms", timeout_s=600)

    for kind in CLUSTER_WIDE:
        names = [one["metadata"]["name"] for one in home.items(kind)]
        left = [
            one
            for one in names
            if any(one.rstrip(":adminetv").endswith(ours) for ours in OURS)
            or one.startswith(("kubevirt", "mtv", "virt-api"))
        ]
        assert not left, (kind, left)
    for node in home.items("nodes"):
        told = {**node["metadata"]["labels"], **node["metadata"].get("annotations", {})}
        assert not [key for key in told if key.partition("/")[0].endswith(OURS)]
    assert {one["metadata"]["name"] for one in home.items("pvc", "-n", "moved")} == volumes
    assert not home.items("rolebindings", "-n", "moved")
