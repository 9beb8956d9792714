"""Which virtual devices a migrated guest is given.

Two profiles. *Native* is virtio: disks on a virtio-scsi controller, so that Linux still calls
them `/dev/sdX` (virtio-blk would rename them `/dev/vdX`, and a guest that boots from `/dev/sda1`
would not), and virtio NICs. It needs drivers inside the guest. *Compatible* is a SATA controller
and e1000e NICs, whose drivers every guest that runs on ESXi brings along: AHCI is in the initramfs
of VMware guests that were measured, and in Windows since 7.

A guest that is adapted is given what its adaptation has decided (`of_names`). One that is not is
started on compatible devices, and on native ones only if the plan says that the guest is ready for
them (`skipGuestConversion: true` with `useCompatibilityMode: false`), or names a bus (`diskBus`).
That is also what Forklift makes of these fields, except that it takes virtio-blk where we take
virtio-scsi.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtv.api import forklift

SCSI, VIRTIO, SATA = "scsi", "virtio", "sata"  # KubeVirt's names; scsi is virtio-scsi
BUSES = (SCSI, VIRTIO, SATA)
NIC_MODELS = ("virtio", "e1000e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The devices of one target VM. Both models are KubeVirt's words."""

    disk_bus: str
    nic_model: str

    @property
    def needs_drivers(self) -> bool:
        """Whether the guest must have virtio drivers to start."""
        return self.disk_bus != SATA


NATIVE = Hardware(disk_bus=SCSI, nic_model="virtio")
COMPATIBLE = Hardware(disk_bus=SATA, nic_model="e1000e")


def of_names(bus: str, nic_model: str) -> Hardware:
    """Return the devices of these names; compatible ones for a name that is not known."""
    if bus not in BUSES or nic_model not in NIC_MODELS:
        return COMPATIBLE
    return Hardware(disk_bus=bus, nic_model=nic_model)


def choose(spec: forklift.PlanSpec, decided: Hardware | None = None) -> Hardware:
    """Return what a VM of a plan is given; `decided` is what its guest was prepared for."""
    if decided is not None:
        return decided
    raw = bool(spec.skip_guest_conversion)
    compatible = not raw or spec.use_compatibility_mode is not False
    profile = COMPATIBLE if compatible else NATIVE
    if spec.disk_bus in BUSES:
        return Hardware(disk_bus=spec.disk_bus, nic_model=profile.nic_model)
    return profile
