"""The volumes of a target VM: which disk, in which order, into which claim.

A claim's name is the plan's template filled in, and, where Forklift would use generateName, a
digest of plan, VM and disk: the same disk of the same plan always has the same claim, so that a
controller that was killed, or a second run of the plan, finds what is already there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mtv.api import core, forklift, meta
from mtv.errors import BadInput
from mtv.inventory.model import VM, Bus, Disk
from mtv.planning import labels, names, templates
from mtv.planning.mappings import StoragePair

MIB = 1 << 20
# A file system needs room of its own beside disk.img; CDI's DefaultGlobalOverhead.
FILESYSTEM_OVERHEAD = 0.06
FILESYSTEM = "Filesystem"
BLOCK = "Block"

DEFAULT_CLAIM_TEMPLATE = "{{trunc 15 .PlanName}}-{{trunc 15 .TargetVmName}}-disk-{{.DiskIndex}}"
DEFAULT_VOLUME_TEMPLATE = "vol-{{.VolumeIndex}}"

_BUS_ORDER = {Bus.SCSI: 0, Bus.SATA: 1, Bus.IDE: 2, Bus.NVME: 3, Bus.USB: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVolume:
    """One disk on its way: what it is called in the target, and the claim that will hold it."""

    index: int  # position on the target's bus
    disk: Disk
    name: str  # of the volume and the disk in the VM
    claim: core.PersistentVolumeClaim

    @property
    def claim_name(self) -> str:
        """The name of the claim."""
        return self.claim.metadata.name or ""

    @property
    def volume_mode(self) -> str:
        """Filesystem or Block."""
        return (self.claim.spec and self.claim.spec.volume_mode) or FILESYSTEM


def in_order(disks: Sequence[Disk]) -> tuple[Disk, ...]:
    """Return the disks as a guest counts them: by kind of bus, bus and unit."""
    return tuple(
        sorted(
            disks,
            key=lambda disk: (
                _BUS_ORDER[disk.bus],
                disk.bus_number,
                disk.controller_key,
                disk.unit_number,
                disk.key,
            ),
        )
    )


def size_mib(capacity_bytes: int, volume_mode: str) -> int:
    """Return the size to request, in MiB: the image fits, and the file system around it."""
    mib = -(-capacity_bytes // MIB)
    if volume_mode == BLOCK:
        return max(mib, 1)
    return max(-(-mib * 100 // round(100 * (1 - FILESYSTEM_OVERHEAD))), 1)


def plan_volumes(
    plan: forklift.Plan,
    entry: forklift.PlanVM,
    vm: VM,
    *,
    target_name: str,
    disks: Sequence[tuple[Disk, StoragePair]],
    root: int,
    owner: labels.Owner,
    field: str,
) -> tuple[PlannedVolume, ...]:
    """Return the volumes for `disks` (in the order of `in_order`), each with its claim.

    `root` is the index of the disk to boot from, for templates. Raises BadInput, naming the
    template, when a name cannot be made.
    """
    taken: set[str] = set()
    planned = []
    for index, (disk, pair) in enumerate(disks):
        claim_name = _claim_name(
            plan, entry, vm, disk, index=index, root=root, target_name=target_name, field=field
        )
        name = _volume_name(plan, entry, claim_name, index, taken, field=field)
        taken.add(name)
        planned.append(
            PlannedVolume(
                index=index,
                disk=disk,
                name=name,
                claim=_claim(plan, vm, disk, pair, index=index, name=claim_name, owner=owner),
            )
        )
    return tuple(planned)


def _claim_name(
    plan: forklift.Plan,
    entry: forklift.PlanVM,
    vm: VM,
    disk: Disk,
    *,
    index: int,
    root: int,
    target_name: str,
    field: str,
) -> str:
    template = entry.pvc_name_template or plan.spec.pvc_name_template
    where = f"{field}.pvcNameTemplate" if entry.pvc_name_template else "spec.pvcNameTemplate"
    rendered = templates.render(
        template or DEFAULT_CLAIM_TEMPLATE,
        {
            "VmName": vm.name,
            "TargetVmName": target_name.replace(".", "-"),
            "PlanName": plan.metadata.name or "",
            "DiskIndex": index,
            "RootDiskIndex": root,
            "VmId": vm.id,
            "WinDriveLetter": _drive_letter(vm, disk),
            "Shared": disk.shared,
            "FileName": disk.base_file.rpartition("/")[2].removesuffix(".vmdk"),
        },
        field=where,
    ).strip()
    if not template:
        rendered = names.label(rendered, otherwise=f"disk-{index}")
    return _finished(plan, vm, disk, rendered, where)


def _finished(plan: forklift.Plan, vm: VM, disk: Disk, rendered: str, where: str) -> str:
    if plan.spec.pvc_name_template_use_generate_name is not False:
        base = rendered.rstrip("-")
        suffix = names.digest(plan.metadata.uid or "", vm.id, disk.base_file or str(disk.key))
        rendered = f"{base[: names.LABEL_MAX - len(suffix) - 1].rstrip('-.')}-{suffix}"
    if not names.is_dns_subdomain(rendered):
        raise BadInput(
            f"the template makes {rendered!r}, which is no name for a claim",
            field=where,
            hint="names have lower-case letters, digits, dashes and dots: try `| lower`",
        )
    return rendered


def _volume_name(
    plan: forklift.Plan,
    entry: forklift.PlanVM,
    claim_name: str,
    index: int,
    taken: set[str],
    *,
    field: str,
) -> str:
    template = entry.volume_name_template or plan.spec.volume_name_template
    where = (
        f"{field}.volumeNameTemplate" if entry.volume_name_template else "spec.volumeNameTemplate"
    )
    rendered = templates.render(
        template or DEFAULT_VOLUME_TEMPLATE,
        {"PVCName": claim_name, "VolumeIndex": index},
        field=where,
    ).strip()[: names.LABEL_MAX]
    if not names.is_dns_label(rendered):
        raise BadInput(
            f"the template makes {rendered!r}, which is no DNS label",
            field=where,
            hint="volume names have lower-case letters, digits and dashes",
        )
    if rendered in taken:
        raise BadInput(
            f"the template makes {rendered!r} for two disks of one VM",
            field=where,
            hint="use {{.VolumeIndex}} in it",
        )
    return rendered


def _drive_letter(vm: VM, disk: Disk) -> str:
    """Return the lower-case letter of the Windows drive on `disk`, or ""."""
    for one in vm.guest_disks:
        if one.disk_key == disk.key and re.fullmatch(r"[A-Za-z]:\\?", one.path):
            return one.path[0].lower()
    return ""


def _claim(
    plan: forklift.Plan,
    vm: VM,
    disk: Disk,
    pair: StoragePair,
    *,
    index: int,
    name: str,
    owner: labels.Owner,
) -> core.PersistentVolumeClaim:
    marks = {**owner.of_vm(vm.id), labels.VM_UUID: names.label_value(vm.uuid)}
    if disk.shared:
        marks[labels.SHAREABLE] = "true"
    access = pair.access_mode or ("ReadWriteMany" if disk.shared else "ReadWriteOnce")
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(
            name=name,
            namespace=plan.spec.target_namespace,
            labels=marks,
            annotations={
                labels.DISK_SOURCE: disk.base_file,
                labels.DISK_INDEX: str(index),
            },
        ),
        spec=core.PersistentVolumeClaimSpec(
            access_modes=(access,),
            volume_mode=pair.volume_mode,
            storage_class_name=pair.storage_class,
            resources=core.VolumeResourceRequirements(
                requests={"storage": f"{size_mib(disk.capacity_bytes, pair.volume_mode)}Mi"}
            ),
        ),
    )
