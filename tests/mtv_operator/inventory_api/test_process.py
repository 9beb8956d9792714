"""The process `mtv-inventory` against a vCenter and an API server, asked as kubectl-mtv asks."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import migration_cluster
import pytest
import servers
from migration_cluster import Cluster

pytestmark = pytest.mark.vcenter

ACCOUNTS = "/api/v1/namespaces/mtv/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/mtv"
CONFIG = {
    "vms": [
        {
            "name": "web1",
            "poweredOn": True,
            "disks": [{"sizeMB": 16}],
            "nics": [{"network": "VM Network"}],
        },
        {
            "name": "db1",
            "disks": [{"sizeMB": 16}, {"sizeMB": 32}],
            "nics": [{"network": "VM Network"}],
        },
    ]
}


@dataclass
class Api:
    """The running process, and who to ask it as."""

    cluster: Cluster
    port: int
    process: subprocess.Popen[bytes]

    def ask(
        self, path: str, *, user: str = "admin", token: str = "", headers: Any = None
    ) -> tuple[int, Any]:
        context: ssl.SSLContext = self.cluster.api.tls("" if token else user)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=context, timeout=60
        )
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", path, headers={**sent, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        is_json = "json" in (answer.headers.get("Content-Type") or "")
        return answer.status, json.loads(text) if is_json else text.decode() or None

    def provider(self, name: str = "vc", kind: str = "vsphere") -> str:
        uid = self.cluster.forklift("providers", name)["metadata"]["uid"]
        return f"/providers/{kind}/{uid}"

    def get(self, path: str) -> Any:
        code, found = self.ask(path)
        assert code == 200, found
        return found


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("inventory")
    with migration_cluster.running(folder, CONFIG) as cluster:
        cluster.add_provider()
        port = servers.free_port()
        pair = cluster.api.pki.issue("inventory", common_name="inventory", addresses=["127.0.0.1"])
        with (folder / "inventory.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mtv_operator.inventory_api.main"),
                    *("--kubeconfig", str(cluster.api.kubeconfig)),
                    *("--listen", f"127.0.0.1:{port}"),
                    *("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)),
                    *("--client-ca", str(cluster.api.pki.certificate_path)),
                ],
                stdout=log,
                stderr=log,
            )
        found = Api(cluster=cluster, port=port, process=process)
        try:
            servers.until(lambda: answers(found), "the inventory API answers", 60)
            yield found
        finally:
            process.terminate()
            assert process.wait(20) == 0, (folder / "inventory.log").read_text()


def answers(api: Api) -> bool:
    try:
        return api.ask("/healthz", user="")[0] == 200
    except OSError:
        assert api.process.poll() is None
        return False


def token_of(cluster: Cluster, name: str) -> str:
    """Make a service account, and a token for it."""
    cluster.api.post(
        ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    )
    made = cluster.api.post(
        f"{ACCOUNTS}/{name}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    return str(made["status"]["token"])


def allow(cluster: Cluster, name: str, verbs: list[str]) -> None:
    """Let a service account do something with Providers of namespace mtv."""
    rule = {"apiGroups": ["forklift.konveyor.io"], "resources": ["providers"], "verbs": verbs}
    group = "rbac.authorization.k8s.io"
    cluster.api.post(
        f"{RBAC}/roles",
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": [rule],
        },
    )
    cluster.api.post(
        f"{RBAC}/rolebindings",
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "mtv"}],
        },
    )


def test_virtual_machines_are_listed_in_full_whatever_detail_is_asked(api):
    found = api.get(f"{api.provider()}/vms?detail=4")
    assert {one["name"] for one in found} == {"web1", "db1"}
    db1 = next(one for one in found if one["name"] == "db1")
    assert [disk["capacity"] >> 20 for disk in db1["disks"]] == [16, 32]
    assert db1["powerState"] == "poweredOff"
    assert db1["memoryMB"] > 0
    assert api.get(f"{api.provider()}/vms") == found


def test_virtual_machine_is_found_by_id_and_by_the_end_of_its_path(api):
    (web1,) = api.get(f"{api.provider()}/vms?name=web1")
    assert api.get(f"/{web1['selfLink']}")["name"] == "web1"
    (found,) = api.get(f"{api.provider()}/vms?name={'/'.join(web1['path'].split('/')[-2:])}")
    assert found["id"] == web1["id"]
    assert api.ask(f"{api.provider()}/vms/vm-none")[0] == 404


def test_every_collection_and_tree_answers(api):
    for collection in ("networks", "datastores", "hosts", "clusters", "datacenters", "folders"):
        found = api.get(f"{api.provider()}/{collection}?detail=4")
        assert found, collection
        assert all({"id", "name", "path", "selfLink"} <= one.keys() for one in found)
    (workload,) = api.get(f"{api.provider()}/workloads?name=web1")
    assert workload["host"]["cluster"]["name"]
    for kind in ("vm", "host"):
        tree = api.get(f"{api.provider()}/tree/{kind}")
        assert "web1" in json.dumps(tree)
        assert tree["children"][0]["kind"] == "Datacenter"
    assert api.ask(f"{api.provider()}/unheard")[0] == 404


def test_providers_are_listed_by_type_with_counts(api):
    found = api.get("/providers?detail=1")
    (vc,) = found["vsphere"]
    assert (vc["name"], vc["namespace"], vc["vmCount"]) == ("vc", "mtv", 2)
    assert vc["object"]["spec"]["type"] == "vsphere"
    assert found["openstack"] == []
    assert set(api.get("/providers")["vsphere"][0]) == {
        "uid", "version", "namespace", "name", "selfLink",
    }  # fmt: skip


def test_change_at_the_source_is_seen(api):
    api.cluster.vcenter.change("db1", power="on")

    def power() -> str:
        (found,) = api.get(f"{api.provider()}/vms?name=db1")
        return str(found["powerState"])

    servers.until(lambda: power() == "poweredOn", "db1 is on", 60)
    api.cluster.vcenter.change("db1", power="off")


def test_cluster_offers_its_storage_classes_and_namespaces(api):
    providers = api.get("/providers")["openshift"]
    assert providers, "the controller makes the provider `host`"
    link = f"/{providers[0]['selfLink']}"
    (local,) = api.get(f"{link}/storageclasses?detail=4")
    assert (local["name"], local["object"]["provisioner"]) == ("local", "mtv.dev/local")
    assert "prod" in {one["name"] for one in api.get(f"{link}/namespaces")}
    assert api.get(f"{link}/networkattachmentdefinitions?detail=4") == []


def test_nobody_and_strangers_are_refused(api):
    assert api.ask("/providers", user="")[0] == 401
    assert api.ask("/providers", token="nonsense")[0] == 401
    code, found = api.ask(f"{api.provider()}/vms", user="stranger")
    assert code == 403
    assert 'User "stranger" cannot get resource "providers"' in found["error"]


def test_token_reads_what_its_roles_allow_and_no_more(api):
    token = token_of(api.cluster, "reader")
    assert api.ask(f"{api.provider()}/vms", token=token)[0] == 403
    second = token_of(api.cluster, "reader2")
    allow(api.cluster, "reader2", ["get"])
    assert api.ask(f"{api.provider()}/vms", token=second)[0] == 200
    assert api.ask("/providers", token=second)[0] == 403


def test_unknown_provider_says_so_in_a_header(api):
    code, _ = api.ask("/providers/vsphere/00000000-0000-0000-0000-000000000000/vms")
    assert code == 404
    assert api.ask("/providers/nothing")[0] == 404
    assert api.ask("/providers?detail=much")[0] == 400


def test_source_that_is_not_loaded_is_partial_content(api):
    api.cluster.api.post(
        "/api/v1/namespaces/mtv/secrets",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "away"},
            "stringData": {"user": "u", "password": "p", "insecureSkipVerify": "true"},
        },
    )
    api.cluster.api.post(
        f"{migration_cluster.FORKLIFT}/providers",
        {
            "apiVersion": "forklift.konveyor.io/v1beta1",
            "kind": "Provider",
            "metadata": {"name": "away", "namespace": "mtv"},
            "spec": {
                "type": "vsphere",
                "url": f"https://127.0.0.1:{servers.free_port()}/sdk",
                "secret": {"name": "away", "namespace": "mtv"},
            },
        },
    )
    link = api.provider("away")
    servers.until(lambda: api.ask(link)[0] == 200, "the provider is known")
    code, found = api.ask(f"{link}/vms")
    assert (code, found) == (206, None)
