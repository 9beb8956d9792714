"""cdi.kubevirt.io/v1beta1, as far as VirtualMachines and virtctl use it: DataVolumes, CDIConfig.

Where CDI itself is installed its definitions stay, and its controllers do the work; these serve a
home without it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

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


class DataVolumeCondition(meta.Part, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_heartbeat_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None


class DataVolumeStatus(meta.Part, frozen=True, kw_only=True):
    claim_name: str | None = None
    conditions: tuple[DataVolumeCondition, ...] = ()
    phase: str | None = None
    progress: str | None = None
    restart_count: int | None = None


class DataVolume(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group="cdi.kubevirt.io",
        version="v1beta1",
        plural="datavolumes",
        singular="datavolume",
        short_names=("dv", "dvs"),
        categories=("all",),
        status=True,
        columns=(
            meta.Column(name="Phase", path=".status.phase"),
            meta.Column(name="Progress", path=".status.progress"),
            meta.Column(name="Restarts", path=".status.restartCount", type="integer"),
            meta.Column(name="Age", path=".metadata.creationTimestamp", type="date"),
        ),
    )
    api_version: str = meta.always("cdi.kubevirt.io/v1beta1")
    kind: str = meta.always("DataVolume")
    spec: DataVolumeSpec
    status: DataVolumeStatus | None = None


class FilesystemOverhead(meta.Part, frozen=True, kw_only=True):
    global_: str | None = msgspec.field(name="global", default=None)
    storage_class: dict[str, str] = {}


class CDIConfigSpec(meta.Part, frozen=True, kw_only=True):
    feature_gates: tuple[str, ...] = ()
    upload_proxy_url_override: str | None = msgspec.field(
        name="uploadProxyURLOverride", default=None
    )


class CDIConfigStatus(meta.Part, frozen=True, kw_only=True):
    filesystem_overhead: FilesystemOverhead | None = None
    scratch_space_storage_class: str | None = None
    upload_proxy_url: str | None = msgspec.field(name="uploadProxyURL", default=None)


class CDIConfig(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group="cdi.kubevirt.io",
        version="v1beta1",
        plural="cdiconfigs",
        singular="cdiconfig",
        namespaced=False,
    )
    api_version: str = meta.always("cdi.kubevirt.io/v1beta1")
    kind: str = meta.always("CDIConfig")
    spec: CDIConfigSpec = CDIConfigSpec()
    status: CDIConfigStatus | None = None


class DataSourceSource(meta.Part, frozen=True, kw_only=True):
    pvc: DataVolumeSourcePVC | None = None
    snapshot: DataVolumeSourceSnapshot | None = None


class DataSourceSpec(meta.Part, frozen=True, kw_only=True):
    source: DataSourceSource = DataSourceSource()


class DataSource(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group="cdi.kubevirt.io",
        version="v1beta1",
        plural="datasources",
        singular="datasource",
    )
    api_version: str = meta.always("cdi.kubevirt.io/v1beta1")
    kind: str = meta.always("DataSource")
    spec: DataSourceSpec = DataSourceSpec()


KINDS: tuple[type[meta.Object], ...] = (DataVolume, CDIConfig)
