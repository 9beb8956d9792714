"""kubevirt.io/v1: virtual machines, their instances, and migrations of these.

Every field of upstream is here and is stored; which of them have an effect is
`mtv_operator.virt_api.honoured`. Source of the fields: the OpenAPI document of KubeVirt.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from mtv.api import cdi, core, meta

GROUP = "kubevirt.io"
GROUP_VERSION = "kubevirt.io/v1"


class DataVolumeTemplateDummyStatus(meta.Part, frozen=True, kw_only=True):
    pass


class DataVolumeTemplateSpec(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: cdi.DataVolumeSpec
    status: DataVolumeTemplateDummyStatus | None = None


class InstancetypeMatcher(meta.Part, frozen=True, kw_only=True):
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None
    revision_name: str | None = None


class PreferenceMatcher(meta.Part, frozen=True, kw_only=True):
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None
    revision_name: str | None = None


class ConfigDriveSSHPublicKeyAccessCredentialPropagation(meta.Part, frozen=True, kw_only=True):
    pass


class NoCloudSSHPublicKeyAccessCredentialPropagation(meta.Part, frozen=True, kw_only=True):
    pass


class QemuGuestAgentSSHPublicKeyAccessCredentialPropagation(meta.Part, frozen=True, kw_only=True):
    users: tuple[str, ...] = ()


class SSHPublicKeyAccessCredentialPropagationMethod(meta.Part, frozen=True, kw_only=True):
    config_drive: ConfigDriveSSHPublicKeyAccessCredentialPropagation | None = None
    no_cloud: NoCloudSSHPublicKeyAccessCredentialPropagation | None = None
    qemu_guest_agent: QemuGuestAgentSSHPublicKeyAccessCredentialPropagation | None = None


class AccessCredentialSecretSource(meta.Part, frozen=True, kw_only=True):
    secret_name: str


class SSHPublicKeyAccessCredentialSource(meta.Part, frozen=True, kw_only=True):
    secret: AccessCredentialSecretSource | None = None


class SSHPublicKeyAccessCredential(meta.Part, frozen=True, kw_only=True):
    propagation_method: SSHPublicKeyAccessCredentialPropagationMethod
    source: SSHPublicKeyAccessCredentialSource


class QemuGuestAgentUserPasswordAccessCredentialPropagation(meta.Part, frozen=True, kw_only=True):
    pass


class UserPasswordAccessCredentialPropagationMethod(meta.Part, frozen=True, kw_only=True):
    qemu_guest_agent: QemuGuestAgentUserPasswordAccessCredentialPropagation | None = None


class UserPasswordAccessCredentialSource(meta.Part, frozen=True, kw_only=True):
    secret: AccessCredentialSecretSource | None = None


class UserPasswordAccessCredential(meta.Part, frozen=True, kw_only=True):
    propagation_method: UserPasswordAccessCredentialPropagationMethod
    source: UserPasswordAccessCredentialSource


class AccessCredential(meta.Part, frozen=True, kw_only=True):
    ssh_public_key: SSHPublicKeyAccessCredential | None = None
    user_password: UserPasswordAccessCredential | None = None


class Chassis(meta.Part, frozen=True, kw_only=True):
    asset: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    sku: str | None = None
    version: str | None = None


class HPETTimer(meta.Part, frozen=True, kw_only=True):
    present: bool | None = None
    tick_policy: str | None = None


class HypervTimer(meta.Part, frozen=True, kw_only=True):
    present: bool | None = None


class KVMTimer(meta.Part, frozen=True, kw_only=True):
    present: bool | None = None


class PITTimer(meta.Part, frozen=True, kw_only=True):
    present: bool | None = None
    tick_policy: str | None = None


class RTCTimer(meta.Part, frozen=True, kw_only=True):
    present: bool | None = None
    tick_policy: str | None = None
    track: str | None = None


class Timer(meta.Part, frozen=True, kw_only=True):
    hpet: HPETTimer | None = None
    hyperv: HypervTimer | None = None
    kvm: KVMTimer | None = None
    pit: PITTimer | None = None
    rtc: RTCTimer | None = None


class ClockOffsetUTC(meta.Part, frozen=True, kw_only=True):
    offset_seconds: int | None = None


class Clock(meta.Part, frozen=True, kw_only=True):
    timer: Timer | None = None
    timezone: str | None = None
    utc: ClockOffsetUTC | None = None


class CPUFeature(meta.Part, frozen=True, kw_only=True):
    name: str
    policy: str | None = None


class NUMAGuestMappingPassthrough(meta.Part, frozen=True, kw_only=True):
    pass


class NUMA(meta.Part, frozen=True, kw_only=True):
    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None


class Realtime(meta.Part, frozen=True, kw_only=True):
    mask: str | None = None


class CPU(meta.Part, frozen=True, kw_only=True):
    cores: int | None = None
    dedicated_cpu_placement: bool | None = None
    features: tuple[CPUFeature, ...] = ()
    isolate_emulator_thread: bool | None = None
    max_sockets: int | None = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None
    sockets: int | None = None
    threads: int | None = None


class ClientPassthroughDevices(meta.Part, frozen=True, kw_only=True):
    pass


class CustomBlockSize(meta.Part, frozen=True, kw_only=True):
    discard_granularity: int | None = None
    logical: int | None = None
    physical: int | None = None


class FeatureState(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None


class BlockSize(meta.Part, frozen=True, kw_only=True):
    custom: CustomBlockSize | None = None
    match_volume: FeatureState | None = None


class CDRomTarget(meta.Part, frozen=True, kw_only=True):
    bus: str | None = None
    readonly: bool | None = None
    tray: str | None = None


class DiskTarget(meta.Part, frozen=True, kw_only=True):
    bus: str | None = None
    pci_address: str | None = None
    readonly: bool | None = None


class LunTarget(meta.Part, frozen=True, kw_only=True):
    bus: str | None = None
    readonly: bool | None = None
    reservation: bool | None = None


class Disk(meta.Part, frozen=True, kw_only=True):
    block_size: BlockSize | None = None
    boot_order: int | None = None
    cache: str | None = None
    cdrom: CDRomTarget | None = None
    changed_block_tracking: bool | None = None
    dedicated_io_thread: bool | None = msgspec.field(name="dedicatedIOThread", default=None)
    disk: DiskTarget | None = None
    error_policy: str | None = None
    io: str | None = None
    lun: LunTarget | None = None
    name: str
    serial: str | None = None
    shareable: bool | None = None
    tag: str | None = None


class DownwardMetrics(meta.Part, frozen=True, kw_only=True):
    pass


class FilesystemVirtiofs(meta.Part, frozen=True, kw_only=True):
    pass


class Filesystem(meta.Part, frozen=True, kw_only=True):
    name: str
    virtiofs: FilesystemVirtiofs


class VGPUDisplayOptions(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    ram_fb: FeatureState | None = msgspec.field(name="ramFB", default=None)


class VGPUOptions(meta.Part, frozen=True, kw_only=True):
    display: VGPUDisplayOptions | None = None


class GPU(meta.Part, frozen=True, kw_only=True):
    claim_name: str | None = None
    device_name: str | None = None
    name: str
    request_name: str | None = None
    tag: str | None = None
    virtual_gpu_options: VGPUOptions | None = msgspec.field(name="virtualGPUOptions", default=None)


class HostDevice(meta.Part, frozen=True, kw_only=True):
    claim_name: str | None = None
    device_name: str | None = None
    name: str
    request_name: str | None = None
    tag: str | None = None


class Input(meta.Part, frozen=True, kw_only=True):
    bus: str | None = None
    name: str
    type: str


class PluginBinding(meta.Part, frozen=True, kw_only=True):
    name: str


class InterfaceBridge(meta.Part, frozen=True, kw_only=True):
    pass


class DHCPPrivateOptions(meta.Part, frozen=True, kw_only=True):
    option: int
    value: str


class DHCPOptions(meta.Part, frozen=True, kw_only=True):
    boot_file_name: str | None = None
    ntp_servers: tuple[str, ...] = ()
    private_options: tuple[DHCPPrivateOptions, ...] = ()
    tftp_server_name: str | None = None


class DeprecatedInterfaceMacvtap(meta.Part, frozen=True, kw_only=True):
    pass


class InterfaceMasquerade(meta.Part, frozen=True, kw_only=True):
    pass


class DeprecatedInterfacePasst(meta.Part, frozen=True, kw_only=True):
    pass


class InterfacePasstBinding(meta.Part, frozen=True, kw_only=True):
    pass


class PortRange(meta.Part, frozen=True, kw_only=True):
    end: int
    protocol: str
    start: int


class Port(meta.Part, frozen=True, kw_only=True):
    name: str | None = None
    port: int
    protocol: str | None = None


class DeprecatedInterfaceSlirp(meta.Part, frozen=True, kw_only=True):
    pass


class InterfaceSRIOV(meta.Part, frozen=True, kw_only=True):
    pass


class Interface(meta.Part, frozen=True, kw_only=True):
    acpi_index: int | None = None
    binding: PluginBinding | None = None
    boot_order: int | None = None
    bridge: InterfaceBridge | None = None
    dhcp_options: DHCPOptions | None = None
    mac_address: str | None = None
    macvtap: DeprecatedInterfaceMacvtap | None = None
    masquerade: InterfaceMasquerade | None = None
    model: str | None = None
    name: str
    passt: DeprecatedInterfacePasst | None = None
    passt_binding: InterfacePasstBinding | None = None
    pci_address: str | None = None
    port_ranges: tuple[PortRange, ...] = ()
    ports: tuple[Port, ...] = ()
    slirp: DeprecatedInterfaceSlirp | None = None
    sriov: InterfaceSRIOV | None = None
    state: str | None = None
    tag: str | None = None


class PanicDevice(meta.Part, frozen=True, kw_only=True):
    model: str | None = None


class Rng(meta.Part, frozen=True, kw_only=True):
    pass


class SoundDevice(meta.Part, frozen=True, kw_only=True):
    model: str | None = None
    name: str


class TPMDevice(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    persistent: bool | None = None


class VideoDevice(meta.Part, frozen=True, kw_only=True):
    type: str | None = None


class Diag288Watchdog(meta.Part, frozen=True, kw_only=True):
    action: str | None = None


class I6300ESBWatchdog(meta.Part, frozen=True, kw_only=True):
    action: str | None = None


class Watchdog(meta.Part, frozen=True, kw_only=True):
    diag288: Diag288Watchdog | None = None
    i6300esb: I6300ESBWatchdog | None = None
    name: str


class Devices(meta.Part, frozen=True, kw_only=True):
    autoattach_graphics_device: bool | None = None
    autoattach_input_device: bool | None = None
    autoattach_mem_balloon: bool | None = None
    autoattach_pod_interface: bool | None = None
    autoattach_serial_console: bool | None = None
    autoattach_vsock: bool | None = msgspec.field(name="autoattachVSOCK", default=None)
    block_multi_queue: bool | None = None
    client_passthrough: ClientPassthroughDevices | None = None
    disable_hotplug: bool | None = None
    disks: tuple[Disk, ...] = ()
    downward_metrics: DownwardMetrics | None = None
    filesystems: tuple[Filesystem, ...] = ()
    gpus: tuple[GPU, ...] = ()
    host_devices: tuple[HostDevice, ...] = ()
    inputs: tuple[Input, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    log_serial_console: bool | None = None
    network_interface_multiqueue: bool | None = None
    panic_devices: tuple[PanicDevice, ...] = ()
    rng: Rng | None = None
    sound: SoundDevice | None = None
    tpm: TPMDevice | None = None
    use_virtio_transitional: bool | None = None
    video: VideoDevice | None = None
    watchdog: Watchdog | None = None


class FeatureAPIC(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    end_of_interrupt: bool | None = None


class FeatureSpinlocks(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    spinlocks: int | None = None


class SyNICTimer(meta.Part, frozen=True, kw_only=True):
    direct: FeatureState | None = None
    enabled: bool | None = None


class TLBFlush(meta.Part, frozen=True, kw_only=True):
    direct: FeatureState | None = None
    enabled: bool | None = None
    extended: FeatureState | None = None


class FeatureVendorID(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    vendorid: str | None = None


class FeatureHyperv(meta.Part, frozen=True, kw_only=True):
    evmcs: FeatureState | None = None
    frequencies: FeatureState | None = None
    ipi: FeatureState | None = None
    reenlightenment: FeatureState | None = None
    relaxed: FeatureState | None = None
    reset: FeatureState | None = None
    runtime: FeatureState | None = None
    spinlocks: FeatureSpinlocks | None = None
    synic: FeatureState | None = None
    synictimer: SyNICTimer | None = None
    tlbflush: TLBFlush | None = None
    vapic: FeatureState | None = None
    vendorid: FeatureVendorID | None = None
    vpindex: FeatureState | None = None


class HyperVPassthrough(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None


class FeatureKVM(meta.Part, frozen=True, kw_only=True):
    hidden: bool | None = None


class Features(meta.Part, frozen=True, kw_only=True):
    acpi: FeatureState | None = None
    apic: FeatureAPIC | None = None
    hyperv: FeatureHyperv | None = None
    hyperv_passthrough: HyperVPassthrough | None = None
    kvm: FeatureKVM | None = None
    pvspinlock: FeatureState | None = None
    smm: FeatureState | None = None


class ACPI(meta.Part, frozen=True, kw_only=True):
    msdm_name_ref: str | None = None
    slic_name_ref: str | None = None


class BIOS(meta.Part, frozen=True, kw_only=True):
    use_serial: bool | None = None


class EFI(meta.Part, frozen=True, kw_only=True):
    persistent: bool | None = None
    secure_boot: bool | None = None


class Bootloader(meta.Part, frozen=True, kw_only=True):
    bios: BIOS | None = None
    efi: EFI | None = None


class KernelBootContainer(meta.Part, frozen=True, kw_only=True):
    image: str
    image_pull_policy: Annotated[str, meta.one_of("Always", "IfNotPresent", "Never")] | None = None
    image_pull_secret: str | None = None
    initrd_path: str | None = None
    kernel_path: str | None = None


class KernelBoot(meta.Part, frozen=True, kw_only=True):
    container: KernelBootContainer | None = None
    kernel_args: str | None = None


class Firmware(meta.Part, frozen=True, kw_only=True):
    acpi: ACPI | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBoot | None = None
    serial: str | None = None
    uuid: str | None = None


class DiskIOThreads(meta.Part, frozen=True, kw_only=True):
    supplemental_pool_thread_count: int | None = None


class SEVAttestation(meta.Part, frozen=True, kw_only=True):
    pass


class SEVPolicy(meta.Part, frozen=True, kw_only=True):
    encrypted_state: bool | None = None


class SEV(meta.Part, frozen=True, kw_only=True):
    attestation: SEVAttestation | None = None
    dh_cert: str | None = None
    policy: SEVPolicy | None = None
    session: str | None = None


class SEVSNP(meta.Part, frozen=True, kw_only=True):
    pass


class TDX(meta.Part, frozen=True, kw_only=True):
    pass


class LaunchSecurity(meta.Part, frozen=True, kw_only=True):
    sev: SEV | None = None
    snp: SEVSNP | None = None
    tdx: TDX | None = None


class Machine(meta.Part, frozen=True, kw_only=True):
    type: str | None = None


class Hugepages(meta.Part, frozen=True, kw_only=True):
    page_size: str | None = None


class ReservedOverhead(meta.Part, frozen=True, kw_only=True):
    added_overhead: meta.Quantity | None = None
    mem_lock: str | None = None


class Memory(meta.Part, frozen=True, kw_only=True):
    guest: meta.Quantity | None = None
    hugepages: Hugepages | None = None
    max_guest: meta.Quantity | None = None
    reserved_overhead: ReservedOverhead | None = None


class ResourceRequirements(meta.Part, frozen=True, kw_only=True):
    limits: dict[str, meta.Quantity] = {}
    overcommit_guest_overhead: bool | None = None
    requests: dict[str, meta.Quantity] = {}


class DomainSpec(meta.Part, frozen=True, kw_only=True):
    chassis: Chassis | None = None
    clock: Clock | None = None
    cpu: CPU | None = None
    devices: Devices
    features: Features | None = None
    firmware: Firmware | None = None
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: LaunchSecurity | None = None
    machine: Machine | None = None
    memory: Memory | None = None
    reboot_policy: str | None = None
    resources: ResourceRequirements | None = None


class GuestAgentPing(meta.Part, frozen=True, kw_only=True):
    pass


class Probe(meta.Part, frozen=True, kw_only=True):
    exec: core.ExecAction | None = None
    failure_threshold: int | None = None
    guest_agent_ping: GuestAgentPing | None = None
    http_get: core.HTTPGetAction | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    tcp_socket: core.TCPSocketAction | None = None
    timeout_seconds: int | None = None


class MultusNetwork(meta.Part, frozen=True, kw_only=True):
    default: bool | None = None
    network_name: str


class PodNetwork(meta.Part, frozen=True, kw_only=True):
    vm_i_pv6_network_cidr: str | None = msgspec.field(name="vmIPv6NetworkCIDR", default=None)
    vm_network_cidr: str | None = msgspec.field(name="vmNetworkCIDR", default=None)


class ClaimRequest(meta.Part, frozen=True, kw_only=True):
    claim_name: str | None = None
    request_name: str | None = None


class Network(meta.Part, frozen=True, kw_only=True):
    multus: MultusNetwork | None = None
    name: str
    pod: PodNetwork | None = None
    resource_claim: ClaimRequest | None = None


class VirtualMachineInstanceResourceClaim(meta.Part, frozen=True, kw_only=True):
    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class UtilityVolume(meta.Part, frozen=True, kw_only=True):
    claim_name: str
    name: str
    read_only: bool | None = None
    type: str | None = None


class CloudInitConfigDriveSource(meta.Part, frozen=True, kw_only=True):
    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: core.LocalObjectReference | None = None
    secret_ref: core.LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class CloudInitNoCloudSource(meta.Part, frozen=True, kw_only=True):
    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: core.LocalObjectReference | None = None
    secret_ref: core.LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class ConfigMapVolumeSource(meta.Part, frozen=True, kw_only=True):
    name: str | None = None
    optional: bool | None = None
    volume_label: str | None = None


class ContainerDiskSource(meta.Part, frozen=True, kw_only=True):
    image: str
    image_pull_policy: Annotated[str, meta.one_of("Always", "IfNotPresent", "Never")] | None = None
    image_pull_secret: str | None = None
    path: str | None = None


class ContainerPathVolumeSource(meta.Part, frozen=True, kw_only=True):
    path: str
    read_only: bool | None = None


class DataVolumeSource(meta.Part, frozen=True, kw_only=True):
    hotpluggable: bool | None = None
    name: str


class DownwardAPIVolumeSource(meta.Part, frozen=True, kw_only=True):
    fields: tuple[core.DownwardAPIVolumeFile, ...] = ()
    volume_label: str | None = None


class DownwardMetricsVolumeSource(meta.Part, frozen=True, kw_only=True):
    pass


class EmptyDiskSource(meta.Part, frozen=True, kw_only=True):
    capacity: meta.Quantity


class EphemeralVolumeSource(meta.Part, frozen=True, kw_only=True):
    persistent_volume_claim: core.PersistentVolumeClaimVolumeSource | None = None


class HostDisk(meta.Part, frozen=True, kw_only=True):
    capacity: meta.Quantity | None = None
    path: str
    shared: bool | None = None
    type: str


class MemoryDumpVolumeSource(meta.Part, frozen=True, kw_only=True):
    claim_name: str
    hotpluggable: bool | None = None
    read_only: bool | None = None


class PersistentVolumeClaimVolumeSource(meta.Part, frozen=True, kw_only=True):
    claim_name: str
    hotpluggable: bool | None = None
    read_only: bool | None = None


class SecretVolumeSource(meta.Part, frozen=True, kw_only=True):
    optional: bool | None = None
    secret_name: str | None = None
    volume_label: str | None = None


class ServiceAccountVolumeSource(meta.Part, frozen=True, kw_only=True):
    service_account_name: str | None = None


class SysprepSource(meta.Part, frozen=True, kw_only=True):
    config_map: core.LocalObjectReference | None = None
    secret: core.LocalObjectReference | None = None


class Volume(meta.Part, frozen=True, kw_only=True):
    cloud_init_config_drive: CloudInitConfigDriveSource | None = None
    cloud_init_no_cloud: CloudInitNoCloudSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    container_disk: ContainerDiskSource | None = None
    container_path: ContainerPathVolumeSource | None = None
    data_volume: DataVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = msgspec.field(name="downwardAPI", default=None)
    downward_metrics: DownwardMetricsVolumeSource | None = None
    empty_disk: EmptyDiskSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_disk: HostDisk | None = None
    memory_dump: MemoryDumpVolumeSource | None = None
    name: str
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    service_account: ServiceAccountVolumeSource | None = None
    sysprep: SysprepSource | None = None


class VirtualMachineInstanceSpec(meta.Part, frozen=True, kw_only=True):
    access_credentials: tuple[AccessCredential, ...] = ()
    affinity: core.Affinity | None = None
    architecture: str | None = None
    dns_config: core.PodDNSConfig | None = None
    dns_policy: (
        Annotated[str, meta.one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")]
        | None
    ) = None
    domain: DomainSpec
    eviction_strategy: str | None = None
    hostname: str | None = None
    liveness_probe: Probe | None = None
    networks: tuple[Network, ...] = ()
    node_selector: dict[str, str] = {}
    priority_class_name: str | None = None
    readiness_probe: Probe | None = None
    resource_claims: tuple[VirtualMachineInstanceResourceClaim, ...] = ()
    scheduler_name: str | None = None
    service_account_name: str | None = None
    start_strategy: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: int | None = None
    tolerations: tuple[core.Toleration, ...] = ()
    topology_spread_constraints: tuple[core.TopologySpreadConstraint, ...] = ()
    utility_volumes: tuple[UtilityVolume, ...] = ()
    volumes: tuple[Volume, ...] = ()


class VirtualMachineInstanceTemplateSpec(meta.Part, frozen=True, kw_only=True):
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: VirtualMachineInstanceSpec | None = None


class VirtualMachineSpec(meta.Part, frozen=True, kw_only=True):
    data_volume_templates: tuple[DataVolumeTemplateSpec, ...] = ()
    instancetype: InstancetypeMatcher | None = None
    preference: PreferenceMatcher | None = None
    run_strategy: str | None = None
    running: bool | None = None
    template: VirtualMachineInstanceTemplateSpec
    update_volumes_strategy: str | None = None


class VirtualMachineInstanceBackupVolumeInfo(meta.Part, frozen=True, kw_only=True):
    volume_name: str


class VirtualMachineInstanceBackupStatus(meta.Part, frozen=True, kw_only=True):
    backup_msg: str | None = None
    backup_name: str | None = None
    checkpoint_name: str | None = None
    completed: bool | None = None
    end_timestamp: meta.Time | None = None
    failed: bool | None = None
    quiesce_status: str | None = None
    start_timestamp: meta.Time | None = None
    volumes: tuple[VirtualMachineInstanceBackupVolumeInfo, ...] = ()


class ChangedBlockTrackingStatus(meta.Part, frozen=True, kw_only=True):
    backup_status: VirtualMachineInstanceBackupStatus | None = None
    state: str


class VirtualMachineCondition(meta.Part, frozen=True, kw_only=True):
    last_probe_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None
    message: str | None = None
    reason: str | None = None
    status: str
    type: str


class ControllerRevisionRef(meta.Part, frozen=True, kw_only=True):
    name: str | None = None


class InstancetypeStatusRef(meta.Part, frozen=True, kw_only=True):
    controller_revision_ref: ControllerRevisionRef | None = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None


class VirtualMachineMemoryDumpRequest(meta.Part, frozen=True, kw_only=True):
    claim_name: str
    end_timestamp: meta.Time | None = None
    file_name: str | None = None
    message: str | None = None
    phase: str
    remove: bool | None = None
    start_timestamp: meta.Time | None = None


class VirtualMachineStartFailure(meta.Part, frozen=True, kw_only=True):
    consecutive_fail_count: int | None = None
    last_failed_vmiuid: str | None = msgspec.field(name="lastFailedVMIUID", default=None)
    retry_after_timestamp: meta.Time | None = None


class VirtualMachineStateChangeRequest(meta.Part, frozen=True, kw_only=True):
    action: str
    data: dict[str, str] = {}
    uid: str | None = None


class HotplugVolumeSource(meta.Part, frozen=True, kw_only=True):
    data_volume: DataVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None


class AddVolumeOptions(meta.Part, frozen=True, kw_only=True):
    disk: Disk
    dry_run: tuple[str, ...] = ()
    name: str
    volume_source: HotplugVolumeSource


class RemoveVolumeOptions(meta.Part, frozen=True, kw_only=True):
    dry_run: tuple[str, ...] = ()
    name: str


class VirtualMachineVolumeRequest(meta.Part, frozen=True, kw_only=True):
    add_volume_options: AddVolumeOptions | None = None
    remove_volume_options: RemoveVolumeOptions | None = None


class VolumeSnapshotStatus(meta.Part, frozen=True, kw_only=True):
    enabled: bool
    name: str
    reason: str | None = None


class PersistentVolumeClaimInfo(meta.Part, frozen=True, kw_only=True):
    access_modes: tuple[
        Annotated[
            str, meta.one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
        ],
        ...,
    ] = ()
    capacity: dict[str, meta.Quantity] = {}
    claim_name: str | None = None
    filesystem_overhead: str | None = None
    preallocated: bool | None = None
    requests: dict[str, meta.Quantity] = {}
    volume_mode: Annotated[str, meta.one_of("Block", "Filesystem", "FromStorageProfile")] | None = (
        None
    )


class StorageMigratedVolumeInfo(meta.Part, frozen=True, kw_only=True):
    destination_pvc_info: PersistentVolumeClaimInfo | None = msgspec.field(
        name="destinationPVCInfo", default=None
    )
    source_pvc_info: PersistentVolumeClaimInfo | None = msgspec.field(
        name="sourcePVCInfo", default=None
    )
    volume_name: str


class VolumeMigrationState(meta.Part, frozen=True, kw_only=True):
    migrated_volumes: tuple[StorageMigratedVolumeInfo, ...] = ()


class VolumeUpdateState(meta.Part, frozen=True, kw_only=True):
    volume_migration_state: VolumeMigrationState | None = None


class VirtualMachineStatus(meta.Part, frozen=True, kw_only=True):
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: tuple[VirtualMachineCondition, ...] = ()
    created: bool | None = None
    desired_generation: int | None = None
    instancetype_ref: InstancetypeStatusRef | None = None
    memory_dump_request: VirtualMachineMemoryDumpRequest | None = None
    observed_generation: int | None = None
    preference_ref: InstancetypeStatusRef | None = None
    printable_status: str | None = None
    ready: bool | None = None
    restore_in_progress: str | None = None
    run_strategy: str | None = None
    snapshot_in_progress: str | None = None
    start_failure: VirtualMachineStartFailure | None = None
    state_change_requests: tuple[VirtualMachineStateChangeRequest, ...] = ()
    volume_requests: tuple[VirtualMachineVolumeRequest, ...] = ()
    volume_snapshot_statuses: tuple[VolumeSnapshotStatus, ...] = ()
    volume_update_state: VolumeUpdateState | None = None


class VirtualMachine(meta.Object, frozen=True, kw_only=True):
    """A virtual machine, whether it runs or not."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1",
        also_served=("v1alpha3",),
        plural="virtualmachines",
        singular="virtualmachine",
        short_names=("vm", "vms"),
        categories=("all",),
        status=True,
        columns=(
            meta.Column("Age", ".metadata.creationTimestamp", type="date"),
            meta.Column("Status", ".status.printableStatus"),
            meta.Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachine")
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: VirtualMachineSpec
    status: VirtualMachineStatus | None = None


class VirtualMachineInstanceCondition(meta.Part, frozen=True, kw_only=True):
    last_probe_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None
    message: str | None = None
    reason: str | None = None
    status: str
    type: str


class CPUTopology(meta.Part, frozen=True, kw_only=True):
    cores: int | None = None
    sockets: int | None = None
    threads: int | None = None


class VirtualMachineInstanceGuestOSInfo(meta.Part, frozen=True, kw_only=True):
    id: str | None = None
    kernel_release: str | None = None
    kernel_version: str | None = None
    machine: str | None = None
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None


class VirtualMachineInstanceNetworkInterface(meta.Part, frozen=True, kw_only=True):
    info_source: str | None = None
    interface_name: str | None = None
    ip_address: str | None = None
    ip_addresses: tuple[str, ...] = ()
    link_state: str | None = None
    mac: str | None = None
    name: str | None = None
    pod_interface_name: str | None = None
    queue_count: int | None = None


class InitrdInfo(meta.Part, frozen=True, kw_only=True):
    checksum: int | None = None


class KernelInfo(meta.Part, frozen=True, kw_only=True):
    checksum: int | None = None


class KernelBootStatus(meta.Part, frozen=True, kw_only=True):
    initrd_info: InitrdInfo | None = None
    kernel_info: KernelInfo | None = None


class MemoryStatus(meta.Part, frozen=True, kw_only=True):
    guest_at_boot: meta.Quantity | None = None
    guest_current: meta.Quantity | None = None
    guest_requested: meta.Quantity | None = None
    memory_overhead: meta.Quantity | None = None


class DowntimeTuningOptions(meta.Part, frozen=True, kw_only=True):
    cooldown_seconds: int | None = None
    initial_ms: int | None = None
    start_after_iteration: int | None = None
    steps: int | None = None


class StallDetectorOptions(meta.Part, frozen=True, kw_only=True):
    completion_timeout_factor: meta.Quantity | None = None
    ewma_alpha: meta.Quantity | None = None
    patience_window_decay_factor: meta.Quantity | None = None
    precopy_possible_factor: meta.Quantity | None = None
    search_local_minima: bool | None = None
    stall_margin: int | None = None
    stall_progress_timeout: int | None = None
    switchover_timeout: int | None = None


class ExperimentalMigrationOptions(meta.Part, frozen=True, kw_only=True):
    compression: str | None = None
    downtime_tuning: DowntimeTuningOptions | None = None
    stall_detector: StallDetectorOptions | None = None


class VMIMConfigurationOptions(meta.Part, frozen=True, kw_only=True):
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: meta.Quantity | None = None
    completion_timeout_per_gi_b: int | None = None
    disable_tls: bool | None = msgspec.field(name="disableTLS", default=None)
    experimental: ExperimentalMigrationOptions | None = None
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


class VirtualMachineInstanceMigrationSourceState(meta.Part, frozen=True, kw_only=True):
    domain_name: str | None = None
    domain_namespace: str | None = None
    migration_uid: str | None = msgspec.field(name="migrationUID", default=None)
    node: str | None = None
    node_selectors: dict[str, str] = {}
    persistent_state_pvc_name: str | None = msgspec.field(
        name="persistentStatePVCName", default=None
    )
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = msgspec.field(
        name="virtualMachineInstanceUID", default=None
    )


class VirtualMachineInstanceMigrationTargetState(meta.Part, frozen=True, kw_only=True):
    attachment_pod_uid: str | None = msgspec.field(name="attachmentPodUID", default=None)
    cpu_set: tuple[int, ...] = ()
    direct_migration_node_ports: dict[str, int] = {}
    domain_detected: bool | None = None
    domain_name: str | None = None
    domain_namespace: str | None = None
    domain_ready_timestamp: meta.Time | None = None
    migration_uid: str | None = msgspec.field(name="migrationUID", default=None)
    node: str | None = None
    node_address: str | None = None
    node_topology: str | None = None
    persistent_state_pvc_name: str | None = msgspec.field(
        name="persistentStatePVCName", default=None
    )
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = msgspec.field(
        name="virtualMachineInstanceUID", default=None
    )


class MigrationProgress(meta.Part, frozen=True, kw_only=True):
    """How far the memory of a migrating guest is copied. Ours: upstream has no such field.

    `downtime_ms` is there once the guest runs at the target: for so long it did not run at all.
    """

    total_bytes: int = 0
    processed_bytes: int = 0
    remaining_bytes: int = 0
    percent: int = 0
    iterations: int = 0
    elapsed_ms: int = 0
    downtime_ms: int | None = None


class VirtualMachineInstanceMigrationState(meta.Part, frozen=True, kw_only=True):
    abort_requested: bool | None = None
    abort_status: str | None = None
    completed: bool | None = None
    end_timestamp: meta.Time | None = None
    failed: bool | None = None
    failure_reason: str | None = None
    migration_configuration: VMIMConfigurationOptions | None = None
    migration_network_type: str | None = None
    migration_policy_name: str | None = None
    migration_uid: str | None = None
    mode: str | None = None
    progress: MigrationProgress | None = None
    source_node: str | None = None
    source_persistent_state_pvc_name: str | None = msgspec.field(
        name="sourcePersistentStatePVCName", default=None
    )
    source_pod: str | None = None
    source_state: VirtualMachineInstanceMigrationSourceState | None = None
    start_timestamp: meta.Time | None = None
    target_attachment_pod_uid: str | None = msgspec.field(
        name="targetAttachmentPodUID", default=None
    )
    target_cpu_set: tuple[int, ...] = msgspec.field(name="targetCPUSet", default=())
    target_direct_migration_node_ports: dict[str, int] = {}
    target_memory_overhead: meta.Quantity | None = None
    target_node: str | None = None
    target_node_address: str | None = None
    target_node_domain_detected: bool | None = None
    target_node_domain_ready_timestamp: meta.Time | None = None
    target_node_topology: str | None = None
    target_persistent_state_pvc_name: str | None = msgspec.field(
        name="targetPersistentStatePVCName", default=None
    )
    target_pod: str | None = None
    target_state: VirtualMachineInstanceMigrationTargetState | None = None


class VirtualMachineInstancePhaseTransitionTimestamp(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None
    phase_transition_timestamp: meta.Time | None = None


class TopologyHints(meta.Part, frozen=True, kw_only=True):
    tsc_frequency: int | None = None


class ContainerDiskInfo(meta.Part, frozen=True, kw_only=True):
    checksum: int | None = None


class HotplugVolumeStatus(meta.Part, frozen=True, kw_only=True):
    attach_pod_name: str | None = None
    attach_pod_uid: str | None = msgspec.field(name="attachPodUID", default=None)


class DomainMemoryDumpInfo(meta.Part, frozen=True, kw_only=True):
    claim_name: str | None = None
    end_timestamp: meta.Time | None = None
    start_timestamp: meta.Time | None = None
    target_file_name: str | None = None


class VolumeStatus(meta.Part, frozen=True, kw_only=True):
    container_disk_volume: ContainerDiskInfo | None = None
    hotplug_volume: HotplugVolumeStatus | None = None
    memory_dump_volume: DomainMemoryDumpInfo | None = None
    message: str | None = None
    name: str
    persistent_volume_claim_info: PersistentVolumeClaimInfo | None = None
    phase: str | None = None
    reason: str | None = None
    size: int | None = None
    target: str


class VirtualMachineInstanceStatus(meta.Part, frozen=True, kw_only=True):
    vsockcid: int | None = msgspec.field(name="VSOCKCID", default=None)
    active_pods: dict[str, str] = {}
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: tuple[VirtualMachineInstanceCondition, ...] = ()
    current_cpu_topology: CPUTopology | None = msgspec.field(
        name="currentCPUTopology", default=None
    )
    evacuation_node_name: str | None = None
    fs_freeze_status: str | None = None
    guest_os_info: VirtualMachineInstanceGuestOSInfo | None = msgspec.field(
        name="guestOSInfo", default=None
    )
    interfaces: tuple[VirtualMachineInstanceNetworkInterface, ...] = ()
    kernel_boot_status: KernelBootStatus | None = None
    launcher_container_image_version: str | None = None
    machine: Machine | None = None
    memory: MemoryStatus | None = None
    migrated_volumes: tuple[StorageMigratedVolumeInfo, ...] = ()
    migration_method: str | None = None
    migration_state: VirtualMachineInstanceMigrationState | None = None
    migration_transport: str | None = None
    node_name: str | None = None
    phase: str | None = None
    phase_transition_timestamps: tuple[VirtualMachineInstancePhaseTransitionTimestamp, ...] = ()
    qos_class: Annotated[str, meta.one_of("BestEffort", "Burstable", "Guaranteed")] | None = None
    reason: str | None = None
    runtime_user: int | None = None
    selinux_context: str | None = None
    topology_hints: TopologyHints | None = None
    virtual_machine_revision_name: str | None = None
    volume_status: tuple[VolumeStatus, ...] = ()


class VirtualMachineInstance(meta.Object, frozen=True, kw_only=True):
    """A virtual machine that runs, from its start to its end."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1",
        also_served=("v1alpha3",),
        plural="virtualmachineinstances",
        singular="virtualmachineinstance",
        short_names=("vmi", "vmis"),
        categories=("all",),
        status=False,
        columns=(
            meta.Column("Age", ".metadata.creationTimestamp", type="date"),
            meta.Column("Phase", ".status.phase"),
            meta.Column("IP", ".status.interfaces[0].ipAddress"),
            meta.Column("NodeName", ".status.nodeName"),
            meta.Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            meta.Column(
                "Live-Migratable",
                ".status.conditions[?(@.type=='LiveMigratable')].status",
                priority=1,
            ),
            meta.Column("Paused", ".status.conditions[?(@.type=='Paused')].status", priority=1),
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineInstance")
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: VirtualMachineInstanceSpec
    status: VirtualMachineInstanceStatus | None = None


class VirtualMachineInstanceMigrationTarget(meta.Part, frozen=True, kw_only=True):
    migration_id: str = msgspec.field(name="migrationID")


class VirtualMachineInstanceMigrationSource(meta.Part, frozen=True, kw_only=True):
    connect_url: str = msgspec.field(name="connectURL")
    migration_id: str = msgspec.field(name="migrationID")


class VirtualMachineInstanceMigrationSpec(meta.Part, frozen=True, kw_only=True):
    added_node_selector: dict[str, str] = {}
    priority: str | None = None
    receive: VirtualMachineInstanceMigrationTarget | None = None
    send_to: VirtualMachineInstanceMigrationSource | None = None
    vmi_name: str | None = None


class VirtualMachineInstanceMigrationCondition(meta.Part, frozen=True, kw_only=True):
    last_probe_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None
    message: str | None = None
    reason: str | None = None
    status: str
    type: str


class VirtualMachineInstanceMigrationPhaseTransitionTimestamp(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None
    phase_transition_timestamp: meta.Time | None = None


class VirtualMachineInstanceMigrationStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[VirtualMachineInstanceMigrationCondition, ...] = ()
    migration_state: VirtualMachineInstanceMigrationState | None = None
    phase: str | None = None
    phase_transition_timestamps: tuple[
        VirtualMachineInstanceMigrationPhaseTransitionTimestamp, ...
    ] = ()
    synchronization_addresses: tuple[str, ...] = ()


class VirtualMachineInstanceMigration(meta.Object, frozen=True, kw_only=True):
    """Moves a running instance to another node."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1",
        also_served=("v1alpha3",),
        plural="virtualmachineinstancemigrations",
        singular="virtualmachineinstancemigration",
        short_names=("vmim", "vmims"),
        categories=("all",),
        status=True,
        columns=(
            meta.Column("Phase", ".status.phase"),
            meta.Column("VMI", ".spec.vmiName"),
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineInstanceMigration")
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: VirtualMachineInstanceMigrationSpec
    status: VirtualMachineInstanceMigrationStatus | None = None


class VirtualMachineInstanceReplicaSetSpec(meta.Part, frozen=True, kw_only=True):
    paused: bool | None = None
    replicas: int | None = None
    selector: meta.LabelSelector
    template: VirtualMachineInstanceTemplateSpec


class VirtualMachineInstanceReplicaSetCondition(meta.Part, frozen=True, kw_only=True):
    last_probe_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None
    message: str | None = None
    reason: str | None = None
    status: str
    type: str


class VirtualMachineInstanceReplicaSetStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[VirtualMachineInstanceReplicaSetCondition, ...] = ()
    label_selector: str | None = None
    ready_replicas: int | None = None
    replicas: int | None = None


class VirtualMachineInstanceReplicaSet(meta.Object, frozen=True, kw_only=True):
    """Keeps so many instances of a template running."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1",
        also_served=("v1alpha3",),
        plural="virtualmachineinstancereplicasets",
        singular="virtualmachineinstancereplicaset",
        short_names=("vmirs", "vmirss"),
        categories=("all",),
        status=True,
        columns=(
            meta.Column("Desired", ".spec.replicas", type="integer"),
            meta.Column("Current", ".status.replicas", type="integer"),
            meta.Column("Ready", ".status.readyReplicas", type="integer"),
            meta.Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
        scale=meta.Scale(
            spec=".spec.replicas", status=".status.replicas", selector=".status.labelSelector"
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineInstanceReplicaSet")
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: VirtualMachineInstanceReplicaSetSpec
    status: VirtualMachineInstanceReplicaSetStatus | None = None


class VirtualMachineInstancePresetSpec(meta.Part, frozen=True, kw_only=True):
    domain: DomainSpec | None = None
    selector: meta.LabelSelector


class VirtualMachineInstancePreset(meta.Object, frozen=True, kw_only=True):
    """Stored, and not applied to anything."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1",
        also_served=("v1alpha3",),
        plural="virtualmachineinstancepresets",
        singular="virtualmachineinstancepreset",
        short_names=("vmipreset", "vmipresets"),
        categories=("all",),
        status=False,
        columns=(),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineInstancePreset")
    metadata: meta.ObjectMeta = meta.ObjectMeta()
    spec: VirtualMachineInstancePresetSpec | None = None


class EvacuateCancelOptions(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    evacuation_node_name: str
    kind: str | None = None


class FreezeUnfreezeTimeout(meta.Part, frozen=True, kw_only=True):
    unfreeze_timeout: str


class MigrateOptions(meta.Part, frozen=True, kw_only=True):
    added_node_selector: dict[str, str] = {}
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    kind: str | None = None


class PauseOptions(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    kind: str | None = None


class RestartOptions(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    grace_period_seconds: int | None = None
    kind: str | None = None


class StartOptions(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    kind: str | None = None
    paused: bool | None = None


class StopOptions(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    grace_period: int | None = None
    kind: str | None = None


class UnpauseOptions(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    dry_run: tuple[str, ...] = ()
    kind: str | None = None


class VirtualMachineInstanceFileSystemDisk(meta.Part, frozen=True, kw_only=True):
    bus_type: str
    serial: str | None = None


class VirtualMachineInstanceFileSystem(meta.Part, frozen=True, kw_only=True):
    disk: tuple[VirtualMachineInstanceFileSystemDisk, ...] = ()
    disk_name: str
    file_system_type: str
    mount_point: str
    total_bytes: int
    used_bytes: int


class VirtualMachineInstanceFileSystemList(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    items: tuple[VirtualMachineInstanceFileSystem, ...] = ()
    kind: str | None = None
    metadata: meta.ListMeta | None = None


class VirtualMachineInstanceFileSystemInfo(meta.Part, frozen=True, kw_only=True):
    disks: tuple[VirtualMachineInstanceFileSystem, ...] = ()


class GuestAgentCommandInfo(meta.Part, frozen=True, kw_only=True):
    enabled: bool | None = None
    name: str


class VirtualMachineInstanceGuestOSUser(meta.Part, frozen=True, kw_only=True):
    domain: str | None = None
    login_time: float | None = None
    user_name: str


class VirtualMachineInstanceGuestAgentInfo(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    fs_freeze_status: str | None = None
    fs_info: VirtualMachineInstanceFileSystemInfo | None = None
    guest_agent_version: str | None = None
    hostname: str | None = None
    kind: str | None = None
    os: VirtualMachineInstanceGuestOSInfo | None = None
    supported_commands: tuple[GuestAgentCommandInfo, ...] = ()
    timezone: str | None = None
    user_list: tuple[VirtualMachineInstanceGuestOSUser, ...] = ()


class VirtualMachineInstanceGuestOSUserList(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    items: tuple[VirtualMachineInstanceGuestOSUser, ...] = ()
    kind: str | None = None
    metadata: meta.ListMeta | None = None


KINDS: tuple[type[meta.Object], ...] = (
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineInstanceMigration,
    VirtualMachineInstanceReplicaSet,
    VirtualMachineInstancePreset,
)
