"""A pod's volumes: from what the spec names to paths on this node.

The layout is the kubelet's, `pods/<uid>/volumes/<plugin>/<name>`, so that programs which know it
(virt-handler finds a launcher's sockets so) need not know whose it is. Every step may be repeated.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from converters.oci.registry import Login
from mtv import errors
from mtv.api import quantities
from mtv.api.core import (
    DownwardAPIVolumeFile,
    HostPathVolumeSource,
    KeyToPath,
    PersistentVolume,
    Pod,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from mtv_operator.embedded.images import registries
from mtv_operator.embedded.images.store import Store
from mtv_operator.embedded.node import devices, downward, payload, stage
from mtv_operator.embedded.node.payload import Entry

DEFAULT_MODE = 0o644
SETGID_SHARED = 0o2770
TOKEN_SECONDS = 3607  # Kubernetes' default, by which its readers know a projected token


class Source(Protocol):
    """What the API server knows."""

    def values(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return what a ConfigMap or Secret holds."""

    def claimed(self, namespace: str, claim: str) -> PersistentVolume:
        """Return the volume that a claim is bound to. Raises NotFound, Retryable."""

    def token(self, pod: Pod, wanted: ServiceAccountTokenProjection) -> bytes:
        """Return a token of the pod's service account, good for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Where one volume is on this node: a file or folder, or a block device."""

    path: str
    device: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Makes and removes the volumes of one node's pods."""

    node: str
    volumes: Path  # where persistent volumes are
    source: Source
    amounts: Mapping[str, int]  # what the node has, in thousandths
    images: Store | None = None

    def prepare(self, pod: Pod, folder: Path, addresses: Mapping[str, str]) -> dict[str, Prepared]:
        """Return each volume of a pod, made and filled. Raises errors that name the volume."""
        return {
            volume.name: self._prepare(pod, volume, folder, addresses)
            for volume in (pod.spec.volumes if pod.spec else ())
        }

    def _prepare(
        self, pod: Pod, volume: Volume, folder: Path, addresses: Mapping[str, str]
    ) -> Prepared:
        group = fs_group(pod)
        if volume.empty_dir is not None:
            path = place(folder, "empty-dir", volume.name)
            size = volume.empty_dir.size_limit
            make_empty(path, group, in_memory=volume.empty_dir.medium == "Memory", size=size)
            return Prepared(path=str(path))
        if volume.host_path is not None:
            return Prepared(path=host_path(volume.host_path, f"volume {volume.name}"))
        if volume.persistent_volume_claim is not None:
            return self._claim(pod, volume.persistent_volume_claim.claim_name, group)
        if volume.image:
            return self._image(pod, volume, folder)
        entries = self.entries(pod, volume, addresses)
        if entries is None:
            raise errors.BadInput(
                "its kind is not one that this node has",
                field=f"volume {volume.name}",
                hint="emptyDir, hostPath, configMap, secret, downwardAPI, projected, "
                "persistentVolumeClaim, image",
            )
        path = place(folder, plugin(volume), volume.name)
        payload.write(path, entries, group)
        return Prepared(path=str(path))

    def refresh(self, pod: Pod, folder: Path, addresses: Mapping[str, str]) -> bool:
        """Bring volumes that show API objects up to date; tell whether the pod has such."""
        found = False
        for volume in pod.spec.volumes if pod.spec else ():
            if volume.empty_dir or volume.host_path or volume.persistent_volume_claim:
                continue
            entries = self.entries(pod, volume, addresses)
            if entries is not None:
                found = True
                payload.write(place(folder, plugin(volume), volume.name), entries, fs_group(pod))
        return found

    def _image(self, pod: Pod, volume: Volume, folder: Path) -> Prepared:
        """Return the files of a container image. Raises PullFailed."""
        if self.images is None:
            raise errors.BadInput("this node has no images", field=f"volume {volume.name}")
        name = volume.image.get("reference", "")
        latest = name.rpartition("/")[2].partition(":")[2] in ("", "latest") and "@" not in name
        policy = volume.image.get("pullPolicy") or ("Always" if latest else "IfNotPresent")

        def logins() -> Mapping[str, Login]:
            named = pod.spec.image_pull_secrets if pod.spec else ()
            found = (
                self.source.values("Secret", pod.metadata.namespace, one.name or "")
                for one in named
            )
            return registries.logins_of(values for values in found if values is not None)

        path = self.images.hold(name, policy, place(folder, "image", volume.name), logins)
        return Prepared(path=str(path), read_only=True)

    def _claim(self, pod: Pod, claim: str, group: int | None) -> Prepared:
        volume = self.source.claimed(pod.metadata.namespace, claim)
        path = Path(path_of(volume))
        if not path.exists():
            raise errors.NotFound(
                f"{path} of volume {volume.metadata.name} is not there",
                hint="was it removed by hand, or is its file system not mounted?",
            )
        if volume.spec and volume.spec.volume_mode == "Block":
            if path.is_block_device():
                return Prepared(path=str(path), device=True)
            node = devices.attach(self.volumes, path, pod.metadata.uid, self.node)
            return Prepared(path=str(node), device=True)
        if group is not None and not (only_when_needed(pod) and is_shared(path, group)):
            share_with(path, group)
        return Prepared(path=str(path))

    def entries(
        self, pod: Pod, volume: Volume, addresses: Mapping[str, str]
    ) -> dict[str, Entry] | None:
        """Return the files of a volume that shows API objects; None for another kind."""
        namespace = pod.metadata.namespace
        if (config_map := volume.config_map) is not None:
            return self._items(
                *("ConfigMap", namespace, config_map.name, config_map.items),
                *(config_map.default_mode, bool(config_map.optional)),
            )
        if (secret := volume.secret) is not None:
            return self._items(
                *("Secret", namespace, secret.secret_name, secret.items),
                *(secret.default_mode, bool(secret.optional)),
            )
        if (fields := volume.downward_api) is not None:
            return self._downward(pod, fields.items, fields.default_mode, addresses)
        if (projected := volume.projected) is not None:
            result: dict[str, Entry] = {}
            for one in projected.sources:
                result.update(self._projection(pod, one, projected.default_mode, addresses))
            return result
        return None

    def _projection(
        self, pod: Pod, one: VolumeProjection, mode: int | None, addresses: Mapping[str, str]
    ) -> dict[str, Entry]:
        namespace = pod.metadata.namespace
        if (config_map := one.config_map) is not None:
            return self._items(
                *("ConfigMap", namespace, config_map.name, config_map.items),
                *(mode, bool(config_map.optional)),
            )
        if (secret := one.secret) is not None:
            return self._items(
                *("Secret", namespace, secret.name, secret.items), *(mode, bool(secret.optional))
            )
        if one.downward_api is not None:
            return self._downward(pod, one.downward_api.items, mode, addresses)
        if one.service_account_token is not None:
            token = self.source.token(pod, one.service_account_token)
            # A token is for those who run in the pod: the mode that the kubelet gives it.
            return {one.service_account_token.path: Entry(content=token, mode=token_mode(pod))}
        return {}

    def _items(
        self,
        kind: str,
        namespace: str,
        name: str,
        items: tuple[KeyToPath, ...],
        mode: int | None,
        optional: bool,
    ) -> dict[str, Entry]:
        values = self.source.values(kind, namespace, name)
        if values is None:
            if optional:
                return {}
            raise errors.NotFound(f"{kind} {namespace}/{name} does not exist")
        given = DEFAULT_MODE if mode is None else mode
        if not items:
            return {key: Entry(content=value, mode=given) for key, value in values.items()}
        missing = [item.key for item in items if item.key not in values]
        if missing and not optional:
            raise errors.NotFound(f"{kind} {namespace}/{name} has no key {', '.join(missing)}")
        return {
            item.path: Entry(
                content=values[item.key], mode=given if item.mode is None else item.mode
            )
            for item in items
            if item.key in values
        }

    def _downward(
        self,
        pod: Pod,
        items: tuple[DownwardAPIVolumeFile, ...],
        mode: int | None,
        addresses: Mapping[str, str],
    ) -> dict[str, Entry]:
        result = {}
        for item in items:
            text = ""
            if item.field_ref is not None:
                text = downward.pod_field(pod, item.field_ref.field_path, addresses)
            elif item.resource_field_ref is not None:
                text = downward.resource_field(pod, None, item.resource_field_ref, self.amounts)
            chosen = item.mode if item.mode is not None else mode
            result[item.path] = Entry(
                content=text.encode(), mode=DEFAULT_MODE if chosen is None else chosen
            )
        return result

    def release(self, pod_uid: str, folder: Path) -> None:
        """Give a pod's volumes back and remove what was the pod's alone."""
        devices.release(self.volumes, pod_uid)
        remove(folder)


