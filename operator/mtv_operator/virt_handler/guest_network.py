"""What a pod's network namespace shall look like for its guest: pure, from the VMI.

Each NIC has a bridge and a tap in it that belongs to uid 107. Masquerade: the bridge has the
guest's gateway, and addresses are translated between the pod's and the guest's. Bridge: the pod's
device is in the bridge, and what address that had, the guest gets. Names are upstream's.
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

    @property
    def device(self) -> str:
        """Return the pod's device that it is behind."""
        return POD_DEVICE

    @property
    def bridge(self) -> str:
        """Return the bridge that has the guest's gateway."""
        return BRIDGE

    @property
    def tap(self) -> str:
        """Return the tap device."""
        return TAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridged:
    """A NIC that is bridged to a device of the pod. No `mac`: that of the device.

    The device is renamed to `port`; another takes its name and keeps what is known of it: made
    as `stand_in`, and complete before the device is touched.
    """

    interface: str
    mac: str
    device: str
    bridge: str
    tap: str
    port: str
    stand_in: str
    queues: int = 1


Nic = GuestNetwork | Bridged


def plan(vmi: kubevirt.VirtualMachineInstance, *, vcpus: int = 1) -> tuple[Nic, ...]:
    """Return the NICs that the VMI asks for, in its order.

    Raises BadInput for bindings and networks that are not supported.
    """
    devices = vmi.spec.domain.devices
    interfaces = [one for one in devices.interfaces if one.state != "absent"]
    networks = {network.name: network for network in vmi.spec.networks}
    found: list[Nic] = []
    for interface in interfaces:
        field = f"spec.domain.devices.interfaces[{interface.name}]"
        network = networks.get(interface.name)
        if network is None:
            raise errors.BadInput("the interface has no network of its name", field=field)
        many = devices.network_interface_multiqueue and interface.model in (None, "", "virtio")
        queues = max(vcpus, 1) if many else 1
        if interface.masquerade is not None:
            found.append(_masquerade(vmi, interface, network, queues))
        elif interface.bridge is not None:
            found.append(_bridged(vmi, interface, network, queues))
        else:
            raise errors.BadInput(
                f"binding {_binding(interface)} is not supported yet",
                field=field,
                hint="use masquerade: {} on the pod network, bridge: {} elsewhere",
            )
    primary = [one.interface for one in found if one.device == POD_DEVICE]
    if len(primary) > 1:
        raise errors.BadInput(
            f"{len(primary)} NICs are on the pod network: {', '.join(primary)}",
            field="spec.domain.devices.interfaces",
            hint="keep one of them; the others need networks of their own (multus)",
        )
    return tuple(found)


def _masquerade(
    vmi: kubevirt.VirtualMachineInstance,
    interface: kubevirt.Interface,
    network: kubevirt.Network,
    queues: int,
) -> GuestNetwork:
    field = f"spec.domain.devices.interfaces[{interface.name}]"
    if network.pod is None:
        raise errors.BadInput(
            "masquerade is for the pod network", field=field, hint="use bridge: {} on multus"
        )
    cidr = network.pod.vm_network_cidr or DEFAULT_CIDR
    gateway, guest, prefix = _addresses(cidr, f"spec.networks[{network.name}].pod.vmNetworkCIDR")
    return GuestNetwork(
        interface=interface.name,
        mac=_mac(interface, vmi.metadata.uid),
        address=guest,
        gateway=gateway,
        prefix=prefix,
        queues=queues,
        ports=tuple(sorted(_ports(interface, field))),
    )


def _bridged(
    vmi: kubevirt.VirtualMachineInstance,
    interface: kubevirt.Interface,
    network: kubevirt.Network,
    queues: int,
) -> Bridged:
    """Return a NIC on the pod's own wire. On the pod network it takes the pod's MAC over."""
    if network.multus is not None and not network.multus.default:
        digest = hashlib.sha256(network.name.encode()).hexdigest()[:11]
        names = (f"pod{digest}", f"k6t-{digest}", f"tap{digest}", digest)
        mac = _mac(interface, vmi.metadata.uid)
    else:
        names = (POD_DEVICE, BRIDGE, TAP, POD_DEVICE)
        mac = _mac(interface, vmi.metadata.uid) if interface.mac_address else ""
    device, bridge, tap, short = names
    return Bridged(
        interface=interface.name,
        mac=mac,
        device=device,
        bridge=bridge,
        tap=tap,
        port=f"{short}-nic",
        stand_in=f"{short}-pod",
        queues=queues,
    )


def _binding(interface: kubevirt.Interface) -> str:
    """Return the name of the interface's binding, for a message."""
    for name in ("sriov", "slirp", "macvtap", "passt"):
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
