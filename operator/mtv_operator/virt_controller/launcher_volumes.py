"""The volumes of a launcher pod: the launcher's own folders, and what the VMI's volumes need. Pure.

Paths are upstream's, as `virt_launcher.volumes` and virt-handler expect them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from mtv.api import core, kubevirt

PRIVATE = "/var/run/kubevirt-private"
PUBLIC = "/var/run/kubevirt"
IMAGES = f"{PUBLIC}/container-disks"

# Name, path in the container, and whether mounts that the handler makes later become visible.
FOLDERS: tuple[tuple[str, str, bool], ...] = (
    ("private", PRIVATE, False),
    ("public", PUBLIC, False),
    ("sockets", f"{PUBLIC}/sockets", False),
    ("ephemeral-disks", "/var/run/kubevirt-ephemeral-disks", False),
    ("container-disks", IMAGES, True),
    ("libvirt-runtime", "/var/run/libvirt", False),
    ("hotplug-disks", f"{PUBLIC}/hotplug-disks", True),
)
RESERVED_NAMES = frozenset(name for name, _, _ in FOLDERS) | {"hugepages"}
DOWNWARD_FILE_MODE = 0o440
ACCESS_SUFFIX = "-access-cred"  # upstream's


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A volume of the pod, and where the container has it."""

    volume: core.Volume
    mounts: tuple[core.VolumeMount, ...] = ()
    devices: tuple[core.VolumeDevice, ...] = ()


def of(
    spec: kubevirt.VirtualMachineInstanceSpec,
    claims: Mapping[str, core.PersistentVolumeClaim],
) -> list[Attached]:
    """Return the pod's volumes; `claims` by name tell Block from Filesystem."""
    found = [_folder(name, path, shared=shared) for name, path, shared in FOLDERS]
    if spec.domain.memory is not None and spec.domain.memory.hugepages is not None:
        found.append(_huge_pages())
    for volume in spec.volumes:
        found.extend(_of_volume(volume, claims))
    for secret in credential_secrets(spec):
        name = f"{secret}{ACCESS_SUFFIX}"
        found.append(_secret(name, secret, f"secret/{name}"))
    return found


def credential_secrets(spec: kubevirt.VirtualMachineInstanceSpec) -> tuple[str, ...]:
    """Return the Secrets with the keys and passwords by which people come in."""
    sources = (
        kind.source.secret
        for one in spec.access_credentials
        for kind in (one.ssh_public_key, one.user_password)
        if kind is not None
    )
    return tuple(dict.fromkeys(one.secret_name for one in sources if one is not None))


