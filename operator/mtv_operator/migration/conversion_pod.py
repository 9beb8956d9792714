"""The pod that adapts one guest's disks. Pure.

It is no more than the user that the disks belong to: no capability, no token, a read-only root.
`mtv-adapt` leaves the pod's network behind as its first step. For that, and for FUSE, it makes a
user namespace, which the default seccomp profile of container engines forbids: hence `Unconfined`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mtv.api import core, meta, well_known
from mtv.planning import labels, names
from mtv.planning.adaptation import Place
from mtv_operator.adaptation.messages import Order

USER = 107
CONTAINER = "adapt"
COMMAND = "mtv-adapt"
NAME_LABEL = "app.kubernetes.io/name"
SELECTOR = f"{NAME_LABEL}={COMMAND}"
MODE, ATTEMPT = "mtv.dev/adaptation", "mtv.dev/attempt"  # labels of the pod
COMMIT, REHEARSE = "commit", "rehearse"
GRACE_PERIOD_S = 5
_SCRATCH, _PACKAGES, _DRIVERS = "/scratch", "/packages", "/drivers"
_TEMPORARY = "/temporary"  # not /tmp, which on a machine without images may hold our own code
_LONGEST_BASE = 40
# The boot test's own VM, and beside it what inspection and the tools need.
_BESIDE_MIB = 768


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A claim with a disk of the guest."""

    claim: str
    block: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Everything that the pod is made of. `order` lacks what only the pod's layout knows."""

    namespace: str
    base: str  # of the pod's name
    run: str  # uid of the Migration
    labels: Mapping[str, str]
    disks: Sequence[Disk]
    order: Order
    packages: Place | None = None
    drivers: Place | None = None
    image: str = "mtv"
    fuse: bool = True
    owner: meta.OwnerReference | None = None
    node_selector: Mapping[str, str] | None = None
    affinity: core.Affinity | None = None


def pod_name(wanted: Wanted, attempt: int) -> str:
    """Return the name of the pod of an attempt: a controller that was killed makes no second."""
    base = wanted.base
    if len(base) > _LONGEST_BASE:
        base = f"{base[: _LONGEST_BASE - 6].rstrip('-.')}-{names.digest(base)}"
    word = "look" if wanted.order.rehearse else "adapt"
    return f"{base}-{word}-{names.digest(wanted.run)}-{attempt}"


def build(wanted: Wanted, attempt: int) -> core.Pod:
    """Return the pod of an attempt."""
    volumes = (*_claims(wanted.disks), *_folders(wanted))
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=pod_name(wanted, attempt),
            namespace=wanted.namespace,
            labels={
                **wanted.labels,
                NAME_LABEL: COMMAND,
                MODE: REHEARSE if wanted.order.rehearse else COMMIT,
                ATTEMPT: str(attempt),
            },
            owner_references=(wanted.owner,) if wanted.owner else (),
        ),
        spec=core.PodSpec(
            containers=(_container(wanted),),
            volumes=volumes,
            # A container that was killed begins anew beside what it left in the pod's folders.
            restart_policy="OnFailure",
            termination_grace_period_seconds=GRACE_PERIOD_S,
            automount_service_account_token=False,
            enable_service_links=False,
            node_selector=dict(wanted.node_selector or {}),
            affinity=wanted.affinity,
            security_context=core.PodSecurityContext(
                run_as_user=USER,
                run_as_group=USER,
                run_as_non_root=True,
                fs_group=USER,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=core.SeccompProfile(type="Unconfined"),
            ),
        ),
    )


