"""Rules for interfaces and the networks they are on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mtv.api import kubevirt
from mtv_operator.instancetypes import preferences
from mtv_operator.virt_api.causes import DUPLICATE, NOT_FOUND, NOT_SUPPORTED, REQUIRED, Cause

MODELS = ("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3")
STATES = ("up", "down", "absent")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")


def causes(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> list[Cause]:
    """Return what is wrong."""
    interfaces = spec.domain.devices.interfaces
    where = f"{field}.domain.devices.interfaces"
    networks = {one.name: one for one in spec.networks}
    found: list[Cause] = []
    found += _networks(spec, field)
    seen: set[str] = set()
    for index, interface in enumerate(interfaces):
        at = f"{where}[{index}]"
        network = networks.get(interface.name)
        if network is None:
            message = f"{at}.name '{interface.name}' not found."
            found.append(Cause(field=f"{at}.name", message=message, reason=NOT_FOUND))
        if interface.name in seen:
            message = "Only one interface can be connected to one specific network"
            found.append(Cause(field=f"{at}.name", message=message, reason=DUPLICATE))
        seen.add(interface.name)
        found += _interface(interface, network, at)
    for index, one in enumerate(spec.networks):
        if one.name not in seen:
            message = f"{field}.networks[{index}].name '{one.name}' not found."
            at = f"{field}.networks[{index}].name"
            found.append(Cause(field=at, message=message, reason=NOT_FOUND))
    return found


def _networks(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> Iterator[Cause]:
    names: set[str] = set()
    pods = 0
    for index, network in enumerate(spec.networks):
        at = f"{field}.networks[{index}]"
        if network.name in names:
            message = (
                f"Network with name {network.name!r} already exists, every network must have a "
                "unique name"
            )
            yield Cause(field=f"{at}.name", message=message, reason=DUPLICATE)
        names.add(network.name)
        kinds = (network.pod, network.multus, network.resource_claim)
        count = sum(one is not None for one in kinds)
        if count == 0:
            yield Cause(field=at, message="should have a network type", reason=REQUIRED)
        elif count > 1:
            yield Cause(field=at, message="should have only one network type")
        if network.multus is not None and not network.multus.network_name:
            message = "CNI delegating plugin must have a networkName"
            yield Cause(field=at, message=message, reason=REQUIRED)
        pods += network.pod is not None
        if network.pod is not None and pods > 1:
            message = f"more than one interface is connected to a pod network in {field}"
            yield Cause(field=f"{field}.networks", message=message, reason=DUPLICATE)


def _interface(
    interface: kubevirt.Interface, network: kubevirt.Network | None, field: str
) -> Iterator[Cause]:
    if not _NAME.fullmatch(interface.name):
        message = "Network interface name can only contain alphabetical characters, numbers, "
        yield Cause(field=f"{field}.name", message=message + "dashes (-) or underscores (_)")
    bindings = [
        name
        for name in ("bridge", "masquerade", "sriov", "slirp", "macvtap", "passt", "binding")
        if getattr(interface, name) is not None
    ]
    if len(bindings) > 1:
        message = f"{field} must have one binding, it has {', '.join(bindings)}"
        yield Cause(field=field, message=message)
    on_pod = network is not None and network.pod is not None
    if interface.masquerade is not None and network is not None and not on_pod:
        message = "Masquerade interface only implemented with pod network"
        yield Cause(field=f"{field}.name", message=message)
    if network is not None and not on_pod and not preferences.is_bound(interface):
        message = f"{field} needs a binding on a network that is not the pod's"
        yield Cause(field=field, message=message, reason=REQUIRED)
    if interface.model and interface.model not in MODELS:
        message = f"interface {field}.name uses model {interface.model} that is not supported."
        yield Cause(field=f"{field}.model", message=message, reason=NOT_SUPPORTED)
    if interface.mac_address:
        yield from _mac(interface.mac_address, field)
    if interface.state and interface.state not in STATES:
        message = f"logical {interface.name} interface's state must be one of {', '.join(STATES)}"
        yield Cause(field=f"{field}.state", message=message)
    yield from _ports(interface, field)


def _mac(mac: str, field: str) -> Iterator[Cause]:
    if not _MAC.fullmatch(mac):
        message = f"interface {field} has malformed MAC address ({mac[:40]})."
        yield Cause(field=f"{field}.macAddress", message=message)
    elif int(mac[:2], 16) & 1:
        message = f"interface {field} has a multicast MAC address ({mac})."
        yield Cause(field=f"{field}.macAddress", message=message)


def _ports(interface: kubevirt.Interface, field: str) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(interface.ports):
        at = f"{field}.ports[{index}]"
        if not 0 < port.port < 65536:
            message = "Port field must be in range 0 < x < 65536."
            yield Cause(field=at, message=message)
        if port.protocol and port.protocol not in ("TCP", "UDP"):
            message = "Unknown protocol, only TCP or UDP allowed"
            yield Cause(field=f"{at}.protocol", message=message)
        if port.name:
            if port.name in names:
                message = f"Duplicate name of the port: {port.name}"
                yield Cause(field=f"{at}.name", message=message, reason=DUPLICATE)
            names.add(port.name)
