"""One cluster, one installation and one vCenter for all tests here; each has VMs of its own."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator

import cluster_homes
import homes
import pytest
import vcenters
from cluster_homes import ClusterHome
from e2e_machines import machine, machines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/cluster/" in str(item.path):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vcenters.VCenter]:
    folder = tmp_path_factory.mktemp("vcenter")
    config = {"vms": [*machines(folder), machine("second")]}
    listen = f"{cluster_homes.GATEWAY}:0"
    with vcenters.running(config, folder=folder, listen=listen) as found:
        yield found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHome]:
    if not os.environ.get("MTV_TEST_CLUSTER"):
        pytest.skip("`make test-cluster` brings a cluster up, and says so in MTV_TEST_CLUSTER")
    assert cluster_homes.is_up(), "no test cluster runs: tests/cluster/cluster.py up --nodes 2"
    found = cluster_homes.connect(tmp_path_factory.mktemp("cluster"))
    try:
        found.install()
        yield found
    finally:
        print(found.logs())


@pytest.fixture(scope="session")
def home(cluster: ClusterHome, vcenter: vcenters.VCenter) -> ClusterHome:
    # What an earlier run left, where the cluster was kept.
    cluster.kubectl("delete", "namespace", "moved", "--ignore-not-found")
    kinds = "plans.forklift.konveyor.io,migrations.forklift.konveyor.io,networkmaps,storagemaps"
    cluster.kubectl("delete", kinds, "--all", "-n", "mtv")
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(cluster_homes.STORAGE_CLASS))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "moved"}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    cluster.kubectl("delete", "provider,secret", "vc", "-n", "mtv", "--ignore-not-found")
    cluster.mtv(
        *("provider", "add", "vc", "--url", vcenter.url, "--user", vcenter.user),
        *("--password-stdin", "--insecure", "-n", "mtv"),
        stdin=vcenter.password,
    )
    return cluster


@pytest.fixture(scope="session")
def guest_url() -> Iterator[str]:
    """The test guest's disk, where pods can fetch it."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(homes.GUEST.parent)
    )
    with http.server.ThreadingHTTPServer((cluster_homes.GATEWAY, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{cluster_homes.GATEWAY}:{server.server_port}/{homes.GUEST.name}"
        server.shutdown()
