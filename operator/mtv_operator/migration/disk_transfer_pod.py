"""The pod that carries out a DiskTransfer. Pure.

It runs as the user that the VM's disk shall belong to (107, QEMU's in KubeVirt), so that nobody has
to change the owner afterwards. Where it runs is the scheduler's business: the claim says it.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from mtv.api import core, meta
from mtv.api.mtv import DiskTransfer
from mtv.planning import names

USER = 107
ACCOUNT = "mtv-transfer"
CONTAINER = "transfer"
COMMAND = "mtv-transfer"
DATA, SOURCE, PACKAGE, VDDK = "data", "source", "package", "vddk"
DATA_FOLDER, DEVICE, SOURCE_FOLDER = "/data", "/dev/target", "/etc/source"
PACKAGE_FOLDER = "/package"
VDDK_FOLDER = "/vddk"
VDDK_IN_IMAGE = "/vmware-vix-disklib-distrib"  # where MTV's users put the library in their image
GRACE_PERIOD_S = 5
_LONGEST_BASE = 63 - len("-transfer-") - 5 - 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What can be chosen about pods when the controller starts."""

    image: str = "ghcr.io/mtv/mtv:latest"
    host_network: bool = False
    cpu_request: str = "100m"
    memory_request: str = "128Mi"
    memory_limit: str = "512Mi"


def pod_name(transfer: DiskTransfer, attempt: int) -> str:
    """Return the name of the pod of an attempt: a controller that was killed makes no second.

    Attempts at another checkpoint have other names: an earlier pod may still be going.
    """
    name = transfer.metadata.name
    if len(name) > _LONGEST_BASE:
        name = f"{name[: _LONGEST_BASE - 6].rstrip('-.')}-{names.digest(name)}"
    wanted = transfer.spec.checkpoint
    if wanted is None:
        return f"{name}-{CONTAINER}-{attempt}"
    return f"{name}-{CONTAINER}-{names.digest(wanted.snapshot, wanted.change_id)}-{attempt}"


def build(transfer: DiskTransfer, attempt: int, settings: PodSettings) -> core.Pod:
    """Return the pod of an attempt; the DiskTransfer owns it."""
    there = transfer.metadata
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=pod_name(transfer, attempt),
            namespace=there.namespace,
            labels={**there.labels, "app.kubernetes.io/name": COMMAND},
            annotations={"mtv.dev/disk-transfer": there.name},
            owner_references=(meta.owner_of(transfer),),
        ),
        spec=core.PodSpec(
            containers=(_container(transfer, settings),),
            volumes=_volumes(transfer),
            restart_policy="Never",
            termination_grace_period_seconds=GRACE_PERIOD_S,
            service_account_name=ACCOUNT,
            host_network=settings.host_network or None,
            security_context=core.PodSecurityContext(
                run_as_user=USER,
                run_as_group=USER,
                run_as_non_root=True,
                fs_group=USER,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=core.SeccompProfile(type="RuntimeDefault"),
            ),
            enable_service_links=False,
        ),
    )


def _volumes(transfer: DiskTransfer) -> tuple[core.Volume, ...]:
    claim = core.PersistentVolumeClaimVolumeSource(claim_name=transfer.spec.target.claim_name)
    packaged = transfer.spec.transport == PACKAGE
    secret = core.SecretVolumeSource(
        secret_name=transfer.spec.secret.name, optional=True if packaged else None
    )
    found: tuple[core.Volume, ...] = (
        core.Volume(name=DATA, persistent_volume_claim=claim),
        core.Volume(name=SOURCE, secret=secret),
    )
    folder, vddk = _package_folder(transfer), transfer.spec.vddk
    if folder is not None:
        found = (*found, core.Volume(name=PACKAGE, host_path=_directory(folder)))
    if vddk and vddk.startswith("/"):
        found = (*found, core.Volume(name=VDDK, host_path=_directory(vddk)))
    elif vddk:
        image = {"reference": vddk, "pullPolicy": "IfNotPresent"}
        found = (*found, core.Volume(name=VDDK, image=image))
    return found


def _directory(path: str) -> core.HostPathVolumeSource:
    return core.HostPathVolumeSource(path=path, type="Directory")


def _package_folder(transfer: DiskTransfer) -> str | None:
    """Return the folder of the node that a package lies in; None where it is none, or at a URL."""
    spec = transfer.spec
    if spec.transport != PACKAGE or not spec.url.startswith("/"):
        return None
    return posixpath.dirname(spec.url)


def _container(transfer: DiskTransfer, settings: PodSettings) -> core.Container:
    there = transfer.metadata
    is_block = transfer.spec.target.volume_mode == "Block"
    source = core.VolumeMount(name=SOURCE, mount_path=SOURCE_FOLDER, read_only=True)
    mounts = [source]
    if not is_block:
        mounts.append(core.VolumeMount(name=DATA, mount_path=DATA_FOLDER))
    if _package_folder(transfer) is not None:
        mounts.append(core.VolumeMount(name=PACKAGE, mount_path=PACKAGE_FOLDER, read_only=True))
    vddk, libdir = transfer.spec.vddk, VDDK_FOLDER
    if vddk:
        mounts.append(core.VolumeMount(name=VDDK, mount_path=VDDK_FOLDER, read_only=True))
        libdir = VDDK_FOLDER if vddk.startswith("/") else f"{VDDK_FOLDER}{VDDK_IN_IMAGE}"
    return core.Container(
        name=CONTAINER,
        image=settings.image,
        command=(COMMAND, "--name", there.name, "--namespace", there.namespace),
        env=(core.EnvVar(name="MTV_VDDK_LIBDIR", value=libdir),) if vddk else (),
        resources=core.ResourceRequirements(
            requests={"cpu": settings.cpu_request, "memory": settings.memory_request},
            limits={"memory": settings.memory_limit},
        ),
        security_context=core.SecurityContext(
            allow_privilege_escalation=False, capabilities=core.Capabilities(drop=("ALL",))
        ),
        volume_mounts=tuple(mounts),
        volume_devices=(core.VolumeDevice(name=DATA, device_path=DEVICE),) if is_block else (),
        termination_message_policy="FallbackToLogsOnError",
    )
