"""What VMs, their instances and migrations do, under KubeVirt's names.

The figures are read from the caches of the controllers at each scrape; only times between phases
are counted as they pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mtv import errors
from mtv.api import kubevirt, quantities
from mtv_operator.objects import Key
from mtv_operator.serving.exposition import COUNTER, GAUGE, Family, Histograms, Sample
from mtv_operator.virt_controller import conditions

Vm = kubevirt.VirtualMachine
Vmi = kubevirt.VirtualMachineInstance
Migration = kubevirt.VirtualMachineInstanceMigration

NONE = "<none>"
BOUNDS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
# The groups of upstream's `status_group`, by printable status.
_GROUPS = {
    "Running": "running",
    "Paused": "non_running",
    "Stopped": "non_running",
    "Stopping": "non_running",
    "Terminating": "non_running",
    "Starting": "starting",
    "Provisioning": "starting",
    "WaitingForVolumeBinding": "starting",
    "Migrating": "migrating",
}
GROUPS = ("running", "starting", "migrating", "non_running", "error")
_MIGRATION_PHASES = {
    "Pending": "pending",
    "Scheduling": "scheduling",
    "Scheduled": "scheduling",
    "PreparingTarget": "scheduling",
    "TargetReady": "scheduling",
    "Running": "running",
}


class Transitions:
    """How long instances took from phase to phase, and since they were made. From any thread."""

    def __init__(self) -> None:
        self._phases: dict[Key, tuple[str, str]] = {}
        self._between = Histograms(
            "kubevirt_vmi_phase_transition_time_seconds",
            "How long instances were in the phase before.",
            BOUNDS_S,
        )
        self._since = Histograms(
            "kubevirt_vmi_phase_transition_time_from_creation_seconds",
            "How long after their creation instances came to a phase.",
            BOUNDS_S,
        )

    def look(self, key: Key, vmi: Vmi | None) -> None:
        """Count the phase that an instance has come to."""
        if vmi is None:
            self._phases.pop(key, None)
            return
        status = vmi.status or kubevirt.VirtualMachineInstanceStatus()
        before, now = self._phases.get(key), (vmi.metadata.uid, status.phase or "")
        self._phases[key] = now
        if before is None or before == now or before[0] != now[0]:
            return  # what was there before this process did not just happen
        times = {
            one.phase: conditions.time_of(one.phase_transition_timestamp)
            for one in status.phase_transition_timestamps
            if one.phase_transition_timestamp
        }
        at, left = times.get(now[1]), times.get(before[1])
        labels = {"phase": now[1]}
        if at is not None and left is not None:
            took = max((at - left).total_seconds(), 0.0)
            self._between.observe(took, {**labels, "last_phase": before[1]})
        if at is not None and vmi.metadata.creation_timestamp:
            made = conditions.time_of(vmi.metadata.creation_timestamp)
            self._since.observe(max((at - made).total_seconds(), 0.0), labels)

    def families(self) -> list[Family]:
        """Return what was counted."""
        return [self._between.family(), self._since.family()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the caches have."""

    vms: Iterable[Vm]
    instances: Iterable[Vmi]
    migrations: Iterable[Migration]
    version: str = ""


def families(seen: Seen) -> list[Family]:
    """Return the metrics. Pure."""
    vms, instances = tuple(seen.vms), tuple(seen.instances)
    return [
        _gauge("kubevirt_info", "The version.", [Sample(1, {"kubeversion": seen.version})]),
        _gauge("kubevirt_virt_controller_up", "virt-controller answers.", [Sample(1)]),
        _gauge("kubevirt_virt_controller_ready_status", "It reconciles.", [Sample(1)]),
        _gauge("kubevirt_virt_controller_leading_status", "It leads.", [Sample(1)]),
        _gauge("kubevirt_vm_info", "What a VM is.", [Sample(1, _vm_info(one)) for one in vms]),
        *_status_times(vms),
        *_resources(vms),
        _gauge(
            "kubevirt_vmi_info",
            "What an instance is.",
            [Sample(1, _vmi_info(one)) for one in instances],
        ),
        _phase_counts(instances),
        _gauge(
            "kubevirt_vmi_non_evictable",
            "Whether an instance shall migrate at evictions, and cannot.",
            [Sample(_is_stuck(one), _place(one)) for one in instances],
        ),
        *_migrations(seen.migrations),
    ]


def _gauge(name: str, text: str, samples: list[Sample]) -> Family:
    return Family(name, text, GAUGE, samples)


def _named(vm: Vm) -> dict[str, str]:
    return {"name": vm.metadata.name, "namespace": vm.metadata.namespace}


