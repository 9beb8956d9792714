"""Volumes added to and removed from virtual machines that may be running. Pure.

Only the specs change here: the controller brings an instance's volumes in line with its VM's, and
virt-handler the guest with the instance. Words are upstream's `pkg/virt-api/rest/volumes.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from mtv.api import json_patch, kubevirt

T = TypeVar("T", kubevirt.DataVolumeSource, kubevirt.PersistentVolumeClaimVolumeSource)
Spec = kubevirt.VirtualMachineInstanceSpec


class Impossible(Exception):
    """A volume that cannot be added or removed; the text says why."""


def added(spec: Spec, given: kubevirt.AddVolumeOptions) -> Spec:
    """Return the spec with one more volume and its disk. Raises Impossible."""
    source = given.volume_source
    wanted = _source_name(source)
    for volume in spec.volumes:
        if volume.name == given.name:
            raise Impossible(
                f"Unable to add volume [{given.name}] because volume with that name already exists"
            )
        if wanted and wanted == _claim(volume):
            raise Impossible(f"Unable to add volume source [{wanted}] because it already exists")
    made = kubevirt.Volume(
        name=given.name,
        data_volume=_pluggable(source.data_volume),
        persistent_volume_claim=_pluggable(source.persistent_volume_claim),
    )
    disk = msgspec.structs.replace(given.disk, name=given.name)
    disks = (*spec.domain.devices.disks, disk)
    return _with(spec, (*spec.volumes, made), disks)


def removed(spec: Spec, name: str) -> Spec:
    """Return the spec without a volume, named by itself or its claim. Raises Impossible."""
    found = next((one for one in spec.volumes if name in (one.name, _claim(one))), None)
    if found is None:
        raise Impossible(f"Unable to remove volume [{name}] because it does not exist")
    if not is_pluggable(found):
        raise Impossible(f"Unable to remove volume [{found.name}] because it is not hotpluggable")
    volumes = tuple(one for one in spec.volumes if one.name != found.name)
    disks = tuple(one for one in spec.domain.devices.disks if one.name != found.name)
    return _with(spec, volumes, disks)


def is_pluggable(volume: kubevirt.Volume) -> bool:
    """Tell whether a volume may come and go while the guest runs."""
    source = volume.data_volume or volume.persistent_volume_claim
    return bool(source is not None and source.hotpluggable)


def patch(at: str, before: Spec, after: Spec) -> Sequence[json_patch.Operation]:
    """Return the patch of a spec that lies at `at`, tested against what was read."""
    operations: list[json_patch.Operation] = []
    pairs = (
        ("volumes", before.volumes, after.volumes),
        ("domain/devices/disks", before.domain.devices.disks, after.domain.devices.disks),
    )
    for name, old, new in pairs:
        path = f"{at}/{name}"
        if old:
            operations.append({"op": "test", "path": path, "value": msgspec.to_builtins(old)})
        operations.append({"op": "add", "path": path, "value": msgspec.to_builtins(new)})
    return operations


def _pluggable(source: T | None) -> T | None:
    return None if source is None else msgspec.structs.replace(source, hotpluggable=True)


def _source_name(source: kubevirt.HotplugVolumeSource) -> str:
    if source.data_volume is not None:
        return source.data_volume.name
    if source.persistent_volume_claim is not None:
        return source.persistent_volume_claim.claim_name
    raise Impossible("a volume is a dataVolume or a persistentVolumeClaim")


def _claim(volume: kubevirt.Volume) -> str:
    if volume.data_volume is not None:
        return volume.data_volume.name
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return ""


def _with(
    spec: Spec, volumes: tuple[kubevirt.Volume, ...], disks: tuple[kubevirt.Disk, ...]
) -> Spec:
    devices = msgspec.structs.replace(spec.domain.devices, disks=disks)
    domain = msgspec.structs.replace(spec.domain, devices=devices)
    return msgspec.structs.replace(spec, volumes=volumes, domain=domain)
