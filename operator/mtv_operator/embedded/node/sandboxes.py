"""What the containers of a pod share on the node: network, address, volumes, files of /etc."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mtv import errors
from mtv.api.core import Pod, ServiceAccountTokenProjection
from mtv_operator.embedded.node import attachments, etc_files, network, payload, processes, volumes
from mtv_operator.embedded.node.addresses import Pool
from mtv_operator.embedded.node.attempts import PodFolder
from mtv_operator.embedded.node.containers import Sandbox
from mtv_operator.embedded.node.network import PodNetwork
from mtv_operator.embedded.node.payload import Entry
from mtv_operator.embedded.node.volumes import Prepared

ACCESS = "/var/run/secrets/kubernetes.io/serviceaccount"
MARK = "prepared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The node as pods see it."""

    name: str
    address: str
    namespace: str  # a path; "" for the machine's own network namespace
    network: PodNetwork
    owner: str  # of what is made on the machine
    api_host: str
    api_port: int
    ca: Path
    conceal: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandboxes:
    """Makes and removes the surroundings of pods. Every step may be repeated."""

    node: Node
    pool: Pool
    keeper: volumes.Keeper
    definition: attachments.Definition

    def is_prepared(self, folder: PodFolder) -> bool:
        """Tell whether a pod's surroundings were made since this machine started."""
        try:
            return (folder.path / MARK).read_text() == processes.boot_id()
        except FileNotFoundError:
            return False

    def address(self, pod: Pod) -> str:
        """Return a pod's address; "" while it has none."""
        if on_host(pod):
            return self.node.address
        for address, owner in self.pool.taken().items():
            if owner == pod.metadata.uid:
                return address
        return ""

    def prepare(self, pod: Pod, folder: PodFolder) -> Sandbox:
        """Make what the pod's containers share, or mend and return it. Raises MigrationError."""
        folder.path.mkdir(parents=True, exist_ok=True)
        uid = pod.metadata.uid
        if on_host(pod):
            address, namespace = self.node.address, self.node.namespace
        else:
            address = self.pool.take(uid)
            namespace = network.attach(self.node.network, uid, address)
            attachments.attach(pod, self.definition, self.node.network, self.node.owner)
        addresses = self.names_of_addresses(address)
        prepared = self.keeper.prepare(pod, folder.path, addresses)
        sandbox = Sandbox(
            network_namespace=namespace,
            hostname=hostname(pod, self.node.name),
            addresses=addresses,
            volumes=prepared,
            files=self._files(pod, folder, address),
            conceal=self.node.conceal,
            api_host=self.node.api_host,
            api_port=self.node.api_port,
        )
        (folder.path / MARK).write_text(processes.boot_id())
        return sandbox

    def refresh(self, pod: Pod, folder: PodFolder) -> bool:
        """Bring what shows API objects up to date; tell whether the pod has such."""
        shown = self.keeper.refresh(pod, folder.path, self.names_of_addresses(self.address(pod)))
        return bool(self._access(pod, folder)) or shown

    def release(self, uid: str, folder: PodFolder) -> None:
        """Give back what the pod had, but its logs."""
        network.detach(uid)
        self.pool.give_back(uid)
        self.keeper.release(uid, folder.path)
        (folder.path / MARK).unlink(missing_ok=True)

    def names_of_addresses(self, address: str) -> Mapping[str, str]:
        """Return the addresses that the downward API names."""
        return {
            "status.podIP": address,
            "status.podIPs": address,
            "status.hostIP": self.node.address,
            "status.hostIPs": self.node.address,
        }

    def _files(self, pod: Pod, folder: PodFolder, address: str) -> dict[str, str]:
        made = {}
        if not on_host(pod):
            texts = {
                "/etc/hosts": etc_files.hosts(pod, hostname(pod, self.node.name), address),
                "/etc/resolv.conf": etc_files.resolv_conf(pod),
            }
            for target, text in texts.items():
                path = folder.path / target.strip("/").replace("/", "-")
                path.write_text(text, encoding="utf-8")
                path.chmod(0o644)
                made[target] = str(path)
        access = self._access(pod, folder)
        if access is not None:
            made[ACCESS] = str(access)
        return made

    def _access(self, pod: Pod, folder: PodFolder) -> Path | None:
        """Return the folder with the pod's access to the API server, if nothing else gives it."""
        spec = pod.spec
        if spec is None or spec.automount_service_account_token is False or _has_access(pod):
            return None
        try:
            token = self.keeper.source.token(pod, ServiceAccountTokenProjection(path="token"))
        except errors.NotFound:
            if spec.service_account_name in (None, "", "default"):
                return None  # a namespace without accounts: then the pod has none
            raise
        path = volumes.place(folder.path, "projected", "kube-api-access")
        entries = {
            "token": Entry(content=token, mode=volumes.token_mode(pod)),
            "ca.crt": Entry(content=self.node.ca.read_bytes()),
            "namespace": Entry(content=pod.metadata.namespace.encode()),
        }
        payload.write(path, entries, volumes.fs_group(pod))
        return path


def _has_access(pod: Pod) -> bool:
    """Tell whether the API server gave the pod its token as a volume."""
    return pod.spec is not None and any(
        mount.mount_path == ACCESS
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for mount in container.volume_mounts
    )


def on_host(pod: Pod) -> bool:
    """Tell whether the pod is in its node's network."""
    return bool(pod.spec and pod.spec.host_network)


def hostname(pod: Pod, node: str) -> str:
    """Return the name of the machine that a pod sees."""
    if on_host(pod):
        return node
    given = pod.spec.hostname if pod.spec else None
    return (given or pod.metadata.name)[:63].rstrip("-.")


def remember(pod: Pod, folder: PodFolder) -> None:
    """Keep the pod on disk: how it is ended when the API server does not have it any more."""
    path = folder.path / "pod.json"
    content = msgspec.json.encode(pod)
    with_change = not path.exists() or path.read_bytes() != content
    if with_change:
        folder.path.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(".pod.json.new")
        temporary.write_bytes(content)
        temporary.chmod(0o600)
        temporary.replace(path)


def recall(folder: PodFolder) -> Pod | None:
    """Return the pod as it was last seen; Prepared earlier or not."""
    try:
        return msgspec.json.decode((folder.path / "pod.json").read_bytes(), type=Pod)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


__all__ = ["ACCESS", "Node", "Prepared", "Sandboxes", "hostname", "on_host", "recall", "remember"]
