"""The status of a VMI out of what its launcher says. Pure.

Fields that others own (readiness, pods, revisions) are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mtv.api import kubevirt, meta
from mtv_operator.virt_handler import conditions, guest_network, migratable
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.domain import cpu
from mtv_operator.virt_launcher.protocol import Domain

Vmi = kubevirt.VirtualMachineInstance
Status = kubevirt.VirtualMachineInstanceStatus

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"
RUNTIME_UID = 107
# Why a domain is off, where that means that the guest ended as it should.
_IN_ORDER = frozenset({"Shutdown", "Saved", "FromSnapshot", protocol.MIGRATED})


def final_phase(vmi: Vmi, domain: Domain) -> str:
    """Return the phase of a VMI whose domain has ended, as upstream.

    Destroyed means that the guest ignored its shutdown: that is a failure where it could have
    heard of it (ACPI is on) and had time to (the grace period is not 0).
    """
    if domain.status is protocol.Status.SHUTOFF and domain.reason in _IN_ORDER:
        return SUCCEEDED
    if domain.reason == "Destroyed":
        acpi = vmi.spec.domain.features.acpi if vmi.spec.domain.features else None
        deaf = acpi is not None and acpi.enabled is False
        return SUCCEEDED if deaf or grace_period_s(vmi) == 0 else FAILED
    return FAILED


def grace_period_s(vmi: Vmi) -> int:
    """Return how long the guest has for its shutdown; 30 s where the spec does not say."""
    grace = vmi.spec.termination_grace_period_seconds
    return 30 if grace is None else grace


def moved(status: Status, phase: str, now: datetime) -> Status:
    """Return the status in another phase, with the time of the change."""
    if status.phase == phase:
        return status
    passed = kubevirt.VirtualMachineInstancePhaseTransitionTimestamp(
        phase=phase, phase_transition_timestamp=conditions.timestamp(now)
    )
    kept = tuple(one for one in status.phase_transition_timestamps if one.phase != phase)
    return msgspec.structs.replace(status, phase=phase, phase_transition_timestamps=(*kept, passed))


def running(
    vmi: Vmi,
    domain: Domain,
    addresses: Sequence[str],
    emulated_because: str,
    now: datetime,
) -> Status:
    """Return the status of a VMI whose guest runs (or is paused)."""
    status = moved(vmi.status or Status(), RUNNING, now)
    live = migratable.condition(vmi)
    return msgspec.structs.replace(
        status,
        reason=None,
        conditions=conditions.of_domain(vmi, domain, emulated_because, now),
        interfaces=interfaces(vmi, domain, addresses),
        volume_status=volumes(status.volume_status, domain),
        guest_os_info=os_info(domain.guest) if domain.guest else _no_agent(status),
        fs_freeze_status="frozen" if domain.frozen else None,
        machine=kubevirt.Machine(type=domain.machine) if domain.machine else status.machine,
        memory=_memory(vmi, status),
        current_cpu_topology=_topology(vmi, status),
        migration_method=(
            "BlockMigration" if live.reason == "DisksNotLiveMigratable" else "LiveMigration"
        ),
        runtime_user=RUNTIME_UID,
        selinux_context=status.selinux_context or "none",
    )


def ended(vmi: Vmi, phase: str, reason: str, now: datetime) -> Status:
    """Return the status of a VMI whose guest runs no more."""
    status = moved(vmi.status or Status(), phase, now)
    return msgspec.structs.replace(
        status,
        reason=reason or None,
        conditions=conditions.without(
            status.conditions, conditions.PAUSED, conditions.AGENT_CONNECTED
        ),
        fs_freeze_status=None,
    )


def _no_agent(status: Status) -> kubevirt.VirtualMachineInstanceGuestOSInfo:
    """Return what was known last: an agent that pauses does not change the guest's system."""
    return status.guest_os_info or kubevirt.VirtualMachineInstanceGuestOSInfo()


def interfaces(
    vmi: Vmi, domain: Domain, addresses: Sequence[str]
) -> tuple[kubevirt.VirtualMachineInstanceNetworkInterface, ...]:
    """Return the NICs. The pod's has its addresses; the others', and names, are the agent's."""
    listed = {one.mac: one for one in domain.guest.interfaces} if domain.guest else {}
    states = {one.name: one.state for one in vmi.spec.domain.devices.interfaces}
    found = []
    for tap in domain.interfaces:
        guest = listed.get(tap.mac)
        pods = tap.pod_device == guest_network.POD_DEVICE
        own = tuple(addresses) if pods else guest.addresses if guest else ()
        found.append(
            kubevirt.VirtualMachineInstanceNetworkInterface(
                name=tap.interface,
                mac=tap.mac,
                ip_address=own[0] if own else None,
                ip_addresses=own,
                interface_name=guest.name if guest else None,
                info_source="domain, guest-agent" if guest else "domain",
                pod_interface_name=tap.pod_device,
                queue_count=tap.queues,
                link_state="down" if states.get(tap.interface) == "down" else "up",
            )
        )
    return tuple(found)


def volumes(
    known: tuple[kubevirt.VolumeStatus, ...], domain: Domain
) -> tuple[kubevirt.VolumeStatus, ...]:
    """Return the volumes with their device names; what the controller wrote of claims is kept."""
    by_name = {one.name: one for one in known}
    targets = {disk.name: disk for disk in domain.disks}
    found = [
        msgspec.structs.replace(
            by_name.get(disk.name, kubevirt.VolumeStatus(name=disk.name, target="")),
            target=disk.target,
            size=disk.size_bytes or None,
        )
        for disk in domain.disks
    ]
    found += [one for one in known if one.name not in targets]
    return tuple(sorted(found, key=lambda one: one.name))


def os_info(guest: protocol.GuestInfo) -> kubevirt.VirtualMachineInstanceGuestOSInfo:
    """Return the guest's system as the agent names it."""
    return kubevirt.VirtualMachineInstanceGuestOSInfo(
        id=guest.os_id or None,
        name=guest.os_name or None,
        pretty_name=guest.os_pretty_name or None,
        version=guest.os_version or None,
        version_id=guest.os_version_id or None,
        kernel_release=guest.kernel_release or None,
        kernel_version=guest.kernel_version or None,
        machine=guest.machine or None,
    )


def _memory(vmi: Vmi, status: Status) -> kubevirt.MemoryStatus:
    size: meta.Quantity | None = vmi.spec.domain.memory.guest if vmi.spec.domain.memory else None
    if size is None:
        size = cpu.memory_bytes(vmi.spec.domain)
    known = status.memory or kubevirt.MemoryStatus()
    return msgspec.structs.replace(
        known,
        guest_at_boot=known.guest_at_boot or size,
        guest_current=known.guest_current or size,
        guest_requested=size,
    )


def _topology(vmi: Vmi, status: Status) -> kubevirt.CPUTopology:
    given = vmi.spec.domain.cpu
    return status.current_cpu_topology or kubevirt.CPUTopology(
        cores=(given.cores if given else None) or 1,
        sockets=(given.sockets if given else None) or 1,
        threads=(given.threads if given else None) or 1,
    )