def claim_of(volume: kubevirt.Volume) -> str | None:
    """Return the name of the claim that a volume is on, or None."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    if volume.data_volume is not None:
        return volume.data_volume.name
    if volume.ephemeral is not None and volume.ephemeral.persistent_volume_claim is not None:
        return volume.ephemeral.persistent_volume_claim.claim_name
    return None


def is_block(claim: core.PersistentVolumeClaim | None) -> bool:
    """Tell whether a claim is a device instead of a file system."""
    return claim is not None and claim.spec is not None and claim.spec.volume_mode == "Block"


def _folder(name: str, path: str, *, shared: bool) -> Attached:
    mount = core.VolumeMount(
        name=name, mount_path=path, mount_propagation="HostToContainer" if shared else None
    )
    volume = core.Volume(name=name, empty_dir=core.EmptyDirVolumeSource())
    return Attached(volume=volume, mounts=(mount,))


def _huge_pages() -> Attached:
    source = core.EmptyDirVolumeSource(medium="HugePages")
    mount = core.VolumeMount(name="hugepages", mount_path="/dev/hugepages")
    return Attached(volume=core.Volume(name="hugepages", empty_dir=source), mounts=(mount,))


def _of_volume(
    volume: kubevirt.Volume, claims: Mapping[str, core.PersistentVolumeClaim]
) -> Iterator[Attached]:
    name = volume.name
    if (claim := claim_of(volume)) is not None:
        yield _claim(volume, claim, claims.get(claim))
    elif volume.container_disk is not None:
        yield _image(name, volume.container_disk)
    elif volume.host_disk is not None:
        folder = str(PurePosixPath(volume.host_disk.path).parent)
        host = core.HostPathVolumeSource(path=folder, type="DirectoryOrCreate")
        yield _mounted(core.Volume(name=name, host_path=host), f"{PRIVATE}/vmi-disks/{name}")
    elif volume.config_map is not None:
        config_map = core.ConfigMapVolumeSource(
            name=volume.config_map.name or "", optional=volume.config_map.optional
        )
        yield _mounted(
            core.Volume(name=name, config_map=config_map), f"{PRIVATE}/config-map/{name}"
        )
    elif volume.secret is not None:
        yield _secret(
            name, volume.secret.secret_name, f"secret/{name}", optional=volume.secret.optional
        )
    elif volume.sysprep is not None:
        yield from _sysprep(name, volume.sysprep)
    elif volume.service_account is not None:
        yield _service_account(name)
    elif volume.downward_api is not None:
        downward = core.DownwardAPIVolumeSource(
            items=volume.downward_api.fields, default_mode=DOWNWARD_FILE_MODE
        )
        yield _mounted(
            core.Volume(name=name, downward_api=downward), f"{PRIVATE}/downwardapi/{name}"
        )
    else:
        yield from _cloud_init_secrets(volume)


def _mounted(volume: core.Volume, path: str, *, read_only: bool | None = None) -> Attached:
    mount = core.VolumeMount(name=volume.name, mount_path=path, read_only=read_only)
    return Attached(volume=volume, mounts=(mount,))


def _image(name: str, source: kubevirt.ContainerDiskSource) -> Attached:
    """Mount a container image whole: whoever runs the pod pulls it (Kubernetes: ImageVolume)."""
    image = {"reference": source.image}
    if source.image_pull_policy:
        image["pullPolicy"] = source.image_pull_policy
    return _mounted(core.Volume(name=name, image=image), f"{IMAGES}/{name}", read_only=True)


def pull_secrets(spec: kubevirt.VirtualMachineInstanceSpec) -> tuple[str, ...]:
    """Return the Secrets that the container disks name for their registries."""
    named = (one.container_disk.image_pull_secret for one in spec.volumes if one.container_disk)
    return tuple(dict.fromkeys(name for name in named if name))


def _claim(
    volume: kubevirt.Volume, name: str, claim: core.PersistentVolumeClaim | None
) -> Attached:
    given = volume.persistent_volume_claim
    read_only = (given.read_only if given is not None else None) or (
        True if volume.ephemeral is not None else None
    )
    source = core.PersistentVolumeClaimVolumeSource(claim_name=name, read_only=read_only)
    made = core.Volume(name=volume.name, persistent_volume_claim=source)
    if is_block(claim):
        device = core.VolumeDevice(name=volume.name, device_path=f"/dev/{volume.name}")
        return Attached(volume=made, devices=(device,))
    return _mounted(made, f"{PRIVATE}/vmi-disks/{volume.name}", read_only=read_only)


def _secret(
    volume: str, secret: str | None, folder: str, *, optional: bool | None = None
) -> Attached:
    source = core.SecretVolumeSource(secret_name=secret or "", optional=optional)
    return _mounted(core.Volume(name=volume, secret=source), f"{PRIVATE}/{folder}", read_only=True)


def _sysprep(name: str, source: kubevirt.SysprepSource) -> Iterator[Attached]:
    if source.secret is not None:
        yield _secret(name, source.secret.name, f"sysprep/{name}")
    elif source.config_map is not None:
        config_map = core.ConfigMapVolumeSource(name=source.config_map.name or "")
        yield _mounted(core.Volume(name=name, config_map=config_map), f"{PRIVATE}/sysprep/{name}")


def _service_account(name: str) -> Attached:
    token = core.VolumeProjection(
        service_account_token=core.ServiceAccountTokenProjection(path="token")
    )
    authority = core.VolumeProjection(
        config_map=core.ConfigMapProjection(
            name="kube-root-ca.crt", items=(core.KeyToPath(key="ca.crt", path="ca.crt"),)
        )
    )
    field = core.ObjectFieldSelector(field_path="metadata.namespace")
    namespace = core.VolumeProjection(
        downward_api=core.DownwardAPIProjection(
            items=(core.DownwardAPIVolumeFile(path="namespace", field_ref=field),)
        )
    )
    source = core.ProjectedVolumeSource(sources=(token, authority, namespace))
    return _mounted(core.Volume(name=name, projected=source), f"{PRIVATE}/service-account/{name}")


def _cloud_init_secrets(volume: kubevirt.Volume) -> Iterator[Attached]:
    """Mount the Secrets that a seed takes its data from: `<volume>-udata` and `-ndata`."""
    source = volume.cloud_init_no_cloud or volume.cloud_init_config_drive
    if source is None:
        return
    if source.secret_ref is not None:
        name = f"{volume.name}-udata"
        yield _secret(name, source.secret_ref.name, f"secret/{name}")
    if source.network_data_secret_ref is not None:
        name = f"{volume.name}-ndata"
        yield _secret(name, source.network_data_secret_ref.name, f"secret/{name}")
