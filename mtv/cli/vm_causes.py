"""Why a VM is as it is: VM, instance, pod, node, disks, domain, each looked at. Pure.

The last link with a cause is the first cause: what stands further down makes those above wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from mtv import errors
from mtv.api import cdi, core, kubevirt, meta, quantities
from mtv.cli import causes
from mtv.cli.causes import Link

GOOD_STATES = ("Running", "Stopped", "Succeeded", "Paused", "Provisioning", "Migrating")
RECENT = timedelta(minutes=15)
MOST_NODES = 3
WAITS_FOR_CONSUMER = "WaitForFirstConsumer"
SCHEDULABLE = "kubevirt.io/schedulable"
HANDED_OVER = ("Scheduled", "Running")  # phases in which virt-handler says what is wrong
# What to do, by a part of what was seen.
REMEDIES = (
    ("pull", "check the image's name and its registry, or `mtv image load FILE IMAGE`"),
    ("unbound", "see the claim"),
    ("Insufficient devices.kubevirt.io/kvm", "no node has KVM: `mtv doctor`; or allow emulation"),
    ("Insufficient", "free a node or add one, or have the VM ask for less"),
    ("node selector", "change the VM's nodeSelector or affinity, or label a node"),
    ("taint", "tolerate the taint in the VM, or take it off the node"),
    ("CPU model", "set spec.template.spec.domain.cpu.model to host-model"),
    ("PCI", "leave out the pciAddress of disks and interfaces"),
    ("firmware", "install the firmware on the node (package ovmf), or boot by BIOS"),
    ("does not exist", "create it, or change the volume of the VM"),
    ("instancetype", "create it, or change spec.instancetype or spec.preference of the VM"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read. A claim or a DataVolume that is named and missing is None."""

    vm: kubevirt.VirtualMachine
    instance: kubevirt.VirtualMachineInstance | None = None
    pod: core.Pod | None = None
    nodes: Sequence[core.Node] = ()  # the one the pod is on, or all while it is on none
    claims: Mapping[str, core.PersistentVolumeClaim | None] = field(default_factory=dict)
    data_volumes: Mapping[str, cdi.DataVolume] = field(default_factory=dict)
    classes: Mapping[str, core.StorageClass] = field(default_factory=dict)
    events: Sequence[core.Event] = ()
    now: datetime


def links(seen: Seen) -> list[Link]:
    """Return the chain."""
    found = [_of_vm(seen)]
    if seen.instance is not None:
        found.append(_of_instance(seen.instance))
    if seen.pod is not None:
        found.append(_of_pod(seen.pod))
    found += (_of_node(one, seen) for one in seen.nodes[:MOST_NODES])
    found += (_of_data_volume(one) for one in seen.data_volumes.values())
    found += (_of_claim(name, one, seen) for name, one in seen.claims.items())
    if seen.instance is not None and seen.pod is not None:
        found.append(_of_domain(seen.instance))
    return [_with_remedy(_with_events(one, seen)) for one in found]


def _of_vm(seen: Seen) -> Link:
    vm = seen.vm
    status = vm.status or kubevirt.VirtualMachineStatus()
    state = status.printable_status or "Unknown"
    failing = [c for c in status.conditions if c.type == "Failure" and c.status == "True"]
    cause = (failing[0].message or failing[0].reason or "") if failing else ""
    evidence: tuple[str, ...] = ()
    remedy = ""
    if not cause:
        cause, evidence = _repeated_ends(seen)
        remedy = f"virtctl console {vm.metadata.name} shows what the guest says" if cause else ""
    if not cause and state not in GOOD_STATES:
        cause = f"its status is {state}"
    strategy = vm.spec.run_strategy or ("Always" if vm.spec.running else "Halted")
    return Link(
        object=f"vm/{vm.metadata.name}",
        state=f"{state}, run strategy {strategy}",
        cause=cause,
        evidence=evidence,
        remedy=remedy,
    )


