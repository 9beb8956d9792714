"""A real API server, a real virt-handler process, and pods by hand in place of a node."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import servers
from guest.launched import NODE
from guest.pod_by_hand import GUEST_DISK, Pod

from mtv.api import core, installation, kubevirt, meta
from mtv_operator.objects import Client


class Handler:
    """One virt-handler process; may be killed and started again."""

    def __init__(self, api: servers.ApiServer, kubelet_root: Path) -> None:
        self.api = api
        self.kubelet_root = kubelet_root
        self.port = servers.free_port()
        self.log = api.folder / "virt-handler.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        authority = self.api.pki
        pair = authority.issue("handler", common_name="virt-handler", addresses=["127.0.0.1"])
        command = [
            *(sys.executable, "-m", "mtv_operator.virt_handler.main"),
            *("--kubeconfig", str(self.api.kubeconfig), "--node-name", NODE),
            *("--kubelet-root", str(self.kubelet_root)),
            *("--listen", f"127.0.0.1:{self.port}"),
            *("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)),
            *("--client-ca", str(authority.certificate_path), *more),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def context(self, name: str = "virt-api"):
        return self.api.tls(name, groups=())


class World:
    """What a test of the handler acts on."""

    def __init__(self, api: servers.ApiServer, client: Client, handler: Handler) -> None:
        self.api = api
        self.client = client
        self.handler = handler

    def vmi(self, name: str) -> kubevirt.VirtualMachineInstance:
        return self.client.get(kubevirt.VirtualMachineInstance, name, "demo")

    def phase(self, name: str) -> str:
        status = self.vmi(name).status
        return (status.phase if status else None) or ""

    def wait_phase(self, name: str, phase: str, timeout_s: float = 60):
        try:
            servers.until(lambda: self.phase(name) == phase, f"phase {phase}", timeout_s)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.handler.log.read_text()[-4000:]}") from None
        return self.vmi(name)

    def condition(self, name: str, kind: str) -> kubevirt.VirtualMachineInstanceCondition | None:
        status = self.vmi(name).status
        found = status.conditions if status else ()
        return next((one for one in found if one.type == kind), None)

    def events(self, name: str) -> list[tuple[str, str, str]]:
        return [
            (one.type or "", one.reason or "", one.message or "")
            for one in self.client.list(core.Event, "demo")
            if one.involved_object.name == name
        ]

    @contextlib.contextmanager
    def scheduled(
        self, instance: kubevirt.VirtualMachineInstance, folder: Path, *, start: bool = True
    ) -> Iterator[Pod]:
        """Create a VMI and its pod, and hand the VMI over to the node, as virt-controller does."""
        metadata = msgspec.structs.replace(instance.metadata, uid="")
        stored = self.client.create(msgspec.structs.replace(instance, metadata=metadata))
        uid = stored.metadata.uid
        root = self.handler.kubelet_root
        folder.mkdir(exist_ok=True)
        with Pod(folder, instance.metadata.name, uid, kubelet_root=root) as pod:
            pod.claim("root", GUEST_DISK)
            if start:
                pod.start()
            self.hand_over(stored, pod)
            yield pod

    def hand_over(self, stored: kubevirt.VirtualMachineInstance, pod: Pod) -> None:
        labels = {"kubevirt.io/nodeName": NODE}
        info = kubevirt.PersistentVolumeClaimInfo(
            claim_name="root", access_modes=("ReadWriteOnce",), volume_mode="Filesystem"
        )
        status = kubevirt.VirtualMachineInstanceStatus(
            phase="Scheduled",
            node_name=NODE,
            active_pods={pod.uid: NODE},
            volume_status=(
                kubevirt.VolumeStatus(name="root", target="", persistent_volume_claim_info=info),
            ),
        )
        metadata = msgspec.structs.replace(stored.metadata, labels=labels)
        self.client.replace(msgspec.structs.replace(stored, metadata=metadata, status=status))


def allow_emulation(client: Client) -> None:
    """Say `useEmulation` in the KubeVirt object."""
    developer = installation.DeveloperConfiguration(use_emulation=True)
    found = installation.KubeVirtConfiguration(developer_configuration=developer)
    client.create(
        installation.KubeVirt(
            metadata=meta.ObjectMeta(name="kubevirt", namespace="kubevirt"),
            spec=installation.KubeVirtSpec(configuration=found),
        )
    )