def place(folder: Path, kind: str, name: str) -> Path:
    """Return where a volume of a pod lies, as the kubelet names it."""
    return folder / "volumes" / f"kubernetes.io~{kind}" / name


def plugin(volume: Volume) -> str:
    """Return the kubelet's name for the kind of a volume that shows API objects."""
    if volume.config_map is not None:
        return "configmap"
    if volume.secret is not None:
        return "secret"
    return "downward-api" if volume.downward_api is not None else "projected"


def path_of(volume: PersistentVolume) -> str:
    """Return the path of a persistent volume. Raises BadInput when it is of another kind."""
    spec = volume.spec
    if spec and spec.local is not None:
        return spec.local.path
    if spec and spec.host_path is not None:
        return spec.host_path.path
    raise errors.BadInput(
        f"persistent volume {volume.metadata.name} is neither local nor hostPath",
        hint="this node has files only; use the classes local or shared",
    )


def fs_group(pod: Pod) -> int | None:
    """Return the group that shares the pod's volumes."""
    context = pod.spec.security_context if pod.spec else None
    return context.fs_group if context else None


def token_mode(pod: Pod) -> int:
    """Return the mode of a token: for its group where there is one, else for all in the pod."""
    context = pod.spec.security_context if pod.spec else None
    users = {context.run_as_user if context else None}
    for container in (*pod.spec.init_containers, *pod.spec.containers) if pod.spec else ():
        given = container.security_context
        if given is not None and given.run_as_user is not None:
            users.add(given.run_as_user)
    if fs_group(pod) is not None:
        return 0o600  # payload.write adds the group
    return 0o600 if users <= {None, 0} else 0o644