def _container(wanted: Wanted) -> core.Container:
    trial = wanted.order.trial
    memory_mib = _BESIDE_MIB + (trial.memory_mib if trial else 0)
    limits: dict[str, int | float | str] = {"memory": f"{memory_mib}Mi", "cpu": "2"}
    if wanted.fuse:
        limits[well_known.FUSE] = "1"
    text = msgspec.json.encode(_with_paths(wanted)).decode()
    return core.Container(
        name=CONTAINER,
        image=wanted.image,
        command=(COMMAND,),
        # Kubernetes would put a variable where it sees `$(`, which no JSON of ours needs.
        args=("--order", text.replace("$", "\\u0024")),
        env=(core.EnvVar(name="TMPDIR", value=_TEMPORARY),),
        resources=core.ResourceRequirements(
            requests={"cpu": "100m", "memory": "128Mi"}, limits=limits
        ),
        security_context=core.SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=core.Capabilities(drop=("ALL",)),
        ),
        volume_mounts=tuple(_mounts(wanted)),
        volume_devices=tuple(
            core.VolumeDevice(name=f"disk-{number}", device_path=f"/dev/guest-disk-{number}")
            for number, disk in enumerate(wanted.disks)
            if disk.block
        ),
        termination_message_policy="File",
    )


def _with_paths(wanted: Wanted) -> Order:
    return msgspec.structs.replace(
        wanted.order,
        disks=tuple(
            f"/dev/guest-disk-{number}" if disk.block else f"/disks/{number}/disk.img"
            for number, disk in enumerate(wanted.disks)
        ),
        # A device has no place beside it, and a rehearsal leaves nothing on a claim.
        scratch=_SCRATCH if wanted.order.rehearse or any(d.block for d in wanted.disks) else "",
        packages=_PACKAGES if wanted.packages else "",
        drivers=_DRIVERS if wanted.drivers else "",
    )


def _claims(disks: Sequence[Disk]) -> Iterator[core.Volume]:
    for number, disk in enumerate(disks):
        yield core.Volume(
            name=f"disk-{number}",
            persistent_volume_claim=core.PersistentVolumeClaimVolumeSource(claim_name=disk.claim),
        )


def _folders(wanted: Wanted) -> Iterator[core.Volume]:
    yield core.Volume(name="scratch", empty_dir=core.EmptyDirVolumeSource())
    yield core.Volume(name="tmp", empty_dir=core.EmptyDirVolumeSource())
    for name, place in (("packages", wanted.packages), ("drivers", wanted.drivers)):
        if place is None:
            continue
        if place.image:
            yield core.Volume(name=name, image={"reference": place.image})
        else:
            yield core.Volume(
                name=name,
                persistent_volume_claim=core.PersistentVolumeClaimVolumeSource(
                    claim_name=place.claim, read_only=True
                ),
            )


def _mounts(wanted: Wanted) -> Iterator[core.VolumeMount]:
    for number, disk in enumerate(wanted.disks):
        if not disk.block:
            yield core.VolumeMount(name=f"disk-{number}", mount_path=f"/disks/{number}")
    yield core.VolumeMount(name="scratch", mount_path=_SCRATCH)
    yield core.VolumeMount(name="tmp", mount_path=_TEMPORARY)
    if wanted.packages:
        yield core.VolumeMount(name="packages", mount_path=_PACKAGES, read_only=True)
    if wanted.drivers:
        yield core.VolumeMount(name="drivers", mount_path=_DRIVERS, read_only=True)


def attempt_of(pod: core.Pod) -> int:
    """Return which attempt a pod is."""
    text = pod.metadata.labels.get(ATTEMPT, "")
    return int(text) if text.isdigit() else 1


def has_fuse(pod: core.Pod) -> bool:
    """Tell whether a pod asks for /dev/fuse."""
    resources = pod.spec.containers[0].resources if pod.spec else None
    return well_known.FUSE in (resources.limits if resources else {})


def is_of(pod: core.Pod, owner: labels.Owner, vm_id: str, mode: str) -> bool:
    """Tell whether a pod belongs to this run of a plan, and to this VM."""
    marks = pod.metadata.labels
    return (
        owner.selects(marks, vm_id)
        and marks.get(labels.MIGRATION, "") == owner.migration_uid
        and marks.get(MODE) == mode
    )
