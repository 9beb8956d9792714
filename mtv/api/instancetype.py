"""instancetype.kubevirt.io: sizes of virtual machines, and what guests of a kind prefer.

Both come in a namespaced and in a cluster-wide kind of the same shape. `v1beta1`, which virtctl
writes, has the same fields as `v1`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from mtv.api import kubevirt, meta

GROUP = "instancetype.kubevirt.io"
VERSION, OLDER = "v1", ("v1beta1",)
GROUP_VERSION = f"{GROUP}/{VERSION}"

TOPOLOGIES = (
    "preferCores",
    "preferSockets",
    "preferThreads",
    "preferSpread",
    "preferAny",
    "cores",
    "sockets",
    "threads",
    "spread",
    "any",
)
SPREADS = ("SocketsCoresThreads", "SocketsCores", "CoresThreads")

AtLeastOne = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})]
Percent = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": 100})]


class CPUInstancetype(meta.Part, frozen=True, kw_only=True):
    dedicated_cpu_placement: bool | None = msgspec.field(name="dedicatedCPUPlacement", default=None)
    guest: AtLeastOne
    isolate_emulator_thread: bool | None = None
    max_sockets: AtLeastOne | None = None
    model: str | None = None
    numa: kubevirt.NUMA | None = None
    realtime: kubevirt.Realtime | None = None


class MemoryInstancetype(meta.Part, frozen=True, kw_only=True):
    guest: meta.Quantity
    hugepages: kubevirt.Hugepages | None = None
    max_guest: meta.Quantity | None = None
    overcommit_percent: Percent | None = None


class VirtualMachineInstancetypeSpec(meta.Part, frozen=True, kw_only=True):
    annotations: dict[str, str] = {}
    cpu: CPUInstancetype
    gpus: tuple[kubevirt.GPU, ...] = ()
    host_devices: tuple[kubevirt.HostDevice, ...] = ()
    io_threads: kubevirt.DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: kubevirt.LaunchSecurity | None = None
    memory: MemoryInstancetype
    node_selector: dict[str, str] = {}
    scheduler_name: str | None = None


class VirtualMachineInstancetype(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version=VERSION,
        also_served=OLDER,
        plural="virtualmachineinstancetypes",
        singular="virtualmachineinstancetype",
        short_names=("vminstancetype", "vminstancetypes", "vmf", "vmfs"),
        categories=("all",),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineInstancetype")
    spec: VirtualMachineInstancetypeSpec


class VirtualMachineClusterInstancetype(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version=VERSION,
        also_served=OLDER,
        plural="virtualmachineclusterinstancetypes",
        singular="virtualmachineclusterinstancetype",
        namespaced=False,
        short_names=("vmclusterinstancetype", "vmclusterinstancetypes", "vmcf", "vmcfs"),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineClusterInstancetype")
    spec: VirtualMachineInstancetypeSpec


class ClockOffset(meta.Part, frozen=True, kw_only=True):
    timezone: str | None = None
    utc: kubevirt.ClockOffsetUTC | None = None


class ClockPreferences(meta.Part, frozen=True, kw_only=True):
    preferred_clock_offset: ClockOffset | None = None
    preferred_timer: kubevirt.Timer | None = None


class SpreadOptions(meta.Part, frozen=True, kw_only=True):
    across: Annotated[str, meta.one_of(*SPREADS)] | None = None
    ratio: AtLeastOne | None = None


class CPUPreferences(meta.Part, frozen=True, kw_only=True):
    preferred_cpu_features: tuple[kubevirt.CPUFeature, ...] = msgspec.field(
        name="preferredCPUFeatures", default=()
    )
    preferred_cpu_topology: Annotated[str, meta.one_of(*TOPOLOGIES)] | None = msgspec.field(
        name="preferredCPUTopology", default=None
    )
    spread_options: SpreadOptions | None = None


class DevicePreferences(meta.Part, frozen=True, kw_only=True):
    preferred_autoattach_graphics_device: bool | None = None
    preferred_autoattach_input_device: bool | None = None
    preferred_autoattach_mem_balloon: bool | None = None
    preferred_autoattach_pod_interface: bool | None = None
    preferred_autoattach_serial_console: bool | None = None
    preferred_block_multi_queue: bool | None = None
    preferred_cdrom_bus: str | None = None
    preferred_disable_hotplug: bool | None = None
    preferred_disk_block_size: kubevirt.BlockSize | None = None
    preferred_disk_bus: str | None = None
    preferred_disk_cache: str | None = None
    preferred_disk_dedicated_io_thread: bool | None = None
    preferred_disk_io: str | None = msgspec.field(name="preferredDiskIO", default=None)
    preferred_input_bus: str | None = None
    preferred_input_type: str | None = None
    preferred_interface_masquerade: kubevirt.InterfaceMasquerade | None = None
    preferred_interface_model: str | None = None
    preferred_lun_bus: str | None = None
    preferred_network_interface_multi_queue: bool | None = None
    preferred_panic_device_model: str | None = None
    preferred_rng: kubevirt.Rng | None = None
    preferred_sound_model: str | None = None
    preferred_tpm: kubevirt.TPMDevice | None = msgspec.field(name="preferredTPM", default=None)
    preferred_use_virtio_transitional: bool | None = None
    preferred_video_type: str | None = None
    preferred_virtual_gpu_options: kubevirt.VGPUOptions | None = msgspec.field(
        name="preferredVirtualGPUOptions", default=None
    )


class FeaturePreferences(meta.Part, frozen=True, kw_only=True):
    preferred_acpi: kubevirt.FeatureState | None = None
    preferred_apic: kubevirt.FeatureAPIC | None = None
    preferred_hyperv: kubevirt.FeatureHyperv | None = None
    preferred_kvm: kubevirt.FeatureKVM | None = None
    preferred_pvspinlock: kubevirt.FeatureState | None = None
    preferred_smm: kubevirt.FeatureState | None = None


class FirmwarePreferences(meta.Part, frozen=True, kw_only=True):
    preferred_efi: kubevirt.EFI | None = None
    preferred_use_bios: bool | None = None
    preferred_use_bios_serial: bool | None = None
    preferred_use_efi: bool | None = None
    preferred_use_secure_boot: bool | None = None


class MachinePreferences(meta.Part, frozen=True, kw_only=True):
    preferred_machine_type: str | None = None


class VolumePreferences(meta.Part, frozen=True, kw_only=True):
    preferred_storage_class_name: str | None = None


class CPUPreferenceRequirement(meta.Part, frozen=True, kw_only=True):
    guest: int


class MemoryPreferenceRequirement(meta.Part, frozen=True, kw_only=True):
    guest: meta.Quantity


class PreferenceRequirements(meta.Part, frozen=True, kw_only=True):
    architecture: str | None = None
    cpu: CPUPreferenceRequirement | None = None
    memory: MemoryPreferenceRequirement | None = None


class VirtualMachinePreferenceSpec(meta.Part, frozen=True, kw_only=True):
    annotations: dict[str, str] = {}
    clock: ClockPreferences | None = None
    cpu: CPUPreferences | None = None
    devices: DevicePreferences | None = None
    features: FeaturePreferences | None = None
    firmware: FirmwarePreferences | None = None
    machine: MachinePreferences | None = None
    prefer_spread_socket_to_core_ratio: int | None = None
    preferred_architecture: str | None = None
    preferred_subdomain: str | None = None
    preferred_termination_grace_period_seconds: int | None = None
    requirements: PreferenceRequirements | None = None
    volumes: VolumePreferences | None = None


class VirtualMachinePreference(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version=VERSION,
        also_served=OLDER,
        plural="virtualmachinepreferences",
        singular="virtualmachinepreference",
        short_names=("vmpref", "vmprefs", "vmp", "vmps"),
        categories=("all",),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachinePreference")
    spec: VirtualMachinePreferenceSpec


class VirtualMachineClusterPreference(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version=VERSION,
        also_served=OLDER,
        plural="virtualmachineclusterpreferences",
        singular="virtualmachineclusterpreference",
        namespaced=False,
        short_names=("vmcp", "vmcps"),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("VirtualMachineClusterPreference")
    spec: VirtualMachinePreferenceSpec


KINDS: tuple[type[meta.Object], ...] = (
    VirtualMachineInstancetype,
    VirtualMachineClusterInstancetype,
    VirtualMachinePreference,
    VirtualMachineClusterPreference,
)
