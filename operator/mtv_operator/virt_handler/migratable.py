"""Whether a VM can move to another node while it runs, and if not, why. Pure.

Order, reasons and messages are upstream's; where we can less than upstream, the message says so.
"""

from __future__ import annotations

from collections.abc import Callable

from mtv.api import kubevirt
from mtv_operator.virt_launcher import persistent_state

Vmi = kubevirt.VirtualMachineInstance
Condition = kubevirt.VirtualMachineInstanceCondition

LIVE_MIGRATABLE = "LiveMigratable"
SHARED = "ReadWriteMany"


def condition(vmi: Vmi) -> Condition:
    """Return the condition LiveMigratable."""
    for judge in (_network, _devices, _state, _disks):
        fault = judge(vmi)
        if fault is not None:
            reason, message = fault
            return Condition(type=LIVE_MIGRATABLE, status="False", reason=reason, message=message)
    return Condition(type=LIVE_MIGRATABLE, status="True")


def claim_of(volume: kubevirt.Volume) -> str | None:
    """Return the name of the claim whose disk the guest writes to, or None."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return volume.data_volume.name if volume.data_volume is not None else None


def _network(vmi: Vmi) -> tuple[str, str] | None:
    pod = {network.name for network in vmi.spec.networks if network.pod is not None}
    for interface in vmi.spec.domain.devices.interfaces:
        if interface.masquerade is None and interface.name in pod:
            return (
                "InterfaceNotLiveMigratable",
                f"cannot migrate VMI: interface {interface.name} is connected to the pod network "
                "and does not use masquerade; its address would not come with it",
            )
    return None


def _devices(vmi: Vmi) -> tuple[str, str] | None:
    devices = vmi.spec.domain.devices
    if devices.host_devices or devices.gpus:
        return ("HostDeviceNotLiveMigratable", "VMI uses a PCI host devices")
    return None


def _state(vmi: Vmi) -> tuple[str, str] | None:
    if persistent_state.needed(vmi.spec.domain):
        return (
            "DisksNotLiveMigratable",
            "cannot migrate VMI: it keeps EFI variables or a TPM on a claim, and those cannot go "
            "along yet",
        )
    return None


def _disks(vmi: Vmi) -> tuple[str, str] | None:
    status = {one.name: one for one in vmi.status.volume_status} if vmi.status else {}
    reason = "DisksNotLiveMigratable"
    for volume in vmi.spec.volumes:
        name = claim_of(volume)
        if name is not None:
            found = status.get(volume.name)
            about = found.persistent_volume_claim_info if found is not None else None
            if about is None or SHARED not in about.access_modes:
                return reason, (
                    f"cannot migrate VMI: PVC {name} is not shared, live migration requires that "
                    "all PVCs must be shared (using ReadWriteMany access mode)"
                )
        if _plugged(volume):
            return reason, (
                f"cannot migrate VMI: volume {volume.name} was plugged in while it runs, and "
                "cannot go along yet"
            )
        if volume.host_disk is not None and not volume.host_disk.shared:
            return reason, "cannot migrate VMI with non-shared HostDisk"
        for kind, read in _LOCAL.items():
            if read(volume) is not None:
                return reason, (
                    f"cannot migrate VMI: volume {volume.name} ({kind}) is local to its node, and "
                    "copying local disks to the other node is not supported yet"
                )
    return None


def _plugged(volume: kubevirt.Volume) -> bool:
    sources = (volume.persistent_volume_claim, volume.data_volume)
    return any(one is not None and one.hotpluggable for one in sources)


# What the guest writes to beside claims: it would have to be copied (BlockMigration).
_LOCAL: dict[str, Callable[[kubevirt.Volume], object]] = {
    "containerDisk": lambda volume: volume.container_disk,
    "ephemeral": lambda volume: volume.ephemeral,
    "emptyDisk": lambda volume: volume.empty_disk,
}
