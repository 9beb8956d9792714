"""The adaptation of a guest between its copy and its VM: which pod is wanted, what its end means.

Pure. What became of it stands in the annotations of the step ImageConversion: the devices that the
VM is given are read from there, so that nothing else must be remembered.

    CreateGuestConversionPod → ConvertGuest ┬→ the outcome is noted → CreateVM
                                            └→ a commit was cut off for good → the VM fails

A guest that cannot be adapted is no failure: it gets emulated devices, and a condition says why.
A *rehearsal* does the same on overlays that are thrown away, while the source still runs; what
booted there is not tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import msgspec

from mtv.api import core, forklift, kubevirt
from mtv.errors import BadInput
from mtv.inventory.model import VM
from mtv.planning import adaptation, boot, hardware
from mtv.planning.plan import PlannedVM
from mtv_operator.adaptation import messages
from mtv_operator.adaptation.messages import Order, OrderedNic, Outcome
from mtv_operator.migration import actions, conditions, conversion_pod, progress, vm_scene
from mtv_operator.migration.conditions import Category
from mtv_operator.migration.conversion_pod import COMMIT, REHEARSE
from mtv_operator.migration.itinerary import StepName
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

OUTCOME, REHEARSAL = "mtv.dev/adaptation", "mtv.dev/rehearsal"  # annotations of the step
MOST_ATTEMPTS = 3
MOST_RESTARTS = 3
UNPLACED_S = 10.0  # a node that offers /dev/fuse would have been found by then
PENDING_S = 600.0
POD_S = 3.0  # until a pod runs, and until its end is known
UNREHEARSED_S = 20.0
_EMULATED = "emulated"
replace = msgspec.structs.replace


# -- what was decided


def outcome_of(vm: forklift.VMStatus, name: str = OUTCOME) -> Outcome | None:
    """Return what became of a guest; None before that is known."""
    step = _step(vm)
    text = step.annotations.get(name, "") if step else ""
    return messages.decode(text) if text else None


def devices_of(vm: forklift.VMStatus, spec: forklift.PlanSpec) -> hardware.Hardware | None:
    """Return the devices that a guest was made ready for; None before that is known."""
    found = outcome_of(vm)
    if found is None:
        return None
    devices = hardware.of_names(found.bus, found.nic_model)
    if found.way == _EMULATED and found.system == "unknown" and spec.disk_bus in hardware.BUSES:
        # Nothing was found that could contradict who has written the plan.
        return hardware.Hardware(disk_bus=spec.disk_bus, nic_model=devices.nic_model)
    return devices


def expected_s(vm: forklift.VMStatus) -> float:
    """Return how long the adaptation of a guest will take: as its rehearsal did, but for booting.

    Where there was none it is a guess; 0 where nothing is adapted.
    """
    if _step(vm) is None:
        return 0.0
    rehearsed = outcome_of(vm, REHEARSAL)
    if rehearsed is None or not rehearsed.seconds:
        return UNREHEARSED_S
    parts = sum(took for what, took in rehearsed.seconds.items() if "boot" not in what)
    return parts + POD_S


def marked(target: kubevirt.VirtualMachine, vm: forklift.VMStatus) -> kubevirt.VirtualMachine:
    """Return the target VM with the record of what was done to its guest."""
    step = _step(vm)
    text = step.annotations.get(OUTCOME, "") if step else ""
    if not text:
        return target
    marks = {**target.metadata.annotations, OUTCOME: text}
    return replace(target, metadata=replace(target.metadata, annotations=marks))


def _step(vm: forklift.VMStatus) -> forklift.Step | None:
    return next((one for one in vm.pipeline if one.name == StepName.IMAGE_CONVERSION), None)


# -- the phases


def create_pod(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Make the pod that adapts the guest; a rehearsal that still runs comes to its end."""
    if outcome_of(vm) is not None:  # noted before the controller was killed
        return Advance(vm=vm_scene.onward(vm, now))
    todo = [*ended(scene, vm, REHEARSE), _ensured(scene, vm, planned, COMMIT, 1)]
    return Advance(vm=vm_scene.onward(vm, now), actions=tuple(todo))


