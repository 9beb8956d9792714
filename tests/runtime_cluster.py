"""An API server with the real virt-api and the real controllers of VMs; nodes are played."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import servers
from kubevirt_objects import vm_document

from mtv.api import schema
from mtv_operator.embedded import pki
from mtv_operator.objects import Caches, Client
from mtv_operator.reconciling import Loop
from mtv_operator.virt_controller import controllers

VMS = "/apis/kubevirt.io/v1/namespaces/prod/virtualmachines"
VMIS = "/apis/kubevirt.io/v1/namespaces/prod/virtualmachineinstances"
PODS = "/api/v1/namespaces/prod/pods"
SUBRESOURCES = "/apis/subresources.kubevirt.io/v1/namespaces/prod"
ADMIN = "admin-of-the-runtime"  # whom virt-api believes to be of the runtime


@dataclass
class Runtime:
    """The API server, and what plays on it."""

    api: servers.ApiServer
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.api.folder / "virt-api.log"

    def start_virt_api(self) -> None:
        authority = self.api.pki
        pair = authority.issue(
            "virt-api", common_name="virt-api", addresses=["virt-api.kubevirt.svc"]
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mtv_operator.virt_api.main"),
                    *("--kubeconfig", str(self.api.kubeconfig)),
                    *("--listen", f"127.0.0.1:{self.port}"),
                    *("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)),
                    *("--client-ca", str(authority.certificate_path)),
                    *("--trusted-user", ADMIN),
                ],
                stdout=log,
                stderr=log,
            )
        servers.until(self._answers, f"virt-api answers, see {self.log}", 30)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"virt-api ended: {self.log.read_text()[-2000:]}")
        code, _ = self.api.request("GET", "/apis/subresources.kubevirt.io/v1/version")
        return code == 200 and "registered" in self.log.read_text()

    def stop_virt_api(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=servers.DEADLINE_S)

    # objects

    def create_vm(self, name: str, **spec: Any) -> Any:
        document = vm_document(**spec)
        document["metadata"]["name"] = name
        return self.api.post(VMS, document)

    def put(self, path: str, body: object = None) -> tuple[int, Any]:
        return self.api.request("PUT", f"{SUBRESOURCES}/{path}", body)

    def vm(self, name: str) -> Any:
        return self.api.get(f"{VMS}/{name}")

    def vmi(self, name: str) -> Any:
        code, found = self.api.request("GET", f"{VMIS}/{name}")
        return found if code == 200 else None

    def printable(self, name: str) -> str:
        return str(self.vm(name).get("status", {}).get("printableStatus", ""))

    def until_status(self, name: str, word: str) -> Any:
        return servers.until(
            lambda: self.vm(name) if self.printable(name) == word else None,
            f"{name} is {word}, it is {self.printable(name)}",
        )

    def until_phase(self, name: str, phase: str) -> Any:
        def look() -> Any:
            found = self.vmi(name)
            return found if found and found["status"].get("phase") == phase else None

        return servers.until(look, f"{name} is {phase}")

    # the node, played

    def pod_of(self, name: str) -> Any:
        def look() -> Any:
            selector = f"{PODS}?labelSelector=vmi.kubevirt.io/id={name}"
            pods = self.api.get(selector)["items"]
            live = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
            return live[0] if live else None

        return servers.until(look, f"{name} has a pod")

    def run_pod(self, name: str) -> Any:
        """Schedule the pod and start its container, as scheduler and kubelet would."""
        pod = self.pod_of(name)
        path = f"{PODS}/{pod['metadata']['name']}"
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod["metadata"]["name"]},
            "target": {"kind": "Node", "name": "node1"},
        }
        assert self.api.request("POST", f"{path}/binding", binding)[0] == 201
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        self.set_pod(path, "Running", state)
        return self.api.get(path)

    def set_pod(self, path: str, phase: str, state: dict[str, Any]) -> None:
        container = {"name": "compute", "state": state, "ready": "running" in state}
        container |= {"restartCount": 0, "image": "", "imageID": ""}
        status = {"phase": phase, "containerStatuses": [container]}
        self.merge(f"{path}/status", {"status": status})

    def end_pod(self, pod: dict[str, Any]) -> None:
        path = f"{PODS}/{pod['metadata']['name']}"
        self.api.request("DELETE", path, {"gracePeriodSeconds": 0})

    def merge(self, path: str, patch: object, user: str = "admin") -> Any:
        code, found = self.api.request(
            "PATCH", path, patch, content_type="application/merge-patch+json", user=user
        )
        assert code == 200, found
        return found

    def handler_says(self, name: str, phase: str, **status: Any) -> Any:
        """Write an instance's status as virt-handler does."""
        found = self.vmi(name)
        passed = [
            *found["status"].get("phaseTransitionTimestamps", ()),
            {"phase": phase, "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"},
        ]
        changed = {"phase": phase, "phaseTransitionTimestamps": passed, **status}
        return self.merge(f"{VMIS}/{name}", {"status": changed}, user=ADMIN)

    def boot(self, name: str, **status: Any) -> Any:
        """Play a whole boot; return the pod."""
        pod = self.run_pod(name)
        self.until_phase(name, "Scheduled")
        self.handler_says(name, "Running", **status)
        self.until_status(name, "Running")
        return pod


def claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "prod"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def node(address: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1", "labels": {"kubevirt.io/schedulable": "true"}},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


@contextlib.contextmanager
def runtime(folder: Path) -> Iterator[Runtime]:
    """Run everything; ended when left."""
    with servers.api_server(folder) as api:
        _first_objects(api)
        played = Runtime(api=api, port=servers.free_port())
        stop = threading.Event()
        thread = threading.Thread(target=_control, args=(api, stop), name="controllers")
        try:
            played.start_virt_api()
            thread.start()
            yield played
        finally:
            stop.set()
            if thread.ident:
                thread.join(servers.DEADLINE_S)
            if played.process is not None and played.process.poll() is None:
                played.stop_virt_api()


def kubeconfig_of(api: servers.ApiServer, user: str) -> Path:
    """Return a kubeconfig with a certificate of this user."""
    pair = api.pki.issue(f"client-{user}", common_name=user)
    path = api.folder / f"{user}.kubeconfig"
    text = pki.kubeconfig(server=api.url, ca=api.pki.certificate_path, client=pair)
    path.write_text(text)
    return path


def _first_objects(api: servers.ApiServer) -> None:
    for name in ("kubevirt", "prod"):
        api.post(
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        )
    for definition in schema.definitions():
        api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    api.post(
        "/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts",
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "KubeVirt",
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"developerConfiguration": {"useEmulation": True}}},
        },
    )
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "runtime"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
        "subjects": [
            {
                "kind": "User",
                "apiGroup": "rbac.authorization.k8s.io",
                "name": ADMIN,
            }
        ],
    }
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    api.post("/api/v1/nodes", node())
    api.post("/api/v1/namespaces/prod/persistentvolumeclaims", claim("web1-root"))


def _control(api: servers.ApiServer, stop: threading.Event) -> None:
    with Client.connect(str(kubeconfig_of(api, ADMIN))) as client, Caches(client) as caches:
        built = controllers.build(client, caches, controllers.Settings())
        loop = Loop(built.controllers, workers=2, stop=stop)
        built.wire(loop.enqueue)
        caches.start()
        caches.wait_synced(servers.DEADLINE_S)
        loop.run()
