"""Start, stop and restart: from a VM's state to the patch that orders it, or a refusal. Pure.

No node is called: the spec is switched, or a request is queued in `status.stateChangeRequests`,
which virt-controller works off.

    strategy        start                    stop                       restart
    Halted          switch on; paused: ask   409 unless faster          409
    Manual          ask                      ask                        ask for both
    RerunOnFailure  ask; 409 if it failed    ask                        ask for both
    Always          409                      switch off                 ask for both
    Once            409                      switch off                 409
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from mtv.api import json_patch, kubevirt
from mtv_operator.virt_api import statuses
from mtv_operator.virt_api.statuses import Refusal

RESOURCE = "virtualmachines"
FINAL = ("Succeeded", "Failed")
FORCED_GRACE_S = 1

Vm = kubevirt.VirtualMachine
Vmi = kubevirt.VirtualMachineInstance
Operations = list[json_patch.Operation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The patches that carry out a call: of the VM, of its status, of its instance (first)."""

    vm: Operations = field(default_factory=list)
    status: Operations = field(default_factory=list)
    instance: Operations = field(default_factory=list)


def strategy_of(vm: Vm) -> str:
    """Return the run strategy; `running` is Always or Halted."""
    if vm.spec.running is not None:
        return "Always" if vm.spec.running else "Halted"
    return vm.spec.run_strategy or "Halted"


def is_live(vmi: Vmi | None) -> bool:
    """Tell whether there is an instance that has not ended."""
    return vmi is not None and _phase(vmi) not in (*FINAL, "Unknown")


def _phase(vmi: Vmi) -> str:
    return (vmi.status.phase if vmi.status else None) or ""


def start(vm: Vm, vmi: Vmi | None, *, paused: bool) -> Orders:
    """Return the orders that start a VM. Raises Refusal."""
    if is_live(vmi):
        raise _refused(vm, "VM is already running")
    if any(
        one.type == "ManualRecoveryRequired" and one.status == "True"
        for one in (vm.status.conditions if vm.status else ())
    ):
        raise _refused(vm, "VM recovery required")
    data = {"paused": "true"} if paused else {}
    asked = _request("Start", data=data)
    match strategy_of(vm):
        case "Halted":
            return Orders(status=queued(vm, asked)) if paused else Orders(vm=switched(vm, on=True))
        case "RerunOnFailure" if vmi is not None and _phase(vmi) == "Failed":
            message = "RerunOnFailure does not support starting VM from failed state"
            raise _refused(vm, message)
        case "RerunOnFailure" | "Manual":
            if vmi is not None:
                return Orders(status=queued(vm, _stop_request(vmi), asked))
            return Orders(status=queued(vm, asked))
        case other:
            raise _refused(vm, f"{other} does not support manual start requests")


def stop(vm: Vm, vmi: Vmi | None, *, grace_s: int | None) -> Orders:
    """Return the orders that stop a VM. Raises Refusal."""
    if grace_s is not None and grace_s < 0:
        raise Refusal(400, f"GracePeriod {grace_s} is negative")
    strategy = strategy_of(vm)
    live = is_live(vmi)
    faster = vmi is not None and live and grace_s is not None and grace_s < _grace_s(vmi)
    shorter = graced(vmi, grace_s) if vmi is not None and live and grace_s is not None else []
    if not live and strategy == "RerunOnFailure" and _waits_for_start(vm):
        return Orders(status=cleared(vm))
    if not live and strategy not in ("Always", "Once"):
        raise _refused(vm, "VM is not running")
    match strategy:
        case "Halted":
            if not faster:
                raise _refused(vm, "VM is not running")
            return Orders(instance=shorter)
        case "Manual" | "RerunOnFailure":
            assert vmi is not None
            return Orders(instance=shorter, status=queued(vm, _stop_request(vmi)))
        case "Always" | "Once":
            return Orders(instance=shorter, vm=switched(vm, on=False))
        case other:
            raise _refused(vm, f"{other} does not support stop requests")