def convert(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Wait for the pod, and note what became of it."""
    found = _look(scene, vm, planned, COMMIT, now)
    if isinstance(found, Advance):
        return found
    if found.torn:
        return vm_scene.failed(
            vm,
            f"the adapted files could not be written into the disks wholly ({found.error}): "
            "delete the claims and start again",
        )
    vm = _noted(_with(vm, OUTCOME, found), found, now)
    todo = _gone(scene, vm) if scene.plan.spec.delete_guest_conversion_pod is not False else ()
    return Advance(vm=vm_scene.onward(vm, now), actions=tuple(todo))


def rehearse(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime
) -> Advance | None:
    """Look at the guest on the copy that is there, and try its adaptation; None when done.

    Nothing must write to the claims meanwhile; `ended` with REHEARSE is how it is cut short.
    """
    if not scene.plan.spec.run_preflight_inspection or _step(vm) is None:
        return None
    if outcome_of(vm, REHEARSAL) is not None:
        return None
    if not list(_pods(scene, vm, REHEARSE)):
        ensure = _ensured(scene, vm, planned, REHEARSE, 1)
        return Advance(vm=vm, actions=(ensure,), requeue_after_s=WAIT_S)
    found = _look(scene, vm, planned, REHEARSE, now)
    if isinstance(found, Advance):
        return found
    vm = _inspected(_with(vm, REHEARSAL, replace(found, changes=())), found, now)
    return Advance(vm=vm, actions=tuple(ended(scene, vm, REHEARSE)))


def ended(scene: Scene, vm: forklift.VMStatus, mode: str = "") -> Iterator[actions.OfPlan]:
    """Yield what takes the pods of a VM away, those of one mode or all."""
    for which in (mode,) if mode else (COMMIT, REHEARSE):
        for pod in _pods(scene, vm, which):
            yield _delete(pod)


def _gone(scene: Scene, vm: forklift.VMStatus) -> Iterator[actions.OfPlan]:
    yield from ended(scene, vm)


def _delete(pod: core.Pod) -> actions.DeletePod:
    there = pod.metadata
    return actions.DeletePod(namespace=there.namespace, name=there.name, uid=there.uid)


# -- pods


def _pods(scene: Scene, vm: forklift.VMStatus, mode: str) -> Iterator[core.Pod]:
    for pod in scene.adapters.values():
        if conversion_pod.is_of(pod, scene.owner, vm.id or "", mode):
            yield pod


def _look(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, mode: str, now: datetime
) -> Outcome | Advance:
    """Return what became of the newest pod, or what is to be waited for or done."""
    pods = sorted(_pods(scene, vm, mode), key=conversion_pod.attempt_of)
    if not pods:
        first = _ensured(scene, vm, planned, mode, 1)
        return Advance(vm=vm, actions=(first,), requeue_after_s=WAIT_S)
    pod = pods[-1]
    if pod.metadata.deletion_timestamp:
        return _next(scene, vm, planned, mode, pod, "the pod was taken away")
    status = pod.status or core.PodStatus()
    said, code, restarts = _said(status)
    if code == 0:
        return said or Outcome(way=_EMULATED, error="the pod ended without a word")
    if restarts >= MOST_RESTARTS:
        why = f"mtv-adapt was ended {restarts} times, see the log of pod {pod.metadata.name}"
        torn = said is not None and said.step == "committing"
        return Outcome(way=_EMULATED, error=why, torn=torn)
    if status.phase == "Failed":
        why = status.message or status.reason or "its pod has failed"
        return _next(scene, vm, planned, mode, pod, why)
    age_s = conditions.seconds_since(pod.metadata.creation_timestamp, now)
    if status.phase in (None, "", "Pending"):
        unplaced = _unplaced(status)
        if unplaced and conversion_pod.has_fuse(pod) and age_s > UNPLACED_S:
            return _next(scene, vm, planned, mode, pod, unplaced, fuse=False)
        if age_s > PENDING_S:
            why = unplaced or "its pod does not start"
            return Outcome(way=_EMULATED, error=f"{why} ({age_s:.0f} s)")
        return Advance(vm=vm, requeue_after_s=UNPLACED_S / 2)
    return Advance(vm=vm)  # its end is an event


def _next(
    scene: Scene,
    vm: forklift.VMStatus,
    planned: PlannedVM,
    mode: str,
    pod: core.Pod,
    why: str,
    *,
    fuse: bool = True,
) -> Outcome | Advance:
    """Try once more, in a new pod; give up when that was often enough."""
    number = conversion_pod.attempt_of(pod)
    if number >= MOST_ATTEMPTS:
        return Outcome(way=_EMULATED, error=why)
    fuse = fuse and conversion_pod.has_fuse(pod)
    again = _ensured(scene, vm, planned, mode, number + 1, fuse=fuse)
    return Advance(vm=vm, actions=(_delete(pod), again), requeue_after_s=WAIT_S)


def _said(status: core.PodStatus) -> tuple[Outcome | None, int | None, int]:
    """Return the newest message of the container, its exit code if it has ended, its restarts."""
    for one in status.container_statuses:
        now = one.state.terminated if one.state else None
        before = one.last_state.terminated if one.last_state else None
        newest = now or before
        said = messages.decode(newest.message or "") if newest else None
        return said, now.exit_code if now else None, one.restart_count
    return None, None, 0


def _unplaced(status: core.PodStatus) -> str:
    return next(
        (
            one.message or "no node takes its pod"
            for one in status.conditions
            if one.type == "PodScheduled"
            and one.status == "False"
            and one.reason == "Unschedulable"
        ),
        "",
    )


def _ensured(
    scene: Scene,
    vm: forklift.VMStatus,
    planned: PlannedVM,
    mode: str,
    number: int,
    *,
    fuse: bool = True,
) -> actions.EnsurePod:
    pod = conversion_pod.build(wanted(scene, vm, planned, mode, fuse=fuse), number)
    return actions.EnsurePod(pod=pod, owner=next((one.claim_name for one in planned.volumes), ""))


def wanted(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, mode: str, *, fuse: bool = True
) -> conversion_pod.Wanted:
    """Return the pod's content: what the plan wants, and what the source tells of the guest."""
    try:
        wish = adaptation.parse(scene.plan.metadata.annotations, scene.plan.spec.disk_bus)
    except BadInput:
        wish = adaptation.Wish()  # the plan says so; it was Ready when this run began
    spec, source = scene.plan.spec, planned.vm
    assert source is not None
    before = outcome_of(vm, REHEARSAL)
    volumes = [one for one in planned.volumes if not one.disk.shared]
    return conversion_pod.Wanted(
        namespace=spec.target_namespace,
        base=planned.target_name,
        run=scene.owner.migration_uid,
        labels={**scene.owner.of_vm(vm.id or ""), **spec.convertor_labels},
        disks=[
            conversion_pod.Disk(claim=one.claim_name, block=one.volume_mode == "Block")
            for one in volumes
        ],
        order=Order(
            disks=(),
            bus=wish.bus,
            nics=tuple(_nics(source)),
            root=_root(planned),
            when=vm.started or "",
            trial=messages.Trial(
                timeout_s=wish.timeout_s,
                # Firmware and kernel want this much; more is what the guest itself has.
                memory_mib=max(256, min(1024, source.memory_bytes >> 20)),
            )
            if wish.boot_test
            else None,
            rehearse=mode == REHEARSE,
            proven=before.recipe if before is not None and before.booted else "",
            console=wish.console,
            legacy_drivers=bool(spec.install_legacy_drivers),
        ),
        packages=wish.packages,
        drivers=wish.virtio_win,
        image=scene.image,
        fuse=fuse,
        node_selector=spec.convertor_node_selector,
        affinity=spec.convertor_affinity,
    )


def _nics(source: VM) -> Iterator[OrderedNic]:
    for nic in source.nics:
        addresses = [one for one in source.guest_networks if one.mac.lower() == nic.mac.lower()]
        yield OrderedNic(
            mac=nic.mac.lower(),
            slot=nic.pci_slot or 0,
            addresses=tuple(f"{one.ip}/{one.prefix}" for one in addresses)[:16],
        )


def _root(planned: PlannedVM) -> str:
    """Return the device that the plan names, else the number of the disk with the system."""
    named = planned.entry.root_disk or ""
    if re.search(r"(?:d[a-z]{1,2}|p)\d+$", named):
        return named
    assert planned.vm is not None
    disks = [one.disk for one in planned.volumes if not one.disk.shared]
    try:
        return str(boot.disk_of(planned.vm, disks, root_disk=named))
    except BadInput:
        return ""


# -- what users see


def _with(vm: forklift.VMStatus, name: str, outcome: Outcome) -> forklift.VMStatus:
    text = messages.encode(outcome).decode()
    pipeline = tuple(
        replace(step, annotations={**step.annotations, name: text})
        if step.name == StepName.IMAGE_CONVERSION
        else step
        for step in vm.pipeline
    )
    return replace(vm, pipeline=pipeline)


def _noted(vm: forklift.VMStatus, found: Outcome, now: datetime) -> forklift.VMStatus:
    """Say how the guest goes on: adapted, ready as it was, or on emulated devices and why."""
    vm = _inspected(vm, found, now)
    why = found.error or "; ".join(found.reasons)
    devices = f"disks on {found.bus}, NICs {found.nic_model}"
    trial_s = found.seconds.get("trial", 0.0)
    took = f" in {sum(found.seconds.values()) - trial_s:.1f} s" if found.seconds else ""
    if found.way == _EMULATED:
        failed = bool(found.error)
        return progress.noted(
            vm,
            "GuestNotAdapted",
            "AdaptationFailed" if failed else "NotPossible",
            f"the guest runs on emulated devices ({devices}), as it is: {why}",
            now,
            category=Category.WARN,
        )
    tried = ""
    if found.booted:
        tried = f", booted in a test of {trial_s:.0f} s" if trial_s else ", booted in a rehearsal"
    what = f"{len(found.changes) + found.not_listed} files changed{took}{tried}"
    message = f"{devices}; {what if found.committed else 'nothing had to be changed'}: {why}"
    return progress.noted(vm, "GuestAdapted", _reason(found.way), message, now)


def _inspected(vm: forklift.VMStatus, found: Outcome, now: datetime) -> forklift.VMStatus:
    if not found.facts:
        return vm
    way = f"{found.way}: {found.error or '; '.join(found.reasons)}"
    one = conditions.condition(
        "GuestInspected",
        Category.ADVISORY,
        f"{found.facts[0]}; way {way}",
        reason="Rehearsed" if found.rehearsed else "Inspected",
        items=(*found.facts, *(f"warning: {text}" for text in found.warnings)),
        durable=True,
    )
    return replace(vm, conditions=conditions.merge(vm.conditions, (one,), now))


def _reason(way: str) -> str:
    return {"nothing": "Ready", "light": "Light", "appliance": "Appliance"}.get(way, "VirtV2V")
