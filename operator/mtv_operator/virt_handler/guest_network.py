"""What a pod's network namespace shall look like for its guest: pure, from the VMI.

Masquerade, as upstream: a bridge with the guest's gateway, a tap in it that belongs to uid 107,
and address translation between the pod's address and the guest's.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from mtv import errors
from mtv.api import kubevirt

BRIDGE = "k6t-eth0"
BRIDGE_MAC = "02:00:00:00:00:00"  # fixed, so that the guest's ARP entry outlives a migration
POD_DEVICE = "eth0"
TAP = "tap0"
DEFAULT_CIDR = "10.0.2.0/24"
TABLE = "kubevirt_nat"
QEMU_UID = 107


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port, or a range of them, that is forwarded to the guest."""

    protocol: str
    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestNetwork:
    """The masquerade network of one VMI. No `ports` means all."""

    interface: str
    mac: str
    address: str
    gateway: str
    prefix: int
    queues: int = 1
    ports: tuple[Port, ...] = ()


def plan(vmi: kubevirt.VirtualMachineInstance, *, vcpus: int = 1) -> GuestNetwork | None:
    """Return the network that the VMI asks for; None when it has no NIC.

    Raises BadInput for bindings and networks that are not supported.
    """
    interfaces = [one for one in vmi.spec.domain.devices.interfaces if one.state != "absent"]
    networks = {network.name: network for network in vmi.spec.networks}
    if not interfaces:
        return None
    if len(interfaces) > 1:
        raise errors.BadInput(
            f"{len(interfaces)} NICs, and only the pod network is supported yet",
            field="spec.domain.devices.interfaces",
            hint="keep the one that is on the pod network",
        )
    (interface,) = interfaces
    field = f"spec.domain.devices.interfaces[{interface.name}]"
    network = networks.get(interface.name)
    if network is None:
        raise errors.BadInput("the interface has no network of its name", field=field)
    if network.pod is None:
        raise errors.BadInput(
            "only the pod network is supported yet",
            field=f"spec.networks[{network.name}]",
            hint="use pod: {} instead of multus",
        )
    if interface.masquerade is None:
        raise errors.BadInput(
            f"binding {_binding(interface)} is not supported yet",
            field=field,
            hint="use masquerade: {}",
        )
    cidr = network.pod.vm_network_cidr or DEFAULT_CIDR
    gateway, guest, prefix = _addresses(cidr, f"spec.networks[{network.name}].pod.vmNetworkCIDR")
    multiqueue = vmi.spec.domain.devices.network_interface_multiqueue
    return GuestNetwork(
        interface=interface.name,
        mac=_mac(interface, vmi.metadata.uid),
        address=guest,
        gateway=gateway,
        prefix=prefix,
        queues=max(vcpus, 1) if multiqueue and interface.model in (None, "", "virtio") else 1,
        ports=tuple(sorted(_ports(interface, field))),
    )


def _binding(interface: kubevirt.Interface) -> str:
    """Return the name of the interface's binding, for a message."""
    for name in ("bridge", "sriov", "slirp", "macvtap", "passt"):
        if getattr(interface, name) is not None:
            return name
    return interface.binding.name if interface.binding else "of no kind"


def _mac(interface: kubevirt.Interface, uid: str) -> str:
    """Return the spec's MAC, or one made of the VMI's uid: the same each time it is asked."""
    if interface.mac_address:
        return interface.mac_address.strip().lower().replace("-", ":")
    digest = hashlib.sha256(f"{uid}/{interface.name}".encode()).digest()
    return "02:" + ":".join(f"{byte:02x}" for byte in digest[:5])


def _addresses(cidr: str, field: str) -> tuple[str, str, int]:
    """Return the gateway's and the guest's address: the first and second of the network."""
    try:
        network = ipaddress.IPv4Network(cidr, strict=False)
    except ValueError as fault:
        raise errors.BadInput(str(fault), field=field, hint="write it like 10.0.2.0/24") from fault
    if network.prefixlen > 30:
        raise errors.BadInput(f"{cidr} has no room for a gateway and a guest", field=field)
    return str(network[1]), str(network[2]), network.prefixlen


def _ports(interface: kubevirt.Interface, field: str) -> Iterable[Port]:
    listed = [(one.protocol, one.port, one.port) for one in interface.ports]
    listed += [(one.protocol, one.start, one.end) for one in interface.port_ranges]
    for protocol, first, last in listed:
        name = (protocol or "TCP").lower()
        if name not in ("tcp", "udp", "sctp") or not 0 < first <= last < 65536:
            raise errors.BadInput(
                f"{protocol or 'TCP'} {first}-{last} is not a port", field=f"{field}.ports"
            )
        yield Port(name, first, last)


def rules(network: GuestNetwork) -> str:
    """Return the nftables script for the namespace. It replaces an earlier one in one step."""
    guest, gateway = network.address, network.gateway
    matches = [""]
    if network.ports:
        protocols = sorted({port.protocol for port in network.ports})
        matches = [
            f"{name} dport {{ {', '.join(str(p) for p in network.ports if p.protocol == name)} }} "
            for name in protocols
        ]
    inbound = "".join(f"\n    {match}counter dnat to {guest}" for match in matches)
    reflected = "".join(
        f"\n    {match}ip saddr 127.0.0.1 counter snat to {gateway}" for match in matches
    )
    local = "".join(f"\n    {match}ip daddr 127.0.0.1 counter dnat to {guest}" for match in matches)
    return f"""\
add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname "{POD_DEVICE}" counter jump KUBEVIRT_PREINBOUND
  }}
  chain output {{
    type nat hook output priority -100; policy accept;{local}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {guest} oifname != "{BRIDGE}" counter masquerade
    oifname "{BRIDGE}" counter jump KUBEVIRT_POSTINBOUND
  }}
  chain KUBEVIRT_PREINBOUND {{{inbound}
  }}
  chain KUBEVIRT_POSTINBOUND {{{reflected}
  }}
}}
"""
