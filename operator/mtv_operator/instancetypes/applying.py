"""An instance type and a preference put into the spec of a VM. Pure.

A size is the instance type's alone: a VM that says it too is in conflict. A preference fills in
only what the VM leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import msgspec

from mtv.api import instancetype, kubevirt, meta, quantities
from mtv_operator.instancetypes import implied, preferences

Spec = kubevirt.VirtualMachineInstanceSpec
Size = instancetype.VirtualMachineInstancetypeSpec
Preference = instancetype.VirtualMachinePreferenceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What an instance is made of: its spec, and annotations."""

    spec: Spec
    annotations: Mapping[str, str] = field(default_factory=dict)


def conflicts(template: Template, size: Size, at: str) -> list[str]:
    """Return the paths of what the spec at the path `at` says and the instance type too."""
    return [
        *_cpu_conflicts(template.spec.domain, size.cpu, f"{at}.domain"),
        *_memory_conflicts(template.spec.domain, f"{at}.domain"),
        *_other_conflicts(template.spec, size, at),
        *(
            f"annotations.{name}"
            for name, value in size.annotations.items()
            if template.annotations.get(name, value) != value
        ),
    ]


def apply(template: Template, size: Size | None, preference: Preference | None) -> Template:
    """Return the template with both in it; it must have no conflicts with the size."""
    spec, annotations = template.spec, dict(template.annotations)
    if size is not None:
        spec = _sized(spec, size, preference)
        annotations |= size.annotations
    if preference is not None:
        spec = preferences.apply(implied.devices(spec, preference), preference)
        annotations = {**preference.annotations, **annotations}
    return Template(spec=spec, annotations=annotations)


def _cpu_conflicts(
    domain: kubevirt.DomainSpec, size: instancetype.CPUInstancetype, at: str
) -> Iterator[str]:
    resources = domain.resources or kubevirt.ResourceRequirements()
    for part, given in (("requests", resources.requests), ("limits", resources.limits)):
        if "cpu" in given:
            yield f"{at}.resources.{part}.cpu"
    cpu = domain.cpu or kubevirt.CPU()
    for name in ("sockets", "cores", "threads"):
        if getattr(cpu, name):
            yield f"{at}.cpu.{name}"
    for name, here, there in (
        ("model", cpu.model, size.model),
        ("dedicatedCPUPlacement", cpu.dedicated_cpu_placement, size.dedicated_cpu_placement),
        ("isolateEmulatorThread", cpu.isolate_emulator_thread, size.isolate_emulator_thread),
        ("numa", cpu.numa, size.numa),
        ("realtime", cpu.realtime, size.realtime),
    ):
        if here and there is not None:
            yield f"{at}.cpu.{name}"


def _memory_conflicts(domain: kubevirt.DomainSpec, at: str) -> Iterator[str]:
    resources = domain.resources or kubevirt.ResourceRequirements()
    if domain.memory is not None:
        yield f"{at}.memory"
    elif "memory" in resources.requests:
        yield f"{at}.resources.requests.memory"
    elif "memory" in resources.limits:
        yield f"{at}.resources.limits.memory"


def _other_conflicts(spec: Spec, size: Size, at: str) -> Iterator[str]:
    domain = spec.domain
    for path, here, there in (
        ("nodeSelector", spec.node_selector, size.node_selector),
        ("schedulerName", spec.scheduler_name, size.scheduler_name),
        ("domain.ioThreadsPolicy", domain.io_threads_policy, size.io_threads_policy),
        ("domain.ioThreads", domain.io_threads, size.io_threads),
        ("domain.launchSecurity", domain.launch_security, size.launch_security),
        ("domain.devices.gpus", domain.devices.gpus, size.gpus),
        ("domain.devices.hostDevices", domain.devices.host_devices, size.host_devices),
    ):
        if here and there:
            yield f"{at}.{path}"


def _sized(spec: Spec, size: Size, preference: Preference | None) -> Spec:
    domain = spec.domain
    devices = msgspec.structs.replace(
        domain.devices,
        gpus=domain.devices.gpus or size.gpus,
        host_devices=domain.devices.host_devices or size.host_devices,
    )
    domain = msgspec.structs.replace(
        domain,
        devices=devices,
        cpu=_cpu(domain.cpu or kubevirt.CPU(), size.cpu, preference),
        memory=kubevirt.Memory(
            guest=size.memory.guest,
            hugepages=size.memory.hugepages,
            max_guest=size.memory.max_guest,
        ),
        resources=_resources(domain.resources, size.memory),
        io_threads_policy=domain.io_threads_policy or size.io_threads_policy,
        io_threads=domain.io_threads or size.io_threads,
        launch_security=domain.launch_security or size.launch_security,
    )
    return msgspec.structs.replace(
        spec,
        domain=domain,
        node_selector=spec.node_selector or size.node_selector,
        scheduler_name=spec.scheduler_name or size.scheduler_name,
    )


def _cpu(
    cpu: kubevirt.CPU, size: instancetype.CPUInstancetype, preference: Preference | None
) -> kubevirt.CPU:
    sockets, cores, threads = preferences.topology(size.guest, preference)
    return msgspec.structs.replace(
        cpu,
        sockets=sockets,
        cores=cores,
        threads=threads,
        model=cpu.model or size.model,
        max_sockets=size.max_sockets or cpu.max_sockets,
        dedicated_cpu_placement=size.dedicated_cpu_placement or cpu.dedicated_cpu_placement,
        isolate_emulator_thread=size.isolate_emulator_thread or cpu.isolate_emulator_thread,
        numa=cpu.numa or size.numa,
        realtime=cpu.realtime or size.realtime,
    )


def _resources(
    given: kubevirt.ResourceRequirements | None, memory: instancetype.MemoryInstancetype
) -> kubevirt.ResourceRequirements | None:
    """Request less than the guest sees, where the instance type says so."""
    if not memory.overcommit_percent:
        return given
    given = given or kubevirt.ResourceRequirements()
    left = Fraction(100 - memory.overcommit_percent, 100)
    asked: meta.Quantity = int(quantities.exact(memory.guest) * left)
    requests = {**given.requests, "memory": quantities.of_bytes(int(asked))}
    return msgspec.structs.replace(given, requests=requests)
