"""Certificates and kubeconfigs of one installation, made or found fitting."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mtv_operator.embedded import pki
from mtv_operator.embedded.pki import Pair
from mtv_operator.embedded.up.settings import Settings
from mtv_operator.installation import rbac
from mtv_operator.virt_api.handler_link import HANDLER_NAME

SERVICE_IP = "10.96.0.1"  # where Kubernetes puts its own service by default
SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where everything is that proves who is who."""

    ca: Path
    server: Pair
    front_proxy: Pair
    service_account_key: Path
    virt_api: Pair
    inventory: Pair
    kubeconfigs: dict[str, Path]  # by component
    pairs: dict[str, Pair]


def ensure(settings: Settings) -> Credentials:
    """Make what is missing or about to expire; return where it is."""
    authority = pki.Authority(settings.pki, datetime.now(UTC))
    server = authority.issue(
        "apiserver",
        common_name="kube-apiserver",
        # It asks nodes for logs, as who may do that.
        organisations=[MASTERS],
        addresses=server_names(settings),
    )
    front_proxy = authority.issue("front-proxy", common_name="front-proxy-client")
    virt_api_names = [
        "virt-api.kubevirt.svc",
        "virt-api.kubevirt",
        "virt-api",
        "localhost",
        "127.0.0.1",
        settings.network.gateway,
    ]
    virt_api = authority.issue("virt-api", common_name="virt-api", addresses=virt_api_names)
    # Forklift's names of the service, beside those at which this machine is reached.
    services = [f"forklift-inventory{part}" for part in ("", ".mtv", ".mtv.svc")]
    inventory = authority.issue(
        "inventory",
        common_name="forklift-inventory",
        addresses=[*server_names(settings), *services],
    )
    users = {
        "admin": ("mtv-admin", MASTERS),
        "scheduler": ("system:mtv-scheduler", ""),
        "controller": (rbac.account_user("mtv", "mtv-controller"), ""),
        "inventory": (rbac.account_user("mtv", "mtv-inventory"), ""),
        "virt-api": (rbac.account_user("kubevirt", "kubevirt-apiserver"), ""),
    }
    pairs: dict[str, Pair] = {}
    for index, name in enumerate(settings.node_names(), 1):
        users[f"node-{name}"] = (f"system:node:{name}", "system:nodes")
        handler = f"virt-handler-{name}"
        users[handler] = (rbac.account_user("kubevirt", "kubevirt-handler"), "")
        pairs[handler] = authority.issue(
            f"{handler}-server",
            common_name="virt-handler",
            addresses=[HANDLER_NAME, settings.node_address(index), name, "127.0.0.1"],
        )
    kubeconfigs = {}
    for component, (user, group) in users.items():
        pair = authority.issue(
            f"{component}-client", common_name=user, organisations=[group] if group else []
        )
        path = settings.kubeconfig
        if component != "admin":
            path = settings.pki / f"{component}.kubeconfig"
        # Every component can reach the gateway, from each network namespace of this machine.
        url = settings.server if component == "admin" else settings.server_for_pods
        text = pki.kubeconfig(server=url, ca=authority.certificate_path, client=pair)
        if not path.exists() or path.read_text() != text:
            pki.write_private(path, text.encode())
        kubeconfigs[component] = path
    return Credentials(
        ca=authority.certificate_path,
        server=server,
        front_proxy=front_proxy,
        service_account_key=authority.signing_key("service-account"),
        virt_api=virt_api,
        inventory=inventory,
        kubeconfigs=kubeconfigs,
        pairs=pairs,
    )


def server_names(settings: Settings) -> list[str]:
    """Return the names and addresses at which the API server is reached."""
    host = settings.listen.rpartition(":")[0]
    found = {"localhost", "127.0.0.1", settings.network.gateway, SERVICE_IP, *SERVICE_NAMES}
    name = socket.gethostname()
    if name:
        found.add(name)
    if ipaddress.ip_address(host).is_unspecified:
        found |= own_addresses()
    else:
        found.add(str(ipaddress.ip_address(host)))
    return sorted(found)


def own_addresses() -> set[str]:
    """Return the addresses that this machine is reached at from outside."""
    found = set()
    try:
        for *_, address in socket.getaddrinfo(os.uname().nodename, None, type=socket.SOCK_STREAM):
            found.add(str(address[0]).partition("%")[0])
    except OSError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks for the way out
            found.add(str(probe.getsockname()[0]))
        except OSError:
            pass
    return found
