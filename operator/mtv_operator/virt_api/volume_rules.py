"""Rules for volumes and the disks that show them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from mtv import errors
from mtv.api import kubevirt, quantities
from mtv_operator.virt_api.causes import NOT_FOUND, REQUIRED, Cause

CLOUD_INIT_MOST = 2048  # upstream: cloudInitUserMaxLen, cloudInitNetworkMaxLen
BUSES = ("virtio", "sata", "scsi", "usb")
CACHES = ("none", "writethrough", "writeback")
SERIAL_MOST = 256
HOST_DISK = "HostDisk"  # a gate in the KubeVirt object's developerConfiguration
# Names that the launcher pod has volumes of already.
RESERVED_NAMES = (
    "private",
    "public",
    "sockets",
    "ephemeral-disks",
    "container-disks",
    "libvirt-runtime",
    "hotplug-disks",
    "hugepages",
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERIAL = re.compile(r"[A-Za-z0-9_.+-]*")


def causes(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> list[Cause]:
    """Return what is wrong."""
    disks, volumes = spec.domain.devices.disks, spec.volumes
    devices = f"{field}.domain.devices"
    found: list[Cause] = []
    found += _doubled([one.name for one in volumes], f"{field}.volumes")
    found += _doubled([one.name for one in disks], f"{devices}.disks")
    names = {one.name for one in volumes}
    for index, disk in enumerate(disks):
        where = f"{devices}.disks[{index}]"
        if disk.name not in names and disk.cdrom is None:
            message = f"{where}.Name '{disk.name}' not found."
            found.append(Cause(field=f"{where}.name", message=message, reason=NOT_FOUND))
        found += _disk(disk, where)
    for index, volume in enumerate(volumes):
        found += _volume(volume, f"{field}.volumes[{index}]")
    return found


def gated(
    spec: kubevirt.VirtualMachineInstanceSpec, field: str, gates: Collection[str]
) -> list[Cause]:
    """Return what is not allowed here: files of the node are its administrator's to give away."""
    if HOST_DISK in gates:
        return []
    message = "HostDisk feature gate is not enabled in kubevirt-config"
    return [
        Cause(field=f"{field}.volumes[{index}]", message=message)
        for index, volume in enumerate(spec.volumes)
        if volume.host_disk is not None
    ]


def _doubled(names: Sequence[str], field: str) -> Iterator[Cause]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            message = f"{field}[{first[name]}] and {field}[{index}] must not have the same Name."
            yield Cause(field=f"{field}[{index}].name", message=message)
        first.setdefault(name, index)


def _disk(disk: kubevirt.Disk, field: str) -> Iterator[Cause]:
    targets = [
        (name, target)
        for name, target in (("disk", disk.disk), ("cdrom", disk.cdrom), ("lun", disk.lun))
        if target is not None
    ]
    if not _LABEL.fullmatch(disk.name):
        yield Cause(field=f"{field}.name", message=f"{field}.name {_not_a_label(disk.name)}")
    if len(targets) > 1:
        message = f"{field} can only have a single target type defined"
        yield Cause(field=field, message=message)
    for name, target in targets:
        bus = target.bus
        if bus and bus not in BUSES:
            message = (
                f"{field} is set with an unrecognized bus {bus}, must be one of: {list(BUSES)}"
            )
            yield Cause(field=f"{field}.{name}.bus", message=message)
        if bus == "virtio" and name == "cdrom":
            message = "Bus type virtio is invalid for CD-ROM device"
            yield Cause(field=f"{field}.cdrom.bus", message=message)
    if disk.cache and disk.cache not in CACHES:
        message = f"{field}.cache has invalid value {disk.cache}"
        yield Cause(field=f"{field}.cache", message=message)
    if disk.io and disk.io not in ("native", "threads"):
        message = (
            f"Disk IO mode for {field} is not supported. Supported modes are: native, threads."
        )
        yield Cause(field=f"{field}.io", message=message)
    yield from _serial(disk, field)


