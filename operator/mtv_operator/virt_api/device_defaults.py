"""Defaults of disks, networks and small devices. Pure."""

from __future__ import annotations

import msgspec

from mtv.api import kubevirt

BUS = "sata"
DEFAULT_NETWORK = "default"


def networks(
    spec: kubevirt.VirtualMachineInstanceSpec, binding: str
) -> kubevirt.VirtualMachineInstanceSpec:
    """Connect an instance that says nothing of networks to the pod's; bind what is unbound."""
    devices = spec.domain.devices
    if not devices.interfaces and not spec.networks:
        if devices.autoattach_pod_interface is False:
            return spec
        network = kubevirt.Network(name=DEFAULT_NETWORK, pod=kubevirt.PodNetwork())
        interfaces: tuple[kubevirt.Interface, ...] = (kubevirt.Interface(name=DEFAULT_NETWORK),)
        spec = msgspec.structs.replace(spec, networks=(network,))
    else:
        interfaces = devices.interfaces
    on_pod = {one.name for one in spec.networks if one.pod is not None}
    bound = tuple(
        _bound(one, binding) if one.name in on_pod and not is_bound(one) else one
        for one in interfaces
    )
    return _with_devices(spec, msgspec.structs.replace(devices, interfaces=bound))


def is_bound(interface: kubevirt.Interface) -> bool:
    """Tell whether the interface says how it is connected."""
    return any(
        one is not None
        for one in (
            interface.bridge,
            interface.masquerade,
            interface.sriov,
            interface.slirp,
            interface.macvtap,
            interface.passt,
            interface.passt_binding,
            interface.binding,
        )
    )


def _bound(interface: kubevirt.Interface, binding: str) -> kubevirt.Interface:
    if binding == "bridge":
        return msgspec.structs.replace(interface, bridge=kubevirt.InterfaceBridge())
    return msgspec.structs.replace(interface, masquerade=kubevirt.InterfaceMasquerade())


def devices(spec: kubevirt.VirtualMachineInstanceSpec) -> kubevirt.VirtualMachineInstanceSpec:
    """Give each volume a disk, and disks, inputs and the watchdog what they leave open."""
    given = spec.domain.devices
    used = {one.name for one in given.disks} | {one.name for one in given.filesystems}
    added = tuple(
        kubevirt.Disk(name=one.name)
        for one in spec.volumes
        if one.name not in used and one.memory_dump is None
    )
    changed = msgspec.structs.replace(
        given,
        disks=tuple(_disk(one) for one in (*given.disks, *added)),
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
