"""CPU model, topology and memory."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from mtv import errors
from mtv.api import kubevirt, quantities
from mtv_operator.virt_launcher.domain.context import Context
from mtv_operator.virt_launcher.domain.markup import element

HOST_MODELS = ("host-model", "host-passthrough", "")
# The fullest CPU that TCG offers. libvirt's `host-model` is made from the host's CPU and may name
# features that emulation lacks; `qemu64` is too old for distributions built for x86-64-v2.
EMULATED_HOST = "maximum"


def vcpus(domain: kubevirt.DomainSpec) -> int:
    """Return the number of vCPUs the guest starts with."""
    sockets, cores, threads, _ = _topology(domain)
    return sockets * cores * threads


def _topology(domain: kubevirt.DomainSpec) -> tuple[int, int, int, int]:
    """Return sockets, cores, threads and the most sockets; each at least 1."""
    cpu = domain.cpu
    if cpu is None:
        return 1, 1, 1, 1
    sockets, cores, threads = (max(n or 1, 1) for n in (cpu.sockets, cpu.cores, cpu.threads))
    return sockets, cores, threads, max(cpu.max_sockets or 0, sockets)


def vcpu_elements(domain: kubevirt.DomainSpec) -> list[Element]:
    """Return `<vcpu>`, and `<vcpus>` where sockets may be added later."""
    sockets, cores, threads, most = _topology(domain)
    now, total = sockets * cores * threads, most * cores * threads
    if now == total:
        return [element("vcpu", {"placement": "static"}, text=str(now))]
    listed = [
        element(
            "vcpu",
            {
                "id": number,
                "enabled": "yes" if number < now else "no",
                "hotpluggable": "no" if number < cores * threads else "yes",
            },
        )
        for number in range(total)
    ]
    head = element("vcpu", {"placement": "static", "current": now}, text=str(total))
    return [head, element("vcpus", None, *listed)]


def cpu_element(domain: kubevirt.DomainSpec, context: Context) -> Element:
    """Return `<cpu>`: the model, its features and the topology."""
    model = (domain.cpu.model if domain.cpu else None) or "host-model"
    _, cores, threads, most = _topology(domain)
    children = [
        element("topology", {"sockets": most, "dies": 1, "cores": cores, "threads": threads})
    ]
    named = {
        feature.name: feature.policy for feature in (domain.cpu.features if domain.cpu else ())
    }
    if model in HOST_MODELS:
        attributes = {"mode": EMULATED_HOST if context.emulated else model}
        off = () if context.emulated else context.cpu_features_off
    else:
        # Under emulation QEMU leaves out what it lacks; with a check libvirt would refuse to start.
        attributes = {"mode": "custom", "match": "exact"}
        if context.emulated:
            attributes["check"] = "none"
        children.insert(0, element("model", {"fallback": "forbid"}, text=model))
        off = ("mpx",)  # in the old Intel models, gone from CPUs and from QEMU
    features = {name: "disable" for name in off} | {
        name: policy or "require" for name, policy in named.items()
    }
    children += [
        element("feature", {"name": name, "policy": policy}) for name, policy in features.items()
    ]
    return element("cpu", attributes, *children)


def memory_bytes(domain: kubevirt.DomainSpec) -> int:
    """Return the guest's memory; raises BadInput when the spec names none."""
    guest = domain.memory.guest if domain.memory else None
    field = "spec.domain.memory.guest"
    if guest is None and domain.resources is not None:
        resources = domain.resources
        guest = resources.requests.get("memory") or resources.limits.get("memory")
        field = "spec.domain.resources.requests.memory"
    if guest is None:
        raise errors.BadInput(
            "the guest's memory is not given",
            field="spec.domain.memory.guest",
            hint="set spec.domain.memory.guest, for instance to 1Gi",
        )
    size = quantities.size(guest, field)
    if size < 1 << 20:
        raise errors.BadInput(f"{guest} is less than 1Mi of memory", field=field)
    return size


def memory_elements(domain: kubevirt.DomainSpec) -> list[Element]:
    """Return `<memory>`, and `<memoryBacking>` with huge pages."""
    elements = [element("memory", {"unit": "b"}, text=str(memory_bytes(domain)))]
    pages = domain.memory.hugepages if domain.memory else None
    if pages is not None and pages.page_size:
        size = quantities.size(pages.page_size, "spec.domain.memory.hugepages.pageSize")
        elements.append(
            element(
                "memoryBacking",
                None,
                element("hugepages", None, element("page", {"size": size, "unit": "b"})),
                element("source", {"type": "memfd"}),
            )
        )
    return elements


def compromises(domain: kubevirt.DomainSpec, context: Context) -> list[str]:
    """Say in what the CPU differs from the spec because it is emulated."""
    model = (domain.cpu.model if domain.cpu else None) or "host-model"
    if not context.emulated:
        return []
    if model in HOST_MODELS:
        return [f"cpu model {model} is emulated as QEMU's max"]
    return [f"cpu model {model} is emulated without the features that QEMU cannot emulate"]
