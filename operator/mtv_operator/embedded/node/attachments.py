"""A pod's further networks: what Multus and the bridge plugin do on a cluster, for this machine.

The pod's annotation names NetworkAttachmentDefinitions; those hold a CNI configuration. Bridges are
the machine's, so that all its nodes share them; one that is missing is made.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mtv import errors
from mtv.api.core import Pod
from mtv_operator.embedded.node import network
from mtv_operator.embedded.node.network import ip

ANNOTATION = "k8s.v1.cni.cncf.io/networks"
PLUGINS = ("bridge", "cnv-bridge")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # of a device
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
Definition = Callable[[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One entry of the annotation."""

    namespace: str
    name: str
    interface: str
    mac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A place on a bridge of the machine, as a definition describes it."""

    bridge: str
    mtu: int = 0
    vlan: int = 0
    addresses: tuple[str, ...] = ()


def asked(pod: Pod) -> tuple[Attachment, ...]:
    """Return the networks that a pod asks for: a JSON list, or names with commas. Pure."""
    text = pod.metadata.annotations.get(ANNOTATION, "").strip()
    if not text:
        return ()
    try:
        listed = json.loads(text) if text.startswith("[") else [_short(one) for one in _split(text)]
        entries = [dict(one) for one in listed]
    except (ValueError, TypeError) as fault:
        raise errors.BadInput(
            f"{text[:60]!r} is no list of networks", field=f"metadata.annotations[{ANNOTATION}]"
        ) from fault
    return tuple(
        _attachment(entry, number, pod.metadata.namespace)
        for number, entry in enumerate(entries, 1)
    )


def _split(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _short(text: str) -> dict[str, str]:
    """Return `namespace/name@interface` as an entry."""
    name, _, interface = text.partition("@")
    namespace, _, name = name.rpartition("/")
    return {"namespace": namespace, "name": name, "interface": interface}


def _attachment(entry: Mapping[str, Any], number: int, namespace: str) -> Attachment:
    field = f"metadata.annotations[{ANNOTATION}]"
    interface, mac = str(entry.get("interface") or f"net{number}"), str(entry.get("mac") or "")
    if not _NAME.fullmatch(interface) or interface == network.POD_INTERFACE:
        raise errors.BadInput(f"{interface[:40]!r} is no name for a further device", field=field)
    if mac and not _MAC.fullmatch(mac.lower()):
        raise errors.BadInput(f"{mac[:40]!r} is not a MAC address", field=field)
    return Attachment(
        namespace=str(entry.get("namespace") or namespace),
        name=str(entry.get("name") or ""),
        interface=interface,
        mac=mac.lower(),
    )


def parse(config: str, field: str) -> Port:
    """Return what a definition's `spec.config` describes. Raises BadInput naming it. Pure."""
    try:
        found = json.loads(config)
        plugin = dict(found["plugins"][0] if "plugins" in found else found)
        mtu, vlan = int(plugin.get("mtu") or 0), int(plugin.get("vlan") or 0)
        bridge, kind = str(plugin.get("bridge") or "cni0"), plugin.get("type")
        addressing = dict(plugin.get("ipam") or {})
        listed = [str(one["address"]) for one in addressing.get("addresses") or ()]
        addresses = tuple(str(ipaddress.ip_interface(one)) for one in listed)
    except (ValueError, TypeError, KeyError, IndexError) as fault:
        raise errors.BadInput(f"not a CNI configuration: {fault}", field=field) from fault
    if kind not in PLUGINS:
        raise errors.BadInput(
            f"the plugin {str(kind)[:40]!r} is not run by this node",
            field=field,
            hint=f"use {' or '.join(PLUGINS)}",
        )
    if addressing.get("type") not in (None, "", "static"):
        raise errors.BadInput(
            f"addresses by {str(addressing['type'])[:40]!r} are not given by this node",
            field=field,
            hint="leave ipam empty: guests have addresses of their own; or use static",
        )
    if not _NAME.fullmatch(bridge) or not 0 <= vlan < 4095:
        raise errors.BadInput(f"no bridge {bridge[:40]!r} with VLAN {vlan}", field=field)
    return Port(bridge=bridge, mtu=mtu, vlan=vlan, addresses=addresses)


def attach(pod: Pod, definition: Definition, pods: network.PodNetwork, owner: str) -> None:
    """Connect a pod that has its namespace to the networks it asks for. May be repeated.

    Raises MigrationError. The devices go with the namespace.
    """
    uid = pod.metadata.uid
    namespace = network.namespace_name(uid)
    wanted = asked(pod)
    if not wanted:
        return
    there = {str(one.get("ifname")) for one in network.links(namespace)}
    for one in wanted:
        # A device that a guest took over goes by another name, and its own is kept by another.
        if one.interface in there:
            continue
        field = f"NetworkAttachmentDefinition {one.namespace}/{one.name}"
        port = parse(definition(one.namespace, one.name), field)
        if port.bridge == pods.bridge:
            raise errors.BadInput(f"{port.bridge} is the bridge of the pod network", field=field)
        _ensure_bridge(port, owner)
        _connect(namespace, _port_name(uid, one.interface), one, port)


def _port_name(uid: str, interface: str) -> str:
    return "mtn" + hashlib.sha256(f"{uid}/{interface}".encode()).hexdigest()[:12]


def _ensure_bridge(port: Port, owner: str) -> None:
    found = network.link(port.bridge)
    if found is None:
        # Not every kernel has VLANs of bridges: they are asked for where they are needed.
        vlans = ("vlan_filtering", "1") if port.vlan else ()
        ip("link", "add", port.bridge, "type", "bridge", *vlans)
        ip("link", "set", port.bridge, "alias", alias(owner), "up")
    elif found.get("linkinfo", {}).get("info_kind") != "bridge":
        raise errors.TargetRefused(f"{port.bridge} is there, and is not a bridge")


def alias(owner: str) -> str:
    """Return what is written on bridges that an installation made for such networks."""
    return f"{owner} network"


def _connect(namespace: str, outside: str, one: Attachment, port: Port) -> None:
    """Make a pair of devices; the pod's end is moved and named last, when it is complete."""
    if network.link(outside) is not None:
        ip("link", "delete", outside)
    inside = f"n{outside}"[:15]
    mtu = port.mtu or int((network.link(port.bridge) or {}).get("mtu", network.DEFAULT_MTU))
    size = ("mtu", str(mtu))
    hardware = ("address", one.mac) if one.mac else ()
    peer = ("peer", "name", inside, *size, *hardware, "netns", namespace)
    ip("link", "add", outside, *size, "type", "veth", *peer)
    ip("link", "set", outside, "master", port.bridge, "up")
    if port.vlan:
        _into_vlan(outside, port.vlan)
    for address in port.addresses:
        ip("addr", "replace", address, "dev", inside, namespace=namespace)
    ip("link", "set", inside, "name", one.interface, "up", namespace=namespace)


def _into_vlan(device: str, vlan: int) -> None:
    for arguments in (
        ("add", "dev", device, "vid", str(vlan), "pvid", "untagged"),
        ("del", "dev", device, "vid", "1"),
    ):
        command = ["bridge", "vlan", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=network.TIMEOUT_S, check=False
        )
        if done.returncode:
            raise errors.TargetRefused(f"`{' '.join(command)}`: {done.stderr.strip()}")


def remove_bridges(owner: str) -> list[str]:
    """Take the bridges away that an installation made; return their names."""
    found = [str(one["ifname"]) for one in network.links() if one.get("ifalias") == alias(owner)]
    for name in found:
        ip("link", "delete", name)
    return found
