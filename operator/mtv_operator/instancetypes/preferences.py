"""What a preference fills in where a spec leaves it open, and how vCPUs are arranged. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mtv.api import instancetype, kubevirt

Spec = kubevirt.VirtualMachineInstanceSpec
Preference = instancetype.VirtualMachinePreferenceSpec
T = TypeVar("T", bound=msgspec.Struct)

SPREAD_RATIO = 2  # as upstream
THREADS_PER_CORE = 2
# Fields of a domain's devices, by the preference that fills each one in.
_DEVICES = {
    "preferred_autoattach_graphics_device": "autoattach_graphics_device",
    "preferred_autoattach_input_device": "autoattach_input_device",
    "preferred_autoattach_mem_balloon": "autoattach_mem_balloon",
    "preferred_autoattach_pod_interface": "autoattach_pod_interface",
    "preferred_autoattach_serial_console": "autoattach_serial_console",
    "preferred_block_multi_queue": "block_multi_queue",
    "preferred_disable_hotplug": "disable_hotplug",
    "preferred_network_interface_multi_queue": "network_interface_multiqueue",
    "preferred_rng": "rng",
    "preferred_tpm": "tpm",
    "preferred_use_virtio_transitional": "use_virtio_transitional",
}
_FEATURES = {
    "preferred_acpi": "acpi",
    "preferred_apic": "apic",
    "preferred_kvm": "kvm",
    "preferred_pvspinlock": "pvspinlock",
    "preferred_smm": "smm",
}


def apply(spec: Spec, preference: Preference) -> Spec:
    """Return the spec with what the preference adds."""
    domain = spec.domain
    domain = msgspec.structs.replace(
        domain,
        cpu=_cpu(domain.cpu, preference.cpu),
        devices=_devices(spec, preference.devices),
        features=_features(domain.features, preference.features),
        firmware=_firmware(domain.firmware, preference.firmware),
        machine=_machine(domain.machine, preference.machine),
        clock=_clock(domain.clock, preference.clock),
    )
    spec = msgspec.structs.replace(spec, domain=domain)
    return _filled(
        spec,
        architecture=preference.preferred_architecture,
        subdomain=preference.preferred_subdomain,
        termination_grace_period_seconds=preference.preferred_termination_grace_period_seconds,
    )


def topology_word(preference: Preference | None) -> str:
    """Return how vCPUs shall be arranged, in the word without `prefer`."""
    cpu = preference.cpu if preference is not None else None
    word = (cpu.preferred_cpu_topology if cpu is not None else None) or "sockets"
    return word.removeprefix("prefer").lower()


def spread(preference: Preference | None) -> tuple[int, str]:
    """Return the ratio by which vCPUs are spread, and across what."""
    ratio, across = SPREAD_RATIO, "SocketsCores"
    if preference is not None:
        ratio = preference.prefer_spread_socket_to_core_ratio or ratio
        options = preference.cpu.spread_options if preference.cpu is not None else None
        if options is not None:
            ratio, across = options.ratio or ratio, options.across or across
    return ratio, across


def topology(count: int, preference: Preference | None) -> tuple[int, int, int]:
    """Return sockets, cores and threads of so many vCPUs."""
    if count == 1:
        return 1, 1, 1
    match topology_word(preference):
        case "cores":
            return 1, count, 1
        case "threads":
            return 1, 1, count
        case "spread":
            ratio, across = spread(preference)
            if across == "CoresThreads":
                return 1, count // ratio, ratio
            if across == "SocketsCoresThreads":
                return count // THREADS_PER_CORE // ratio, ratio, THREADS_PER_CORE
            return count // ratio, ratio, 1
        case _:
            return count, 1, 1


def _filled(target: T, **values: Any) -> T:  # noqa: ANN401 - of whatever type the field is
    """Return `target` with the values of those fields that it leaves open."""
    open_fields = {
        name: value
        for name, value in values.items()
        if value is not None and getattr(target, name) in (None, "")
    }
    return msgspec.structs.replace(target, **open_fields) if open_fields else target


def _by_table(target: T, source: msgspec.Struct, table: dict[str, str]) -> T:
    return _filled(target, **{here: getattr(source, there) for there, here in table.items()})


def _cpu(
    cpu: kubevirt.CPU | None, preferred: instancetype.CPUPreferences | None
) -> kubevirt.CPU | None:
    if preferred is None or not preferred.preferred_cpu_features:
        return cpu
    cpu = cpu or kubevirt.CPU()
    known = {one.name for one in cpu.features}
    more = tuple(one for one in preferred.preferred_cpu_features if one.name not in known)
    return msgspec.structs.replace(cpu, features=(*cpu.features, *more))


def _devices(spec: Spec, preferred: instancetype.DevicePreferences | None) -> kubevirt.Devices:
    devices = spec.domain.devices
    if preferred is None:
        return devices
    devices = _by_table(devices, preferred, _DEVICES)
    on_pod = {one.name for one in spec.networks if one.pod is not None}
    sound, video = devices.sound, devices.video
    if sound is not None:
        sound = _filled(sound, model=preferred.preferred_sound_model)
    if video is None and preferred.preferred_video_type:
        video = kubevirt.VideoDevice(type=preferred.preferred_video_type)
    return msgspec.structs.replace(
        devices,
        sound=sound,
        video=video,
        disks=tuple(_disk(one, preferred) for one in devices.disks),
        interfaces=tuple(
            _interface(one, preferred, on_pod=one.name in on_pod) for one in devices.interfaces
        ),
        inputs=tuple(
            _filled(one, bus=preferred.preferred_input_bus, type=preferred.preferred_input_type)
            for one in devices.inputs
        ),
        panic_devices=tuple(
            _filled(one, model=preferred.preferred_panic_device_model)
            for one in devices.panic_devices
        ),
        gpus=tuple(
            _filled(one, virtual_gpu_options=preferred.preferred_virtual_gpu_options)
            for one in devices.gpus
        ),
    )


def _disk(disk: kubevirt.Disk, preferred: instancetype.DevicePreferences) -> kubevirt.Disk:
    if disk.cdrom is not None:
        target = _filled(disk.cdrom, bus=preferred.preferred_cdrom_bus)
        return msgspec.structs.replace(disk, cdrom=target)
    if disk.lun is not None:
        lun = _filled(disk.lun, bus=preferred.preferred_lun_bus)
        return msgspec.structs.replace(disk, lun=lun)
    plain = _filled(disk.disk or kubevirt.DiskTarget(), bus=preferred.preferred_disk_bus)
    own_thread = preferred.preferred_disk_dedicated_io_thread if plain.bus == "virtio" else None
    return _filled(
        msgspec.structs.replace(disk, disk=plain),
        block_size=preferred.preferred_disk_block_size,
        cache=preferred.preferred_disk_cache,
        io=preferred.preferred_disk_io,
        dedicated_io_thread=own_thread,
    )


def _interface(
    interface: kubevirt.Interface, preferred: instancetype.DevicePreferences, *, on_pod: bool
) -> kubevirt.Interface:
    found = _filled(interface, model=preferred.preferred_interface_model)
    if on_pod and not is_bound(found):
        found = _filled(found, masquerade=preferred.preferred_interface_masquerade)
    return found


def is_bound(interface: kubevirt.Interface) -> bool:
    """Tell whether the interface says how it is connected."""
    bindings = (
        interface.bridge,
        interface.masquerade,
        interface.sriov,
        interface.slirp,
        interface.macvtap,
        interface.passt,
        interface.passt_binding,
        interface.binding,
    )
    return any(one is not None for one in bindings)


def _features(
    features: kubevirt.Features | None, preferred: instancetype.FeaturePreferences | None
) -> kubevirt.Features | None:
    if preferred is None:
        return features
    features = _by_table(features or kubevirt.Features(), preferred, _FEATURES)
    if preferred.preferred_hyperv is None:
        return features
    hyperv = _filled(
        features.hyperv or kubevirt.FeatureHyperv(),
        **msgspec.structs.asdict(preferred.preferred_hyperv),
    )
    return msgspec.structs.replace(features, hyperv=hyperv)


def _firmware(
    firmware: kubevirt.Firmware | None, preferred: instancetype.FirmwarePreferences | None
) -> kubevirt.Firmware | None:
    if preferred is None:
        return firmware
    firmware = firmware or kubevirt.Firmware()
    loader = firmware.bootloader or kubevirt.Bootloader()
    undecided = loader.bios is None and loader.efi is None
    if undecided and preferred.preferred_use_bios:
        loader = msgspec.structs.replace(loader, bios=kubevirt.BIOS())
    elif undecided and preferred.preferred_efi is not None:
        loader = msgspec.structs.replace(loader, efi=preferred.preferred_efi)
    elif undecided and preferred.preferred_use_efi:
        loader = msgspec.structs.replace(loader, efi=kubevirt.EFI())
    if loader.bios is not None:
        bios = _filled(loader.bios, use_serial=preferred.preferred_use_bios_serial)
        loader = msgspec.structs.replace(loader, bios=bios)
    if loader.efi is not None and preferred.preferred_efi is None:
        efi = _filled(loader.efi, secure_boot=preferred.preferred_use_secure_boot)
        loader = msgspec.structs.replace(loader, efi=efi)
    if loader == kubevirt.Bootloader():
        return firmware if firmware != kubevirt.Firmware() else None
    return msgspec.structs.replace(firmware, bootloader=loader)


def _machine(
    machine: kubevirt.Machine | None, preferred: instancetype.MachinePreferences | None
) -> kubevirt.Machine | None:
    wanted = preferred.preferred_machine_type if preferred is not None else None
    if not wanted or (machine is not None and machine.type):
        return machine
    return kubevirt.Machine(type=wanted)


def _clock(
    clock: kubevirt.Clock | None, preferred: instancetype.ClockPreferences | None
) -> kubevirt.Clock | None:
    if preferred is None:
        return clock
    clock = clock or kubevirt.Clock()
    offset = preferred.preferred_clock_offset
    if offset is not None and clock.utc is None and clock.timezone is None:
        clock = msgspec.structs.replace(clock, utc=offset.utc, timezone=offset.timezone)
    return _filled(clock, timer=preferred.preferred_timer)
