"""The virtual systems of an OVF descriptor: CPUs, memory, disks, NICs, firmware. Pure.

DSP0243 of the DMTF, with what VMware (`vmw:`) and VirtualBox (`vbox:`) add. The descriptor has been
through `converters.images.ovf.parse`, so that it is bounded and has no document type.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

_VMWARE = "http://www.vmware.com/schema/ovf"
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{12}")
_WORDS = {"bytes": 1, "byte": 1, "kilobytes": 1 << 10, "kb": 1 << 10, "megabytes": 1 << 20,
          "mb": 1 << 20, "gigabytes": 1 << 30, "gb": 1 << 30}  # fmt: skip
_UNITS = re.compile(
    r"byte\s*\*\s*(?:(?P<base>\d{1,4})\s*\^\s*(?P<power>\d{1,2})|(?P<plain>\d{1,12}))"
)
_MOST_CPUS, _MOST_MEMORY = 4096, 64 << 40
# CIM_ResourceAllocationSettingData.ResourceType.
CPU, MEMORY, IDE, SCSI, NIC, DISK, OTHER_STORAGE, USB = 3, 4, 5, 6, 10, 17, 20, 23
# CIM_OperatingSystem.OSType of those Windows that descriptors without a name of it are met with.
_WINDOWS = {
    58: "Windows 2000", 67: "Windows XP", 69: "Windows Server 2003", 70: "Windows Server 2003",
    71: "Windows XP", 73: "Windows Vista", 74: "Windows Vista", 76: "Windows Server 2008",
    77: "Windows Server 2008", 103: "Windows Server 2008 R2", 105: "Windows 7",
    113: "Windows Server 2012", 114: "Windows 8", 115: "Windows 8", 116: "Windows Server 2012 R2",
    117: "Windows Server 2016", 118: "Windows 8.1", 119: "Windows 8.1", 120: "Windows 10",
    121: "Windows 10",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemDisk:
    """A disk of a system: which one of the package, and where it hangs."""

    reference: str  # diskId of the DiskSection, or "file:" and the id of a File
    label: str
    bus: str  # scsi, sata, ide, nvme
    model: str
    controller: int
    bus_number: int
    unit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemNic:
    """A NIC of a system. `network` is "" where it is connected to nothing."""

    network: str
    mac: str
    model: str
    label: str
    connected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One virtual system."""

    id: str
    name: str
    cpus: int
    cores_per_socket: int
    memory_bytes: int
    efi: bool
    secure_boot: bool = False
    tpm: bool = False
    uuid: str = ""
    guest_id: str = ""
    guest_name: str = ""
    annotation: str = ""
    hardware_version: str = ""
    cpu_hot_add: bool = False
    memory_hot_add: bool = False
    nested_hv: bool = False
    disks: tuple[SystemDisk, ...] = ()
    nics: tuple[SystemNic, ...] = ()
    devices: tuple[tuple[str, str], ...] = ()  # kind and label of what is none of these


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A whole descriptor."""

    systems: tuple[System, ...]
    networks: tuple[tuple[str, str], ...]  # name and description
    from_vmware: bool


@dataclass(slots=True)
class _Item:
    """An item of a hardware section, by the names of its children."""

    element: Element
    values: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    @property
    def kind(self) -> int:
        return _number(self.get("ResourceType"))

    @property
    def label(self) -> str:
        return self.get("ElementName") or self.get("Caption")


def read(content: bytes) -> Described:
    """Return the systems of a descriptor, in its order; those without hardware are left out."""
    root = ElementTree.fromstring(content)
    chosen = _default_configuration(root)
    networks = [
        (name, _text(one, "Description"))
        for section in _all(root, "NetworkSection")
        for one in _all(section, "Network")
        if (name := _attribute(one, "name"))
    ]
    systems = [
        system
        for at, one in enumerate(_all(root, "VirtualSystem"))
        if (system := _system(one, at, chosen)) is not None
    ]
    return Described(
        systems=tuple(systems),
        networks=tuple(dict(networks).items()),
        from_vmware=any(element.tag.startswith(f"{{{_VMWARE}}}") for element in root.iter())
        or any(name.startswith(f"{{{_VMWARE}}}") for one in root.iter() for name in one.attrib),
    )


def _default_configuration(root: Element) -> str:
    options = [one for section in _all(root, "DeploymentOptionSection")
               for one in _all(section, "Configuration")]  # fmt: skip
    marked = [one for one in options if _attribute(one, "default").lower() == "true"]
    return next((_attribute(one, "id") for one in (*marked, *options)), "")


def _system(element: Element, at: int, chosen: str) -> System | None:
    section = next(_all(element, "VirtualHardwareSection"), None)
    if section is None:
        return None
    items = _items(section, chosen)
    settings = _settings(section)
    cpu = next((one for one in items if one.kind == CPU), None)
    memory = next((one for one in items if one.kind == MEMORY), None)
    guest_id, guest_name = _guest(element)
    identifier = _attribute(element, "id") or f"system-{at}"
    machine = next(_all(element, "Machine"), None)  # VirtualBox's own
    return System(
        id=identifier,
        name=_text(element, "Name") or identifier,
        cpus=min(max(_number(cpu.get("VirtualQuantity")) if cpu else 1, 1), _MOST_CPUS),
        cores_per_socket=max(_number(cpu.get("CoresPerSocket")) if cpu else 1, 1),
        memory_bytes=_memory(memory),
        efi=settings.get("firmware", "").lower() == "efi" or _vbox_efi(machine),
        secure_boot=settings.get("bootOptions.efiSecureBootEnabled", "").lower() == "true",
        tpm=any("vtpm" in one.get("ResourceSubType").lower() for one in items),
        uuid=_attribute(machine, "uuid").strip("{}") if machine is not None else "",
        guest_id=guest_id,
        guest_name=guest_name,
        annotation=_annotation(element),
        hardware_version=_text(section, "VirtualSystemType"),
        cpu_hot_add=settings.get("cpuHotAddEnabled", "").lower() == "true",
        memory_hot_add=settings.get("memoryHotAddEnabled", "").lower() == "true",
        nested_hv=settings.get("nestedHVEnabled", "").lower() == "true",
        disks=tuple(_disks(items)),
        nics=tuple(_nics(items)),
        devices=tuple(
            ("VirtualUSBController", one.label) for one in items if one.kind == USB
        ),
    )  # fmt: skip


def _items(section: Element, chosen: str) -> list[_Item]:
    """Return the items that count: of the default configuration, and no bounds of others."""
    found: dict[str, _Item] = {}
    for number, element in enumerate(section):
        if _local(element.tag) not in ("Item", "StorageItem", "EthernetPortItem"):
            continue
        wanted = _attribute(element, "configuration").split()
        if _attribute(element, "bound") or (wanted and chosen not in wanted):
            continue
        item = _Item(element)
        for child in element:
            item.values.setdefault(_local(child.tag), (child.text or "").strip())
        key = item.get("InstanceID") or item.get("InstanceId") or f"#{number}"
        found[key] = item
    return list(found.values())


def _settings(section: Element) -> dict[str, str]:
    """Return VMware's `Config` and `ExtraConfig` entries."""
    return {
        _attribute(one, "key"): _attribute(one, "value")
        for name in ("Config", "ExtraConfig")
        for one in _all(section, name)
    }


