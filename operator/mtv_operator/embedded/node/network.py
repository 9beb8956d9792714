"""The machine's pod network: one bridge, NAT to the outside, a namespace and an address per pod.

All nodes of a machine share one flat network (10.244.0.0/16, say): the bridge has its first
address, each node gives its pods addresses of its own /24. The programs `ip` and `nft` do the work:
importing pyroute2 would cost each node 0.3 s and 25 MB. Every step may be repeated.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtv import errors

NETNS_FOLDER = Path("/run/netns")
POD_INTERFACE = "eth0"
TIMEOUT_S = 60.0  # the kernel takes its time over a namespace when it is busy
DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """The network that all pods of a machine are in."""

    bridge: str
    cidr: str

    @property
    def gateway(self) -> str:
        """Return the bridge's address: the pods' way out, and where they find the API server."""
        return str(ipaddress.IPv4Network(self.cidr)[1])

    @property
    def prefix_length(self) -> int:
        """Return the length of the network's prefix."""
        return ipaddress.IPv4Network(self.cidr).prefixlen

    @property
    def table(self) -> str:
        """Return the name of our nftables table, one per bridge."""
        return f"mtv-{self.bridge}"

    def node_network(self, index: int) -> str:
        """Return the part of the network whose addresses node `index` (from 1) gives out.

        Raises BadInput when the network is too small for so many nodes.
        """
        parts = list(ipaddress.IPv4Network(self.cidr).subnets(new_prefix=24))
        if index >= len(parts):
            raise errors.BadInput(
                f"{self.cidr} holds {len(parts) - 1} nodes, {index} were asked for",
                field="--pod-cidr",
                hint="give a larger network, 10.244.0.0/16 for instance",
            )
        return str(parts[index])


