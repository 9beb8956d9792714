"""From a VMI's volumes to the images that its disks use: files are looked at, grown or made here.

Paths are upstream's, so that a pod made for one runtime is understood by the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv.api import kubevirt, quantities
from mtv_operator.virt_launcher import cloud_init, images, iso
from mtv_operator.virt_launcher.domain.context import Image
from mtv_operator.virt_launcher.protocol import Options

Propagation = kubevirt.SSHPublicKeyAccessCredentialPropagationMethod
ACCESS_SUFFIX = "-access-cred"  # of the folder that a Secret with keys is mounted at


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The folders of the pod."""

    private: Path = Path("/var/run/kubevirt-private")
    public: Path = Path("/var/run/kubevirt")
    sockets: Path = Path("/var/run/kubevirt/sockets")
    ephemeral: Path = Path("/var/run/kubevirt-ephemeral-disks")
    libvirt: Path = Path("/var/run/libvirt")
    devices: Path = Path("/dev")


def prepare(
    vmi: kubevirt.VirtualMachineInstance, options: Options, paths: Paths
) -> dict[str, Image]:
    """Return the image of each disk, made ready for QEMU.

    Raises BadInput naming the volume, or TargetRefused when the node cannot.
    """
    volumes = {volume.name: volume for volume in vmi.spec.volumes}
    indexes = {volume.name: number for number, volume in enumerate(vmi.spec.volumes)}
    images_by_disk = {}
    for disk in vmi.spec.domain.devices.disks:
        volume = volumes.get(disk.name)
        if volume is not None:
            found = _Preparation(vmi, volume, indexes[disk.name], options, paths).image()
            images_by_disk[disk.name] = found
        elif disk.cdrom is not None:
            images_by_disk[disk.name] = Image(path="", read_only=True)
    return images_by_disk


@dataclass(frozen=True, slots=True)
class _Preparation:
    """One volume on its way to an image."""

    vmi: kubevirt.VirtualMachineInstance
    volume: kubevirt.Volume
    index: int
    options: Options
    paths: Paths

    def image(self) -> Image:
        volume = self.volume
        if volume.persistent_volume_claim is not None:
            return self._claim(read_only=bool(volume.persistent_volume_claim.read_only))
        if volume.data_volume is not None:
            return self._claim()
        if volume.ephemeral is not None:
            return images.overlay(self._overlay_path(), self._claim(read_only=True))
        if volume.empty_disk is not None:
            size = quantities.size(volume.empty_disk.capacity, f"{self.field}.emptyDisk.capacity")
            path = self.paths.ephemeral / f"disk-data/{volume.name}/empty.qcow2"
            return images.empty_disk(path, size)
        if volume.container_disk is not None:
            return self._container_disk(volume.container_disk)
        if volume.host_disk is not None:
            return self._host_disk(volume.host_disk)
        if volume.cloud_init_no_cloud is not None:
            return self._no_cloud(volume.cloud_init_no_cloud)
        if volume.cloud_init_config_drive is not None:
            return self._config_drive(volume.cloud_init_config_drive)
        return self._files()

    @property
    def field(self) -> str:
        return f"spec.volumes[{self.volume.name}]"

    def _claim(self, *, read_only: bool = False) -> Image:
        """Return disk.img of a Filesystem claim, or the device of a Block claim."""
        device = self.paths.devices / self.volume.name
        with contextlib.suppress(OSError):
            if device.is_block_device():
                return images.describe(device, read_only=read_only)
        path = self.paths.private / f"vmi-disks/{self.volume.name}/disk.img"
        if not path.parent.is_dir():
            raise errors.TargetRefused(
                f"volume {self.volume.name} is not mounted at {path.parent}",
                hint="the launcher pod was made for other volumes: restart the VM",
            )
        capacity = 0 if read_only else self.options.capacities.get(self.volume.name, 0)
        images.prepare_disk(path, self.volume.name, capacity)
        return images.describe(path, read_only=read_only)

    def _overlay_path(self) -> Path:
        return self.paths.ephemeral / f"disk-data/{self.volume.name}/disk.qcow2"

    def _container_disk(self, source: kubevirt.ContainerDiskSource) -> Image:
        given = self.options.container_disks.get(self.volume.name)
        root = self.paths.public / "container-disks" / self.volume.name
        path = Path(given) if given else disk_in_image(root, source.path or "", self.field)
        return images.overlay(self._overlay_path(), images.container_disk(path))

    def _host_disk(self, source: kubevirt.HostDisk) -> Image:
        path = self.paths.private / f"vmi-disks/{self.volume.name}/{Path(source.path).name}"
        create = source.type == "DiskOrCreate" and source.capacity is not None
        size = quantities.size(source.capacity or 0, f"{self.field}.hostDisk.capacity")
        images.prepare_disk(path, self.volume.name, size if create or path.exists() else 0)
        return images.describe(path)

    def _no_cloud(self, source: kubevirt.CloudInitNoCloudSource) -> Image:
        secrets = self._seed_secrets()
        keys = self._keys(lambda method: method.no_cloud is not None)
        files = cloud_init.no_cloud(self.vmi, self.volume.name, source, secrets, keys)
        return self._seed("noCloud.iso", cloud_init.NO_CLOUD_LABEL, files)

    def _config_drive(self, source: kubevirt.CloudInitConfigDriveSource) -> Image:
        secrets = self._seed_secrets()
        keys = self._keys(lambda method: method.config_drive is not None)
        files = cloud_init.config_drive(self.vmi, self.volume.name, source, secrets, keys)
        return self._seed("configdrive.iso", cloud_init.CONFIG_DRIVE_LABEL, files)

    def _seed(self, name: str, label: str, files: dict[str, bytes]) -> Image:
        metadata = self.vmi.metadata
        folder = f"cloud-init-data/{metadata.namespace}/{metadata.name}/{self.volume.name}"
        return self._iso(self.paths.ephemeral / folder / name, label, files)

    def _files(self) -> Image:
        """Return an image of files: ConfigMap, Secret, downward API, service account, sysprep."""
        volume, label = self.volume, cloud_init.FILES_LABEL
        if volume.config_map is not None:
            files = self._passed("config-map")
            label = volume.config_map.volume_label or label
        elif volume.secret is not None:
            files = self._passed("secret")
            label = volume.secret.volume_label or label
        elif volume.downward_api is not None:
            files = self._passed("downwardapi")
            label = volume.downward_api.volume_label or label
        elif volume.service_account is not None:
            files = self._passed("service-account")
        elif volume.sysprep is not None:
            files = self._passed("sysprep")
            label = cloud_init.SYSPREP_LABEL
        else:
            raise errors.BadInput(
                "a volume of this kind is not supported yet",
                field=self.field,
                hint="use persistentVolumeClaim, dataVolume, containerDisk, emptyDisk, "
                "cloudInitNoCloud, cloudInitConfigDrive, configMap, secret, downwardAPI, "
                "serviceAccount or sysprep",
            )
        if files is None:
            raise errors.TargetUnavailable(
                f"the files of volume {volume.name} are neither passed nor mounted"
            )
        return self._iso(self.paths.private / f"files/{volume.name}.iso", label, files)

    def _passed(self, folder: str) -> dict[str, bytes] | None:
        """Return the files that came with the order; else those that the pod has mounted."""
        passed = self.options.files.get(self.volume.name)
        if passed is not None:
            return passed
        return read_folder(self.paths.private / folder / self.volume.name)

    def _seed_secrets(self) -> dict[str, bytes]:
        """Return what the seed's Secrets hold: passed, or mounted as `<volume>-udata`, `-ndata`."""
        passed = self.options.files.get(self.volume.name)
        if passed is not None:
            return passed
        folder = self.paths.private / "secret"
        found = [read_folder(folder / f"{self.volume.name}-{kind}") for kind in ("udata", "ndata")]
        return {name: content for files in found for name, content in (files or {}).items()}

    def _keys(self, by: Callable[[Propagation], bool]) -> list[str]:
        """Return the public keys that the guest is to be given in the way that `by` chooses."""
        found: list[str] = []
        for one in self.vmi.spec.access_credentials:
            key = one.ssh_public_key
            secret = key.source.secret if key is not None else None
            if key is None or secret is None or not by(key.propagation_method):
                continue
            folder = self.paths.private / f"secret/{secret.secret_name}{ACCESS_SUFFIX}"
            found += lines_of(folder)
        return found

    def _iso(self, path: Path, label: str, files: dict[str, bytes]) -> Image:
        if not path.exists():
            iso.write(path, label, files)
        return images.describe(path, read_only=True)


