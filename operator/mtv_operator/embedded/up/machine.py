"""What `mtv up` needs of this machine, looked at before anything is started."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mtv import errors
from mtv_operator.embedded.node import network

# Program to the Debian package that has it.
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon",
}
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
# Where pods get their addresses from; the first is also what most clusters take.
NETWORKS = ("10.244.0.0/16", "10.99.0.0/16", "10.177.0.0/16", "172.29.0.0/16")
LISTENING = "0A"  # in /proc/net/tcp


def check_root() -> None:
    """Raise Forbidden unless this is root, who may make namespaces, bridges and mounts."""
    if os.geteuid() != 0:
        raise errors.Forbidden(
            "mtv up must run as root: it makes network and mount namespaces",
            hint="sudo mtv up",
        )


def check_programs(programs: Iterable[str] = PROGRAMS) -> None:
    """Raise NotFound that names all missing programs and how to get them."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS.get(name, name) for name in missing}))
        raise errors.NotFound(
            f"missing on this machine: {', '.join(missing)}",
            hint=f"apt-get install --no-install-recommends {packages}",
        )


def check_free(address: str, port: int, ours: Iterable[int] = ()) -> None:
    """Raise TargetRefused that names the owner when a port is taken, unless by one of `ours`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), port))
            probe.listen(1)
        except PermissionError as fault:
            raise errors.Forbidden(f"{address}:{port}: {fault.strerror}") from fault
        except OSError as fault:
            owner = port_owner(port, address)
            if owner is not None and owner[0] in set(ours):
                return
            who = f"process {owner[0]} ({owner[1]})" if owner else str(fault.strerror)
            raise errors.TargetRefused(
                f"{address}:{port} is taken by {who}",
                hint="end that program, or choose another port: mtv up --listen ADDRESS:PORT",
            ) from fault


def routes() -> list[dict[str, Any]]:
    """Return this machine's routes, as `ip -json` shows them."""
    return list(json.loads(network.ip("-json", "route", "show") or "[]"))


def free_network(routes: Iterable[Mapping[str, Any]], bridge: str) -> str:
    """Return the first of the usual pod networks that is not routed elsewhere. Pure."""
    taken = list(routes)
    return next(
        (one for one in NETWORKS if not any(clashes(route, one, bridge) for route in taken)),
        NETWORKS[0],
    )


def check_routes(routes: Iterable[Mapping[str, Any]], cidr: str, bridge: str) -> None:
    """Raise TargetRefused when this machine routes a part of the pod network elsewhere.

    Packets for those pods would go there: to a cluster on the same machine, or a tunnel.
    """
    found = list(routes)
    for route in found:
        if clashes(route, cidr, bridge):
            raise errors.TargetRefused(
                f"{route['dst']} is routed to {route.get('dev', 'another host')}, and lies in the"
                f" pod network {cidr}",
                hint=f"choose one that is free: mtv up --pod-cidr {free_network(found, bridge)}",
            )


def clashes(route: Mapping[str, Any], cidr: str, bridge: str) -> bool:
    """Tell whether a route (as `ip -json route` shows it) takes packets of pods elsewhere. Pure."""
    target = route.get("dst", "default")
    if target == "default" or route.get("dev") == bridge:
        return False
    wanted, taken = ipaddress.IPv4Network(cidr), ipaddress.IPv4Network(target)
    return taken.overlaps(wanted) and taken.prefixlen >= wanted.prefixlen


def port_owner(port: int, address: str = "") -> tuple[int, str] | None:
    """Return pid and command line of the process that listens on a port of this machine.

    With an address, only of one that listens there or everywhere.
    """
    inodes = _listening_inodes(port, address.strip("[]"))
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            for link in (entry / "fd").iterdir():
                if os.readlink(link) in inodes:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    command = b" ".join(words).decode("utf-8", "replace").strip()
                    return int(entry.name), command[:120]
        except OSError:
            continue
    return None


def _listening_inodes(port: int, address: str) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            place, _, number = fields[1].rpartition(":")
            if fields[3] != LISTENING or int(number, 16) != port:
                continue
            listens = parse_address(place)
            everywhere = "." not in listens or listens == "0.0.0.0"  # IPv6 takes IPv4 as well
            if not address or listens == address or everywhere or address in ("0.0.0.0", "::"):
                found.add(f"socket:[{fields[9]}]")
    return found


def parse_address(text: str) -> str:
    """Return an address of /proc/net/tcp, which is in words of the machine's byte order. Pure."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words)))
