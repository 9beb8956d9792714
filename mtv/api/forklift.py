"""forklift.konveyor.io/v1beta1: where VMs come from, what maps to what, plans and their runs.

Every field of upstream is here and is stored. Source of the fields: the CRDs of Forklift.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from mtv.api import core, meta

GROUP = "forklift.konveyor.io"
GROUP_VERSION = "forklift.konveyor.io/v1beta1"

PowerState = Annotated[str, meta.one_of("on", "off", "auto")]
_AGE = meta.Column("AGE", ".metadata.creationTimestamp", type="date")


def _condition_column(title: str, kind: str = "") -> meta.Column:
    kind = kind or title.capitalize()
    return meta.Column(title, f".status.conditions[?(@.type=='{kind}')].status")


def _kind(plural: str, singular: str, *columns: meta.Column) -> meta.Resource:
    return meta.Resource(
        group=GROUP,
        version="v1beta1",
        plural=plural,
        singular=singular,
        status=True,
        columns=columns,
    )


class Condition(meta.Part, frozen=True, kw_only=True):
    """Forklift's condition: `category` says how bad, `items` what it is about."""

    type: str
    status: str
    category: str
    last_transition_time: meta.Time
    reason: str | None = None
    message: str | None = None
    suggestion: str | None = None
    durable: bool | None = None
    items: tuple[str, ...] = ()


class Ref(meta.Part, frozen=True, kw_only=True):
    """Something of the source: by id (moref) or by name, which may be a path."""

    id: str | None = None
    name: str | None = None
    namespace: str | None = None
    type: str | None = None


class ProviderPair(meta.Part, frozen=True, kw_only=True):
    source: meta.ObjectReference
    destination: meta.ObjectReference


class ProviderSpec(meta.Part, frozen=True, kw_only=True):
    type: str
    secret: meta.ObjectReference
    url: str | None = None
    settings: dict[str, str] = {}


