"""Makes a pod's network namespace what `guest_network` says it shall be.

Everything here may be repeated, and may have been interrupted anywhere: what is there is kept,
what is missing is made, the translation rules are replaced in one transaction.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import logging
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mtv import errors
from mtv_operator.virt_handler import guest_network, links, namespaces
from mtv_operator.virt_handler.guest_network import Bridged, GuestNetwork, Nic

log = logging.getLogger(__name__)

DHCP_PORT = 67
NFT_TIMEOUT_S = 20.0
FAKE_ADDRESSES = "169.254.75"  # of bridges that answer DHCP for the pod's own address, as upstream
SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_STXCSUM = 0x17  # linux/ethtool.h


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """What the pod's own device says: the pod's addresses and its MTU."""

    addresses: tuple[str, ...]
    mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A NIC that was connected; with an `address` the guest is told it by DHCP."""

    mac: str
    mtu: int
    address: str = ""
    prefix: int = 24
    router: str = ""
    server: str = ""


def apply(
    namespace: Path, nics: Sequence[Nic], uid: int = guest_network.QEMU_UID
) -> tuple[Connected, ...]:
    """Make bridges, taps and rules in the pod's namespace; return what the guest gets, by NIC.

    Raises Retryable when the kernel or nft refuses, TargetRefused when nft is missing.
    """
    if namespaces.same_namespace(namespace, Path("/proc/self/ns/net")):
        raise errors.TargetRefused(
            "the launcher pod is on the node's own network, where a guest cannot be connected",
            hint="the launcher pod must not use hostNetwork",
        )
    try:
        return namespaces.inside(namespace, lambda: _apply(nics, uid))
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
        facts = links.facts(route, guest_network.POD_DEVICE)
    return PodAddress(addresses=tuple(one for one, _ in facts.addresses), mtu=facts.mtu)


def _apply(nics: Sequence[Nic], uid: int) -> tuple[Connected, ...]:
    # The launcher answers DHCP without any capability.
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text(f"{DHCP_PORT}")
    found = []
    with IPRoute() as route:
        for number, nic in enumerate(nics):
            if isinstance(nic, GuestNetwork):
                found.append(_masquerade(route, nic, uid))
            else:
                found.append(_bridged(route, nic, uid, f"{FAKE_ADDRESSES}.{10 + number}"))
            _switch_checksums_off(nic.bridge)
    return tuple(found)


def _masquerade(route: IPRoute, nic: GuestNetwork, uid: int) -> Connected:
    """Connect a NIC behind the pod's address."""
    pod = links.facts(route, nic.device)
    bridge = links.bridge(route, nic.bridge, guest_network.BRIDGE_MAC, pod.mtu)
    links.add_address(route, bridge, nic.gateway, nic.prefix)
    links.tap(route, nic, pod.mtu, bridge, uid)
    for name in ("ip_forward", f"conf/{nic.bridge}/route_localnet"):
        Path(f"/proc/sys/net/ipv4/{name}").write_text("1")
    _load_rules(guest_network.rules(nic))
    return Connected(
        mac=nic.mac,
        mtu=pod.mtu,
        address=nic.address,
        prefix=nic.prefix,
        router=nic.gateway,
        server=nic.gateway,
    )


def _bridged(route: IPRoute, nic: Bridged, uid: int, server: str) -> Connected:
    """Put a NIC on the wire of a pod's device; what address that had, the guest is told."""
    pod = links.give_up(route, nic)
    bridge = links.bridge(route, nic.bridge, links.other_mac(f"{pod.mac}/bridge"), pod.mtu)
    # Two devices of the namespace are on that wire; only the guest answers for its address.
    Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("1")
    Path(f"/proc/sys/net/ipv6/conf/{nic.bridge}/disable_ipv6").write_text("1")
    links.enslave(route, nic.port, links.other_mac(f"{pod.mac}/port"), bridge)
    links.tap(route, nic, pod.mtu, bridge, uid)
    mac = nic.mac or pod.mac
    if not pod.addresses:
        return Connected(mac=mac, mtu=pod.mtu)
    links.add_address(route, bridge, server, 32)
    address, prefix = pod.addresses[0]
    return Connected(
        mac=mac, mtu=pod.mtu, address=address, prefix=prefix, router=pod.gateway, server=server
    )


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
