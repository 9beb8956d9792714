"""The seven steps from a VirtualMachine to a running domain, as they were really observed. Pure.

Each time is one that the step's own component stored: nothing is measured by the reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mtv.api import core, kubevirt

HANDLER_SAW = "mtv.dev/handler-saw"
BOOT_ORDERED = "mtv.dev/boot-ordered"
DOMAIN_RUNNING = "mtv.dev/domain-running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what happened to which object, by whom, and when ("" as long as it has not)."""

    number: int
    what: str
    object: str
    component: str
    at: str

    def seconds_after(self, first: Step) -> float | None:
        """Return how long after another step this one was; None while one of them is to come."""
        if not self.at or not first.at:
            return None
        return (_time(self.at) - _time(first.at)).total_seconds()


def steps(
    vm: kubevirt.VirtualMachine | None,
    vmi: kubevirt.VirtualMachineInstance,
    pod: core.Pod | None,
) -> tuple[Step, ...]:
    """Return the seven steps of the boot that made `vmi`."""
    name, launcher = vmi.metadata.name, pod.metadata.name if pod else "-"
    node = (vmi.status and vmi.status.node_name) or "-"
    marks = vmi.metadata.annotations
    made = vmi.metadata.creation_timestamp or ""
    maker = "virt-controller" if vm is not None else "user"
    rows = (
        ("VM object, VMI object made", f"vmi/{name}", maker, made),
        ("launcher pod scheduled", f"pod/{launcher}", "scheduler", _scheduled(pod)),
        ("launcher started", f"pod/{launcher}", "kubelet", _started(pod)),
        (f"nodeName set: {node}", f"vmi/{name}", "virt-controller", _phase(vmi, "Scheduled")),
        ("handler saw it", f"vmi/{name}", "virt-handler", marks.get(HANDLER_SAW, "")),
        ("boot ordered", f"vmi/{name}", "virt-handler", marks.get(BOOT_ORDERED, "")),
        ("domain running", f"vmi/{name}", "virt-launcher", marks.get(DOMAIN_RUNNING, "")),
    )
    return tuple(
        Step(number=number, what=what, object=target, component=component, at=at)
        for number, (what, target, component, at) in enumerate(rows, 1)
    )


def _scheduled(pod: core.Pod | None) -> str:
    for condition in pod.status.conditions if pod and pod.status else ():
        if condition.type == "PodScheduled" and condition.status == "True":
            return condition.last_transition_time or ""
    return ""


def _started(pod: core.Pod | None) -> str:
    for container in pod.status.container_statuses if pod and pod.status else ():
        states = (container.state, container.last_state)
        for state in states if container.name == "compute" else ():
            if state and state.running:
                return state.running.started_at or ""
            if state and state.terminated:
                return state.terminated.started_at or ""
    return ""


def _phase(vmi: kubevirt.VirtualMachineInstance, phase: str) -> str:
    for passed in vmi.status.phase_transition_timestamps if vmi.status else ():
        if passed.phase == phase:
            return passed.phase_transition_timestamp or ""
    return ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