def ip(*arguments: str, namespace: str = "", batch: str = "") -> str:
    """Run `ip` and return what it prints.

    Raises TargetRefused with its own words, TargetUnavailable when it does not end.
    """
    command = ["ip", *(["-n", namespace] if namespace else []), *arguments]
    done = _run(command, batch)
    if done.returncode:
        what = " ".join(command) + (f" ({batch.strip()})" if batch else "")
        raise errors.TargetRefused(f"`{what}`: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _run(command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as fault:
        raise errors.TargetUnavailable(
            f"`{' '.join(command)}` has not ended within {TIMEOUT_S:.0f} s",
            hint="the machine is very busy: try again",
        ) from fault


def links(namespace: str = "") -> list[dict[str, Any]]:
    """Return the interfaces of a namespace, as `ip -json` describes them."""
    return list(json.loads(ip("-json", "-details", "link", "show", namespace=namespace) or "[]"))


def link(name: str) -> dict[str, Any] | None:
    """Return one interface, or None."""
    return next((found for found in links() if found.get("ifname") == name), None)


def outside_mtu() -> int:
    """Return the MTU of the default route's interface; pods must not send larger packets."""
    for route in json.loads(ip("-json", "route", "show", "default") or "[]"):
        found = link(route.get("dev", ""))
        if found:
            return min(int(found["mtu"]), DEFAULT_MTU)
    return DEFAULT_MTU


def check_bridge(network: PodNetwork, owner: str) -> bool:
    """Tell whether our bridge is there. Raises TargetRefused when somebody else's is."""
    found = link(network.bridge)
    if found is not None and found.get("ifalias", "") != owner:
        raise errors.TargetRefused(
            f"the bridge {network.bridge} belongs to {found.get('ifalias') or 'somebody else'},"
            f" not to {owner}",
            hint="`mtv down --purge` with that data folder takes it away; or choose another name"
            " with --bridge",
        )
    return found is not None


def ensure_bridge(network: PodNetwork, owner: str) -> None:
    """Make the bridge and NAT of this machine, if they are not there.

    Raises TargetRefused when the bridge belongs to another data folder.
    """
    if not check_bridge(network, owner):
        ip("link", "add", network.bridge, "mtu", str(outside_mtu()), "type", "bridge")
        ip("link", "set", network.bridge, "alias", owner)
    # Without an own address the bridge would take that of its newest port, and change it.
    ip(
        "-batch",
        "-",
        batch=f"link set {network.bridge} address {mac_of(network.gateway)} up\n"
        f"addr replace {network.gateway}/{network.prefix_length} dev {network.bridge}\n",
    )
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    nft(nat_rules(network))


def nat_rules(network: PodNetwork) -> str:
    """Return the nftables script that gives pods a way out; it may be run again. Pure."""
    return f"""
table ip {network.table} {{}}
delete table ip {network.table}
table ip {network.table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {network.cidr} ip daddr != {network.cidr} masquerade
  }}
}}
"""


def nft(script: str) -> None:
    """Run an nftables script, all of it or nothing. Raises TargetRefused, TargetUnavailable."""
    done = _run(["nft", "-f", "-"], script)
    if done.returncode:
        raise errors.TargetRefused(f"nft: {done.stderr.strip()}")


def remove_bridge(network: PodNetwork) -> None:
    """Take the bridge and NAT away; fine when they are gone."""
    if link(network.bridge) is not None:
        ip("link", "delete", network.bridge)
    if shutil.which("nft"):
        nft(f"table ip {network.table} {{}}\ndelete table ip {network.table}\n")


def namespace_name(pod_uid: str) -> str:
    """Return the name of a pod's network namespace, as `ip netns` shows it."""
    return f"mtv-{pod_uid}"


def port_name(pod_uid: str) -> str:
    """Return the name of a pod's interface on the bridge; the kernel allows 15 characters."""
    return "mtv" + hashlib.sha256(pod_uid.encode()).hexdigest()[:12]


def mac_of(address: str) -> str:
    """Return the MAC that goes with an address: a new owner has no stale neighbours."""
    return "02:58:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def namespaces() -> list[str]:
    """Return the names of all network namespaces that have one."""
    return [path.name for path in NETNS_FOLDER.iterdir()] if NETNS_FOLDER.is_dir() else []


def attach(network: PodNetwork, pod_uid: str, address: str) -> str:
    """Give a pod its namespace, interface and address; return the namespace's path.

    Repeating it mends what a crash left half done.
    """
    name, port = namespace_name(pod_uid), port_name(pod_uid)
    path = NETNS_FOLDER / name
    if name in namespaces() and _complete(name, address):
        return str(path)
    detach(pod_uid)
    mtu = (link(network.bridge) or {}).get("mtu", DEFAULT_MTU)
    ip("netns", "add", name)
    ip(
        *("link", "add", port, "mtu", str(mtu), "type", "veth"),
        *("peer", "name", POD_INTERFACE, "mtu", str(mtu)),
        *("address", mac_of(address), "netns", name),
    )
    ip("link", "set", port, "master", network.bridge, "up")
    ip(
        "-batch",
        "-",
        namespace=name,
        batch=f"link set lo up\n"
        f"addr add {address}/{network.prefix_length} dev {POD_INTERFACE}\n"
        f"link set {POD_INTERFACE} up\n"
        f"route add default via {network.gateway}\n",
    )
    return str(path)


def _complete(namespace: str, address: str) -> bool:
    """Tell whether the last step of `attach` was done: the default route is there."""
    try:
        routes = json.loads(ip("-json", "route", "show", "default", namespace=namespace) or "[]")
        found = json.loads(ip("-json", "addr", "show", namespace=namespace) or "[]")
    except errors.TargetRefused:  # the name is there, the namespace not mounted
        return False
    local = [entry.get("local") for one in found for entry in one.get("addr_info", [])]
    return bool(routes) and address in local


def detach(pod_uid: str) -> None:
    """Take a pod's interface and namespace away; fine when they are gone."""
    port, name = port_name(pod_uid), namespace_name(pod_uid)
    if Path(f"/sys/class/net/{port}").exists():
        ip("link", "delete", port)
    if name in namespaces():
        ip("netns", "delete", name)
