"""What about a VM of an OVA or OVF a person should know. The ids are Forklift's, where it has some.

Of the rules for vSphere only those are here that a descriptor can tell something about.
"""

from __future__ import annotations

from mtv.inventory.model import VM, Inventory
from mtv.planning import names
from mtv.planning.concerns import MAX_DISKS, Category, Rule

_UNKNOWN_SOURCE = ("ovf.source", "VMware")


def _of(vm: VM, holds: object) -> tuple[str, ...]:
    return ("",) if holds else ()


def _too_many(vm: VM, _inventory: Inventory) -> tuple[str, ...]:
    return (str(len(vm.disks)),) if len(vm.disks) > MAX_DISKS else ()


def _empty(vm: VM, _inventory: Inventory) -> tuple[str, ...]:
    return tuple(disk.file for disk in vm.disks if disk.capacity_bytes <= 0)


RULES: tuple[Rule, ...] = (
    Rule("ova.cpu_affinity.detected", Category.WARNING, "CPU affinity detected",
         "The descriptor ties the VM to CPUs. That is not carried over.",
         lambda vm, _: _of(vm, vm.cpu_affinity)),
    Rule("ova.cpu_memory.hotplug.enabled", Category.WARNING, "CPU/Memory hotplug detected",
         "CPUs or memory can be changed while this VM runs. The target gets what the descriptor "
         "says now, and hot-plug works there by the rules of KubeVirt.",
         lambda vm, _: _of(vm, vm.cpu_hot_add or vm.cpu_hot_remove or vm.memory_hot_add)),
    Rule("ova.disk.count.exceeds.limit", Category.CRITICAL,
         f"VM has {{}} disks, which exceeds the limit of {MAX_DISKS}",
         f"The VM has {{}} disks; the target can hold {MAX_DISKS}.", _too_many),
    Rule("ova.disk.capacity.invalid", Category.CRITICAL, "Disk '{}' has an invalid capacity",
         "The descriptor gives {} a capacity of zero, and the file does not tell another.", _empty),
    Rule("ova.source.unsupported", Category.WARNING, "Unsupported OVA source",
         "Nothing in the descriptor tells that VMware wrote it. What is not in the standard may "
         "be missing on the target: compare its hardware with that of the source.",
         lambda vm, _: _of(vm, _UNKNOWN_SOURCE not in vm.extra_config)),
    Rule("ova.vm.name.invalid", Category.WARNING, "Invalid VM Name",
         "The name is no DNS label of at most 63 characters. The target VM gets a name made of "
         "it; the original is kept in an annotation.",
         lambda vm, _: _of(vm, not names.is_dns_label(vm.name))),
    Rule("mtv.ova.tpm.detected", Category.WARNING, "TPM detected",
         "A package does not carry what a TPM holds: the target gets an empty one, and what was "
         "sealed with it (BitLocker, say) asks for its recovery key.",
         lambda vm, _: _of(vm, vm.vtpm)),
)  # fmt: skip