def _repeated_ends(seen: Seen) -> tuple[str, tuple[str, ...]]:
    """Return that earlier instances of the VM ended, and what was said of that."""
    current = seen.instance.metadata.uid if seen.instance is not None else ""
    ends = [
        one
        for one in seen.events
        if one.type == "Warning"
        and one.reason == "Stopped"
        and one.involved_object.kind == kubevirt.VirtualMachineInstance.kind_name()
        and one.involved_object.name == seen.vm.metadata.name
        and one.involved_object.uid != current
        and _is_recent(one, seen.now)
    ]
    ends.sort(key=lambda one: (one.last_timestamp or "", one.message or ""), reverse=True)
    count = len({one.involved_object.uid for one in ends})
    status = seen.vm.status or kubevirt.VirtualMachineStatus()
    failure = status.start_failure
    failed = (failure.consecutive_fail_count or 0) if failure is not None else 0
    said = tuple(dict.fromkeys(f"{one.last_timestamp or ''} {one.message}" for one in ends))[:3]
    if failed:
        retry = failure.retry_after_timestamp if failure is not None else None
        when = f", and is tried again at {retry}" if retry else ""
        return f"it failed to start {failed} times in a row{when}", said
    if count < 2:
        return "", ()
    minutes = int(RECENT.total_seconds() // 60)
    return f"its guest ended {count} times in the last {minutes} minutes", said


def _is_recent(event: core.Event, now: datetime) -> bool:
    text = event.last_timestamp or event.event_time
    if not text:
        return False
    return now - datetime.fromisoformat(text.replace("Z", "+00:00")) < RECENT


def _of_instance(vmi: kubevirt.VirtualMachineInstance) -> Link:
    """Look at an instance; what its domain cannot do is the domain's."""
    status = vmi.status or kubevirt.VirtualMachineInstanceStatus()
    cause = ""
    for one in status.conditions:
        waits = one.type in ("Synchronized", "PodScheduled", "Provisioning", "DataVolumesReady")
        of_domain = one.type == "Synchronized" and status.phase in HANDED_OVER
        if waits and one.status == "False" and not of_domain:
            cause = cause or one.message or one.reason or one.type
    if not cause and status.phase == "Failed":
        cause = status.reason or "it failed"
    return Link(object=f"vmi/{vmi.metadata.name}", state=status.phase or "Pending", cause=cause)


def _of_pod(pod: core.Pod) -> Link:
    link = causes.of_pod(pod)
    waits = "nodes are available" in link.cause
    asks = _asks(pod) if waits else ""
    return replace(link, evidence=(f"it asks for {asks}",) if asks else (), remedy="")


def _asks(pod: core.Pod) -> str:
    containers = pod.spec.containers if pod.spec is not None else ()
    asked = containers[0].resources.requests if containers and containers[0].resources else {}
    return ", ".join(f"{name} {value}" for name, value in sorted(asked.items()))


def _of_node(node: core.Node, seen: Seen) -> Link:
    status = node.status or core.NodeStatus()
    ready = next((one for one in status.conditions if one.type == "Ready"), None)
    cause, remedy, name = "", "", node.metadata.name
    if ready is None or ready.status != "True":
        cause = (ready.message or ready.reason or "" if ready else "") or "it is not ready"
        remedy = f"kubectl describe node {name}; where it is lost: taint it out-of-service"
    elif node.spec is not None and node.spec.unschedulable:
        cause, remedy = "it takes no new pods (cordoned)", f"kubectl uncordon {name}"
    elif node.metadata.labels.get(SCHEDULABLE) == "false":
        cause = "its virt-handler is silent or not ready: it takes no VMs"
        remedy = f"`mtv doctor` on it; kubectl describe node {name}"
    words = ["Ready" if not cause else "not usable"]
    free = _room(status)
    if free and _is_waiting(seen.pod):
        words.append(f"allocatable {free}")
    return Link(object=f"node/{name}", state=", ".join(words), cause=cause, remedy=remedy)


def _is_waiting(pod: core.Pod | None) -> bool:
    return pod is not None and not (pod.spec is not None and pod.spec.node_name)


def _room(status: core.NodeStatus) -> str:
    known = status.allocatable
    return ", ".join(
        f"{name} {_short(name, known[name])}" for name in ("cpu", "memory") if name in known
    )


def _short(name: str, value: meta.Quantity) -> str:
    try:
        return str(value) if name == "cpu" else f"{quantities.whole(value) >> 20}Mi"
    except errors.BadInput:
        return str(value)


def _of_data_volume(volume: cdi.DataVolume) -> Link:
    status = volume.status or cdi.DataVolumeStatus()
    bad = [
        one.message
        for one in status.conditions
        if one.type == "Running" and one.status == "False" and one.message
    ]
    phase = status.phase or "Pending"
    cause = bad[0] if bad and bad[0] and phase != "Succeeded" else ""
    return Link(
        object=f"datavolume/{volume.metadata.name}",
        state=f"{phase} {status.progress or ''}".strip(),
        cause=cause or ("it failed" if phase == "Failed" else ""),
        remedy="check its source; kubectl describe dv shows each try" if cause else "",
    )


def _of_claim(name: str, claim: core.PersistentVolumeClaim | None, seen: Seen) -> Link:
    link = causes.of_claim(name, claim)
    if claim is None or link.state != "Pending":
        return link
    wanted = claim.spec.storage_class_name if claim.spec is not None else None
    if not wanted:
        why = "it names no storage class, and none is the default"
        return replace(link, cause=why, remedy=_choose(seen))
    if wanted not in seen.classes:
        return replace(link, cause=f"there is no StorageClass {wanted}", remedy=_choose(seen))
    if seen.classes[wanted].volume_binding_mode == WAITS_FOR_CONSUMER:
        return replace(link, state=f"Pending until a pod uses it (class {wanted})")
    return replace(link, cause=f"no volume was made for it yet (class {wanted})")


def _choose(seen: Seen) -> str:
    there = ", ".join(sorted(seen.classes)) or "none"
    return f"make the claim anew with a class that is there: {there}"


def _of_domain(vmi: kubevirt.VirtualMachineInstance) -> Link:
    """Look at libvirt's domain, as virt-handler reports it on the instance."""
    status = vmi.status or kubevirt.VirtualMachineInstanceStatus()
    name = f"domain/{vmi.metadata.namespace}_{vmi.metadata.name}"
    for one in status.conditions:
        wrong = one.type == "Synchronized" and one.status == "False"
        if wrong and status.phase in HANDED_OVER:
            return Link(object=name, state="not as ordered", cause=one.message or one.reason or "")
        if one.type == "Paused" and one.status == "True":
            faulty = one.reason == "PausedIOError"
            cause = f"paused: {one.message or one.reason}" if faulty else ""
            remedy = "make room on the storage of its disks, then virtctl unpause" if faulty else ""
            return Link(object=name, state="paused", cause=cause, remedy=remedy)
    running = status.phase == "Running"
    return Link(object=name, state="running" if running else "not running")


def _with_remedy(link: Link) -> Link:
    if link.remedy or not link.cause:
        return link
    return replace(link, remedy=next((then for seen, then in REMEDIES if seen in link.cause), ""))


def _with_events(link: Link, seen: Seen) -> Link:
    """Add what Warning events say of the object, where something is wrong."""
    if not link.cause:
        return link
    said = tuple(_said(link, seen))
    fresh = [one for one in dict.fromkeys(said) if one not in link.evidence]
    return replace(link, evidence=(*link.evidence, *fresh[:3]))


def _said(link: Link, seen: Seen) -> Iterator[str]:
    kind, _, name = link.object.partition("/")
    about: Iterable[core.Event] = (
        one for one in seen.events if one.type == "Warning" and _is_about(one, kind, name, seen)
    )
    for one in sorted(about, key=lambda event: event.last_timestamp or "", reverse=True):
        yield f"{one.last_timestamp or ''} {one.reason}: {one.message}"


_KINDS = {
    "vm": "VirtualMachine",
    "vmi": "VirtualMachineInstance",
    "pod": "Pod",
    "pvc": "PersistentVolumeClaim",
    "datavolume": "DataVolume",
    "node": "Node",
    "domain": "VirtualMachineInstance",
}


def _is_about(event: core.Event, kind: str, name: str, seen: Seen) -> bool:
    target = event.involved_object
    if kind == "domain":
        name = seen.vm.metadata.name
    current = seen.instance.metadata.uid if seen.instance is not None else ""
    of_now = target.kind != "VirtualMachineInstance" or target.uid == current
    return target.kind == _KINDS.get(kind) and target.name == name and of_now