def _vbox_efi(machine: Element | None) -> bool:
    found = next(_all(machine, "Firmware"), None) if machine is not None else None
    return found is not None and _attribute(found, "type").upper().startswith("EFI")


def _guest(element: Element) -> tuple[str, str]:
    section = next(_all(element, "OperatingSystemSection"), None)
    if section is None:
        return "", ""
    name = _text(section, "Description") or _text(section, "OSType")
    return (
        _attribute(section, "osType"),
        name or _WINDOWS.get(_number(_attribute(section, "id")), ""),
    )


def _annotation(element: Element) -> str:
    section = next(_all(element, "AnnotationSection"), None)
    return _text(section, "Annotation")[:4096] if section is not None else ""


def _memory(item: _Item | None) -> int:
    if item is None:
        return 1 << 30
    units = item.get("AllocationUnits").strip()
    match = _UNITS.fullmatch(units)
    if match is None:
        unit = _WORDS.get(units.lower(), 1 << 20)
    else:
        plain = int(match["plain"]) if match["plain"] else 0
        unit = plain or int(match["base"]) ** int(match["power"])
    return min(max(_number(item.get("VirtualQuantity")) * unit, 1 << 20), _MOST_MEMORY)


def _disks(items: list[_Item]) -> Iterator[SystemDisk]:
    numbers = {IDE: 0, SCSI: 0, OTHER_STORAGE: 0}
    controllers: dict[str, tuple[str, str, int, int]] = {}  # bus, model, key, number
    for item in items:
        if item.kind in numbers:
            identifier = item.get("InstanceID") or item.get("InstanceId")
            bus, model = _controller(item)
            key = 1000 * (item.kind + 1) + numbers[item.kind]
            controllers[identifier] = (bus, model, key, numbers[item.kind])
            numbers[item.kind] += 1
    for item in items:
        reference = _reference(item.get("HostResource"))
        if item.kind != DISK or not reference:
            continue
        bus, model, key, number = controllers.get(item.get("Parent"), ("scsi", "lsilogic", 7000, 0))
        yield SystemDisk(
            reference=reference, label=item.label, bus=bus, model=model, controller=key,
            bus_number=number, unit=_number(item.get("AddressOnParent")),
        )  # fmt: skip


def _controller(item: _Item) -> tuple[str, str]:
    """Return bus and model of a controller."""
    kind = item.get("ResourceSubType").lower()
    if item.kind == IDE:
        return "ide", "ide"
    if item.kind == OTHER_STORAGE:
        return ("nvme", "nvme") if "nvme" in kind else ("sata", "ahci")
    if "virtualscsi" in kind or "pvscsi" in kind:
        return "scsi", "pvscsi"
    if "buslogic" in kind:
        return "scsi", "buslogic"
    return "scsi", "lsilogic-sas" if "sas" in kind else "lsilogic"


def _reference(text: str) -> str:
    """Return what `ovf:/disk/vmdisk1` or `/file/file1` names."""
    path = text.removeprefix("ovf:").strip()
    if path.startswith("/disk/"):
        return path.removeprefix("/disk/")
    return f"file:{path.removeprefix('/file/')}" if path.startswith("/file/") else ""


def _nics(items: list[_Item]) -> Iterator[SystemNic]:
    for item in items:
        if item.kind != NIC:
            continue
        address = item.get("Address").strip()
        digits = re.sub(r"[:-]", "", address).lower() if _MAC.fullmatch(address) else ""
        yield SystemNic(
            network=item.get("Connection"),
            mac=":".join(digits[at : at + 2] for at in range(0, 12, 2)) if digits else "",
            model=(item.get("ResourceSubType").split() or ["e1000"])[0].lower(),
            label=item.label,
            connected=item.get("AutomaticAllocation").lower() != "false",
        )


def _all(element: Element, name: str) -> Iterator[Element]:
    return (one for one in element.iter() if _local(one.tag) == name)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _text(element: Element, name: str) -> str:
    """Return the text of a child; its descendants have names of their own."""
    return next(
        ((one.text or "").strip() for one in element if _local(one.tag) == name and one.text), ""
    )


def _attribute(element: Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if _local(key) == name), "")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
