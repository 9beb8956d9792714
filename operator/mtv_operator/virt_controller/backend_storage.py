"""The claim on which a VM's firmware and TPM keep what must outlive its pods. Pure.

It belongs to the VM, not to the instance, and is found again by its name, which is upstream's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mtv.api import core, kubevirt, meta
from mtv_operator.virt_controller import launcher_volumes
from mtv_operator.virt_controller.launcher_volumes import Attached
from mtv_operator.virt_launcher import persistent_state

PREFIX = "persistent-state-for-"
VOLUME = "vm-state"
SIZE = "10Mi"
LONGEST_NAME = 253
SHARED, SINGLE = "ReadWriteMany", "ReadWriteOnce"


def name_of(instance: kubevirt.VirtualMachineInstance) -> str:
    """Return the name of the claim."""
    return f"{PREFIX}{instance.metadata.name}"[:LONGEST_NAME]


def claim(
    instance: kubevirt.VirtualMachineInstance,
    storage_class: str | None,
    disks: Mapping[str, core.PersistentVolumeClaim | None],
) -> core.PersistentVolumeClaim | None:
    """Return the claim that the instance needs; None: it keeps nothing.

    Without a class of its own it goes where the VM's disks are, when those are shared.
    """
    if not persistent_state.needed(instance.spec.domain):
        return None
    owner = next((one for one in instance.metadata.owner_references if one.controller), None)
    beside = _shared_class(disks.values())
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(
            name=name_of(instance),
            namespace=instance.metadata.namespace,
            labels={PREFIX.rstrip("-"): instance.metadata.name[:63]},
            owner_references=(owner or meta.owner_of(instance),),
        ),
        spec=core.PersistentVolumeClaimSpec(
            access_modes=(SHARED if beside else SINGLE,),
            resources=core.VolumeResourceRequirements(requests={"storage": SIZE}),
            storage_class_name=storage_class or beside,
            volume_mode="Filesystem",
        ),
    )


def _shared_class(disks: Iterable[core.PersistentVolumeClaim | None]) -> str | None:
    for one in disks:
        if one is not None and one.spec is not None and SHARED in one.spec.access_modes:
            return one.spec.storage_class_name
    return None


def attached(instance: kubevirt.VirtualMachineInstance) -> list[Attached]:
    """Return the claim as a volume of the launcher pod."""
    if not persistent_state.needed(instance.spec.domain):
        return []
    source = core.PersistentVolumeClaimVolumeSource(claim_name=name_of(instance))
    mount = core.VolumeMount(
        name=VOLUME, mount_path=f"{launcher_volumes.PRIVATE}/{persistent_state.FOLDER}"
    )
    volume = core.Volume(name=VOLUME, persistent_volume_claim=source)
    return [Attached(volume=volume, mounts=(mount,))]