def make_empty(
    path: Path, group: int | None, *, in_memory: bool, size: str | int | float | None
) -> None:
    """Make an emptyDir; one in memory is mounted in the node's namespace."""
    path.mkdir(parents=True, exist_ok=True)
    if in_memory and not path.is_mount():
        options = f"mode=777,size={quantities.whole(size) if size is not None else '50%'}"
        stage.mount("tmpfs", str(path), "tmpfs", stage.MS_NOSUID | stage.MS_NODEV, options)
    path.chmod(0o777)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o2777)


def only_when_needed(pod: Pod) -> bool:
    """Tell whether a volume whose top belongs to the group is left as it is."""
    context = pod.spec.security_context if pod.spec else None
    return context is not None and context.fs_group_change_policy == "OnRootMismatch"


def is_shared(path: Path, group: int) -> bool:
    """Tell whether a volume's top folder belongs to a group."""
    found = path.stat()
    return found.st_gid == group and found.st_mode & SETGID_SHARED == SETGID_SHARED


def share_with(path: Path, group: int) -> None:
    """Let a group use a volume and all in it."""
    for entry in (*path.rglob("*"), path):  # the top last: it is the mark
        seen = entry.lstat()
        if stat.S_ISLNK(seen.st_mode):
            continue
        more = SETGID_SHARED if stat.S_ISDIR(seen.st_mode) else 0o660
        mode = stat.S_IMODE(seen.st_mode)
        if seen.st_gid != group:
            os.chown(entry, -1, group)
        if mode & more != more:
            entry.chmod(mode | more)


def host_path(source: HostPathVolumeSource, field: str) -> str:
    """Return a path of this machine, checked or made as its type says."""
    path, kind = Path(source.path), source.type or ""
    if not path.is_absolute() or ".." in path.parts:
        raise errors.BadInput(f"{source.path!r} is not an absolute path", field=field)
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(0o644)
    checks = {
        "": path.exists,
        "Directory": path.is_dir,
        "DirectoryOrCreate": path.is_dir,
        "File": path.is_file,
        "FileOrCreate": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    if kind not in checks:
        raise errors.BadInput(f"hostPath has the unknown type {kind!r}", field=field)
    if not kind and not path.exists():
        path.mkdir(parents=True)  # as container engines do with a bind's source
    if not checks[kind]():
        raise errors.NotFound(f"{field}: {path} is not there, or is no {kind}")
    return str(path)


def remove(folder: Path) -> None:
    """Remove a pod's own volumes: what is mounted in them is unmounted, never emptied."""
    root = folder / "volumes"
    if not root.exists():
        return
    for path in sorted(mounts_below(root), reverse=True):
        with contextlib.suppress(OSError):
            stage.unmount(path)
    if mounts_below(root):
        raise errors.TargetUnavailable(f"something is still mounted below {root}")
    shutil.rmtree(root, ignore_errors=True)


def mounts_below(root: Path) -> list[str]:
    """Return the mount points of this process's namespace below a folder."""
    prefix = f"{root.resolve()}/"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        targets = [line.split()[4].replace("\\040", " ") for line in file]
    return [target for target in targets if target.startswith(prefix)]
