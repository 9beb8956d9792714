"""The libvirt domain of a VirtualMachineInstance: pure, from spec and context to XML.

Follows KubeVirt's converter in what the guest sees (devices, order, names, identity); where it
differs is in paths (Debian's OVMF) and under emulation, see `compromises`.
"""

from __future__ import annotations

from xml.etree import ElementTree

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain import cpu, devices, disks, features, firmware, network
from mtv_operator.virt_launcher.domain.context import Context
from mtv_operator.virt_launcher.domain.markup import element

NAMESPACE = "http://kubevirt.io"


def domain_name(namespace: str, name: str) -> str:
    """Return the domain's name, as upstream: neither part may have an underscore."""
    return f"{namespace}_{name}"


def build(vmi: kubevirt.VirtualMachineInstance, context: Context) -> str:
    """Return the domain's XML.

    Raises BadInput naming the field of the spec that cannot be honoured, or TargetRefused when
    this node lacks what the spec needs.
    """
    domain = vmi.spec.domain
    devices.refuse_missing(domain)
    _refuse_double_boot_order(domain)
    secure = firmware.secure_boot(domain)
    root = element(
        "domain",
        {"type": context.accelerator.value},
        element("name", text=domain_name(vmi.metadata.namespace, vmi.metadata.name)),
        element("uuid", text=firmware.system_uuid(vmi)),
        _metadata(vmi, context),
        *cpu.memory_elements(domain),
        *cpu.vcpu_elements(domain),
        firmware.sysinfo_element(vmi),
        firmware.os_element(domain, context),
        features.feature_elements(domain, context, secure),
        cpu.cpu_element(domain, context),
        features.clock_element(domain, context),
        element("on_poweroff", text="destroy"),
        element("on_reboot", text=_on_reboot(domain)),
        element("on_crash", text="destroy"),
        element(
            "devices",
            None,
            element("emulator", text=context.emulator),
            *devices.controller_elements(domain),
            *disks.disk_elements(domain, context),
            *network.interface_elements(domain, context),
            *devices.console_elements(domain, context),
            *devices.input_elements(domain),
            *devices.display_elements(domain, context),
            *devices.small_elements(domain),
            devices.balloon_element(domain),
        ),
    )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def compromises(vmi: kubevirt.VirtualMachineInstance, context: Context) -> tuple[str, ...]:
    """Return in what the domain is less than the spec asks; empty with KVM."""
    domain = vmi.spec.domain
    return (*cpu.compromises(domain, context), *features.compromises(domain, context))


def _metadata(vmi: kubevirt.VirtualMachineInstance, context: Context) -> ElementTree.Element:
    """Return what a restarted launcher or handler needs to know, kept by libvirt."""
    seconds = element("deletionGracePeriodSeconds", text=str(context.grace_period_s))
    return element(
        "metadata",
        None,
        element(
            "kubevirt",
            {"xmlns": NAMESPACE},
            element("uid", text=vmi.metadata.uid),
            element("graceperiod", None, seconds),
        ),
    )


def _on_reboot(domain: kubevirt.DomainSpec) -> str:
    return "destroy" if domain.reboot_policy == "Terminate" else "restart"


def _refuse_double_boot_order(domain: kubevirt.DomainSpec) -> None:
    seen: dict[int, str] = {}
    devices: tuple[kubevirt.Disk | kubevirt.Interface, ...] = (
        *domain.devices.disks,
        *domain.devices.interfaces,
    )
    for device in devices:
        order = device.boot_order
        if order is None:
            continue
        if order < 1 or order in seen:
            other = f", as {seen[order]} has" if order in seen else ""
            raise errors.BadInput(
                f"{device.name} has boot order {order}{other}",
                field="spec.domain.devices",
                hint="boot orders start at 1 and each is used once",
            )
        seen[order] = device.name
