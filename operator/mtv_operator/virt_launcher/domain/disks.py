"""`<disk>` elements: from the spec's disks and the images that their volumes are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain import cpu
from mtv_operator.virt_launcher.domain.context import Context, Image
from mtv_operator.virt_launcher.domain.markup import alias, element

DEFAULT_BUS = "sata"
PLUGGABLE = ("scsi", "virtio")
PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd"}
CACHES = ("none", "writethrough", "writeback")
_SERIAL = re.compile(
    r"[A-Za-z0-9 .+_-]{1,256}"
)  # libvirt: "disk serial contains unsafe characters"
ERROR_POLICIES = ("stop", "report", "ignore", "enospace")


def virtio_model(domain: kubevirt.DomainSpec) -> str:
    """Return which virtio the guest sees; old guests (CentOS 6, Windows 2003) need transitional."""
    old = domain.devices.use_virtio_transitional
    return "virtio-transitional" if old else "virtio-non-transitional"


def bus_of(disk: kubevirt.Disk) -> str:
    """Return the disk's bus; raises BadInput for one that a PC does not have."""
    target = disk.cdrom or disk.lun or disk.disk
    bus = (target.bus if target else None) or DEFAULT_BUS
    if bus not in PREFIX:
        raise errors.BadInput(
            f"{bus[:40]!r} is not a disk bus",
            field=f"spec.domain.devices.disks[{disk.name}]",
            hint=f"use one of {', '.join(sorted(PREFIX))}",
        )
    if bus == "virtio" and disk.cdrom is not None:
        raise errors.BadInput(
            "a CD-ROM drive has no virtio bus",
            field=f"spec.domain.devices.disks[{disk.name}].cdrom.bus",
            hint="use sata or scsi",
        )
    return bus


def targets(disks: Iterable[kubevirt.Disk], known: Mapping[str, str]) -> dict[str, str]:
    """Return the device name of each disk: kept where it is known, else the next free one."""
    disks = list(disks)
    given = {
        disk.name: known[disk.name]
        for disk in disks
        if known.get(disk.name, "").startswith(PREFIX[bus_of(disk)])
    }
    taken = set(given.values())
    for disk in disks:
        if disk.name in given:
            continue
        prefix = PREFIX[bus_of(disk)]
        number = 0
        while (name := prefix + letters(number)) in taken:
            number += 1
        taken.add(name)
        given[disk.name] = name
    return given


def letters(number: int) -> str:
    """Return a, b, … z, aa, ab, … for 0, 1, … as Linux and libvirt count disks."""
    name = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("a") + digit) + name
    return name


def disk_elements(domain: kubevirt.DomainSpec, context: Context) -> list[Element]:
    """Return one `<disk>` per disk of the spec, in its order."""
    names = targets(domain.devices.disks, context.targets)
    units = {"scsi": 0}
    elements = []
    for disk in domain.devices.disks:
        bus = bus_of(disk)
        unit = None
        if bus == "scsi":
            # An explicit address: libvirt would put the eighth disk on a second controller.
            unit = units["scsi"]
            units["scsi"] += 1
        image = context.images.get(disk.name)
        if image is None:
            raise errors.BadInput(
                "the disk has no volume of its name",
                field=f"spec.domain.devices.disks[{disk.name}]",
                hint="add it to spec.volumes",
            )
        elements.append(_disk(disk, bus, names[disk.name], unit, domain, image))
    return elements


def alias_of(name: str) -> str:
    """Return how libvirt calls the disk of a volume."""
    return f"ua-{name}"


def device_xml(disk: kubevirt.Disk, image: Image, taken: Collection[str]) -> str:
    """Return the `<disk>` of one that is plugged in: a device name that is free, any address.

    Raises BadInput for a bus or kind of disk that cannot be plugged in.
    """
    bus = bus_of(disk)
    if bus not in PLUGGABLE:
        raise errors.BadInput(
            f"a disk on the bus {bus} cannot be added to a running VM",
            field=f"spec.domain.devices.disks[{disk.name}]",
            hint=f"use {' or '.join(PLUGGABLE)}",
        )
    number = 0
    while (target := PREFIX[bus] + letters(number)) in taken:
        number += 1
    node = _disk(disk, bus, target, None, kubevirt.DomainSpec(devices=kubevirt.Devices()), image)
    return ElementTree.tostring(node, encoding="unicode")