def _serial(disk: kubevirt.Disk, field: str) -> Iterator[Cause]:
    serial = disk.serial or ""
    if len(serial) > SERIAL_MOST:
        message = f"{field} must be less than or equal to {SERIAL_MOST} in length, if specified"
        yield Cause(field=f"{field}.serial", message=message)
    if not _SERIAL.fullmatch(serial):
        message = (
            f"{field} must be made up of the following characters [A-Za-z0-9_.+-], if specified"
        )
        yield Cause(field=f"{field}.serial", message=message)


def _volume(volume: kubevirt.Volume, field: str) -> Iterator[Cause]:
    if not _LABEL.fullmatch(volume.name):
        yield Cause(field=f"{field}.name", message=f"{field}.name {_not_a_label(volume.name)}")
    if volume.name in RESERVED_NAMES:
        message = f"{field}.name '{volume.name}' is the name of a volume that every pod has"
        yield Cause(field=f"{field}.name", message=message)
    sources = [
        name
        for name in type(volume).__struct_fields__
        if name != "name" and getattr(volume, name) is not None
    ]
    if len(sources) != 1:
        message = f"{field} must have exactly one source type set"
        yield Cause(field=field, message=message)
    claim = volume.persistent_volume_claim
    if claim is not None and not claim.claim_name:
        message = f"{field}.persistentVolumeClaim.claimName must not be empty"
        where = f"{field}.persistentVolumeClaim.claimName"
        yield Cause(field=where, message=message, reason=REQUIRED)
    if volume.data_volume is not None and not volume.data_volume.name:
        message = "DataVolume 'name' must be set"
        yield Cause(field=f"{field}.dataVolume.name", message=message, reason=REQUIRED)
    if volume.empty_disk is not None:
        yield from _capacity(volume.empty_disk, f"{field}.emptyDisk.capacity")
    for name, seed in (
        ("cloudInitNoCloud", volume.cloud_init_no_cloud),
        ("cloudInitConfigDrive", volume.cloud_init_config_drive),
    ):
        if seed is not None:
            yield from _cloud_init(seed, f"{field}.{name}")


def _not_a_label(name: str) -> str:
    return f"{name[:80]!r} must consist of at most 63 lower case letters, digits and '-'"


def _capacity(disk: kubevirt.EmptyDiskSource, field: str) -> Iterator[Cause]:
    try:
        too_small = quantities.whole(disk.capacity) < 512
    except errors.BadInput as fault:
        yield Cause(field=field, message=f"{field}: {fault.message}")
        return
    if too_small:
        yield Cause(field=field, message=f"{field} must be at least 512 bytes")


def _cloud_init(
    seed: kubevirt.CloudInitNoCloudSource | kubevirt.CloudInitConfigDriveSource, field: str
) -> Iterator[Cause]:
    user = [
        one for one in (seed.user_data, seed.user_data_base64, seed.secret_ref) if one is not None
    ]
    network = [
        one
        for one in (seed.network_data, seed.network_data_base64, seed.network_data_secret_ref)
        if one is not None
    ]
    if not user and not network:
        message = f"{field} must have at least one userdatasource or one networkdatasource set."
        yield Cause(field=field, message=message)
    if len(user) > 1:
        yield Cause(field=field, message=f"{field} must have only one userdatasource set.")
    if len(network) > 1:
        yield Cause(field=field, message=f"{field} must have only one networkdata source set.")
    for name, text, kind, way in (
        ("userData", seed.user_data, "userdata", "UserDataSecretRef"),
        ("userDataBase64", seed.user_data_base64, "userdata", "UserDataSecretRef"),
        ("networkData", seed.network_data, "networkdata", "NetworkDataSecretRef"),
        ("networkDataBase64", seed.network_data_base64, "networkdata", "NetworkDataSecretRef"),
    ):
        # base64 of so many bytes is a third longer
        most = CLOUD_INIT_MOST * 4 // 3 + 4 if name.endswith("64") else CLOUD_INIT_MOST
        if text is not None and len(text.encode()) > most:
            message = (
                f"{field} {kind} exceeds {CLOUD_INIT_MOST} byte limit. Should use {way} for "
                "larger data."
            )
            yield Cause(field=f"{field}.{name}", message=message)
