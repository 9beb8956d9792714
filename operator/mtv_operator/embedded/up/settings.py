"""What `mtv up` was asked for, and where everything lies below the data folder."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Literal

import msgspec

from mtv import errors
from mtv_operator.embedded import pki
from mtv_operator.embedded.node import network
from mtv_operator.embedded.node.network import PodNetwork

DEFAULT_DATA_DIR = Path("/var/lib/mtv")
KUBELET_PORT = 10250  # as on every Kubernetes node
HANDLER_PORT = 8186  # as KubeVirt's virt-handler
VIRT_API_PORT = 8443
INVENTORY_PORT = 8444  # Forklift's is 8443, which virt-api has here
# Upstream's metrics are on 8443 too, in pods of their own.
CONTROLLER_METRICS_PORT, HANDLER_METRICS_PORT = 8445, 8446
MAX_BRIDGE = 10  # the kernel allows 15 characters, and the ports of nodes add some

Emulation = Literal["auto", "allow", "never"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One installation of the embedded home. Kept in `<data>/settings.json`."""

    data_dir: str = str(DEFAULT_DATA_DIR)
    nodes: int = 1
    emulation: Emulation = "auto"
    listen: str = "127.0.0.1:6443"
    pod_cidr: str = "10.244.0.0/16"
    bridge: str = "mtv0"
    without: tuple[str, ...] = ()  # components that somebody starts by hand

    @property
    def folder(self) -> Path:
        """Return the data folder."""
        return Path(self.data_dir)

    @property
    def owner(self) -> str:
        """Return the name that we leave on the bridge."""
        return f"mtv:{self.data_dir}"

    @property
    def network(self) -> PodNetwork:
        """Return the pod network."""
        return PodNetwork(bridge=self.bridge, cidr=self.pod_cidr)

    @property
    def port(self) -> int:
        """Return the API server's port."""
        return int(self.listen.rpartition(":")[2])

    @property
    def server(self) -> str:
        """Return the API server's URL for people and programs on this machine."""
        host = self.listen.rpartition(":")[0]
        return f"https://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{self.port}"

    @property
    def server_for_pods(self) -> str:
        """Return the API server's URL on the pod network."""
        return f"https://{self.network.gateway}:{self.port}"

    @property
    def inventory_listen(self) -> str:
        """Return where the inventory API listens: for everybody if the API server does."""
        host = self.listen.rpartition(":")[0]
        public = ipaddress.ip_address(host).is_unspecified
        return f"{host if public else self.network.gateway}:{INVENTORY_PORT}"

    @property
    def inventory_url(self) -> str:
        """Return the inventory API's URL for people and programs on this machine."""
        return f"https://{self.network.gateway}:{INVENTORY_PORT}"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Return the folder with one log per process."""
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        """Return the folder with what is true of this boot only."""
        return self.folder / "run"

    @property
    def pki(self) -> Path:
        """Return the folder of certificates and keys."""
        return self.folder / "pki"

    @property
    def volumes(self) -> Path:
        """Return the folder of persistent volumes; all nodes of the machine see it."""
        return self.folder / "volumes"

    def node_names(self) -> list[str]:
        """Return the nodes' names: the machine's, then the same with a number."""
        first = node_name(socket.gethostname())
        return [first, *(f"{first}-{index}" for index in range(2, self.nodes + 1))]

    def node_folder(self, name: str) -> Path:
        """Return the folder of one node's state."""
        return self.folder / "nodes" / name

    def node_key(self, name: str) -> str:
        """Return what stands for a node in the pod network, beside the uids of pods."""
        return f"node-{name}"

    def node_namespace(self, name: str, index: int) -> str:
        """Return the path of a node's network namespace; "" for the machine's own."""
        if index == 1:
            return ""
        return str(network.NETNS_FOLDER / network.namespace_name(self.node_key(name)))

    @property
    def kvm_verdict(self) -> Path:
        """Return the file with what was found out about KVM since this machine started."""
        return self.run / "kvm.json"

    def node_address(self, index: int) -> str:
        """Return the address of node `index` (from 1); the first is the machine itself."""
        return str(ipaddress.IPv4Network(self.pod_cidr)[index])


def node_name(hostname: str) -> str:
    """Return the hostname as a name that Kubernetes accepts. Pure."""
    name = re.sub(r"[^a-z0-9.-]+", "-", hostname.lower()).strip("-.")
    return name[:53] or "node"


def check(settings: Settings) -> None:
    """Raise BadInput that names the option, when a setting cannot work."""
    if not re.fullmatch(r"/[A-Za-z0-9._/@+-]+", settings.data_dir):
        raise errors.BadInput(
            f"{settings.data_dir!r} is not an absolute path of letters, digits and ._/@+-",
            field="--data-dir",
        )
    if not 1 <= settings.nodes <= 9:
        raise errors.BadInput(f"seen {settings.nodes}, expected 1 to 9", field="--nodes")
    host, _, port = settings.listen.rpartition(":")
    try:
        ipaddress.ip_address(host)
        valid = 0 < int(port) < 65536
    except ValueError:
        valid = False
    if not valid:
        raise errors.BadInput(
            f"seen {settings.listen!r}, expected ADDRESS:PORT",
            field="--listen",
            hint="127.0.0.1:6443 for this machine only, 0.0.0.0:6443 for everybody",
        )
    try:
        pod_network = ipaddress.IPv4Network(settings.pod_cidr)
    except ValueError as error:
        raise errors.BadInput(str(error), field="--pod-cidr", hint="10.244.0.0/16") from error
    if pod_network.prefixlen > 22 or pod_network.prefixlen < 8:
        raise errors.BadInput(
            f"{pod_network} has a prefix of {pod_network.prefixlen}, expected 8 to 22",
            field="--pod-cidr",
            hint="each node takes a /24 of it",
        )
    settings.network.node_network(settings.nodes)
    if not re.fullmatch(rf"[a-z][a-z0-9-]{{0,{MAX_BRIDGE - 1}}}", settings.bridge):
        raise errors.BadInput(
            f"seen {settings.bridge!r}, expected up to {MAX_BRIDGE} lower-case letters and digits",
            field="--bridge",
        )


def load(data_dir: Path) -> Settings | None:
    """Return the settings kept in a data folder, None when it holds none.

    Raises BadInput when the file is damaged.
    """
    path = data_dir / "settings.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise errors.Forbidden(
            f"{path} may not be read", hint="run as root, as `mtv up` did"
        ) from error
    except msgspec.DecodeError as error:
        raise errors.BadInput(
            str(error), field=str(path), hint="remove the file; the next `mtv up` writes it anew"
        ) from error
    return msgspec.structs.replace(found, data_dir=str(data_dir))


def save(settings: Settings) -> None:
    """Keep the settings in the data folder."""
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = msgspec.json.format(msgspec.json.encode(settings))
    pki.write_private(settings.folder / "settings.json", content)
