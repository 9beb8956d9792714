"""The VirtualMachine that a source VM becomes, as KubeVirt's admission takes it.

    vSphere                              kubevirt.io/v1
    numCPU, coresPerSocket               cpu.sockets × cpu.cores, threads 1
    memoryMB                             memory.guest
    firmware, efiSecureBootEnabled       firmware.bootloader.{bios,efi.secureBoot} and features.smm
    uuid                                 firmware.uuid; firmware.serial in VMware's spelling
    VirtualTPM                           devices.tpm.persistent (a new, empty TPM)
    disks, in the guest's order          devices.disks and volumes, bootOrder
    NICs, MACs, startConnected           devices.interfaces and networks, state: down
    guest is Windows                     hyperv features, timers, RTC in local time

What the guest must know to start on these devices is `hardware`'s concern; names and claims are
those of `volumes`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mtv.api import forklift, kubevirt, meta
from mtv.errors import BadInput
from mtv.inventory.model import VM, Bus, Disk, Firmware, PowerState
from mtv.planning import boot, guest_os, labels, names, templates
from mtv.planning.hardware import Hardware
from mtv.planning.mappings import Attachment, Destination
from mtv.planning.volumes import PlannedVolume

MIB = 1 << 20
DEFAULT_NETWORK_TEMPLATE = "net-{{.NetworkIndex}}"
GRACE_PERIOD_S = 180  # as KubeVirt's common-templates; Windows takes its time to shut down
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ON = kubevirt.FeatureState(enabled=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedInterface:
    """A NIC of the target: the name that interface and network share."""

    name: str
    attachment: Attachment


def interfaces(
    plan: forklift.Plan, entry: forklift.PlanVM, attachments: Sequence[Attachment], *, field: str
) -> tuple[PlannedInterface, ...]:
    """Name the NICs that are attached; ignored and unmapped ones are left out.

    Raises BadInput, naming the template, when a name cannot be made.
    """
    template = entry.network_name_template or plan.spec.network_name_template
    where = (
        f"{field}.networkNameTemplate"
        if entry.network_name_template
        else "spec.networkNameTemplate"
    )
    planned: list[PlannedInterface] = []
    for attachment in attachments:
        pair = attachment.pair
        if pair is None or pair.destination is Destination.IGNORED:
            continue
        name = templates.render(
            template or DEFAULT_NETWORK_TEMPLATE,
            {
                "NetworkName": pair.name,
                "NetworkNamespace": pair.namespace,
                "NetworkType": "Pod" if pair.destination is Destination.POD else "Multus",
                "NetworkIndex": len(planned),
            },
            field=where,
        ).strip()
        if not names.is_dns_label(name):
            raise BadInput(f"the template makes {name!r}, which is no DNS label", field=where)
        if any(one.name == name for one in planned):
            raise BadInput(
                f"the template makes {name!r} for two NICs of one VM",
                field=where,
                hint="use {{.NetworkIndex}} in it",
            )
        planned.append(PlannedInterface(name=name, attachment=attachment))
    return tuple(planned)


def vmware_serial(uuid: str) -> str:
    """Return the system serial number that VMware shows to the guest for this BIOS uuid.

    `420f1c2e-…` is `VMware-42 0f 1c 2e aa aa bb bb-cc cc 01 23 45 67 89 ab`; anything that is no
    uuid gives "".
    """
    if not _UUID.fullmatch(uuid):
        return ""
    digits = uuid.replace("-", "").lower()
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    return f"VMware-{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"


def run_strategy(
    plan: forklift.Plan, entry: forklift.PlanVM, vm: VM, *, was_on: bool | None = None
) -> str:
    """Return Always or Halted: what the plan says, or as the source was before it was stopped."""
    wanted = entry.target_power_state or plan.spec.target_power_state or "auto"
    if wanted in {"on", "off"}:
        return "Always" if wanted == "on" else "Halted"
    on = vm.power_state is PowerState.ON if was_on is None else was_on
    return "Always" if on else "Halted"


def build(
    plan: forklift.Plan,
    entry: forklift.PlanVM,
    vm: VM,
    *,
    name: str,
    volumes: Sequence[PlannedVolume],
    nics: Sequence[PlannedInterface],
    root: int,
    hardware: Hardware,
    owner: labels.Owner,
    strategy: str,
) -> kubevirt.VirtualMachine:
    """Return the VirtualMachine for `vm` on these volumes and networks."""
    order = boot.positions(
        vm,
        [volume.disk for volume in volumes],
        [one.attachment.nic for one in nics],
        root=root,
        forced=bool(entry.root_disk),
    )
    marks = labels.carried(vm, plan.spec.tag_mapping)
    system = guest_os.label(vm)
    instancetype = (
        kubevirt.InstancetypeMatcher(name=entry.instance_type) if entry.instance_type else None
    )
    return kubevirt.VirtualMachine(
        metadata=meta.ObjectMeta(
            name=name,
            namespace=plan.spec.target_namespace,
            labels={
                **marks.labels,
                **owner.of_vm(vm.id),
                labels.RESOURCE: "vm-config",
                f"os.template.kubevirt.io/{system}": "true",
                "workload.template.kubevirt.io/server": "true",
                "flavor.template.kubevirt.io/medium": "true",
            },
            annotations=_annotations(vm, name, marks),
        ),
        spec=kubevirt.VirtualMachineSpec(
            run_strategy=strategy,
            instancetype=instancetype,
            template=kubevirt.VirtualMachineInstanceTemplateSpec(
                metadata=meta.ObjectMeta(
                    labels={**plan.spec.target_labels, "app": names.label_value(name)},
                    annotations=_template_annotations(system, nics),
                ),
                spec=kubevirt.VirtualMachineInstanceSpec(
                    architecture="amd64",
                    domain=_domain(plan, entry, vm, volumes, nics, order, hardware),
                    volumes=tuple(_volume(volume) for volume in volumes),
                    networks=tuple(_network(one) for one in nics),
                    node_selector=dict(plan.spec.target_node_selector),
                    affinity=plan.spec.target_affinity,
                    termination_grace_period_seconds=GRACE_PERIOD_S,
                ),
            ),
        ),
    )


def _annotations(vm: VM, name: str, marks: labels.Carried) -> dict[str, str]:
    annotations = dict(marks.annotations)
    if name != vm.name:
        annotations |= {labels.DISPLAY_NAME: vm.name, labels.ORIGINAL_ID: vm.id}
    if vm.annotation:
        annotations[labels.DESCRIPTION] = vm.annotation
    return annotations


def _template_annotations(system: str, nics: Sequence[PlannedInterface]) -> dict[str, str]:
    annotations = {
        "vm.kubevirt.io/os": system,
        "vm.kubevirt.io/flavor": "medium",
        "vm.kubevirt.io/workload": "server",
    }
    # The slot is what Linux names a NIC after (ens192): whoever adapts the guest needs it.
    slots = [
        f"{one.name}={one.attachment.nic.pci_slot}"
        for one in nics
        if one.attachment.nic.pci_slot is not None
    ]
    if slots:
        annotations[labels.PCI_SLOTS] = ",".join(slots)
    return annotations


def _domain(
    plan: forklift.Plan,
    entry: forklift.PlanVM,
    vm: VM,
    volumes: Sequence[PlannedVolume],
    nics: Sequence[PlannedInterface],
    order: dict[int, int],
    hardware: Hardware,
) -> kubevirt.DomainSpec:
    sized = not entry.instance_type  # an instance type brings its own CPU and memory
    return kubevirt.DomainSpec(
        machine=kubevirt.Machine(type="q35"),
        cpu=_cpu(plan, entry, vm) if sized else None,
        memory=kubevirt.Memory(guest=f"{vm.memory_bytes // MIB}Mi") if sized else None,
        firmware=_firmware(vm),
        features=_features(vm),
        clock=_clock(vm),
        devices=kubevirt.Devices(
            disks=tuple(_disk(vm, volume, order, hardware) for volume in volumes),
            interfaces=tuple(_interface(one, order, hardware) for one in nics),
            # Without NICs KubeVirt would attach one to the pod network.
            autoattach_pod_interface=None if nics else False,
            inputs=(kubevirt.Input(name="tablet", type="tablet", bus="usb"),),
            rng=kubevirt.Rng(),
            tpm=kubevirt.TPMDevice(persistent=True) if vm.vtpm else None,
        ),
    )


def _cpu(plan: forklift.Plan, entry: forklift.PlanVM, vm: VM) -> kubevirt.CPU:
    cores = vm.cores_per_socket if vm.cores_per_socket > 0 else 1
    if vm.cpu_count % cores:
        cores = 1  # vSphere lets the last socket be half full, KubeVirt does not
    nested = entry.enable_nested_virtualization
    if nested is None:
        nested = plan.spec.enable_nested_virtualization
    features: tuple[kubevirt.CPUFeature, ...] = ()
    if nested is not None or vm.nested_hv:
        policy = "disable" if nested is False else "optional"
        features = tuple(kubevirt.CPUFeature(name=name, policy=policy) for name in ("vmx", "svm"))
    return kubevirt.CPU(
        sockets=max(vm.cpu_count // cores, 1), cores=cores, threads=1, features=features
    )


def _firmware(vm: VM) -> kubevirt.Firmware:
    """Return BIOS or EFI; `secureBoot` is always written, because leaving it out means true."""
    if vm.firmware is Firmware.EFI:
        bootloader = kubevirt.Bootloader(efi=kubevirt.EFI(secure_boot=vm.secure_boot))
    else:
        bootloader = kubevirt.Bootloader(bios=kubevirt.BIOS())
    known = _UUID.fullmatch(vm.uuid) is not None
    return kubevirt.Firmware(
        bootloader=bootloader,
        uuid=vm.uuid.lower() if known else None,
        serial=vmware_serial(vm.uuid) or None,
    )


def _features(vm: VM) -> kubevirt.Features:
    secure = vm.firmware is Firmware.EFI and vm.secure_boot
    return kubevirt.Features(
        acpi=_ON,
        apic=kubevirt.FeatureAPIC(enabled=True) if guest_os.is_windows(vm) else None,
        smm=_ON if secure else None,
        hyperv=_hyperv() if guest_os.is_windows(vm) else None,
    )


def _hyperv() -> kubevirt.FeatureHyperv:
    """Return what Windows runs well with and every KVM host has (common-templates' choice).

    Left out are reenlightenment, evmcs and tlbflush's extensions, which need host features.
    """
    return kubevirt.FeatureHyperv(
        relaxed=_ON,
        vapic=_ON,
        vpindex=_ON,
        runtime=_ON,
        synic=_ON,
        synictimer=kubevirt.SyNICTimer(enabled=True),
        spinlocks=kubevirt.FeatureSpinlocks(enabled=True, spinlocks=8191),
        frequencies=_ON,
        tlbflush=kubevirt.TLBFlush(enabled=True),
        ipi=_ON,
        reset=_ON,
    )


def _clock(vm: VM) -> kubevirt.Clock:
    """Return the RTC in UTC, or off by what the source's is (Windows keeps local time in it)."""
    offset = vm.time_zone_offset_s or None
    utc = kubevirt.ClockOffsetUTC(offset_seconds=offset)
    if not guest_os.is_windows(vm):
        return kubevirt.Clock(utc=utc)
    return kubevirt.Clock(
        utc=utc,
        timer=kubevirt.Timer(
            hpet=kubevirt.HPETTimer(present=False),
            pit=kubevirt.PITTimer(tick_policy="delay"),
            rtc=kubevirt.RTCTimer(tick_policy="catchup"),
            hyperv=kubevirt.HypervTimer(present=True),
        ),
    )


def _disk(
    vm: VM, volume: PlannedVolume, order: dict[int, int], hardware: Hardware
) -> kubevirt.Disk:
    return kubevirt.Disk(
        name=volume.name,
        disk=kubevirt.DiskTarget(bus=hardware.disk_bus),
        boot_order=order.get(volume.disk.key),
        serial=_serial(vm, volume.disk),
        shareable=True if volume.disk.shared else None,
        cache="none" if volume.disk.shared else None,
    )


def _serial(vm: VM, disk: Disk) -> str | None:
    """Return the serial that the guest sees: with disk.EnableUUID, on SCSI, without dashes."""
    if not vm.disk_enable_uuid or disk.bus is not Bus.SCSI:
        return None
    return disk.serial.replace("-", "").lower() or None


def _interface(
    planned: PlannedInterface, order: dict[int, int], hardware: Hardware
) -> kubevirt.Interface:
    nic, pair = planned.attachment.nic, planned.attachment.pair
    on_pod = pair is not None and pair.destination is Destination.POD
    return kubevirt.Interface(
        name=planned.name,
        model=hardware.nic_model,
        mac_address=nic.mac or None,
        masquerade=kubevirt.InterfaceMasquerade() if on_pod else None,
        bridge=None if on_pod else kubevirt.InterfaceBridge(),
        boot_order=order.get(nic.key),
        state=None if nic.start_connected else "down",
    )


def _network(planned: PlannedInterface) -> kubevirt.Network:
    pair = planned.attachment.pair
    if pair is None or pair.destination is Destination.POD:
        return kubevirt.Network(name=planned.name, pod=kubevirt.PodNetwork())
    return kubevirt.Network(
        name=planned.name, multus=kubevirt.MultusNetwork(network_name=pair.attachment)
    )


def _volume(volume: PlannedVolume) -> kubevirt.Volume:
    return kubevirt.Volume(
        name=volume.name,
        persistent_volume_claim=kubevirt.PersistentVolumeClaimVolumeSource(
            claim_name=volume.claim_name
        ),
    )
