"""Defaults of disks, networks and small devices. Pure."""

from __future__ import annotations

import msgspec

from mtv.api import kubevirt
from mtv_operator.instancetypes import implied, preferences

BUS = "sata"


def networks(
    spec: kubevirt.VirtualMachineInstanceSpec, binding: str
) -> kubevirt.VirtualMachineInstanceSpec:
    """Connect an instance that says nothing of networks to the pod's; bind what is unbound."""
    devices = spec.domain.devices
    if not devices.interfaces and not spec.networks:
        if devices.autoattach_pod_interface is False:
            return spec
        spec = implied.pod_interface(spec)
        devices = spec.domain.devices
    on_pod = {one.name for one in spec.networks if one.pod is not None}
    bound = tuple(
        _bound(one, binding) if one.name in on_pod and not preferences.is_bound(one) else one
        for one in devices.interfaces
    )
    return _with_devices(spec, msgspec.structs.replace(devices, interfaces=bound))


def _bound(interface: kubevirt.Interface, binding: str) -> kubevirt.Interface:
    if binding == "bridge":
        return msgspec.structs.replace(interface, bridge=kubevirt.InterfaceBridge())
    return msgspec.structs.replace(interface, masquerade=kubevirt.InterfaceMasquerade())


def devices(spec: kubevirt.VirtualMachineInstanceSpec) -> kubevirt.VirtualMachineInstanceSpec:
    """Give each volume a disk, and disks, inputs and the watchdog what they leave open."""
    spec = implied.disks(spec)
    given = spec.domain.devices
    changed = msgspec.structs.replace(
        given,
        disks=tuple(_disk(one) for one in given.disks),
        inputs=tuple(
            msgspec.structs.replace(one, bus=one.bus or "usb", type=one.type or "tablet")
            for one in given.inputs
        ),
        watchdog=_watchdog(given.watchdog),
    )
    return _with_devices(spec, changed)


def _disk(disk: kubevirt.Disk) -> kubevirt.Disk:
    if disk.cdrom is not None:
        cdrom = msgspec.structs.replace(
            disk.cdrom,
            bus=disk.cdrom.bus or BUS,
            readonly=True if disk.cdrom.readonly is None else disk.cdrom.readonly,
            tray=disk.cdrom.tray or "closed",
        )
        return msgspec.structs.replace(disk, cdrom=cdrom)
    if disk.lun is not None:
        return msgspec.structs.replace(
            disk, lun=msgspec.structs.replace(disk.lun, bus=disk.lun.bus or BUS)
        )
    target = disk.disk or kubevirt.DiskTarget()
    return msgspec.structs.replace(
        disk, disk=msgspec.structs.replace(target, bus=target.bus or BUS)
    )


def _watchdog(watchdog: kubevirt.Watchdog | None) -> kubevirt.Watchdog | None:
    if watchdog is None or watchdog.diag288 is not None:
        return watchdog
    given = watchdog.i6300esb or kubevirt.I6300ESBWatchdog()
    return msgspec.structs.replace(
        watchdog, i6300esb=msgspec.structs.replace(given, action=given.action or "reset")
    )


def _with_devices(
    spec: kubevirt.VirtualMachineInstanceSpec, changed: kubevirt.Devices
) -> kubevirt.VirtualMachineInstanceSpec:
    domain = msgspec.structs.replace(spec.domain, devices=changed)
    return msgspec.structs.replace(spec, domain=domain)
