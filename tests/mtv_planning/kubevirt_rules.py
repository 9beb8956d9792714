"""KubeVirt's admission rules for a VirtualMachine, written down a second time to check against.

From `vmi-create-admitter.go` and `vms-admitter.go`, those that a planned VM could break.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mtv.api import kubevirt

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SERIAL = re.compile(r"[A-Za-z0-9_.+-]+")


def violations(vm: kubevirt.VirtualMachine) -> list[str]:
    """Return what KubeVirt would refuse."""
    return [*_metadata(vm), *_spec(vm)]


def _metadata(vm: kubevirt.VirtualMachine) -> Iterator[str]:
    name = vm.metadata.name or ""
    if not _SUBDOMAIN.fullmatch(name) or len(name) > 63:
        yield f"metadata.name {name!r}"
    template = vm.spec.template.metadata
    for labels in (vm.metadata.labels, template.labels):
        for key, value in labels.items():
            if not _LABEL_KEY.fullmatch(key):
                yield f"label key {key!r}"
            if not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
                yield f"label value {value!r}"
    for key in vm.metadata.annotations:
        if not _LABEL_KEY.fullmatch(key):
            yield f"annotation key {key!r}"
    if any(key.startswith("kubevirt.io/") for key in (template.labels)):
        yield "a reserved label"


def _spec(vm: kubevirt.VirtualMachine) -> Iterator[str]:
    if (vm.spec.running is None) == (vm.spec.run_strategy is None):
        yield "exactly one of running and runStrategy"
    spec = vm.spec.template.spec
    assert spec is not None
    devices = spec.domain.devices
    yield from _names("disk", [d.name for d in devices.disks], [v.name for v in spec.volumes])
    yield from _names(
        "interface", [i.name for i in devices.interfaces], [n.name for n in spec.networks]
    )
    found = [d.boot_order for d in devices.disks] + [i.boot_order for i in devices.interfaces]
    orders = [order for order in found if order is not None]
    if len(set(orders)) != len(orders) or any(order < 1 for order in orders):
        yield f"boot orders {orders}"
    if sum(network.pod is not None for network in spec.networks) > 1:
        yield "two pod networks"
    yield from _firmware(spec.domain, sized=vm.spec.instancetype is None)
    yield from _devices(spec)


def _names(kind: str, used: list[str], given: list[str]) -> Iterator[str]:
    if used != given or len(set(used)) != len(used):
        yield f"{kind}s {used} against {given}"
    for name in used:
        if not _LABEL.fullmatch(name) or len(name) > 63:
            yield f"{kind} name {name!r}"


def _firmware(domain: kubevirt.DomainSpec, *, sized: bool) -> Iterator[str]:
    firmware = domain.firmware
    loader = firmware.bootloader if firmware else None
    if loader and loader.bios and loader.efi:
        yield "both BIOS and EFI"
    if loader and loader.efi and loader.efi.secure_boot is not False:
        smm = domain.features.smm if domain.features else None
        if not (smm and smm.enabled):
            yield "secure boot without SMM"
    if firmware and firmware.uuid and not _UUID.fullmatch(firmware.uuid):
        yield f"uuid {firmware.uuid}"
    if sized and not (domain.memory and domain.memory.guest and domain.cpu):
        yield "no memory or CPU"
    if not sized and (domain.memory or domain.cpu):
        yield "CPU or memory beside an instance type"


def _devices(spec: kubevirt.VirtualMachineInstanceSpec) -> Iterator[str]:
    for disk in spec.domain.devices.disks:
        bus = disk.disk.bus if disk.disk else None
        if bus not in {"virtio", "sata", "scsi", "usb"}:
            yield f"bus {bus}"
        if disk.serial and (len(disk.serial) > 256 or not _SERIAL.fullmatch(disk.serial)):
            yield f"serial {disk.serial}"
    for nic in spec.domain.devices.interfaces:
        if nic.model not in {"e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139", "virtio"}:
            yield f"model {nic.model}"
        if nic.mac_address and not _MAC.fullmatch(nic.mac_address):
            yield f"MAC {nic.mac_address}"
        if (nic.masquerade is None) == (nic.bridge is None):
            yield "exactly one binding"
        on_pod = any(n.pod for n in spec.networks if n.name == nic.name)
        if nic.masquerade is not None and not on_pod:
            yield "masquerade on a network that is not the pod's"
    for one in spec.domain.devices.inputs:
        if (one.type, one.bus) not in {("tablet", "usb"), ("tablet", "virtio")}:
            yield f"input {one.type} on {one.bus}"
