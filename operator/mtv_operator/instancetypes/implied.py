"""Devices that a spec has without saying so: what a preference prefers holds for them too. Pure."""

from __future__ import annotations

import msgspec

from mtv.api import instancetype, kubevirt

Spec = kubevirt.VirtualMachineInstanceSpec

DEFAULT_NETWORK = "default"
DEFAULT_INPUT = "default-0"  # upstream's name


def devices(spec: Spec, preference: instancetype.VirtualMachinePreferenceSpec) -> Spec:
    """Return the spec with its implied disks, interface and input written down."""
    preferred = preference.devices or instancetype.DevicePreferences()
    spec = disks(spec)
    on = spec.domain.devices.autoattach_pod_interface
    if (on if on is not None else preferred.preferred_autoattach_pod_interface) is not False:
        spec = pod_interface(spec)
    given = spec.domain.devices
    wanted = given.autoattach_input_device
    wanted = preferred.preferred_autoattach_input_device if wanted is None else wanted
    if wanted and not given.inputs:
        added = kubevirt.Input(name=DEFAULT_INPUT, type="")
        spec = _with_devices(spec, msgspec.structs.replace(given, inputs=(added,)))
    return spec


def disks(spec: Spec) -> Spec:
    """Return the spec with a disk for each volume that has none."""
    given = spec.domain.devices
    used = {one.name for one in given.disks} | {one.name for one in given.filesystems}
    added = tuple(
        kubevirt.Disk(name=one.name)
        for one in spec.volumes
        if one.name not in used and one.memory_dump is None
    )
    return _with_devices(spec, msgspec.structs.replace(given, disks=(*given.disks, *added)))


def pod_interface(spec: Spec) -> Spec:
    """Connect a spec that says nothing of networks to the pod's."""
    given = spec.domain.devices
    if given.interfaces or spec.networks:
        return spec
    network = kubevirt.Network(name=DEFAULT_NETWORK, pod=kubevirt.PodNetwork())
    interface = kubevirt.Interface(name=DEFAULT_NETWORK)
    spec = msgspec.structs.replace(spec, networks=(network,))
    return _with_devices(spec, msgspec.structs.replace(given, interfaces=(interface,)))


def _with_devices(spec: Spec, changed: kubevirt.Devices) -> Spec:
    domain = msgspec.structs.replace(spec.domain, devices=changed)
    return msgspec.structs.replace(spec, domain=domain)