def _disk(
    disk: kubevirt.Disk,
    bus: str,
    target: str,
    unit: int | None,
    domain: kubevirt.DomainSpec,
    image: Image,
) -> Element:
    field = f"spec.domain.devices.disks[{disk.name}]"
    device = _device(disk, bus, image, field)
    tray = (disk.cdrom.tray or None) if disk.cdrom else None
    model = virtio_model(domain) if bus == "virtio" else None
    node = element(
        "disk",
        {"type": "block" if image.block else "file", "device": device, "model": model},
        _driver(disk, image, domain, bus, field),
        _source(image),
        *_backing(image),
        element("target", {"dev": target, "bus": bus, "tray": tray}),
        _block_size(disk, field),
        element("readonly") if _read_only(disk, image) else None,
        element("shareable") if disk.shareable else None,
        _serial(disk, field),
        element("boot", {"order": disk.boot_order}) if disk.boot_order else None,
        alias(disk.name, field),
    )
    if unit is not None:
        address: dict[str, str | int | None] = {
            "type": "drive",
            "controller": 0,
            "bus": 0,
            "target": 0,
            "unit": unit,
        }
        node.append(element("address", address))
    return node


def _device(disk: kubevirt.Disk, bus: str, image: Image, field: str) -> str:
    if disk.cdrom is not None:
        return "cdrom"
    if disk.lun is None:
        return "disk"
    if bus != "scsi" or not image.block:
        raise errors.BadInput(
            "a LUN needs bus scsi and a volume of mode Block",
            field=f"{field}.lun",
            hint="make it a disk, or use a Block volume on bus scsi",
        )
    return "lun"


def _read_only(disk: kubevirt.Disk, image: Image) -> bool:
    if image.read_only:
        return True
    if disk.cdrom is not None:
        return disk.cdrom.readonly is not False
    target = disk.lun or disk.disk
    return bool(target and target.readonly)


def cache_of(disk: kubevirt.Disk, image: Image, field: str) -> str:
    """Return the cache mode: `none` where the file system can do direct I/O.

    Raises BadInput for a mode that does not exist or that the volume cannot have.
    """
    direct = image.direct_io and (image.backing is None or image.backing.direct_io)
    cache = disk.cache or ("none" if disk.shareable or direct else "writethrough")
    if cache not in CACHES:
        raise errors.BadInput(
            f"{cache[:40]!r} is not a cache mode",
            field=f"{field}.cache",
            hint=f"use one of {', '.join(CACHES)}, or leave it out",
        )
    if cache == "none" and not direct:
        raise errors.BadInput(
            "the volume's file system has no direct I/O, which cache none needs",
            field=f"{field}.cache",
            hint="leave cache out, or set it to writethrough",
        )
    return cache


def _driver(
    disk: kubevirt.Disk, image: Image, domain: kubevirt.DomainSpec, bus: str, field: str
) -> Element:
    if disk.cdrom is not None and not image.path:
        return element("driver", {"name": "qemu", "type": "raw"})
    cache = cache_of(disk, image, field)
    io = disk.io or ("native" if cache == "none" and (image.block or image.preallocated) else None)
    policy = disk.error_policy or "stop"
    if policy not in ERROR_POLICIES:
        raise errors.BadInput(
            f"{policy[:40]!r} is not an error policy",
            field=f"{field}.errorPolicy",
            hint=f"use one of {', '.join(ERROR_POLICIES)}",
        )
    queues = None
    if bus == "virtio" and domain.devices.block_multi_queue:
        queues = cpu.vcpus(domain)
    return element(
        "driver",
        {
            "name": "qemu",
            "type": image.format,
            "cache": cache,
            "error_policy": policy,
            "io": io,
            "discard": None if _read_only(disk, image) else "unmap",
            "queues": queues,
        },
    )


def _source(image: Image) -> Element | None:
    if not image.path:
        return None
    return element("source", {"dev" if image.block else "file": image.path})


def _backing(image: Image) -> list[Element]:
    """Name the backing file, so that nothing is probed from what the guest may have written."""
    if not image.path or image.format == "raw":
        return []
    if image.backing is None:
        return [element("backingStore")]
    backing = image.backing
    return [
        element(
            "backingStore",
            {"type": "block" if backing.block else "file"},
            element("format", {"type": backing.format}),
            _source(backing),
            *(_backing(backing) or [element("backingStore")]),
        )
    ]


def _serial(disk: kubevirt.Disk, field: str) -> Element | None:
    if not disk.serial:
        return None
    if not _SERIAL.fullmatch(disk.serial):
        raise errors.BadInput(
            f"{disk.serial[:60]!r} cannot be a disk's serial number",
            field=f"{field}.serial",
            hint="use letters, digits, blanks and . + _ -",
        )
    return element("serial", text=disk.serial)


def _block_size(disk: kubevirt.Disk, field: str) -> Element | None:
    size = disk.block_size.custom if disk.block_size else None
    if size is None:
        return None
    logical, physical = size.logical, size.physical
    for name, value in (("logical", logical), ("physical", physical)):
        if value is not None and (value < 512 or value & (value - 1) or value > 2 << 20):
            raise errors.BadInput(
                f"{value} is not a block size: a power of two from 512 to 2 Mi",
                field=f"{field}.blockSize.custom.{name}",
            )
    return element(
        "blockio",
        {
            "logical_block_size": logical,
            "physical_block_size": physical,
            "discard_granularity": size.discard_granularity,
        },
    )
