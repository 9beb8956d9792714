"""Board, firmware and identity: `<os>`, `<sysinfo>`, `<uuid>`."""

from __future__ import annotations

import re
import uuid
from xml.etree.ElementTree import Element

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain.context import Context, Firmware
from mtv_operator.virt_launcher.domain.markup import element, yes_no

DEFAULT_MACHINE = "q35"
# KubeVirt's namespace for VMs older than its rule to store a UUID: pkg/virt-controller/watch/vm.
_UUID_NAMESPACE = uuid.UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
_MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def system_uuid(vmi: kubevirt.VirtualMachineInstance) -> str:
    """Return the UUID that the guest's firmware shows: the spec's, or one made of the VM's name."""
    firmware = vmi.spec.domain.firmware
    if firmware is None or not firmware.uuid:
        return str(uuid.uuid5(_UUID_NAMESPACE, vmi.metadata.name))
    try:
        return str(uuid.UUID(firmware.uuid))
    except ValueError:
        raise errors.BadInput(
            f"{firmware.uuid[:60]!r} is not a UUID", field="spec.domain.firmware.uuid"
        ) from None


def efi(domain: kubevirt.DomainSpec) -> kubevirt.EFI | None:
    """Return the EFI part of the spec; raises BadInput when BIOS is asked for as well."""
    loader = domain.firmware.bootloader if domain.firmware else None
    if loader is None or loader.efi is None:
        return None
    if loader.bios is not None:
        raise errors.BadInput(
            "both bios and efi are given",
            field="spec.domain.firmware.bootloader",
            hint="keep the one the guest was installed with",
        )
    return loader.efi


def secure_boot(domain: kubevirt.DomainSpec) -> bool:
    """Tell whether Secure Boot is on: the default of EFI."""
    found = efi(domain)
    return found is not None and found.secure_boot is not False


def os_element(domain: kubevirt.DomainSpec, context: Context) -> Element:
    """Return `<os>`. Boot order is given per device, never here."""
    machine = (domain.machine.type if domain.machine else None) or DEFAULT_MACHINE
    if not _MACHINE.fullmatch(machine):
        raise errors.BadInput(
            f"{machine[:60]!r} is not a machine type", field="spec.domain.machine.type"
        )
    node = element("os", None, element("type", {"arch": "x86_64", "machine": machine}, text="hvm"))
    found = efi(domain)
    if found is not None:
        secure = secure_boot(domain)
        if secure and "q35" not in machine:
            raise errors.BadInput(
                f"Secure Boot needs a q35 machine, not {machine}",
                field="spec.domain.machine.type",
                hint="use machine type q35, or set efi.secureBoot to false",
            )
        node.extend(_loader(_firmware(context, secure), context, secure))
    elif domain.firmware and domain.firmware.bootloader and domain.firmware.bootloader.bios:
        use_serial = domain.firmware.bootloader.bios.use_serial
        if use_serial:
            node.append(element("bios", {"useserial": "yes"}))
    node.append(element("smbios", {"mode": "sysinfo"}))
    return node


def _firmware(context: Context, secure: bool) -> Firmware:
    found = context.efi_secure if secure else context.efi
    if found is None:
        kind = "with Secure Boot" if secure else "without Secure Boot"
        raise errors.TargetRefused(
            f"this node has no OVMF firmware {kind}",
            hint="install it on the node; on Debian: apt-get install ovmf",
        )
    return found


def _loader(firmware: Firmware, context: Context, secure: bool) -> list[Element]:
    return [
        element(
            "loader",
            {"readonly": "yes", "secure": yes_no(secure), "type": "pflash"},
            text=firmware.code,
        ),
        element("nvram", {"template": firmware.variables}, text=context.nvram),
    ]


def sysinfo_element(vmi: kubevirt.VirtualMachineInstance) -> Element:
    """Return the SMBIOS tables: what the guest sees as its maker, UUID and serial number."""
    domain = vmi.spec.domain
    entries = {
        "manufacturer": "KubeVirt",
        "product": "None",
        "uuid": system_uuid(vmi),
        "family": "KubeVirt",
    }
    if domain.firmware and domain.firmware.serial:
        entries["serial"] = domain.firmware.serial
    node = element("sysinfo", {"type": "smbios"}, _entries("system", entries))
    if (chassis := domain.chassis) is not None:
        given = {
            name: getattr(chassis, name)
            for name in ("manufacturer", "version", "serial", "asset", "sku")
        }
        node.append(_entries("chassis", {name: text for name, text in given.items() if text}))
    return node


def _entries(table: str, entries: dict[str, str]) -> Element:
    return element(
        table,
        None,
        *(element("entry", {"name": name}, text=text) for name, text in entries.items()),
    )
