"""kubevirt.io/v1 KubeVirt: the installation and its configuration."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from mtv.api import core, meta

GROUP = "kubevirt.io"
GROUP_VERSION = "kubevirt.io/v1"


class CertConfig(meta.Part, frozen=True, kw_only=True):
    duration: str | None = None
    renew_before: str | None = None


class KubeVirtSelfSignConfiguration(meta.Part, frozen=True, kw_only=True):
    ca: CertConfig | None = None
    ca_overlap_interval: str | None = None
    ca_rotate_interval: str | None = None
    cert_rotate_interval: str | None = None
    server: CertConfig | None = None


class KubeVirtCertificateRotateStrategy(meta.Part, frozen=True, kw_only=True):
    self_signed: KubeVirtSelfSignConfiguration | None = None


class TokenBucketRateLimiter(meta.Part, frozen=True, kw_only=True):
    burst: int
    qps: float


class RateLimiter(meta.Part, frozen=True, kw_only=True):
    token_bucket_rate_limiter: TokenBucketRateLimiter | None = None


class RESTClientConfiguration(meta.Part, frozen=True, kw_only=True):
    rate_limiter: RateLimiter | None = None


class ReloadableComponentConfiguration(meta.Part, frozen=True, kw_only=True):
    rest_client: RESTClientConfiguration | None = None


class ArchSpecificConfiguration(meta.Part, frozen=True, kw_only=True):
    emulated_machines: tuple[str, ...] = ()
    machine_type: str | None = None
    ovmf_path: str | None = None


class ArchConfiguration(meta.Part, frozen=True, kw_only=True):
    amd64: ArchSpecificConfiguration | None = None
    arm64: ArchSpecificConfiguration | None = None
    default_architecture: str | None = None
    ppc64le: ArchSpecificConfiguration | None = None
    s390x: ArchSpecificConfiguration | None = None


class ChangedBlockTrackingSelectors(meta.Part, frozen=True, kw_only=True):
    namespace_label_selector: meta.LabelSelector | None = None
    virtual_machine_label_selector: meta.LabelSelector | None = None


class CommonInstancetypesDeployment(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None


class TDXAttestationConfiguration(meta.Part, frozen=True, kw_only=True):
    enforced: bool | None = None
    qgs_socket_path: str | None = None


class TDXConfiguration(meta.Part, frozen=True, kw_only=True):
    attestation: TDXAttestationConfiguration | None = None


class ConfidentialComputeConfiguration(meta.Part, frozen=True, kw_only=True):
    tdx: TDXConfiguration | None = None


class DiskVerification(meta.Part, frozen=True, kw_only=True):
    memory_limit: meta.Quantity


class LogVerbosity(meta.Part, frozen=True, kw_only=True):
    node_verbosity: dict[str, int] = {}
    virt_api: int | None = msgspec.field(name="virtAPI", default=None)
    virt_controller: int | None = None
    virt_handler: int | None = None
    virt_launcher: int | None = None
    virt_operator: int | None = None
    virt_synchronization_controller: int | None = None


class DeveloperConfiguration(meta.Part, frozen=True, kw_only=True):
    cluster_profiler: bool | None = None
    cpu_allocation_ratio: int | None = None
    disabled_feature_gates: tuple[str, ...] = ()
    disk_verification: DiskVerification | None = None
    feature_gates: tuple[str, ...] = ()
    log_verbosity: LogVerbosity | None = None
    memory_overcommit: int | None = None
    minimum_cluster_tsc_frequency: int | None = msgspec.field(
        name="minimumClusterTSCFrequency", default=None
    )
    minimum_reserve_pvc_bytes: int | None = msgspec.field(
        name="minimumReservePVCBytes", default=None
    )
    node_selectors: dict[str, str] = {}
    pvc_tolerate_less_space_up_to_percent: int | None = None
    use_emulation: bool | None = None


class HypervisorConfiguration(meta.Part, frozen=True, kw_only=True):
    name: str | None = None


class InstancetypeConfiguration(meta.Part, frozen=True, kw_only=True):
    reference_policy: str | None = None


class KSMConfiguration(meta.Part, frozen=True, kw_only=True):
    node_label_selector: meta.LabelSelector | None = None


class LiveUpdateConfiguration(meta.Part, frozen=True, kw_only=True):
    max_cpu_sockets: int | None = None
    max_guest: meta.Quantity | None = None
    max_hotplug_ratio: int | None = None


class NodeMediatedDeviceTypesConfig(meta.Part, frozen=True, kw_only=True):
    mediated_device_types: tuple[str, ...] = ()
    mediated_devices_types: tuple[str, ...] = ()
    node_selector: dict[str, str] = {}


class MediatedDevicesConfiguration(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    mediated_device_types: tuple[str, ...] = ()
    mediated_devices_types: tuple[str, ...] = ()
    node_mediated_device_types: tuple[NodeMediatedDeviceTypesConfig, ...] = ()


class MigrationConfiguration(meta.Part, frozen=True, kw_only=True):
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: meta.Quantity | None = None
    completion_timeout_per_gi_b: int | None = None
    disable_tls: bool | None = msgspec.field(name="disableTLS", default=None)
    match_se_linux_level_on_migration: bool | None = msgspec.field(
        name="matchSELinuxLevelOnMigration", default=None
    )
    max_downtime_ms: int | None = None
    network: str | None = None
    node_drain_taint_key: str | None = None
    parallel_migrations_per_cluster: int | None = None
    parallel_outbound_migrations_per_node: int | None = None
    progress_timeout: int | None = None
    unsafe_migration_override: bool | None = None
    utility_volumes_timeout: int | None = None


class ResourceRequirementsWithoutClaims(meta.Part, frozen=True, kw_only=True):
    limits: dict[str, meta.Quantity] = {}
    requests: dict[str, meta.Quantity] = {}


class InterfaceBindingMigration(meta.Part, frozen=True, kw_only=True):
    method: str | None = None


class InterfaceBindingPlugin(meta.Part, frozen=True, kw_only=True):
    compute_resource_overhead: ResourceRequirementsWithoutClaims | None = None
    domain_attachment_type: str | None = None
    downward_api: str | None = msgspec.field(name="downwardAPI", default=None)
    migration: InterfaceBindingMigration | None = None
    network_attachment_definition: str | None = None
    sidecar_image: str | None = None


class NetworkConfiguration(meta.Part, frozen=True, kw_only=True):
    binding: dict[str, InterfaceBindingPlugin] = {}
    default_network_interface: str | None = None
    permit_bridge_interface_on_pod_network: bool | None = None
    permit_slirp_interface: bool | None = None


class MediatedHostDevice(meta.Part, frozen=True, kw_only=True):
    external_resource_provider: bool | None = None
    mdev_name_selector: str
    resource_name: str


class PciHostDevice(meta.Part, frozen=True, kw_only=True):
    external_resource_provider: bool | None = None
    pci_vendor_selector: str
    resource_name: str


class USBSelector(meta.Part, frozen=True, kw_only=True):
    product: str
    vendor: str


class USBHostDevice(meta.Part, frozen=True, kw_only=True):
    external_resource_provider: bool | None = None
    resource_name: str
    selectors: tuple[USBSelector, ...] = ()


class PermittedHostDevices(meta.Part, frozen=True, kw_only=True):
    mediated_devices: tuple[MediatedHostDevice, ...] = ()
    pci_host_devices: tuple[PciHostDevice, ...] = ()
    usb: tuple[USBHostDevice, ...] = ()


class PersistentReservationConfiguration(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None


class CustomProfile(meta.Part, frozen=True, kw_only=True):
    localhost_profile: str | None = None
    runtime_default_profile: bool | None = None


class VirtualMachineInstanceProfile(meta.Part, frozen=True, kw_only=True):
    custom_profile: CustomProfile | None = None


class SeccompConfiguration(meta.Part, frozen=True, kw_only=True):
    virtual_machine_instance_profile: VirtualMachineInstanceProfile | None = None


class SMBiosConfiguration(meta.Part, frozen=True, kw_only=True):
    family: str | None = None
    manufacturer: str | None = None
    product: str | None = None
    sku: str | None = None
    version: str | None = None


class SupportContainerResources(meta.Part, frozen=True, kw_only=True):
    resources: ResourceRequirementsWithoutClaims
    type: str


class TLSConfiguration(meta.Part, frozen=True, kw_only=True):
    ciphers: tuple[str, ...] = ()
    min_tls_version: str | None = msgspec.field(name="minTLSVersion", default=None)


class VirtTemplateDeployment(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None


class DisableFreePageReporting(meta.Part, frozen=True, kw_only=True):
    pass


class DisableSerialConsoleLog(meta.Part, frozen=True, kw_only=True):
    pass


class VirtualMachineOptions(meta.Part, frozen=True, kw_only=True):
    disable_free_page_reporting: DisableFreePageReporting | None = None
    disable_serial_console_log: DisableSerialConsoleLog | None = None


class KubeVirtConfiguration(meta.Part, frozen=True, kw_only=True):
    additional_guest_memory_overhead_ratio: str | None = None
    api_configuration: ReloadableComponentConfiguration | None = None
    architecture_configuration: ArchConfiguration | None = None
    auto_cpu_limit_namespace_label_selector: meta.LabelSelector | None = msgspec.field(
        name="autoCPULimitNamespaceLabelSelector", default=None
    )
    changed_block_tracking_label_selectors: ChangedBlockTrackingSelectors | None = None
    common_instancetypes_deployment: CommonInstancetypesDeployment | None = None
    confidential_compute: ConfidentialComputeConfiguration | None = None
    controller_configuration: ReloadableComponentConfiguration | None = None
    cpu_model: str | None = None
    cpu_request: meta.Quantity | None = None
    default_runtime_class: str | None = None
    developer_configuration: DeveloperConfiguration | None = None
    emulated_machines: tuple[str, ...] = ()
    eviction_strategy: str | None = None
    handler_configuration: ReloadableComponentConfiguration | None = None
    hypervisors: tuple[HypervisorConfiguration, ...] = ()
    image_pull_policy: Annotated[str, meta.one_of("Always", "IfNotPresent", "Never")] | None = None
    instancetype: InstancetypeConfiguration | None = None
    ksm_configuration: KSMConfiguration | None = None
    live_update_configuration: LiveUpdateConfiguration | None = None
    machine_type: str | None = None
    mediated_devices_configuration: MediatedDevicesConfiguration | None = None
    mem_balloon_stats_period: int | None = None
    migrations: MigrationConfiguration | None = None
    min_cpu_model: str | None = msgspec.field(name="minCPUModel", default=None)
    network: NetworkConfiguration | None = None
    obsolete_cpu_models: dict[str, bool] = msgspec.field(
        name="obsoleteCPUModels", default_factory=dict
    )
    ovmf_path: str | None = None
    permitted_host_devices: PermittedHostDevices | None = None
    persistent_reservation_configuration: PersistentReservationConfiguration | None = None
    role_aggregation_strategy: str | None = None
    seccomp_configuration: SeccompConfiguration | None = None
    selinux_launcher_type: str | None = None
    smbios: SMBiosConfiguration | None = None
    support_container_resources: tuple[SupportContainerResources, ...] = ()
    supported_guest_agent_versions: tuple[str, ...] = ()
    tls_configuration: TLSConfiguration | None = None
    virt_template_deployment: VirtTemplateDeployment | None = None
    virtual_machine_instances_per_node: int | None = None
    virtual_machine_options: VirtualMachineOptions | None = None
    vm_rollout_strategy: str | None = None
    vm_state_storage_class: str | None = None
    webhook_configuration: ReloadableComponentConfiguration | None = None


class Flags(meta.Part, frozen=True, kw_only=True):
    api: dict[str, str] = {}
    controller: dict[str, str] = {}
    handler: dict[str, str] = {}


class CustomizeComponentsPatch(meta.Part, frozen=True, kw_only=True):
    patch: str
    resource_name: str
    resource_type: str
    type: str


class CustomizeComponents(meta.Part, frozen=True, kw_only=True):
    flags: Flags | None = None
    patches: tuple[CustomizeComponentsPatch, ...] = ()


class NodePlacement(meta.Part, frozen=True, kw_only=True):
    affinity: core.Affinity | None = None
    node_selector: dict[str, str] = {}
    tolerations: tuple[core.Toleration, ...] = ()


class ComponentConfig(meta.Part, frozen=True, kw_only=True):
    node_placement: NodePlacement | None = None
    replicas: int | None = None


class KubeVirtWorkloadUpdateStrategy(meta.Part, frozen=True, kw_only=True):
    batch_eviction_interval: str | None = None
    batch_eviction_size: int | None = None
    workload_update_methods: tuple[str, ...] = ()


class KubeVirtSpec(meta.Part, frozen=True, kw_only=True):
    certificate_rotate_strategy: KubeVirtCertificateRotateStrategy | None = None
    configuration: KubeVirtConfiguration | None = None
    customize_components: CustomizeComponents | None = None
    image_pull_policy: Annotated[str, meta.one_of("Always", "IfNotPresent", "Never")] | None = None
    image_pull_secrets: tuple[core.LocalObjectReference, ...] = ()
    image_registry: str | None = None
    image_tag: str | None = None
    infra: ComponentConfig | None = None
    monitor_account: str | None = None
    monitor_namespace: str | None = None
    product_component: str | None = None
    product_name: str | None = None
    product_version: str | None = None
    service_monitor_namespace: str | None = None
    synchronization_port: str | None = None
    uninstall_strategy: str | None = None
    workload_update_strategy: KubeVirtWorkloadUpdateStrategy | None = None
    workloads: ComponentConfig | None = None


class KubeVirtCondition(meta.Part, frozen=True, kw_only=True):
    last_probe_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None
    message: str | None = None
    reason: str | None = None
    status: str
    type: str


class GenerationStatus(meta.Part, frozen=True, kw_only=True):
    group: str
    hash: str | None = None
    last_generation: int
    name: str
    namespace: str | None = None
    resource: str


class KubeVirtStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[KubeVirtCondition, ...] = ()
    default_architecture: str | None = None
    generations: tuple[GenerationStatus, ...] = ()
    observed_deployment_config: str | None = None
    observed_deployment_id: str | None = msgspec.field(name="observedDeploymentID", default=None)
    observed_generation: int | None = None
    observed_kube_virt_registry: str | None = None
    observed_kube_virt_version: str | None = None
    operator_version: str | None = None
    outdated_virtual_machine_instance_workloads: int | None = None
    phase: str | None = None
    synchronization_addresses: tuple[str, ...] = ()
    target_deployment_config: str | None = None
    target_deployment_id: str | None = msgspec.field(name="targetDeploymentID", default=None)
    target_kube_virt_registry: str | None = None
    target_kube_virt_version: str | None = None


class KubeVirt(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1",
        plural="kubevirts",
        singular="kubevirt",
        short_names=("kv", "kvs"),
        categories=("all",),
        status=True,
        columns=(
            meta.Column("Age", ".metadata.creationTimestamp", type="date"),
            meta.Column("Phase", ".status.phase"),
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("KubeVirt")
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: KubeVirtSpec
    status: KubeVirtStatus | None = None
