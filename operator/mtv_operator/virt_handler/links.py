"""Network devices in the namespace that the thread is in: read and made. All may be repeated."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mtv import errors
from mtv_operator.virt_handler.guest_network import Bridged, Nic

IPV4 = 2  # AF_INET
GATEWAY = "gateway "  # what a stand-in's alias begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the pod's network made of a device. Addresses come with their prefix."""

    mac: str
    mtu: int
    addresses: tuple[tuple[str, int], ...]
    gateway: str


def index(route: IPRoute, name: str) -> int | None:
    """Return the number of a device, or None."""
    found = route.link_lookup(ifname=name)
    return int(found[0]) if found else None


def facts(route: IPRoute, name: str) -> Facts:
    """Return what a device has. Raises Retryable where it is not there."""
    number = index(route, name)
    if number is None:
        raise errors.Retryable(f"the pod has no {name} yet")
    (link,) = route.get_links(number)
    addresses = tuple(
        (str(_attribute(entry, "IFA_ADDRESS")), int(entry["prefixlen"]))
        for entry in route.get_addr(index=number)
        if entry["scope"] == 0  # RT_SCOPE_UNIVERSE
    )
    alias = str(_attribute(link, "IFLA_IFALIAS") or "")
    return Facts(
        mac=str(_attribute(link, "IFLA_ADDRESS")),
        mtu=int(_attribute(link, "IFLA_MTU") or 1500),
        addresses=tuple(one for one in addresses if "." in one[0]) or addresses,
        gateway=alias.removeprefix(GATEWAY).strip() or _gateway(route, number),
    )


def _gateway(route: IPRoute, number: int) -> str:
    for entry in route.get_default_routes(family=IPV4):
        if _attribute(entry, "RTA_OIF") == number and _attribute(entry, "RTA_GATEWAY"):
            return str(_attribute(entry, "RTA_GATEWAY"))
    return ""


def _attribute(message: Any, name: str) -> Any:  # noqa: ANN401  (netlink is untyped)
    return message.get_attr(name)


def other_mac(seed: str) -> str:
    """Return a local MAC that is made of a text: the same each time."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "06:" + ":".join(f"{byte:02x}" for byte in digest[:5])


def bridge(route: IPRoute, name: str, mac: str, mtu: int) -> int:
    """Make a bridge; return its number."""
    number = index(route, name)
    if number is None:
        route.link("add", ifname=name, kind="bridge")
        number = _made(route, name)
    route.link("set", index=number, address=mac, mtu=mtu, state="up")
    return number


def add_address(route: IPRoute, number: int, address: str, prefix: int) -> None:
    """Give a device an address, once."""
    try:
        route.addr("add", index=number, address=address, prefixlen=prefix)
    except NetlinkError as fault:
        if fault.code != errno.EEXIST:
            raise


def tap(route: IPRoute, nic: Nic, mtu: int, master: int, uid: int) -> None:
    """Make the tap device of a NIC, for QEMU's user."""
    number = index(route, nic.tap)
    if number is None:
        route.link(
            "add",
            ifname=nic.tap,
            kind="tuntap",
            mode="tap",
            uid=uid,
            gid=uid,
            multi_queue=nic.queues > 1,
        )
        number = _made(route, nic.tap)
    route.link("set", index=number, mtu=mtu, master=master, state="up")


def give_up(route: IPRoute, nic: Bridged) -> Facts:
    """Free a pod's device for a bridge; return what it had, which another keeps under its name.

    That one is complete, which its alias says, before the device is touched.
    """
    if index(route, nic.port) is None:
        device = index(route, nic.device)
        if device is None:
            raise errors.Retryable(
                f"the pod has no {nic.device} for interface {nic.interface} yet",
                hint="is its NetworkAttachmentDefinition there, and does the node have Multus?",
            )
        _make_stand_in(route, nic)
        route.link("set", index=device, state="down")
        route.link("set", index=device, ifname=nic.port)
    stand_in = index(route, nic.stand_in)
    if stand_in is not None:
        route.link("set", index=stand_in, ifname=nic.device)
    found = facts(route, nic.device)
    number = _made(route, nic.device)
    route.link("set", index=number, state="up")
    if found.gateway:
        route.route("replace", dst="default", gateway=found.gateway, oif=number, flags="onlink")
    return found


def _make_stand_in(route: IPRoute, nic: Bridged) -> None:
    known = index(route, nic.stand_in)
    if known is not None:
        (link,) = route.get_links(known)
        if _attribute(link, "IFLA_IFALIAS"):
            return
        route.link("del", index=known)
    found = facts(route, nic.device)
    # A bridge without ports, since not every kernel has dummies.
    route.link("add", ifname=nic.stand_in, kind="bridge")
    number = _made(route, nic.stand_in)
    route.link("set", index=number, address=found.mac, mtu=found.mtu)
    for address, prefix in found.addresses:
        add_address(route, number, address, prefix)
    route.link("set", index=number, ifalias=GATEWAY + found.gateway)


def enslave(route: IPRoute, name: str, mac: str, master: int) -> None:
    """Put a device that was given up into a bridge, without addresses of its own."""
    number = _made(route, name)
    route.flush_addr(index=number)
    route.link("set", index=number, address=mac, master=master, state="up")


def _made(route: IPRoute, name: str) -> int:
    number = index(route, name)
    if number is None:
        raise errors.Retryable(f"the device {name} went away")
    return number
