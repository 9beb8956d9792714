"""The DataVolumes that a VirtualMachine brings along: made with it, waited for at its start."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mtv.api import cdi, kubevirt, meta
from mtv_operator.data_volumes import data_volume

DataVolumes = Mapping[str, cdi.DataVolume]


def names(vm: kubevirt.VirtualMachine) -> tuple[str, ...]:
    """Return the names of a VM's templates."""
    return tuple(one.metadata.name for one in vm.spec.data_volume_templates)


def missing(vm: kubevirt.VirtualMachine, known: DataVolumes) -> tuple[cdi.DataVolume, ...]:
    """Return the DataVolumes that are to be made."""
    return tuple(
        _made(vm, one) for one in vm.spec.data_volume_templates if one.metadata.name not in known
    )


def _made(vm: kubevirt.VirtualMachine, template: kubevirt.DataVolumeTemplateSpec) -> cdi.DataVolume:
    metadata = msgspec.structs.replace(
        template.metadata,
        namespace=vm.metadata.namespace,
        owner_references=(meta.owner_of(vm),),
        resource_version="",
        uid="",
    )
    return cdi.DataVolume(metadata=metadata, spec=template.spec)


def are_ready(vm: kubevirt.VirtualMachine, known: DataVolumes) -> bool:
    """Tell whether the VM may start: each disk is there, or made when it is needed first."""
    found = [known.get(name) for name in names(vm)]
    return all(one is not None and phase_of(one) in data_volume.READY_TO_USE for one in found)


def phase_of(volume: cdi.DataVolume) -> str:
    """Return a DataVolume's phase."""
    return (volume.status.phase if volume.status else None) or ""


def trouble(vm: kubevirt.VirtualMachine, known: DataVolumes) -> str:
    """Return what keeps a DataVolume from being filled, for people; "" while nothing does."""
    for name in names(vm):
        status = known[name].status if name in known else None
        for one in status.conditions if status is not None else ():
            if one.type == "Running" and one.status == "False" and one.message:
                return f"DataVolume {name}: {one.message}"
    return ""
