"""What a launcher pod asks of its node: memory with overhead, CPU, devices. Pure.

The overhead is upstream's (`pkg/hypervisor/kvm/hypervisorbackend.go`), so that a namespace's quota
means the same here: 290 MiB for a guest of 1 vCPU and 1 GiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from mtv.api import core, kubevirt, meta, quantities, well_known
from mtv.api.configuration import Configuration
from mtv_operator.virt_launcher.domain import cpu

MIB = 1 << 20
# Of one launcher: monitor, launcher, virtlogd, virtqemud, QEMU.
FIXED_MIB = 25 + 100 + 25 + 40 + 50
VCPU_MIB = 8
IO_THREAD_MIB = 8
GRAPHICS_MIB = 32
TPM_MIB = 53
DEDICATED_MIB = 100
PAGE_TABLE_SHARE = 512
EPHEMERAL_STORAGE = "50M"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What at least one node has: resources that are more than none, and keys of labels."""

    resources: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()

    def labelled(self, prefix: str) -> bool:
        """Tell whether nodes have labels of a kind."""
        return any(label.startswith(prefix) for label in self.labels)


def guest_memory_bytes(domain: kubevirt.DomainSpec) -> int:
    """Return the guest's memory; raises BadInput when the spec names none."""
    return cpu.memory_bytes(domain)


def overhead_bytes(domain: kubevirt.DomainSpec, ratio: Fraction = Fraction(1)) -> int:
    """Return what the pod needs beside the guest's memory."""
    requests = domain.resources.requests if domain.resources else {}
    guest = quantities.whole(requests.get("memory", 0)) or guest_memory_bytes(domain)
    mib = FIXED_MIB + VCPU_MIB * cpu.vcpus(domain) + IO_THREAD_MIB
    if domain.devices.autoattach_graphics_device is not False:
        mib += GRAPHICS_MIB
    if domain.devices.tpm is not None and domain.devices.tpm.enabled is not False:
        mib += TPM_MIB
    if domain.cpu is not None and domain.cpu.dedicated_cpu_placement:
        mib += DEDICATED_MIB
    total = mib * MIB + -(-guest // PAGE_TABLE_SHARE)
    reserved = domain.memory.reserved_overhead if domain.memory else None
    if reserved is not None and reserved.added_overhead is not None:
        total += quantities.whole(reserved.added_overhead)
    scaled = total * ratio
    return -(-scaled.numerator // scaled.denominator)


def of(
    spec: kubevirt.VirtualMachineInstanceSpec, configuration: Configuration, offers: Offers
) -> core.ResourceRequirements:
    """Return requests and limits of the container `compute`."""
    domain = spec.domain
    given = domain.resources or kubevirt.ResourceRequirements()
    requests: dict[str, meta.Quantity] = {**given.requests}
    limits: dict[str, meta.Quantity] = {**given.limits}
    _cpu(domain, configuration, requests, limits)
    _memory(domain, configuration, requests, limits)
    requests.setdefault("ephemeral-storage", EPHEMERAL_STORAGE)
    for name in devices(spec, configuration, offers):
        requests[name] = limits[name] = "1"
    return core.ResourceRequirements(requests=requests, limits=limits)


def _cpu(
    domain: kubevirt.DomainSpec,
    configuration: Configuration,
    requests: dict[str, meta.Quantity],
    limits: dict[str, meta.Quantity],
) -> None:
    count = cpu.vcpus(domain)
    if domain.cpu is not None and domain.cpu.dedicated_cpu_placement:
        requests["cpu"] = limits["cpu"] = str(count)
    elif "cpu" not in requests:
        millicores = -(-count * 1000 // configuration.cpu_allocation_ratio)
        requests["cpu"] = quantities.of_millicores(millicores)


def _memory(
    domain: kubevirt.DomainSpec,
    configuration: Configuration,
    requests: dict[str, meta.Quantity],
    limits: dict[str, meta.Quantity],
) -> None:
    overhead = overhead_bytes(domain, configuration.memory_overhead_ratio)
    guest = guest_memory_bytes(domain)
    if "memory" in requests:
        asked = quantities.whole(requests["memory"])
    else:
        asked = guest * 100 // configuration.memory_overcommit_percent
    if domain.resources is not None and domain.resources.overcommit_guest_overhead:
        overhead = 0
    pages = domain.memory.hugepages.page_size if domain.memory and domain.memory.hugepages else None
    if pages:
        requests[f"hugepages-{pages}"] = limits[f"hugepages-{pages}"] = quantities.of_bytes(guest)
        asked = 0
    requests["memory"] = quantities.of_bytes(asked + overhead)
    if "memory" in limits:
        limits["memory"] = quantities.of_bytes(quantities.whole(limits["memory"]) + overhead)


def devices(
    spec: kubevirt.VirtualMachineInstanceSpec, configuration: Configuration, offers: Offers
) -> list[str]:
    """Return the device resources to ask for.

    KVM is asked for unless emulation is allowed and no node has KVM. Without it and without that
    permission the pod stays unschedulable, which says what is missing.
    """
    kvm = not configuration.use_emulation or well_known.KVM in offers.resources
    found = [well_known.KVM] if kvm else []
    interfaces = spec.domain.devices.interfaces
    if interfaces and well_known.TUN in offers.resources:
        found.append(well_known.TUN)
    virtio = any(one.model in (None, "", "virtio") for one in interfaces)
    if kvm and virtio and well_known.VHOST_NET in offers.resources:
        found.append(well_known.VHOST_NET)
    return found
