"""OVAs and OVFs as tools of VMware write them: by tar, and by qemu-img for the disks."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

GIB = 1 << 30
_NAMESPACES = (
    'xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:vmw="http://www.vmware.com/schema/ovf" '
    'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"'
)


def stream_vmdk(raw: Path, vmdk: Path) -> Path:
    """Make a streamOptimized VMDK of a raw disk."""
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "vmdk",
         "-o", "subformat=streamOptimized", str(raw), str(vmdk)],
        check=True, capture_output=True,
    )  # fmt: skip
    return vmdk


def _item(**values: object) -> str:
    inner = "".join(f"<rasd:{name}>{value}</rasd:{name}>" for name, value in values.items())
    return f"<Item>{inner}</Item>"


def system(name: str, disks: Sequence[str], *, macs: Sequence[str] = (), efi: bool = False) -> str:
    """Return a VirtualSystem with two CPUs, 512 MiB, disks on SCSI and NICs on `VM Network`."""
    items = [
        _item(InstanceID=1, ResourceType=3, VirtualQuantity=2),
        _item(InstanceID=2, ResourceType=4, VirtualQuantity=512, AllocationUnits="byte * 2^20"),
        _item(InstanceID=3, ResourceType=6, ResourceSubType="VirtualSCSI", Address=0),
        *(
            _item(InstanceID=10 + at, ResourceType=17, ElementName=f"Hard disk {at + 1}",
                  Parent=3, AddressOnParent=at, HostResource=f"ovf:/disk/{disk}")
            for at, disk in enumerate(disks)
        ),
        *(
            _item(InstanceID=30 + at, ResourceType=10, ResourceSubType="VmxNet3", Address=mac,
                  Connection="VM Network", AutomaticAllocation="true")
            for at, mac in enumerate(macs)
        ),
    ]  # fmt: skip
    firmware = '<vmw:Config vmw:key="firmware" vmw:value="efi"/>' if efi else ""
    return (
        f'<VirtualSystem ovf:id="{name}"><Info/><Name>{name}</Name>'
        '<OperatingSystemSection ovf:id="80" vmw:osType="rhel9_64Guest"><Info/>'
        "<Description>Red Hat Enterprise Linux 9 (64-bit)</Description></OperatingSystemSection>"
        f"<VirtualHardwareSection><Info/>{''.join(items)}{firmware}</VirtualHardwareSection>"
        "</VirtualSystem>"
    )


def descriptor(files: Sequence[tuple[str, int, int]], systems: Sequence[str]) -> bytes:
    """Return a descriptor; `files` are name, size in the package, capacity of vmdiskN."""
    references = "".join(
        f'<File ovf:id="file{at}" ovf:href="{name}" ovf:size="{size}"'
        + (' ovf:compression="gzip"' if name.endswith(".gz") else "")
        + "/>"
        for at, (name, size, _) in enumerate(files, 1)
    )
    listed = "".join(
        f'<Disk ovf:diskId="vmdisk{at}" ovf:fileRef="file{at}" ovf:capacity="{capacity}"/>'
        for at, (_, _, capacity) in enumerate(files, 1)
    )
    content = "".join(systems)
    if len(systems) > 1:
        content = (
            f'<VirtualSystemCollection ovf:id="all"><Info/>{content}</VirtualSystemCollection>'
        )
    return (
        f'<?xml version="1.0"?><Envelope {_NAMESPACES}><References>{references}</References>'
        f"<DiskSection><Info/>{listed}</DiskSection>"
        '<NetworkSection><Info/><Network ovf:name="VM Network"/></NetworkSection>'
        f"{content}</Envelope>"
    ).encode()


def manifest(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the manifest of files."""
    return "".join(
        f"SHA256({name})= {hashlib.sha256(content).hexdigest()}\n" for name, content in members
    ).encode()


def ova(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar of these members, as they are named."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    path.chmod(0o644)
    return path


def members_of(
    name: str, disks: Sequence[tuple[str, bytes, int]], systems: Sequence[str]
) -> list[tuple[str, bytes]]:
    """Return descriptor, manifest and disks; `disks` are name, content, capacity."""
    text = descriptor([(one, len(content), size) for one, content, size in disks], systems)
    listed = [(f"{name}.ovf", text), *((one, content) for one, content, _ in disks)]
    return [listed[0], (f"{name}.mf", manifest(listed)), *listed[1:]]
