"""cdi.kubevirt.io/v1beta1, as far as VirtualMachines refer to it: DataVolumes and their sources."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mtv.api import core, meta


class DataVolumeCheckpoint(meta.Part, frozen=True, kw_only=True):
    current: str
    previous: str


class DataVolumeSourceGCS(meta.Part, frozen=True, kw_only=True):
    secret_ref: str | None = None
    url: str


class DataVolumeSourceHTTP(meta.Part, frozen=True, kw_only=True):
    cert_config_map: str | None = None
    extra_headers: tuple[str, ...] = ()
    secret_extra_headers: tuple[str, ...] = ()
    secret_ref: str | None = None
    url: str


class DataVolumeSourceImageIO(meta.Part, frozen=True, kw_only=True):
    cert_config_map: str | None = None
    disk_id: str
    insecure_skip_verify: bool | None = None
    secret_ref: str | None = None
    url: str


class DataVolumeSourcePVC(meta.Part, frozen=True, kw_only=True):
    name: str
    namespace: str


class PlatformOptions(meta.Part, frozen=True, kw_only=True):
    architecture: str | None = None


class DataVolumeSourceRegistry(meta.Part, frozen=True, kw_only=True):
    cert_config_map: str | None = None
    image_stream: str | None = None
    platform: PlatformOptions | None = None
    pull_method: str | None = None
    secret_ref: str | None = None
    url: str | None = None


class DataVolumeSourceS3(meta.Part, frozen=True, kw_only=True):
    cert_config_map: str | None = None
    secret_ref: str | None = None
    url: str


class DataVolumeSourceSnapshot(meta.Part, frozen=True, kw_only=True):
    name: str
    namespace: str


class DataVolumeSourceVDDK(meta.Part, frozen=True, kw_only=True):
    backing_file: str | None = None
    extra_args: str | None = None
    init_image_url: str | None = msgspec.field(name="initImageURL", default=None)
    secret_ref: str | None = None
    thumbprint: str | None = None
    url: str | None = None
    uuid: str | None = None


class DataVolumeSource(meta.Part, frozen=True, kw_only=True):
    blank: dict[str, Any] | None = None
    gcs: DataVolumeSourceGCS | None = None
    http: DataVolumeSourceHTTP | None = None
    imageio: DataVolumeSourceImageIO | None = None
    pvc: DataVolumeSourcePVC | None = None
    registry: DataVolumeSourceRegistry | None = None
    s3: DataVolumeSourceS3 | None = None
    snapshot: DataVolumeSourceSnapshot | None = None
    upload: dict[str, Any] | None = None
    vddk: DataVolumeSourceVDDK | None = None


class DataVolumeSourceRef(meta.Part, frozen=True, kw_only=True):
    kind: str
    name: str
    namespace: str | None = None


class StorageSpec(meta.Part, frozen=True, kw_only=True):
    access_modes: tuple[
        Annotated[
            str, meta.one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
        ],
        ...,
    ] = ()
    data_source: core.TypedLocalObjectReference | None = None
    data_source_ref: core.TypedObjectReference | None = None
    resources: core.VolumeResourceRequirements | None = None
    selector: meta.LabelSelector | None = None
    storage_class_name: str | None = None
    volume_mode: Annotated[str, meta.one_of("Block", "Filesystem", "FromStorageProfile")] | None = (
        None
    )
    volume_name: str | None = None


class DataVolumeSpec(meta.Part, frozen=True, kw_only=True):
    checkpoints: tuple[DataVolumeCheckpoint, ...] = ()
    content_type: str | None = None
    final_checkpoint: bool | None = None
    preallocation: bool | None = None
    priority_class_name: str | None = None
    pvc: core.PersistentVolumeClaimSpec | None = None
    source: DataVolumeSource | None = None
    source_ref: DataVolumeSourceRef | None = None
    storage: StorageSpec | None = None
