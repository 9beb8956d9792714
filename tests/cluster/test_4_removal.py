"""`mtv uninstall` leaves nothing of mtv, and every volume."""

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


def test_while_vms_exist_it_refuses_and_says_which(home):
    said = home.mtv("uninstall", expect=69)

    assert "moved/story" in said
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