def restart(vm: Vm, vmi: Vmi | None, *, grace_s: int | None) -> Orders:
    """Return the orders that restart a VM. Raises Refusal."""
    if grace_s is not None and grace_s != 0:
        raise Refusal(400, "For force restart, only gracePeriod=0 is supported for now")
    strategy = strategy_of(vm)
    if strategy in ("Halted", "Once", "WaitAsReceiver"):
        raise _refused(vm, f"{strategy} does not support manual restart requests")
    if vmi is None or not is_live(vmi):
        raise _refused(vm, "VM is not running")
    shorter = graced(vmi, FORCED_GRACE_S) if grace_s is not None else []
    return Orders(instance=shorter, status=queued(vm, _stop_request(vmi), _request("Start")))


def switched(vm: Vm, *, on: bool) -> Operations:
    """Return the patch of the spec, in the word that it uses, tested against what was read."""
    if vm.spec.running is not None:
        path, old, new = "/spec/running", vm.spec.running, on
    else:
        path = "/spec/runStrategy"
        old, new = strategy_of(vm), "Always" if on else "Halted"  # type: ignore[assignment]
    return [
        {"op": "test", "path": path, "value": old},
        {"op": "replace", "path": path, "value": new},
    ]


def queued(vm: Vm, *requests: dict[str, Any]) -> Operations:
    """Return the patch of the status that queues requests.

    A lone Stop takes the place of what waits; anything else may not be queued behind it. A start by
    hand also ends the back-off.
    """
    status = vm.status
    if status is None:
        value = {"stateChangeRequests": list(requests)}
        return [{"op": "add", "path": "/status", "value": value}]
    path = "/status/stateChangeRequests"
    waiting = list(msgspec.to_builtins(status.state_change_requests))
    lone_stop = len(requests) == 1 and requests[0]["action"] == "Stop"
    operations: Operations = []
    if waiting:
        if not lone_stop:
            message = "unable to complete request: stop/start already underway"
            raise Refusal(500, message, name=vm.metadata.name, kind=RESOURCE)
        operations.append({"op": "test", "path": path, "value": waiting})
    else:
        operations.append(json_patch.same_version(vm.metadata.resource_version))
    operations.append({"op": "add", "path": path, "value": list(requests)})
    if status.start_failure is not None and any(one["action"] == "Start" for one in requests):
        operations.append({"op": "remove", "path": "/status/startFailure"})
    return operations


def _waits_for_start(vm: Vm) -> bool:
    return any(
        one.action == "Start" for one in (vm.status.state_change_requests if vm.status else ())
    )


def cleared(vm: Vm) -> Operations:
    """Return the patch that takes all requests back: a start that the back-off delays."""
    path = "/status/stateChangeRequests"
    waiting = list(msgspec.to_builtins(vm.status.state_change_requests)) if vm.status else []
    return [{"op": "test", "path": path, "value": waiting}, {"op": "remove", "path": path}]


def graced(vmi: Vmi, grace_s: int | None) -> Operations:
    """Return the patch that changes an instance's grace period."""
    path = "/spec/terminationGracePeriodSeconds"
    old = vmi.spec.termination_grace_period_seconds
    if old is None:
        return [{"op": "add", "path": path, "value": grace_s}]
    return [
        {"op": "test", "path": path, "value": old},
        {"op": "replace", "path": path, "value": grace_s},
    ]


def restored_grace(vmi: Vmi) -> Operations:
    """Return the patch that undoes `graced`."""
    path = "/spec/terminationGracePeriodSeconds"
    old = vmi.spec.termination_grace_period_seconds
    if old is None:
        return [{"op": "remove", "path": path}]
    return [{"op": "replace", "path": path, "value": old}]


def _grace_s(vmi: Vmi) -> int:
    grace = vmi.spec.termination_grace_period_seconds
    return 30 if grace is None else grace


def _request(action: str, *, uid: str = "", data: dict[str, str] | None = None) -> dict[str, Any]:
    request: dict[str, Any] = {"action": action}
    if data:
        request["data"] = data
    if uid:
        request["uid"] = uid
    return request


def _stop_request(vmi: Vmi) -> dict[str, Any]:
    return _request("Stop", uid=vmi.metadata.uid)


def _refused(vm: Vm, message: str) -> Refusal:
    return statuses.conflict(RESOURCE, vm.metadata.name, message)
