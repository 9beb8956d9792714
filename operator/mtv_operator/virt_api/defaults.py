"""What the mutating webhooks fill in, in upstream's order (`pkg/defaults/defaults.go`). Pure.

Nothing that was given is changed. UUIDs come from the caller: `new_uuid`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import kubevirt, meta, quantities, well_known
from mtv.api.configuration import DEFAULT, Configuration
from mtv_operator.virt_api import device_defaults, hyperv

NewUuid = Callable[[], str]

ARCHITECTURE = "amd64"
RUNTIME_UID = 107
PENDING = "Pending"


def virtual_machine(
    vm: kubevirt.VirtualMachine,
    configuration: Configuration,
    new_uuid: NewUuid,
    *,
    created: bool,
) -> kubevirt.VirtualMachine:
    """Return the VM with its defaults; identity is made up once, when it is created."""
    template = vm.spec.template
    if template.spec is None:
        return vm
    spec = template.spec
    domain = spec.domain
    if created:
        given = domain.firmware or kubevirt.Firmware()
        known = msgspec.structs.replace(
            given, uuid=given.uuid or new_uuid(), serial=given.serial or new_uuid()
        )
        domain = msgspec.structs.replace(domain, firmware=known)
    domain = _machine(domain, configuration)
    spec = msgspec.structs.replace(
        spec, architecture=spec.architecture or ARCHITECTURE, domain=domain
    )
    template = msgspec.structs.replace(template, spec=spec)
    return msgspec.structs.replace(vm, spec=msgspec.structs.replace(vm.spec, template=template))


def instance(
    vmi: kubevirt.VirtualMachineInstance,
    configuration: Configuration,
    new_uuid: NewUuid,
    now: datetime,
) -> kubevirt.VirtualMachineInstance:
    """Return a new instance with its defaults, its finalizer and its first phase."""
    spec = instance_spec(vmi.spec, configuration, new_uuid)
    finalizers = vmi.metadata.finalizers
    if well_known.VMI_FINALIZER not in finalizers:
        finalizers = (*finalizers, well_known.VMI_FINALIZER)
    metadata = msgspec.structs.replace(vmi.metadata, finalizers=finalizers)
    return msgspec.structs.replace(vmi, metadata=metadata, spec=spec, status=_status(spec, now))


def instance_spec(
    spec: kubevirt.VirtualMachineInstanceSpec, configuration: Configuration, new_uuid: NewUuid
) -> kubevirt.VirtualMachineInstanceSpec:
    """Return the spec with its defaults."""
    domain = _machine(spec.domain, configuration)
    domain = _cpu_request(domain, configuration)
    domain = _guest_memory(domain)
    domain = _topology(domain, configuration)
    firmware = domain.firmware or kubevirt.Firmware()
    domain = msgspec.structs.replace(
        domain,
        firmware=msgspec.structs.replace(firmware, uuid=firmware.uuid or new_uuid()),
        features=hyperv.completed(domain.features or kubevirt.Features()),
    )
    domain = hyperv.with_cpu_feature(domain)
    spec = msgspec.structs.replace(
        spec,
        architecture=spec.architecture or ARCHITECTURE,
        domain=domain,
        eviction_strategy=spec.eviction_strategy or configuration.eviction_strategy or None,
        volumes=tuple(_volume(one) for one in spec.volumes),
        liveness_probe=_probe(spec.liveness_probe),
        readiness_probe=_probe(spec.readiness_probe),
    )
    spec = device_defaults.networks(spec, configuration.default_interface)
    return device_defaults.devices(spec)


def _machine(domain: kubevirt.DomainSpec, configuration: Configuration) -> kubevirt.DomainSpec:
    if domain.machine is not None and domain.machine.type:
        return domain
    return msgspec.structs.replace(
        domain, machine=kubevirt.Machine(type=configuration.machine_type)
    )


def _cpu_request(domain: kubevirt.DomainSpec, configuration: Configuration) -> kubevirt.DomainSpec:
    """Request what is the limit; a request that the administrator configured comes next."""
    given = domain.resources or kubevirt.ResourceRequirements()
    if "cpu" in given.requests:
        return domain
    request: meta.Quantity | None = given.limits.get("cpu")
    if request is None and configuration.cpu_request_millicores != DEFAULT.cpu_request_millicores:
        request = quantities.of_millicores(configuration.cpu_request_millicores)
    if request is None:
        return domain
    resources = msgspec.structs.replace(given, requests={**given.requests, "cpu": request})
    return msgspec.structs.replace(domain, resources=resources)


def _guest_memory(domain: kubevirt.DomainSpec) -> kubevirt.DomainSpec:
    memory = domain.memory or kubevirt.Memory()
    if memory.guest is not None:
        return domain
    given = domain.resources or kubevirt.ResourceRequirements()
    guest = given.requests.get("memory") or given.limits.get("memory")
    if guest is None and memory.hugepages is not None:
        guest = memory.hugepages.page_size
    if guest is None:
        return domain
    return msgspec.structs.replace(domain, memory=msgspec.structs.replace(memory, guest=guest))


def _topology(domain: kubevirt.DomainSpec, configuration: Configuration) -> kubevirt.DomainSpec:
    cpu = domain.cpu or kubevirt.CPU()
    if not (cpu.cores or cpu.sockets or cpu.threads):
        given = domain.resources or kubevirt.ResourceRequirements()
        asked = given.limits.get("cpu") or given.requests.get("cpu")
        cpu = msgspec.structs.replace(cpu, sockets=_at_least_one(asked), cores=1, threads=1)
    else:
        cpu = msgspec.structs.replace(
            cpu, cores=cpu.cores or 1, sockets=cpu.sockets or 1, threads=cpu.threads or 1
        )
    cpu = msgspec.structs.replace(cpu, model=cpu.model or configuration.cpu_model)
    return msgspec.structs.replace(domain, cpu=cpu)


def _at_least_one(asked: meta.Quantity | None) -> int:
    try:
        return max(quantities.whole(asked), 1) if asked is not None else 1
    except errors.BadInput:
        return 1  # validation names the field


def _volume(volume: kubevirt.Volume) -> kubevirt.Volume:
    """Say when a container disk is pulled: always where its tag may mean something else later."""
    disk = volume.container_disk
    if disk is None or disk.image_pull_policy:
        return volume
    name = disk.image.rpartition("/")[2]
    moving = "@" not in name and (":" not in name or name.endswith(":latest"))
    policy = "Always" if moving else "IfNotPresent"
    return msgspec.structs.replace(
        volume, container_disk=msgspec.structs.replace(disk, image_pull_policy=policy)
    )


def _probe(probe: kubevirt.Probe | None) -> kubevirt.Probe | None:
    if probe is None:
        return None
    return msgspec.structs.replace(
        probe,
        timeout_seconds=probe.timeout_seconds or 1,
        period_seconds=probe.period_seconds or 10,
        success_threshold=probe.success_threshold or 1,
        failure_threshold=probe.failure_threshold or 3,
    )


def _status(
    spec: kubevirt.VirtualMachineInstanceSpec, now: datetime
) -> kubevirt.VirtualMachineInstanceStatus:
    guest = spec.domain.memory.guest if spec.domain.memory else None
    cpu = spec.domain.cpu or kubevirt.CPU()
    passed = kubevirt.VirtualMachineInstancePhaseTransitionTimestamp(
        phase=PENDING, phase_transition_timestamp=now.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    return kubevirt.VirtualMachineInstanceStatus(
        phase=PENDING,
        phase_transition_timestamps=(passed,),
        runtime_user=RUNTIME_UID,
        memory=kubevirt.MemoryStatus(
            guest_at_boot=guest, guest_current=guest, guest_requested=guest
        ),
        current_cpu_topology=kubevirt.CPUTopology(
            cores=cpu.cores, sockets=cpu.sockets, threads=cpu.threads
        ),
    )


def migration(
    one: kubevirt.VirtualMachineInstanceMigration,
) -> kubevirt.VirtualMachineInstanceMigration:
    """Return a migration with the label and the finalizer by which it is found and held."""
    labels = {**one.metadata.labels, well_known.MIGRATION_VMI: one.spec.vmi_name or ""}
    finalizers = one.metadata.finalizers
    if well_known.MIGRATION_FINALIZER not in finalizers:
        finalizers = (*finalizers, well_known.MIGRATION_FINALIZER)
    metadata = msgspec.structs.replace(one.metadata, labels=labels, finalizers=finalizers)
    return msgspec.structs.replace(one, metadata=metadata)