def _size(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return instance type and preference, as instances are marked with them."""
    found = {}
    for label, word in (("instance_type", "instancetype"), ("preference", "preference")):
        own, cluster = f"kubevirt.io/{word}-name", f"kubevirt.io/cluster-{word}-name"
        found[label] = annotations.get(own) or annotations.get(cluster) or NONE
    return found


def _kind(annotations: Mapping[str, str]) -> dict[str, str]:
    return {
        word: annotations.get(f"vm.kubevirt.io/{word}", NONE)
        for word in ("os", "workload", "flavor")
    }


def _vm_info(vm: Vm) -> dict[str, str]:
    template = vm.spec.template
    machine = template.spec.domain.machine if template.spec is not None else None
    status = (vm.status.printable_status if vm.status is not None else None) or "Unknown"
    size, preference = vm.spec.instancetype, vm.spec.preference
    return {
        **_named(vm),
        **_kind(template.metadata.annotations),
        "machine_type": (machine.type if machine is not None else None) or NONE,
        "instance_type": (size.name if size is not None else None) or NONE,
        "preference": (preference.name if preference is not None else None) or NONE,
        "status": status.lower(),
        "status_group": group_of(status),
    }


def group_of(status: str) -> str:
    """Return the group of a printable status."""
    return _GROUPS.get(status, "error")


def _status_times(vms: tuple[Vm, ...]) -> Iterator[Family]:
    for group in GROUPS:
        samples = []
        for vm in vms:
            status = vm.status or kubevirt.VirtualMachineStatus()
            here = group_of(status.printable_status or "Unknown") == group
            times = [
                conditions.time_of(one.last_transition_time).timestamp()
                for one in status.conditions
                if one.last_transition_time
            ]
            samples.append(Sample(max(times, default=0.0) if here else 0.0, _named(vm)))
        yield Family(
            f"kubevirt_vm_{group}_status_last_transition_timestamp_seconds",
            f"When VMs that are {group.replace('_', ' ')} came to that.",
            COUNTER,
            samples,
        )


def _resources(vms: tuple[Vm, ...]) -> Iterator[Family]:
    for part in ("requests", "limits"):
        samples = [one for vm in vms for one in _resource(vm, part)]
        yield _gauge(f"kubevirt_vm_resource_{part}", f"Resources that VMs have as {part}.", samples)


def _resource(vm: Vm, part: str) -> Iterator[Sample]:
    spec = vm.spec.template.spec
    if spec is None:
        return
    domain = spec.domain
    given = getattr(domain.resources, part) if domain.resources is not None else {}
    rows = [(name, value, "domain") for name, value in given.items() if name in _UNITS]
    if part == "requests" and domain.memory is not None and domain.memory.guest is not None:
        rows.append(("memory", domain.memory.guest, "guest"))
    for name, value, source in rows:
        try:
            number = float(quantities.exact(value))
        except errors.BadInput:
            continue
        labels = {"resource": name, "unit": _UNITS[name], "source": source}
        yield Sample(number, {**_named(vm), **labels})


_UNITS = {"cpu": "cores", "memory": "bytes"}


def _place(vmi: Vmi) -> dict[str, str]:
    node = vmi.status.node_name if vmi.status is not None else None
    metadata = vmi.metadata
    return {"node": node or "", "namespace": metadata.namespace, "name": metadata.name}


def _vmi_info(vmi: Vmi) -> dict[str, str]:
    status = vmi.status or kubevirt.VirtualMachineInstanceStatus()
    guest = status.guest_os_info or kubevirt.VirtualMachineInstanceGuestOSInfo()
    return {
        **_place(vmi),
        "phase": (status.phase or "Pending").lower(),
        **_kind(vmi.metadata.annotations),
        **_size(vmi.metadata.annotations),
        "guest_os_kernel_release": guest.kernel_release or NONE,
        "guest_os_machine": guest.machine or NONE,
        "guest_os_name": guest.name or NONE,
        "guest_os_version_id": guest.version_id or NONE,
        "evictable": "false" if _is_stuck(vmi) else "true",
        "outdated": "false",
    }


def _phase_counts(instances: tuple[Vmi, ...]) -> Family:
    keys = ("node", "phase", "os", "workload", "flavor", "instance_type", "preference")
    counts = Counter(tuple(_vmi_info(one)[key] for key in keys) for one in instances)
    samples = [
        Sample(count, dict(zip(keys, key, strict=True))) for key, count in sorted(counts.items())
    ]
    return _gauge("kubevirt_vmi_phase_count", "How many instances are in a phase.", samples)


def _is_stuck(vmi: Vmi) -> bool:
    found = vmi.status.conditions if vmi.status is not None else ()
    able = conditions.is_true(found, "LiveMigratable")
    return vmi.spec.eviction_strategy == "LiveMigrate" and not able


def _migrations(found: Iterable[Migration]) -> Iterator[Family]:
    phases: Counter[str] = Counter()
    ended: dict[str, list[Sample]] = {"Succeeded": [], "Failed": []}
    for one in found:
        phase = (one.status.phase if one.status is not None else None) or "Pending"
        labels = {
            "vmi": one.spec.vmi_name or "",
            "vmim": one.metadata.name,
            "namespace": one.metadata.namespace,
        }
        if phase in ended:
            ended[phase].append(Sample(1, labels))
        elif phase in _MIGRATION_PHASES:
            phases[_MIGRATION_PHASES[phase]] += 1
    for word in ("pending", "scheduling", "running"):
        name = f"kubevirt_vmi_migrations_in_{word}_phase"
        yield _gauge(name, f"Migrations that are {word}.", [Sample(phases[word])])
    for word, samples in ended.items():
        name = f"kubevirt_vmi_migration_{word.lower()}"
        yield _gauge(name, f"Migrations that have {word.lower()}.", samples)
