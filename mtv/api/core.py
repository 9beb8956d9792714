"""Kinds of Kubernetes itself, as far as mtv makes or reads them.

Only fields that somebody here uses or hands on are declared; objects that belong to others are
changed by patches, so that nothing else of them is lost.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from mtv.api import meta


def _core(
    plural: str, singular: str, *short: str, namespaced: bool = True, status: bool = False
) -> meta.Resource:
    return meta.Resource(
        group="",
        version="v1",
        plural=plural,
        singular=singular,
        namespaced=namespaced,
        short_names=short,
        status=status,
    )


class NodeSelectorRequirement(meta.Part, frozen=True, kw_only=True):
    key: str
    operator: Annotated[str, meta.one_of("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")]
    values: tuple[str, ...] = ()


class NodeSelectorTerm(meta.Part, frozen=True, kw_only=True):
    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class PreferredSchedulingTerm(meta.Part, frozen=True, kw_only=True):
    preference: NodeSelectorTerm
    weight: int


class NodeSelector(meta.Part, frozen=True, kw_only=True):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class NodeAffinity(meta.Part, frozen=True, kw_only=True):
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredSchedulingTerm, ...] = ()
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(meta.Part, frozen=True, kw_only=True):
    label_selector: meta.LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()
    namespace_selector: meta.LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    topology_key: str


class WeightedPodAffinityTerm(meta.Part, frozen=True, kw_only=True):
    pod_affinity_term: PodAffinityTerm
    weight: int


class PodAffinity(meta.Part, frozen=True, kw_only=True):
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()
    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()


class PodAntiAffinity(meta.Part, frozen=True, kw_only=True):
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()
    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()


class Affinity(meta.Part, frozen=True, kw_only=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class PodDNSConfigOption(meta.Part, frozen=True, kw_only=True):
    name: str | None = None
    value: str | None = None


class PodDNSConfig(meta.Part, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()
    searches: tuple[str, ...] = ()


class Toleration(meta.Part, frozen=True, kw_only=True):
    effect: Annotated[str, meta.one_of("NoExecute", "NoSchedule", "PreferNoSchedule")] | None = None
    key: str | None = None
    operator: Annotated[str, meta.one_of("Equal", "Exists")] | None = None
    toleration_seconds: int | None = None
    value: str | None = None


class TopologySpreadConstraint(meta.Part, frozen=True, kw_only=True):
    label_selector: meta.LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    max_skew: int
    min_domains: int | None = None
    node_affinity_policy: Annotated[str, meta.one_of("Honor", "Ignore")] | None = None
    node_taints_policy: Annotated[str, meta.one_of("Honor", "Ignore")] | None = None
    topology_key: str
    when_unsatisfiable: Annotated[str, meta.one_of("DoNotSchedule", "ScheduleAnyway")]


class LocalObjectReference(meta.Part, frozen=True, kw_only=True):
    name: str | None = None


class ExecAction(meta.Part, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class HTTPHeader(meta.Part, frozen=True, kw_only=True):
    name: str
    value: str


class HTTPGetAction(meta.Part, frozen=True, kw_only=True):
    host: str | None = None
    http_headers: tuple[HTTPHeader, ...] = ()
    path: str | None = None
    port: meta.IntOrString
    scheme: Annotated[str, meta.one_of("HTTP", "HTTPS")] | None = None


class TCPSocketAction(meta.Part, frozen=True, kw_only=True):
    host: str | None = None
    port: meta.IntOrString


class TypedLocalObjectReference(meta.Part, frozen=True, kw_only=True):
    api_group: str | None = None
    kind: str
    name: str


class TypedObjectReference(meta.Part, frozen=True, kw_only=True):
    api_group: str | None = None
    kind: str
    name: str
    namespace: str | None = None


class VolumeResourceRequirements(meta.Part, frozen=True, kw_only=True):
    limits: dict[str, meta.Quantity] = {}
    requests: dict[str, meta.Quantity] = {}


class PersistentVolumeClaimSpec(meta.Part, frozen=True, kw_only=True):
    access_modes: tuple[
        Annotated[
            str, meta.one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
        ],
        ...,
    ] = ()
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements | None = None
    selector: meta.LabelSelector | None = None
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    volume_mode: Annotated[str, meta.one_of("Block", "Filesystem", "FromStorageProfile")] | None = (
        None
    )
    volume_name: str | None = None


class ObjectFieldSelector(meta.Part, frozen=True, kw_only=True):
    api_version: str | None = None
    field_path: str


class ResourceFieldSelector(meta.Part, frozen=True, kw_only=True):
    container_name: str | None = None
    divisor: meta.Quantity | None = None
    resource: str


class DownwardAPIVolumeFile(meta.Part, frozen=True, kw_only=True):
    field_ref: ObjectFieldSelector | None = None
    mode: int | None = None
    path: str
    resource_field_ref: ResourceFieldSelector | None = None


class PersistentVolumeClaimVolumeSource(meta.Part, frozen=True, kw_only=True):
    claim_name: str
    read_only: bool | None = None


class KeyToPath(meta.Part, frozen=True, kw_only=True):
    key: str
    path: str
    mode: int | None = None


class ConfigMapKeySelector(meta.Part, frozen=True, kw_only=True):
    key: str
    name: str = ""
    optional: bool | None = None


class SecretKeySelector(meta.Part, frozen=True, kw_only=True):
    key: str
    name: str = ""
    optional: bool | None = None


class EnvVarSource(meta.Part, frozen=True, kw_only=True):
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: ConfigMapKeySelector | None = None
    secret_key_ref: SecretKeySelector | None = None


class EnvVar(meta.Part, frozen=True, kw_only=True):
    name: str
    value: str | None = None
    value_from: EnvVarSource | None = None


class EnvSource(meta.Part, frozen=True, kw_only=True):
    name: str = ""
    optional: bool | None = None


class EnvFromSource(meta.Part, frozen=True, kw_only=True):
    prefix: str | None = None
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


class ResourceRequirements(meta.Part, frozen=True, kw_only=True):
    requests: dict[str, meta.Quantity] = {}
    limits: dict[str, meta.Quantity] = {}


class Capabilities(meta.Part, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompProfile(meta.Part, frozen=True, kw_only=True):
    type: str
    localhost_profile: str | None = None


class SecurityContext(meta.Part, frozen=True, kw_only=True):
    privileged: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: SeccompProfile | None = None
    se_linux_options: dict[str, str] = {}


class PodSecurityContext(meta.Part, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    fs_group_change_policy: str | None = None
    supplemental_groups: tuple[int, ...] = ()
    seccomp_profile: SeccompProfile | None = None
    se_linux_options: dict[str, str] = {}


class VolumeMount(meta.Part, frozen=True, kw_only=True):
    name: str
    mount_path: str
    sub_path: str | None = None
    read_only: bool | None = None
    mount_propagation: str | None = None


class VolumeDevice(meta.Part, frozen=True, kw_only=True):
    name: str
    device_path: str


class GRPCAction(meta.Part, frozen=True, kw_only=True):
    port: int
    service: str | None = None


class ContainerProbe(meta.Part, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int | None = None
    timeout_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(meta.Part, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None


class Lifecycle(meta.Part, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class ContainerPort(meta.Part, frozen=True, kw_only=True):
    container_port: int
    name: str | None = None
    protocol: str | None = None
    host_port: int | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)


class Container(meta.Part, frozen=True, kw_only=True):
    name: str
    image: str | None = None
    image_pull_policy: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str | None = None
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: ResourceRequirements | None = None
    restart_policy: str | None = None
    security_context: SecurityContext | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    volume_devices: tuple[VolumeDevice, ...] = ()
    liveness_probe: ContainerProbe | None = None
    readiness_probe: ContainerProbe | None = None
    startup_probe: ContainerProbe | None = None
    lifecycle: Lifecycle | None = None
    stdin: bool | None = None
    tty: bool | None = None
    termination_message_path: str | None = None
    termination_message_policy: str | None = None


class EmptyDirVolumeSource(meta.Part, frozen=True, kw_only=True):
    medium: str | None = None
    size_limit: meta.Quantity | None = None


class HostPathVolumeSource(meta.Part, frozen=True, kw_only=True):
    path: str
    type: str | None = None


class ConfigMapVolumeSource(meta.Part, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class SecretVolumeSource(meta.Part, frozen=True, kw_only=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class SecretProjection(meta.Part, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class ConfigMapProjection(meta.Part, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class DownwardAPIVolumeSource(meta.Part, frozen=True, kw_only=True):
    items: tuple[DownwardAPIVolumeFile, ...] = ()
    default_mode: int | None = None


class DownwardAPIProjection(meta.Part, frozen=True, kw_only=True):
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class ServiceAccountTokenProjection(meta.Part, frozen=True, kw_only=True):
    path: str
    audience: str | None = None
    expiration_seconds: int | None = None


class VolumeProjection(meta.Part, frozen=True, kw_only=True):
    secret: SecretProjection | None = None
    config_map: ConfigMapProjection | None = None
    downward_api: DownwardAPIProjection | None = msgspec.field(name="downwardAPI", default=None)
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(meta.Part, frozen=True, kw_only=True):
    sources: tuple[VolumeProjection, ...] = ()
    default_mode: int | None = None


class Volume(meta.Part, frozen=True, kw_only=True):
    name: str
    empty_dir: EmptyDirVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = msgspec.field(name="downwardAPI", default=None)
    projected: ProjectedVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    image: dict[str, str] = {}


class PodReadinessGate(meta.Part, frozen=True, kw_only=True):
    condition_type: str


class HostAlias(meta.Part, frozen=True, kw_only=True):
    ip: str
    hostnames: tuple[str, ...] = ()


class PodSpec(meta.Part, frozen=True, kw_only=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str | None = None
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    dns_policy: str | None = None
    dns_config: PodDNSConfig | None = None
    node_selector: dict[str, str] = {}
    node_name: str | None = None
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    host_network: bool | None = None
    host_pid: bool | None = msgspec.field(name="hostPID", default=None)
    host_ipc: bool | None = msgspec.field(name="hostIPC", default=None)
    share_process_namespace: bool | None = None
    security_context: PodSecurityContext | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    hostname: str | None = None
    subdomain: str | None = None
    affinity: Affinity | None = None
    scheduler_name: str | None = None
    tolerations: tuple[Toleration, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    priority_class_name: str | None = None
    priority: int | None = None
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    enable_service_links: bool | None = None
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    overhead: dict[str, meta.Quantity] = {}


class ContainerStateRunning(meta.Part, frozen=True, kw_only=True):
    started_at: meta.Time | None = None


class ContainerStateWaiting(meta.Part, frozen=True, kw_only=True):
    reason: str | None = None
    message: str | None = None


class ContainerStateTerminated(meta.Part, frozen=True, kw_only=True):
    exit_code: int
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: meta.Time | None = None
    finished_at: meta.Time | None = None
    container_id: str | None = msgspec.field(name="containerID", default=None)


class ContainerState(meta.Part, frozen=True, kw_only=True):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(meta.Part, frozen=True, kw_only=True):
    name: str
    state: ContainerState | None = None
    last_state: ContainerState | None = None
    ready: bool = msgspec.field(default_factory=bool)  # written even when it is false
    restart_count: int = msgspec.field(default_factory=int)
    image: str = msgspec.field(default_factory=str)
    image_id: str = msgspec.field(name="imageID", default_factory=str)
    container_id: str | None = msgspec.field(name="containerID", default=None)
    started: bool | None = None


class PodCondition(meta.Part, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_probe_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None


class PodIP(meta.Part, frozen=True, kw_only=True):
    ip: str


class HostIP(meta.Part, frozen=True, kw_only=True):
    ip: str


class PodStatus(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None
    conditions: tuple[PodCondition, ...] = ()
    reason: str | None = None
    message: str | None = None
    nominated_node_name: str | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)
    host_ips: tuple[HostIP, ...] = msgspec.field(name="hostIPs", default=())
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: tuple[PodIP, ...] = msgspec.field(name="podIPs", default=())
    start_time: meta.Time | None = None
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    qos_class: str | None = None


class Pod(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core("pods", "pod", "po", status=True)
    api_version: str = meta.always("v1")
    kind: str = meta.always("Pod")
    spec: PodSpec | None = None
    status: PodStatus | None = None


class PersistentVolumeClaimCondition(meta.Part, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_transition_time: meta.Time | None = None


class PersistentVolumeClaimStatus(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, meta.Quantity] = {}
    conditions: tuple[PersistentVolumeClaimCondition, ...] = ()


class PersistentVolumeClaim(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core(
        "persistentvolumeclaims", "persistentvolumeclaim", "pvc", status=True
    )
    api_version: str = meta.always("v1")
    kind: str = meta.always("PersistentVolumeClaim")
    spec: PersistentVolumeClaimSpec | None = None
    status: PersistentVolumeClaimStatus | None = None


class VolumeNodeAffinity(meta.Part, frozen=True, kw_only=True):
    required: NodeSelector | None = None


class LocalVolumeSource(meta.Part, frozen=True, kw_only=True):
    path: str
    fs_type: str | None = None


class PersistentVolumeSpec(meta.Part, frozen=True, kw_only=True):
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, meta.Quantity] = {}
    claim_ref: meta.ObjectReference | None = None
    persistent_volume_reclaim_policy: str | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    mount_options: tuple[str, ...] = ()
    node_affinity: VolumeNodeAffinity | None = None
    host_path: HostPathVolumeSource | None = None
    local: LocalVolumeSource | None = None


class PersistentVolumeStatus(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None
    message: str | None = None
    reason: str | None = None


class PersistentVolume(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core(
        "persistentvolumes", "persistentvolume", "pv", namespaced=False, status=True
    )
    api_version: str = meta.always("v1")
    kind: str = meta.always("PersistentVolume")
    spec: PersistentVolumeSpec | None = None
    status: PersistentVolumeStatus | None = None


class StorageClass(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group="storage.k8s.io",
        version="v1",
        plural="storageclasses",
        singular="storageclass",
        namespaced=False,
        short_names=("sc",),
    )
    api_version: str = meta.always("storage.k8s.io/v1")
    kind: str = meta.always("StorageClass")
    provisioner: str
    parameters: dict[str, str] = {}
    reclaim_policy: str | None = None
    volume_binding_mode: str | None = None
    allow_volume_expansion: bool | None = None
    mount_options: tuple[str, ...] = ()


class ConfigMap(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core("configmaps", "configmap", "cm")
    api_version: str = meta.always("v1")
    kind: str = meta.always("ConfigMap")
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}
    immutable: bool | None = None


class Secret(meta.Object, frozen=True, kw_only=True):
    """Values are base64 on the wire and bytes here; `stringData` is for writers only."""

    resource: ClassVar[meta.Resource] = _core("secrets", "secret")
    api_version: str = meta.always("v1")
    kind: str = meta.always("Secret")
    type: str | None = None
    data: dict[str, bytes] = {}
    string_data: dict[str, str] = {}
    immutable: bool | None = None


class NamespaceStatus(meta.Part, frozen=True, kw_only=True):
    phase: str | None = None


class Namespace(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core(
        "namespaces", "namespace", "ns", namespaced=False, status=True
    )
    api_version: str = meta.always("v1")
    kind: str = meta.always("Namespace")
    status: NamespaceStatus | None = None


class ServiceAccount(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core("serviceaccounts", "serviceaccount", "sa")
    api_version: str = meta.always("v1")
    kind: str = meta.always("ServiceAccount")


class Taint(meta.Part, frozen=True, kw_only=True):
    key: str
    effect: str
    value: str | None = None


class NodeSpec(meta.Part, frozen=True, kw_only=True):
    pod_cidr: str | None = msgspec.field(name="podCIDR", default=None)
    unschedulable: bool | None = None
    taints: tuple[Taint, ...] = ()
    provider_id: str | None = msgspec.field(name="providerID", default=None)


class NodeCondition(meta.Part, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_heartbeat_time: meta.Time | None = None
    last_transition_time: meta.Time | None = None


class NodeAddress(meta.Part, frozen=True, kw_only=True):
    type: str
    address: str


class NodeSystemInfo(meta.Part, frozen=True, kw_only=True):
    machine_id: str = msgspec.field(name="machineID", default_factory=str)
    system_uuid: str = msgspec.field(name="systemUUID", default_factory=str)
    boot_id: str = msgspec.field(name="bootID", default_factory=str)
    kernel_version: str = msgspec.field(default_factory=str)
    os_image: str = msgspec.field(default_factory=str)
    container_runtime_version: str = msgspec.field(default_factory=str)
    kubelet_version: str = msgspec.field(default_factory=str)
    kube_proxy_version: str = msgspec.field(default_factory=str)
    operating_system: str = msgspec.field(default_factory=str)
    architecture: str = msgspec.field(default_factory=str)


class DaemonEndpoint(meta.Part, frozen=True, kw_only=True):
    port: int = msgspec.field(name="Port")


class NodeDaemonEndpoints(meta.Part, frozen=True, kw_only=True):
    kubelet_endpoint: DaemonEndpoint | None = None


class NodeStatus(meta.Part, frozen=True, kw_only=True):
    capacity: dict[str, meta.Quantity] = {}
    allocatable: dict[str, meta.Quantity] = {}
    conditions: tuple[NodeCondition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()
    daemon_endpoints: NodeDaemonEndpoints | None = None
    node_info: NodeSystemInfo | None = None


class Node(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core("nodes", "node", "no", namespaced=False, status=True)
    api_version: str = meta.always("v1")
    kind: str = meta.always("Node")
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class EventSource(meta.Part, frozen=True, kw_only=True):
    component: str | None = None
    host: str | None = None


class Event(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core("events", "event", "ev")
    api_version: str = meta.always("v1")
    kind: str = meta.always("Event")
    involved_object: meta.ObjectReference
    reason: str | None = None
    message: str | None = None
    source: EventSource | None = None
    first_timestamp: meta.Time | None = None
    last_timestamp: meta.Time | None = None
    event_time: meta.Time | None = None
    count: int | None = None
    type: str | None = None
    reporting_component: str = msgspec.field(default_factory=str)
    reporting_instance: str = msgspec.field(default_factory=str)


class ServicePort(meta.Part, frozen=True, kw_only=True):
    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: meta.IntOrString | None = None
    node_port: int | None = None
    app_protocol: str | None = None


class ServiceSpec(meta.Part, frozen=True, kw_only=True):
    type: str | None = None
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    external_name: str | None = None
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    session_affinity: str | None = None
    internal_traffic_policy: str | None = None


class Service(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = _core("services", "service", "svc", status=True)
    api_version: str = meta.always("v1")
    kind: str = meta.always("Service")
    spec: ServiceSpec | None = None


class LeaseSpec(meta.Part, frozen=True, kw_only=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: meta.Time | None = None
    renew_time: meta.Time | None = None
    lease_transitions: int | None = None


class Lease(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group="coordination.k8s.io", version="v1", plural="leases", singular="lease"
    )
    api_version: str = meta.always("coordination.k8s.io/v1")
    kind: str = meta.always("Lease")
    spec: LeaseSpec | None = None
