"""A vCenter double, an API server and the controller process, for tests of migrations.

Transfer pods need a node; where there is none, `finish_transfers` plays their part: it writes the
status that a transfer would end with.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import servers
import vcenters

from mtv.api import schema

DEADLINE_S = 180.0  # a loaded machine takes its time; nothing waits longer than it must
FORKLIFT = "/apis/forklift.konveyor.io/v1beta1/namespaces/mtv"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TRANSFERS = "/apis/mtv.dev/v1alpha1/namespaces/prod/disktransfers"


@dataclass
class Cluster:
    """Everything that runs."""

    api: servers.ApiServer
    vcenter: vcenters.VCenter
    folder: Path
    arguments: list[str] = field(default_factory=list)
    controller: subprocess.Popen[bytes] | None = None

    def start_controller(self) -> None:
        """Start the controller process; it finds its work by itself."""
        with (self.folder / "controller.log").open("ab") as log:
            self.controller = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mtv_operator.controller.main"),
                    *("--kubeconfig", str(self.api.kubeconfig), *self.arguments),
                ],
                stdout=log,
                stderr=log,
            )

    def kill_controller(self) -> None:
        """End the controller process by SIGKILL."""
        assert self.controller is not None
        self.controller.kill()
        self.controller.wait()

    def mtv(
        self, *arguments: str, stdin: str = "", timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-m", "mtv.cli.main", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.api.kubeconfig), "NO_COLOR": "1"},
        )

    def add_provider(self, name: str = "vc") -> None:
        """Add the double as a Provider."""
        done = self.mtv(
            *("provider", "add", name, "--url", self.vcenter.url, "--user", self.vcenter.user),
            *("--password-stdin", "--insecure"),
            stdin=self.vcenter.password,
        )
        assert done.returncode == 0, done.stderr

    def forklift(self, plural: str, name: str) -> dict[str, Any]:
        """Return an object of Forklift's group in namespace mtv; {} if it is not there."""
        code, found = self.api.request("GET", f"{FORKLIFT}/{plural}/{name}")
        return found if code == 200 else {}

    def conditions(self, plural: str, name: str) -> dict[str, dict[str, Any]]:
        """Return the conditions of an object, by type."""
        status = self.forklift(plural, name).get("status", {})
        return {one["type"]: one for one in status.get("conditions", ())}

    def vm_status(self, plan: str, at: int = 0) -> dict[str, Any]:
        """Return the status of one VM of a plan; {} before there is one."""
        run = self.forklift("plans", plan).get("status", {}).get("migration", {})
        return (run.get("vms") or [{}])[at] if at < len(run.get("vms") or [{}]) else {}

    def until_phase(self, plan: str, *phases: str) -> str:
        """Wait until the first VM of a plan is in one of these phases."""
        return str(
            servers.until(
                lambda: found if (found := self.vm_status(plan).get("phase")) in phases else "",
                f"{plan} in {phases}",
                DEADLINE_S,
            )
        )

    def until_condition(self, plural: str, name: str, *kinds: str) -> dict[str, Any]:
        """Wait for one of these conditions, and return it."""

        def look() -> dict[str, Any] | None:
            found = self.conditions(plural, name)
            return next((found[kind] for kind in kinds if kind in found), None)

        return dict(servers.until(look, f"{plural}/{name}: {kinds}", DEADLINE_S))

    def transfers(self) -> list[dict[str, Any]]:
        """Return the DiskTransfers."""
        return list(self.api.get(TRANSFERS)["items"])

    def unfinished(self) -> list[dict[str, Any]]:
        """Return the transfers that have not ended."""
        ended = ("Succeeded", "Failed")
        return [one for one in self.transfers() if one.get("status", {}).get("phase") not in ended]

    def finish_transfers(self, **status: Any) -> None:
        """Write the end of each transfer as its pod would."""
        for one in servers.until(self.unfinished, "transfers that run", DEADLINE_S):
            total = one["spec"]["disk"]["capacityBytes"]
            ended = {"phase": "Succeeded", "totalBytes": total, "doneBytes": total, **status}
            path = f"{TRANSFERS}/{one['metadata']['name']}/status"
            code, answer = self.api.request(
                "PATCH",
                path,
                {"status": ended},
                content_type="application/merge-patch+json",
            )
            assert code == 200, answer

    def power(self, name: str) -> str:
        """Return the power state of a source VM as vCenter says it."""
        with self.vcenter.session() as session:
            vms = session.pull().vms.values()
            return next(str(vm.power_state) for vm in vms if vm.name == name)


@contextlib.contextmanager
def running(folder: Path, config: dict[str, Any], *arguments: str) -> Iterator[Cluster]:
    """Run all of it in a folder."""
    with (
        vcenters.running(config, folder=folder) as vcenter,
        servers.api_server(folder) as api,
    ):
        for definition in schema.definitions():
            api.post(CRDS, definition)
        for namespace in ("mtv", "prod"):
            api.request(
                "POST",
                "/api/v1/namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            )
        api.post(
            CLASSES,
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "local"},
                "provisioner": "mtv.dev/local",
            },
        )
        cluster = Cluster(api=api, vcenter=vcenter, folder=folder, arguments=list(arguments))
        cluster.start_controller()
        try:
            yield cluster
        finally:
            assert cluster.controller is not None
            if cluster.controller.poll() is None:
                cluster.controller.terminate()
                assert cluster.controller.wait(20) == 0
