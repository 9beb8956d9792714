"""Volumes that come and go while a guest runs: attachment pods, and what their claims are. Pure.

    in the instance's spec ─► attachment pod on its node ─► AttachedToNode ─► virt-handler: Ready
    no more in it            ─► virt-handler lets go      ─► the pod is deleted

Each volume has a pod of its own, which is never replaced. A volume that was there when the launcher
pod was made is one of that, and needs none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from mtv.api import core, kubevirt, meta, well_known
from mtv_operator.virt_controller import launcher_volumes, pods

Vmi = kubevirt.VirtualMachineInstance

APP = "hotplug-disk"
VOLUME = "mtv.dev/volume"
CONTAINER = "hotplug-disk"
ATTACHED = "AttachedToNode"
BOUND, PENDING = "Bound", "Pending"
HOSTNAME = "kubernetes.io/hostname"
UID = 107


def is_pluggable(volume: kubevirt.Volume) -> bool:
    """Tell whether a volume may come and go."""
    source = volume.data_volume or volume.persistent_volume_claim
    return bool(source is not None and source.hotpluggable)


def wanted(instance: Vmi, launcher: core.Pod) -> list[kubevirt.Volume]:
    """Return the volumes that need a pod of their own."""
    own = {one.name for one in launcher.spec.volumes} if launcher.spec else set()
    return [one for one in instance.spec.volumes if is_pluggable(one) and one.name not in own]


def of_volume(attachments: Sequence[core.Pod], name: str) -> core.Pod | None:
    """Return the attachment pod of a volume."""
    return next((one for one in attachments if one.metadata.annotations.get(VOLUME) == name), None)


def pods_to_make(
    instance: Vmi,
    launcher: core.Pod,
    attachments: Sequence[core.Pod],
    claims: Mapping[str, core.PersistentVolumeClaim | None],
    image: str,
) -> list[core.Pod]:
    """Return the attachment pods that are missing and can be made."""
    found = []
    for volume in wanted(instance, launcher):
        claim = claims.get(launcher_volumes.claim_of(volume) or "")
        if claim is not None and of_volume(attachments, volume.name) is None:
            found.append(build(volume, launcher, claim, image))
    return found


def pods_to_delete(instance: Vmi, attachments: Sequence[core.Pod]) -> list[core.Pod]:
    """Return the attachment pods of volumes that nobody wants and the handler has let go of."""
    status = instance.status or kubevirt.VirtualMachineInstanceStatus()
    held = {one.name for one in status.volume_status if one.hotplug_volume is not None}
    kept = {one.name for one in instance.spec.volumes} | held
    return [
        one
        for one in attachments
        if one.metadata.annotations.get(VOLUME) not in kept and not pods.is_going(one)
    ]


def volume_status(
    known: Sequence[kubevirt.VolumeStatus],
    instance: Vmi,
    launcher: core.Pod,
    attachments: Sequence[core.Pod],
) -> tuple[kubevirt.VolumeStatus, ...]:
    """Return the volumes with what is known of those that are being attached."""
    found = {one.name: one for one in known}
    for volume in wanted(instance, launcher):
        entry = found.get(volume.name, kubevirt.VolumeStatus(name=volume.name, target=""))
        pod = of_volume(attachments, volume.name)
        if entry.phase not in (None, PENDING, BOUND):
            continue  # virt-handler's from here on
        if pod is None or not _runs(pod):
            entry = msgspec.structs.replace(entry, phase=PENDING if pod is None else BOUND)
        else:
            plugged = kubevirt.HotplugVolumeStatus(
                attach_pod_name=pod.metadata.name, attach_pod_uid=pod.metadata.uid
            )
            entry = msgspec.structs.replace(entry, phase=ATTACHED, hotplug_volume=plugged)
        found[volume.name] = entry
    return tuple(sorted(found.values(), key=lambda one: one.name))


def _runs(pod: core.Pod) -> bool:
    statuses = pod.status.container_statuses if pod.status else ()
    return any(one.state is not None and one.state.running is not None for one in statuses)


def build(
    volume: kubevirt.Volume,
    launcher: core.Pod,
    claim: core.PersistentVolumeClaim,
    image: str,
) -> core.Pod:
    """Return the pod that has a volume on the launcher's node, and does nothing."""
    digest = hashlib.sha256(f"{launcher.metadata.uid}/{volume.name}".encode()).hexdigest()[:10]
    source = core.PersistentVolumeClaimVolumeSource(claim_name=claim.metadata.name)
    block = launcher_volumes.is_block(claim)
    device = core.VolumeDevice(name="disk", device_path="/dev/hotplug")
    mounts = [core.VolumeMount(name="hotplug-disks", mount_path="/path")]
    if not block:
        mounts.append(core.VolumeMount(name="disk", mount_path="/disk"))
    container = core.Container(
        name=CONTAINER,
        image=image,
        command=("python3", "-m", "mtv_operator.virt_launcher.attachment", "/path/hp.sock"),
        volume_mounts=tuple(mounts),
        volume_devices=(device,) if block else (),
        security_context=core.SecurityContext(
            allow_privilege_escalation=False, capabilities=core.Capabilities(drop=("ALL",))
        ),
        resources=core.ResourceRequirements(requests={"cpu": "1m", "memory": "16Mi"}),
    )
    empty = core.Volume(name="hotplug-disks", empty_dir=core.EmptyDirVolumeSource())
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=f"hp-volume-{digest}",
            namespace=launcher.metadata.namespace,
            labels={well_known.APP: APP},
            annotations={VOLUME: volume.name},
            owner_references=(meta.owner_of(launcher),),
        ),
        spec=core.PodSpec(
            containers=(container,),
            volumes=(core.Volume(name="disk", persistent_volume_claim=source), empty),
            restart_policy="Never",
            termination_grace_period_seconds=0,
            automount_service_account_token=False,
            node_selector={HOSTNAME: pods.node_of(launcher)},
            tolerations=launcher.spec.tolerations if launcher.spec else (),
            security_context=core.PodSecurityContext(
                run_as_user=UID,
                run_as_group=UID,
                run_as_non_root=True,
                fs_group=UID,
                seccomp_profile=core.SeccompProfile(type="RuntimeDefault"),
            ),
        ),
    )
