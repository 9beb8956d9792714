"""Other ways to be on a cluster: by Helm, on a single node, upgraded, beside another KubeVirt.

mtv is not installed when these begin; each leaves nothing behind.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cluster_homes
import cluster_vms
import pytest
import servers
from cluster_vms import boot_and_counter

CLUSTER = str(Path(__file__).with_name("cluster.py"))
MANIFESTS = Path(__file__).parents[2] / "operator/manifests"
REPOSITORY, _, TAG = cluster_homes.IMAGE.partition(":")


def test_every_object_is_what_the_api_server_takes(home):
    """Server-side validation of each object, without storing it."""
    text = (MANIFESTS / "mtv.yaml").read_text()
    kinds = ("kind: CustomResourceDefinition", "kind: Namespace")
    documents = text.split("---\n")[1:]
    first = [one for one in documents if any(f"\n{kind}\n" in one for kind in kinds)]
    namespaces = [one for one in first if "\nkind: Namespace\n" in one]
    home.kubectl("apply", "-f", "-", stdin="---\n".join(namespaces))
    try:
        said = home.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-"),
            stdin="---\n".join(documents),
        )
        assert said.count("serverside-applied") == len(documents), said
    finally:
        home.kubectl("delete", "-f", "-", stdin="---\n".join(namespaces))


def test_helm_installs_it_and_takes_it_away(home):
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("`tests/cluster/build.sh helm` builds it")
    values = ("--set", f"image.repository={REPOSITORY}", "--set", f"image.tag={TAG}")
    chart = str(MANIFESTS / "chart/mtv")

    def run(*arguments: str) -> str:
        done = home.run(helm, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("install", "mtv", chart, *values, "--set", "useEmulation=true")
    try:
        wait_deployed(home)
        run("upgrade", "mtv", chart, *values, "--set", "useEmulation=true", "--set", "replicas=1")
        servers.until(lambda: replicas(home, "virt-api") == 1, "one replica is left", 120)
    finally:
        run("uninstall", "mtv")
        home.mtv("uninstall", timeout_s=400)
    assert not ours(home)


def wait_deployed(home) -> None:
    servers.until(
        lambda: (
            (home.get("kubevirt", "kubevirt", "kubevirt") or {}).get("status", {}).get("phase")
            == "Deployed"
        ),
        "the KubeVirt object says Deployed",
        240,
    )


def replicas(home, name: str) -> int:
    return int(home.get("deployment", name, "kubevirt")["status"].get("readyReplicas", 0))


def ours(home) -> list[str]:
    found = [one["metadata"]["name"] for one in home.items("crd")]
    return [one for one in found if one.endswith((".kubevirt.io", ".konveyor.io", ".mtv.dev"))]


def test_on_a_single_node_an_upgrade_leaves_the_guest_running(home):
    """No anti-affinity keeps a replica away; nothing needs to migrate for an upgrade."""
    home.kubectl("cordon", "node2")
    try:
        home.install()
        pods = home.items("pods", "-n", "kubevirt", "-l", "kubevirt.io in (virt-api)")
        assert {one["spec"]["nodeName"] for one in pods} == {"node1"}
        cluster_vms.begin(home, "only")
        boot, counter = boot_and_counter(home, "only")
        launcher = launchers(home)

        subprocess.run(
            [sys.executable, CLUSTER, "tag", cluster_homes.IMAGE, f"{REPOSITORY}:next"], check=True
        )
        home.install("--image", f"{REPOSITORY}:next")

        for name in ("virt-api", "virt-controller", "virt-operator"):
            (container,) = home.get("deployment", name, "kubevirt")["spec"]["template"]["spec"][
                "containers"
            ]
            assert container["image"] == f"{REPOSITORY}:next"
        again, later = boot_and_counter(home, "only")
        assert (again, later > counter) == (boot, True)
        assert launchers(home) == launcher
        assert b"Linux" in home.type_on_console("only", "default", "uname -a")
        refused = home.mtv("uninstall", expect=69)
        assert "default/only" in refused
    finally:
        home.kubectl("uncordon", "node2")
    home.mtv("uninstall", "--delete-vms", timeout_s=600)
    assert home.get("pvc", "only") is not None
    home.kubectl("delete", "pvc", "only")
    assert not ours(home)


def launchers(home) -> set[str]:
    found = home.items("pods", "-l", "kubevirt.io=virt-launcher")
    return {one["metadata"]["uid"] for one in found}


def test_beside_another_kubevirt_only_migration_is_installed(home):
    """Its operator's mark on the kinds is what tells."""
    name = "virtualmachines.kubevirt.io"
    theirs = [
        (MANIFESTS / "crds" / f"{one}.kubevirt.io.yaml").read_text()
        for one in ("virtualmachines", "virtualmachineinstances")
    ]
    home.kubectl("apply", "--server-side", "-f", "-", stdin="---\n".join(theirs))
    home.kubectl("label", "crd", name, "app.kubernetes.io/managed-by=virt-operator")
    before = home.get("crd", name, "")
    try:
        home.install()

        assert home.get("namespace", "kubevirt", "") is None
        assert home.get("deployment", "mtv-controller", "mtv")["status"]["availableReplicas"] == 2
        assert home.get("crd", "kubevirts.kubevirt.io", "") is None
        assert not home.items("validatingwebhookconfigurations")
        home.mtv("uninstall", timeout_s=400)
        after = home.get("crd", name, "")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
        assert json.dumps(after["spec"]) == json.dumps(before["spec"])
    finally:
        home.kubectl("delete", "-f", "-", stdin="---\n".join(theirs))
    assert not ours(home)
