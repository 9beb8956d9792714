"""virt-operator keeps the components; none of them asks for what it may not."""

import json

import pytest
import servers

COMPONENTS = {
    "kubevirt": (
        *("kubevirt.io=virt-api", "kubevirt.io=virt-controller"),
        *("kubevirt.io=virt-handler", "kubevirt.io=virt-operator"),
    ),
    "mtv": ("app.kubernetes.io/name=mtv-controller", "app.kubernetes.io/name=mtv-inventory"),
}


def test_what_is_deleted_is_made_again(cluster):
    old = cluster.get("deployment", "virt-api", "kubevirt")["metadata"]["uid"]
    cluster.kubectl("delete", "deployment", "virt-api", "-n", "kubevirt")

    def again():
        found = cluster.get("deployment", "virt-api", "kubevirt")
        return (
            found is not None
            and found["metadata"]["uid"] != old
            and found["status"].get("availableReplicas") == 2
        )

    servers.until(again, "virt-api is there again", 120)
    servers.until(
        lambda: phase_and_degraded(cluster) == ("Deployed", "False"), "all is well again", 120
    )


def phase_and_degraded(cluster) -> tuple[str, str]:
    status = cluster.get("kubevirt", "kubevirt", "kubevirt")["status"]
    states = {one["type"]: one["status"] for one in status["conditions"]}
    return status["phase"], states["Degraded"]


def test_the_kubevirt_object_says_how_many_replicas_there_are(cluster):
    def wish(replicas: int | None) -> None:
        patch = json.dumps({"spec": {"infra": {"replicas": replicas}}})
        cluster.kubectl(
            *("patch", "kubevirt", "kubevirt", "-n", "kubevirt", "--type=merge", "-p", patch)
        )

    def wanted() -> int:
        return cluster.get("deployment", "virt-controller", "kubevirt")["spec"]["replicas"]

    wish(1)
    try:
        servers.until(lambda: wanted() == 1, "one replica", 60)
    finally:
        wish(None)
    servers.until(lambda: wanted() == 2, "two replicas", 60)


@pytest.mark.parametrize("namespace", COMPONENTS)
def test_nobody_was_refused_anything(cluster, namespace):
    for label in COMPONENTS[namespace]:
        said = cluster.run(
            *("kubectl", "logs", "-n", namespace, "-l", label, "--tail", "-1", "--prefix")
        ).stdout
        refused = [line for line in said.splitlines() if "is forbidden" in line]
        assert not refused, refused[:3]


def test_metrics_are_found_behind_upstreams_service(cluster):
    path = "services/https:kubevirt-prometheus-metrics:metrics/proxy/metrics"

    def scraped() -> bool:
        done = cluster.run("kubectl", "get", "--raw", f"/api/v1/namespaces/kubevirt/{path}")
        return "\nkubevirt_" in f"\n{done.stdout}"

    servers.until(scraped, "a component says its metrics", 60)
    for pod in cluster.items("pods", "-n", "kubevirt", "-l", "kubevirt.io=virt-handler"):
        address = pod["status"]["podIP"]
        url = f"https://{address}:8443/metrics"
        assert "# TYPE" in cluster.run("curl", "-sk", "--noproxy", "*", "-m", "30", url).stdout
