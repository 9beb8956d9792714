"""Volumes that come and go while the guest runs: which to plug in, which to pull out. Pure.

The controller says in the status that a volume is on this node (`hotplugVolume`); the spec says
whether it is wanted, the domain whether the guest has it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mtv.api import kubevirt
from mtv_operator.virt_launcher.protocol import Domain

Vmi = kubevirt.VirtualMachineInstance
Status = kubevirt.VirtualMachineInstanceStatus

READY = "Ready"
DETACHING = "Detaching"


def to_plug(vmi: Vmi, domain: Domain) -> tuple[str, ...]:
    """Return the volumes that are on the node, wanted, and not in the guest yet."""
    wanted, there = {one.name for one in vmi.spec.volumes}, _there(domain)
    return tuple(name for name in attached(vmi) if name in wanted and name not in there)


def to_unplug(vmi: Vmi, domain: Domain) -> tuple[str, ...]:
    """Return the disks that the guest has and nobody wants any more."""
    wanted = {one.name for one in vmi.spec.domain.devices.disks}
    return tuple(one.name for one in domain.disks if one.name not in wanted)


def attached(vmi: Vmi) -> Mapping[str, str]:
    """Return the attachment pod's uid of each volume that has one."""
    found = vmi.status.volume_status if vmi.status else ()
    return {
        one.name: one.hotplug_volume.attach_pod_uid or ""
        for one in found
        if one.hotplug_volume is not None
    }


def shown(status: Status, vmi: Vmi, domain: Domain) -> Status:
    """Return the status with how far these volumes are; one that is gone is named no more."""
    wanted, there = {one.name for one in vmi.spec.volumes}, _there(domain)
    pluggable = {one.name for one in vmi.spec.volumes if _is_pluggable(one)}
    found = []
    for one in status.volume_status:
        if one.name not in wanted and one.name not in there:
            continue
        if one.name in there and (one.hotplug_volume is not None or one.name in pluggable):
            phase = READY if one.name in wanted else DETACHING
            one = msgspec.structs.replace(one, phase=phase)
        found.append(one)
    return msgspec.structs.replace(status, volume_status=tuple(found))


def _there(domain: Domain) -> set[str]:
    return {one.name for one in domain.disks}


def _is_pluggable(volume: kubevirt.Volume) -> bool:
    source = volume.data_volume or volume.persistent_volume_claim
    return bool(source is not None and source.hotpluggable)
