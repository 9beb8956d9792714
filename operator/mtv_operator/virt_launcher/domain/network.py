"""`<interface>` elements: taps that the handler made, with the spec's models and addresses."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain import disks
from mtv_operator.virt_launcher.domain.context import Context, Tap
from mtv_operator.virt_launcher.domain.markup import alias, element

MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "igb", "vmxnet3")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PCI = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


def normalized_mac(value: str, field: str) -> str:
    """Return the address as libvirt writes it; raises BadInput for what is none."""
    mac = value.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise errors.BadInput(
            f"{value[:40]!r} is not a MAC address",
            field=field,
            hint="write it like 52:54:00:12:34:56",
        )
    if int(mac[:2], 16) & 1:
        raise errors.BadInput(f"{mac} is a multicast address", field=field)
    return mac


def interface_elements(domain: kubevirt.DomainSpec, context: Context) -> list[Element]:
    """Return one `<interface>` per interface of the spec, in its order."""
    return [
        _interface(interface, context.taps.get(interface.name), domain)
        for interface in domain.devices.interfaces
        if interface.state != "absent"
    ]


def _interface(
    interface: kubevirt.Interface, tap: Tap | None, domain: kubevirt.DomainSpec
) -> Element:
    field = f"spec.domain.devices.interfaces[{interface.name}]"
    if tap is None:
        raise errors.BadInput(
            "the interface was not connected to a network of the pod",
            field=field,
            hint="use masquerade or bridge, on the pod network or one of multus",
        )
    model = interface.model or "virtio"
    if model not in MODELS:
        raise errors.BadInput(
            f"{model[:40]!r} is not a NIC model",
            field=f"{field}.model",
            hint=f"use one of {', '.join(MODELS)}",
        )
    virtio = model == "virtio"
    return element(
        "interface",
        {"type": "ethernet"},
        element("mac", {"address": tap.mac}),
        element("target", {"dev": tap.device, "managed": "no"}),
        element("model", {"type": disks.virtio_model(domain) if virtio else model}),
        _driver(tap) if virtio else None,
        element("mtu", {"size": tap.mtu}),
        element("link", {"state": "down"}) if interface.state == "down" else None,
        _boot(interface),
        element("acpi", {"index": interface.acpi_index}) if interface.acpi_index else None,
        alias(interface.name, field),
        _pci_address(interface, field),
    )


def _driver(tap: Tap) -> Element | None:
    if tap.queues < 2 and not tap.vhost:
        return None
    return element(
        "driver",
        {
            "name": "vhost" if tap.vhost else "qemu",
            "queues": tap.queues if tap.queues > 1 else None,
        },
    )


def _boot(interface: kubevirt.Interface) -> Element:
    """Return the boot order, or switch the NIC's boot ROM off: it only costs time."""
    if interface.boot_order:
        return element("boot", {"order": interface.boot_order})
    return element("rom", {"enabled": "no"})


def _pci_address(interface: kubevirt.Interface, field: str) -> Element | None:
    if not interface.pci_address:
        return None
    match = _PCI.fullmatch(interface.pci_address.lower())
    if match is None:
        raise errors.BadInput(
            f"{interface.pci_address[:40]!r} is not a PCI address",
            field=f"{field}.pciAddress",
            hint="write it like 0000:02:00.0",
        )
    names = ("domain", "bus", "slot", "function")
    parts = {name: f"0x{text}" for name, text in zip(names, match.groups(), strict=True)}
    return element("address", {"type": "pci", **parts})