class ProviderStatus(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None
    conditions: tuple[Condition, ...] = ()
    observed_generation: int | None = None
    fingerprint: str | None = None
    secret_resource_version: str | None = None
    service: meta.ObjectReference | None = None


class Provider(meta.Object, frozen=True, kw_only=True):
    """A vCenter, an ESXi host, a folder of OVAs, or the cluster: where VMs come from or go."""

    resource: ClassVar[meta.Resource] = _kind(
        "providers",
        "provider",
        meta.Column("TYPE", ".spec.type"),
        meta.Column("STATUS", ".status.phase"),
        _condition_column("READY"),
        _condition_column("CONNECTED", "ConnectionTestSucceeded"),
        _condition_column("INVENTORY", "InventoryCreated"),
        meta.Column("URL", ".spec.url"),
        _AGE,
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("Provider")
    spec: ProviderSpec
    status: ProviderStatus | None = None


class HostSpec(meta.Part, frozen=True, kw_only=True):
    provider: meta.ObjectReference
    secret: meta.ObjectReference
    ip_address: str
    id: str | None = None
    name: str | None = None
    namespace: str | None = None
    type: str | None = None


class HostStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    observed_generation: int | None = None


class Host(meta.Object, frozen=True, kw_only=True):
    """An ESXi host that disks are read from directly."""

    resource: ClassVar[meta.Resource] = _kind(
        "hosts",
        "host",
        _condition_column("READY"),
        _condition_column("CONNECTED", "ConnectionTestSucceeded"),
        _AGE,
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("Host")
    spec: HostSpec
    status: HostStatus | None = None


class NetworkSource(Ref, frozen=True, kw_only=True):
    vlan: (
        Annotated[
            str, meta.matching("^([1-9]|[1-9][0-9]{1,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-4])$")
        ]
        | None
    ) = None


class NetworkDestination(meta.Part, frozen=True, kw_only=True):
    type: Annotated[str, meta.one_of("pod", "multus", "ignored")]
    namespace: str | None = None
    name: str | None = None


class NetworkPair(meta.Part, frozen=True, kw_only=True):
    source: NetworkSource
    destination: NetworkDestination


class NetworkMapSpec(meta.Part, frozen=True, kw_only=True):
    provider: ProviderPair
    map: tuple[NetworkPair, ...]


class MapStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    references: tuple[Ref, ...] = ()
    observed_generation: int | None = None


class NetworkMap(meta.Object, frozen=True, kw_only=True):
    """What becomes of the networks of a source."""

    resource: ClassVar[meta.Resource] = _kind(
        "networkmaps", "networkmap", _condition_column("READY"), _AGE
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("NetworkMap")
    spec: NetworkMapSpec
    status: MapStatus | None = None


class XcopyPlugin(meta.Part, frozen=True, kw_only=True):
    secret_ref: str
    storage_vendor_product: Annotated[
        str,
        meta.one_of(
            "flashsystem",
            "vantara",
            "ontap",
            "primera3par",
            "pureFlashArray",
            "powerflex",
            "powermax",
            "powerstore",
            "infinibox",
        ),
    ]
    dedicated_migration_hosts: tuple[str, ...] = ()


class VolumeImportPlugin(meta.Part, frozen=True, kw_only=True):
    secret_ref: str
    storage_vendor_product: Annotated[str, meta.one_of("primera3par", "ontap")]


class OffloadPlugin(meta.Part, frozen=True, kw_only=True):
    vsphere_xcopy_config: XcopyPlugin | None = None
    csi_volume_import: VolumeImportPlugin | None = None


class StorageDestination(meta.Part, frozen=True, kw_only=True):
    storage_class: str
    volume_mode: Annotated[str, meta.one_of("Filesystem", "Block")] | None = None
    access_mode: (
        Annotated[str, meta.one_of("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany")] | None
    ) = None


class StoragePair(meta.Part, frozen=True, kw_only=True):
    source: Ref
    destination: StorageDestination
    offload_plugin: OffloadPlugin | None = None


class StorageMapSpec(meta.Part, frozen=True, kw_only=True):
    provider: ProviderPair
    map: tuple[StoragePair, ...]


class StorageMap(meta.Object, frozen=True, kw_only=True):
    """What becomes of the datastores of a source."""

    resource: ClassVar[meta.Resource] = _kind(
        "storagemaps", "storagemap", _condition_column("READY"), _AGE
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("StorageMap")
    spec: StorageMapSpec
    status: MapStatus | None = None


class AapSpec(meta.Part, frozen=True, kw_only=True):
    job_template_id: int
    url: str | None = None
    token_secret: meta.ObjectReference | None = None
    timeout: int | None = None


class HookSpec(meta.Part, frozen=True, kw_only=True):
    image: str | None = None
    playbook: str | None = None
    service_account: str | None = None
    deadline: int | None = None
    aap: AapSpec | None = None


class HookStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    observed_generation: int | None = None


class Hook(meta.Object, frozen=True, kw_only=True):
    """What is run before or after the migration of a VM."""

    resource: ClassVar[meta.Resource] = _kind(
        "hooks",
        "hook",
        _condition_column("Ready"),
        meta.Column("Image", ".spec.image"),
        meta.Column("Age", ".metadata.creationTimestamp", type="date"),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("Hook")
    spec: HookSpec = HookSpec()
    status: HookStatus | None = None


class HookRef(meta.Part, frozen=True, kw_only=True):
    hook: meta.ObjectReference
    step: str


class PlanVM(Ref, frozen=True, kw_only=True):
    """One VM of a plan, and what is other for it than for the plan."""

    hooks: tuple[HookRef, ...] = ()
    luks: meta.ObjectReference | None = None
    nbde_clevis: bool | None = None
    root_disk: str | None = None
    instance_type: str | None = None
    pvc_name_template: str | None = None
    volume_name_template: str | None = None
    network_name_template: str | None = None
    target_name: str | None = None
    target_power_state: PowerState | None = None
    delete_vm_on_fail_migration: bool | None = None
    migrate_shared_disks: bool | None = None
    enable_nested_virtualization: bool | None = None
    rdm_as_lun: bool | None = None
    scsi_reservation: bool | None = None


class PlanMap(meta.Part, frozen=True, kw_only=True):
    network: meta.ObjectReference
    storage: meta.ObjectReference


class TagMapping(meta.Part, frozen=True, kw_only=True):
    disabled: bool | None = None
    label_tags: tuple[str, ...] = ()


class PlanSpec(meta.Part, frozen=True, kw_only=True):
    target_namespace: str
    provider: ProviderPair
    map: PlanMap
    vms: tuple[PlanVM, ...]
    description: str | None = None
    type: Annotated[str, meta.one_of("cold", "warm", "live", "conversion")] | None = None
    warm: bool | None = None
    archived: bool | None = None
    service_account: Annotated[str, meta.matching("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = None
    target_labels: dict[str, str] = {}
    target_node_selector: dict[str, str] = {}
    target_affinity: core.Affinity | None = None
    target_power_state: PowerState | None = None
    convertor_labels: dict[str, str] = {}
    convertor_node_selector: dict[str, str] = {}
    convertor_affinity: core.Affinity | None = None
    conversion_temp_storage_class: str | None = None
    conversion_temp_storage_size: str | None = None
    transfer_network: meta.ObjectReference | None = None
    preserve_cluster_cpu_model: bool | None = None
    preserve_static_ips: bool = msgspec.field(name="preserveStaticIPs", default=True)
    skip_zone_node_selector: bool | None = None
    disk_bus: str | None = None
    pvc_name_template: str | None = None
    pvc_name_template_use_generate_name: bool | None = None
    volume_name_template: str | None = None
    network_name_template: str | None = None
    migrate_shared_disks: bool = True
    rdm_as_lun: bool | None = None
    scsi_reservation: bool | None = None
    delete_guest_conversion_pod: bool | None = None
    delete_vm_on_fail_migration: bool = True
    install_legacy_drivers: bool | None = None
    enable_nested_virtualization: bool | None = None
    skip_guest_conversion: bool = False
    use_compatibility_mode: bool = True
    run_preflight_inspection: bool = True
    customization_scripts: meta.ObjectReference | None = None
    virt_v2v_image: str | None = msgspec.field(name="virtV2vImage", default=None)
    xfs_compatibility: bool = False
    tag_mapping: TagMapping | None = None
    # Ours, for warm plans: how long after a precopy the next one begins (an hour where it is not
    # set), and how long the VM may be off; None takes what comes.
    precopy_interval_seconds: Annotated[int, meta.at_least(1)] | None = None
    max_downtime_seconds: Annotated[int, meta.at_least(1)] | None = None


class Progress(meta.Part, frozen=True, kw_only=True):
    """Whole numbers, always both: `kubectl mtv` reads nothing else."""

    completed: int = msgspec.field(default_factory=int)
    total: int = msgspec.field(default_factory=int)


class StepError(meta.Part, frozen=True, kw_only=True):
    phase: str
    reasons: tuple[str, ...]


class Task(meta.Part, frozen=True, kw_only=True):
    name: str
    progress: Progress
    description: str | None = None
    phase: str | None = None
    reason: str | None = None
    started: meta.Time | None = None
    completed: meta.Time | None = None
    annotations: dict[str, str] = {}
    error: StepError | None = None
    warning: StepError | None = None


class Step(Task, frozen=True, kw_only=True):
    tasks: tuple[Task, ...] = ()


class DiskDelta(meta.Part, frozen=True, kw_only=True):
    disk: str
    delta_id: str


class Precopy(meta.Part, frozen=True, kw_only=True):
    start: meta.Time | None = None
    end: meta.Time | None = None
    snapshot: str | None = None
    create_task_id: str | None = None
    remove_task_id: str | None = None
    deltas: tuple[DiskDelta, ...] = ()
    # Ours: the snapshot's name, stored before it is taken; when it was seen to be gone; whether the
    # guest's file systems were at rest for it; what the copy of what had changed has cost.
    name: str | None = None
    removed: meta.Time | None = None
    quiesced: bool | None = None
    delta_bytes: int | None = None
    delta_seconds: float | None = None


class Warm(meta.Part, frozen=True, kw_only=True):
    successes: int = msgspec.field(default_factory=int)
    failures: int = msgspec.field(default_factory=int)
    consecutive_failures: int = msgspec.field(default_factory=int)
    next_precopy_at: meta.Time | None = None
    precopies: tuple[Precopy, ...] = ()
    # Ours: how long the VM would be off if it was cut over now, how long it was, and how long its
    # guest took to shut down.
    predicted_downtime_seconds: int | None = None
    downtime_seconds: int | None = None
    shutdown_seconds: int | None = None


class VMStatus(PlanVM, frozen=True, kw_only=True):
    """How far one VM is."""

    phase: str
    pipeline: tuple[Step, ...] = msgspec.field(default_factory=tuple)
    started: meta.Time | None = None
    completed: meta.Time | None = None
    error: StepError | None = None
    conditions: tuple[Condition, ...] = ()
    warm: Warm | None = None
    restore_power_state: str | None = None
    firmware: str | None = None
    operating_system: str | None = None
    detected_boot_disk: int | None = None
    new_name: str | None = None
    disks_copied: bool | None = None


class SnapshotRef(meta.Part, frozen=True, kw_only=True):
    """An object in the state in which a run of the plan saw it."""

    name: str
    namespace: str
    uid: str
    generation: int = msgspec.field(default_factory=int)


class SnapshotPair(meta.Part, frozen=True, kw_only=True):
    source: SnapshotRef
    destination: SnapshotRef


class SnapshotMaps(meta.Part, frozen=True, kw_only=True):
    network: SnapshotRef
    storage: SnapshotRef


class Snapshot(meta.Part, frozen=True, kw_only=True):
    """One run of a plan; the last of `history` is the active one."""

    plan: SnapshotRef
    migration: SnapshotRef
    provider: SnapshotPair
    map: SnapshotMaps
    conditions: tuple[Condition, ...] = ()


class PlanMigrationStatus(meta.Part, frozen=True, kw_only=True):
    started: meta.Time | None = None
    completed: meta.Time | None = None
    history: tuple[Snapshot, ...] = ()
    vms: tuple[VMStatus, ...] = ()


class PlanStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    observed_generation: int | None = None
    migration: PlanMigrationStatus | None = None
    net_app_shift_destination: bool | None = None


class Plan(meta.Object, frozen=True, kw_only=True):
    """VMs that are moved: from where to where, and how."""

    resource: ClassVar[meta.Resource] = _kind(
        "plans",
        "plan",
        _condition_column("READY"),
        _condition_column("EXECUTING"),
        _condition_column("SUCCEEDED"),
        _condition_column("FAILED"),
        _AGE,
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("Plan")
    spec: PlanSpec
    status: PlanStatus | None = None


class VMCutover(meta.Part, frozen=True, kw_only=True):
    id: str
    cutover: meta.Time


class MigrationSpec(meta.Part, frozen=True, kw_only=True):
    plan: meta.ObjectReference
    cancel: tuple[Ref, ...] = ()
    cutover: meta.Time | None = None
    vm_cutover: tuple[VMCutover, ...] = ()
    resume_conversion: bool | None = None
    # Ours: migrated VMs that go back to their source, and those whose source is given up.
    rollback: tuple[Ref, ...] = ()
    accept: tuple[Ref, ...] = ()


class MigrationStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    observed_generation: int | None = None
    started: meta.Time | None = None
    completed: meta.Time | None = None
    vms: tuple[VMStatus, ...] = ()


class Migration(meta.Object, frozen=True, kw_only=True):
    """One run of a Plan: its cutover, its cancels, its progress."""

    resource: ClassVar[meta.Resource] = _kind(
        "migrations",
        "migration",
        _condition_column("READY"),
        _condition_column("RUNNING"),
        _condition_column("SUCCEEDED"),
        _condition_column("FAILED"),
        _AGE,
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("Migration")
    spec: MigrationSpec
    status: MigrationStatus | None = None


KINDS: tuple[type[meta.Object], ...] = (
    Provider,
    Host,
    NetworkMap,
    StorageMap,
    Hook,
    Plan,
    Migration,
)
