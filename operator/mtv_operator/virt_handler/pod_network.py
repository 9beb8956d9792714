"""Makes a pod's network namespace what `guest_network` says it shall be.

Everything here may be repeated, and may have been interrupted anywhere: what is there is kept,
what is missing is made, the translation rules are replaced in one transaction.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import logging
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mtv import errors
from mtv_operator.virt_handler import guest_network, namespaces
from mtv_operator.virt_handler.guest_network import GuestNetwork

log = logging.getLogger(__name__)

DHCP_PORT = 67
NFT_TIMEOUT_S = 20.0
SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_STXCSUM = 0x17  # linux/ethtool.h


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """What the pod's own device says: the pod's addresses and its MTU."""

    addresses: tuple[str, ...]
    mtu: int


def apply(namespace: Path, network: GuestNetwork, uid: int = guest_network.QEMU_UID) -> PodAddress:
    """Make bridge, tap and rules in the pod's namespace; return the pod's address and MTU.

    Raises Retryable when the kernel or nft refuses, TargetRefused when nft is missing.
    """
    if namespaces.same_namespace(namespace, Path("/proc/self/ns/net")):
        raise errors.TargetRefused(
            "the launcher pod is on the node's own network, where a guest cannot be connected",
            hint="the launcher pod must not use hostNetwork",
        )
    try:
        return namespaces.inside(namespace, lambda: _apply(network, uid))
    except NetlinkError as fault:
        raise errors.Retryable(f"the pod's network: {fault}") from fault
    except FileNotFoundError as fault:
        raise errors.Retryable(f"the pod is gone: {fault}") from fault
    except OSError as fault:
        raise errors.Retryable(f"the pod's network: {fault}") from fault


def read(namespace: Path) -> PodAddress:
    """Return the address and MTU of a pod. Raises Retryable."""
    try:
        return namespaces.inside(namespace, _read)
    except (NetlinkError, OSError) as fault:
        raise errors.Retryable(f"the pod's network: {fault}") from fault


def _read() -> PodAddress:
    with IPRoute() as route:
        return _pod_address(route)


def _apply(network: GuestNetwork, uid: int) -> PodAddress:
    with IPRoute() as route:
        pod = _pod_address(route)
        bridge = _bridge(route, network, pod.mtu)
        _tap(route, network, pod.mtu, bridge, uid)
    _switch_checksums_off(guest_network.BRIDGE)
    for name in ("ip_forward", f"conf/{guest_network.BRIDGE}/route_localnet"):
        Path(f"/proc/sys/net/ipv4/{name}").write_text("1")
    # The launcher answers DHCP without any capability.
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text(f"{DHCP_PORT}")
    _load_rules(guest_network.rules(network))
    return pod


def _index(route: IPRoute, name: str) -> int | None:
    found = route.link_lookup(ifname=name)
    return int(found[0]) if found else None


def _pod_address(route: IPRoute) -> PodAddress:
    index = _index(route, guest_network.POD_DEVICE)
    if index is None:
        raise errors.Retryable(f"the pod has no {guest_network.POD_DEVICE} yet")
    (link,) = route.get_links(index)
    addresses = [
        str(_attribute(entry, "IFA_ADDRESS"))
        for entry in route.get_addr(index=index)
        if entry["scope"] == 0  # RT_SCOPE_UNIVERSE
    ]
    return PodAddress(addresses=tuple(addresses), mtu=int(_attribute(link, "IFLA_MTU") or 1500))


def _attribute(message: Any, name: str) -> Any:  # noqa: ANN401  (netlink is untyped)
    return message.get_attr(name)


def _bridge(route: IPRoute, network: GuestNetwork, mtu: int) -> int:
    index = _index(route, guest_network.BRIDGE)
    if index is None:
        route.link("add", ifname=guest_network.BRIDGE, kind="bridge")
        index = _index(route, guest_network.BRIDGE)
        assert index is not None
    route.link("set", index=index, address=guest_network.BRIDGE_MAC, mtu=mtu, state="up")
    try:
        route.addr("add", index=index, address=network.gateway, prefixlen=network.prefix)
    except NetlinkError as fault:
        if fault.code != errno.EEXIST:
            raise
    return index


def _tap(route: IPRoute, network: GuestNetwork, mtu: int, bridge: int, uid: int) -> None:
    index = _index(route, guest_network.TAP)
    if index is None:
        route.link(
            "add",
            ifname=guest_network.TAP,
            kind="tuntap",
            mode="tap",
            uid=uid,
            gid=uid,
            multi_queue=network.queues > 1,
        )
        index = _index(route, guest_network.TAP)
        assert index is not None
    route.link("set", index=index, mtu=mtu, master=bridge, state="up")


def _switch_checksums_off(device: str) -> None:
    """Let the kernel finish checksums on the bridge.

    DHCP clients that read raw packets drop replies whose checksum was left to a NIC.
    """
    value = array.array("B", struct.pack("=II", ETHTOOL_STXCSUM, 0))
    address, _ = value.buffer_info()
    request = struct.pack(f"16s{ctypes.sizeof(ctypes.c_void_p)}s", device.encode(), b"")[:16]
    request += struct.pack("P", address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control.fileno(), SIOCETHTOOL, request.ljust(40, b"\0"))
        except OSError as fault:
            log.debug("checksums of %s cannot be changed: %s", device, fault)


def _load_rules(script: str) -> None:
    program = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise errors.TargetRefused(
            "nft is not on this node", hint="on Debian: apt-get install nftables"
        )
    try:
        subprocess.run(
            [program, "-f", "-"],
            input=script,
            text=True,
            check=True,
            capture_output=True,
            timeout=NFT_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as fault:
        raise errors.Retryable(f"nft: {fault.stderr.strip()[:300]}") from fault
    except subprocess.TimeoutExpired as fault:
        raise errors.Retryable("nft did not end in time") from fault
