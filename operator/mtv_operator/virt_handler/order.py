"""From a VMI to a running domain: devices, network and the order to its launcher."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mtv.api import kubevirt, quantities
from mtv_operator.virt_handler import (
    devices,
    emulation,
    guest_network,
    launcher_socket,
    migratable,
    namespaces,
    pod_network,
)
from mtv_operator.virt_handler.emulation import Ability
from mtv_operator.virt_handler.guest_network import Nic
from mtv_operator.virt_handler.pod_network import Connected
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.domain import cpu
from mtv_operator.virt_launcher.domain.context import Accelerator
from mtv_operator.virt_launcher.protocol import Options

log = logging.getLogger(__name__)

KVM_DEVICE = "dev/kvm"
VHOST_DEVICE = "dev/vhost-net"
DEFAULT_OVERHEAD = 0.06  # of a file system; CDI's DefaultGlobalOverhead
HYPERVISOR = (Path("/usr/bin/qemu-system-x86_64"), Path("/usr/sbin/libvirtd"))
_capabilities_lock = threading.Lock()


def give(
    vmi: kubevirt.VirtualMachineInstance,
    socket: Path,
    ability: Ability,
    capabilities: Path,
    *,
    saw_at: str = "",
    ordered_at: str = "",
) -> None:
    """Have the launcher that listens on `socket` start the VMI; return when the domain runs.

    May be repeated. Raises what made it impossible: BadInput naming a field, libvirt's error.
    """
    options = prepare(vmi, socket, ability, capabilities)
    options = msgspec.structs.replace(options, saw_at=saw_at, ordered_at=ordered_at)
    order = protocol.SyncVirtualMachine(vmi=vmi, options=options)
    launcher_socket.call(socket, order, launcher_socket.START_TIMEOUT_S)
    _keep_capabilities(socket, capabilities)


def prepare(
    vmi: kubevirt.VirtualMachineInstance, socket: Path, ability: Ability, capabilities: Path
) -> Options:
    """Give the launcher's pod its devices and network; return what the launcher must know."""
    with launcher_socket.connect(socket) as connection:
        pid = launcher_socket.peer_pid(connection)
    uid = Path(f"/proc/{pid}").stat().st_uid
    given = devices.give(pid, uid)
    devices.give_volumes(pid, uid, [one.name for one in vmi.spec.volumes])
    accelerator = emulation.choose(ability, pod_has_kvm=KVM_DEVICE in given)
    nics = guest_network.plan(vmi, vcpus=cpu.vcpus(vmi.spec.domain))
    options = Options(
        accelerator=accelerator.value,
        cpu_features_off=emulation.cpu_features_off(ability, accelerator),
        capacities=capacities(vmi),
        capabilities=_read(capabilities),
    )
    if not nics:
        return options
    connected = pod_network.apply(namespaces.network_namespace(pid), nics, uid)
    vhost = accelerator is Accelerator.KVM and VHOST_DEVICE in given
    return with_networks(options, nics, connected, vhost=vhost)


def with_networks(
    options: Options, nics: Sequence[Nic], connected: Sequence[Connected], *, vhost: bool
) -> Options:
    """Return the options with the taps that were made and what DHCP tells the guest. Pure."""
    pairs = list(zip(nics, connected, strict=True))
    taps = tuple(
        protocol.TapDevice(
            interface=nic.interface,
            device=nic.tap,
            mac=found.mac,
            mtu=found.mtu,
            queues=nic.queues,
            vhost=vhost,
            pod_device=nic.device,
        )
        for nic, found in pairs
    )
    served = tuple(
        protocol.GuestNetwork(
            interface=nic.interface,
            bridge=nic.bridge,
            mac=found.mac,
            address=found.address,
            router=found.router,
            server=found.server,
            prefix=found.prefix,
            mtu=found.mtu,
        )
        for nic, found in pairs
        if found.address
    )
    return msgspec.structs.replace(options, taps=taps, networks=served)


def capacities(vmi: kubevirt.VirtualMachineInstance) -> dict[str, int]:
    """Return the bytes that the disk of each Filesystem claim may have. Pure.

    The claim's size less what the file system needs for itself; what was asked for counts where
    the volume is larger.
    """
    status = vmi.status or kubevirt.VirtualMachineInstanceStatus()
    claims = {volume.name for volume in vmi.spec.volumes if migratable.claim_of(volume)}
    found = {}
    for volume in status.volume_status:
        about = volume.persistent_volume_claim_info
        if about is None or about.volume_mode == "Block" or volume.name not in claims:
            continue
        sizes = [
            quantities.whole(one["storage"])
            for one in (about.requests, about.capacity)
            if "storage" in one
        ]
        if sizes:
            found[volume.name] = int(min(sizes) * (1 - _overhead(about.filesystem_overhead)))
    return found


def _overhead(text: str | None) -> float:
    try:
        share = float(text) if text else DEFAULT_OVERHEAD
    except ValueError:
        return DEFAULT_OVERHEAD
    return share if 0 <= share < 1 else DEFAULT_OVERHEAD


def installed_version() -> str:
    """Return a name for the QEMU and libvirt of this node, another one after each upgrade."""
    return "-".join(
        str(path.stat().st_mtime_ns) if path.exists() else "none" for path in HYPERVISOR
    )


def _read(capabilities: Path) -> dict[str, bytes]:
    """Return what libvirt found out about QEMU for an earlier VM: it saves the next two seconds."""
    try:
        return {path.name: path.read_bytes() for path in capabilities.glob("*.xml")}
    except OSError:
        return {}


def _keep_capabilities(socket: Path, capabilities: Path) -> None:
    """Keep what the launcher's libvirt found out, for the next one; once per node.

    It is taken right after the start, before the guest has run: later it could be of its making.
    """
    with _capabilities_lock:
        if any(capabilities.glob("*.xml")):
            return
        reply = launcher_socket.call(socket, protocol.GetCapabilities())
        found: Mapping[str, bytes] = reply.capabilities or {}
        try:
            capabilities.mkdir(parents=True, exist_ok=True)
            for name, content in found.items():
                temporary = capabilities / f".{Path(name).name}"
                temporary.write_bytes(content)
                temporary.replace(capabilities / Path(name).name)
        except OSError as fault:
            log.warning("capabilities cannot be kept in %s: %s", capabilities, fault)