def plugged_image(paths: Paths, volume: str, *, read_only: bool = False) -> Image:
    """Return the image of a volume that virt-handler has made visible while the guest runs."""
    path = paths.public / f"hotplug-disks/{volume}.img"
    device = paths.public / f"hotplug-disks/{volume}"
    with contextlib.suppress(OSError):
        if device.is_block_device():
            return images.describe(device, read_only=read_only)
    if not path.is_file():
        raise errors.TargetUnavailable(f"volume {volume} is not at {path} yet")
    images.prepare_disk(path, volume, 0)
    return images.describe(path, read_only=read_only)


def disk_in_image(root: Path, path: str, field: str) -> Path:
    """Return the disk in a container image that is mounted at `root`: `path`, or all of /disk.

    Links are not followed. Raises BadInput for an image without exactly one disk.
    """
    if not root.is_dir():
        raise errors.TargetRefused(
            f"the image of {field} is not mounted at {root}",
            hint="container disks need image volumes (Kubernetes: the feature ImageVolume)",
        )
    if path:
        found = [root / path.lstrip("/")]
    else:
        folder = root / "disk"
        found = [one for one in sorted(folder.iterdir())] if folder.is_dir() else []
    hint = "a container disk is an image with one file below /disk, or containerDisk.path names it"
    if len(found) != 1:
        raise errors.BadInput(f"the image has {len(found)} files in /disk", field=field, hint=hint)
    real = found[0].resolve()
    if not real.is_relative_to(root.resolve()) or not real.is_file():
        raise errors.BadInput(
            f"the image has no file {path or found[0].name}", field=field, hint=hint
        )
    return real


def lines_of(folder: Path) -> list[str]:
    """Return the lines of all files of a projected volume, without empty ones."""
    found: list[str] = []
    for content in (read_folder(folder) or {}).values():
        lines = content.decode("utf-8", "replace").splitlines()
        found += (line.strip() for line in lines if line.strip())
    return found


def read_folder(folder: Path) -> dict[str, bytes] | None:
    """Return the files of a projected volume, or None where nothing is mounted.

    Entries that begin with `..` are the kubelet's own, for replacing all files at once.
    """
    if not folder.is_dir():
        return None
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.startswith("..") and path.is_file()
    }
