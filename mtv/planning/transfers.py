"""One DiskTransfer for each planned volume: what is read from where, and written into which claim.

The transfer has the claim's name and is owned by it: who deletes the claim deletes the transfer.
"""

from __future__ import annotations

import hashlib

from mtv.api import core, forklift, meta
from mtv.api import mtv as api
from mtv.errors import BadInput
from mtv.inventory.model import VM, Disk
from mtv.planning import labels, names, verify
from mtv.planning.volumes import PlannedVolume

MIB = 1 << 20
VDDK_IMAGE = "vddkInitImage"  # the provider's setting, as MTV has it; here a folder, too


def task_name(disk: Disk) -> str:
    """Return the name of the disk's task in a plan's pipeline: the file at the chain's bottom."""
    return disk.base_file or disk.file or str(disk.key)


def task_total_mib(disk: Disk) -> int:
    """Return the size of the disk's task, in MiB, rounded up."""
    return -(-disk.capacity_bytes // MIB)


def secret_name(plan: forklift.Plan) -> str:
    """Return the name of the copy of the provider's secret that a plan's transfers use."""
    base = names.label(plan.metadata.name or "", otherwise="plan", limit=40)
    return f"{base}-source-{names.digest(plan.metadata.uid or '')}"


def source_state(vm: VM, disk: Disk) -> str:
    """Return a digest of what identifies the content of a disk, as far as the inventory tells.

    A finished transfer is worth something only as long as the source has not changed since. Equal
    digests do not prove that (a powered-on guest writes without leaving a trace here); different
    ones prove that it has.
    """
    facts = (vm.id, vm.revision, disk.file, disk.change_id, str(disk.capacity_bytes))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def plan_transfer(
    plan: forklift.Plan,
    provider: forklift.Provider,
    vm: VM,
    volume: PlannedVolume,
    *,
    owner: labels.Owner,
    claim: core.PersistentVolumeClaim | None = None,
) -> api.DiskTransfer:
    """Return the transfer of one volume; `claim`, once it exists, becomes its owner."""
    disk = volume.disk
    namespace = plan.spec.target_namespace
    owners: tuple[meta.OwnerReference, ...] = ()
    if claim is not None and claim.metadata.uid:
        owners = (
            meta.OwnerReference(
                api_version="v1",
                kind="PersistentVolumeClaim",
                name=claim.metadata.name or "",
                uid=claim.metadata.uid,
                block_owner_deletion=False,
            ),
        )
    return api.DiskTransfer(
        metadata=meta.ObjectMeta(
            name=volume.claim_name,
            namespace=namespace,
            labels=owner.of_vm(vm.id),
            annotations={
                labels.DISK_SOURCE: disk.base_file,
                labels.DISK_INDEX: str(volume.index),
                labels.SOURCE_STATE: source_state(vm, disk),
            },
            owner_references=owners,
        ),
        spec=api.DiskTransferSpec(
            provider=api.NamespacedName(
                namespace=provider.metadata.namespace or "", name=provider.metadata.name or ""
            ),
            secret=api.NamespacedName(namespace=namespace, name=secret_name(plan)),
            url=disk.package or provider.spec.url or "",
            vm=api.SourceVM(id=vm.id, name=vm.name),
            disk=api.SourceDisk(
                key=disk.key,
                file=disk.file,
                base_file=disk.base_file,
                capacity_bytes=disk.capacity_bytes,
            ),
            target=api.TransferTarget(claim_name=volume.claim_name, volume_mode=volume.volume_mode),
            transport="package" if disk.package else "",
            vddk=provider.spec.settings.get(VDDK_IMAGE) or None,
            verify=_verify(plan),
        ),
    )


def _verify(plan: forklift.Plan) -> str:
    try:
        return verify.parse(plan.metadata.annotations)
    except BadInput:
        return ""  # `plan_checks` reports it
