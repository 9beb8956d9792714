"""The calls of `subresources.kubevirt.io` that answer once: what each does. Blocking.

Lifecycle calls of a VM answer 202 with an empty body, calls of an instance 200.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from mtv import errors
from mtv.api import json_patch, kubevirt, meta
from mtv_operator.instancetypes import expanding, lookup
from mtv_operator.virt_api import backend as backends
from mtv_operator.virt_api import hotplug, lifecycle, statuses, streams
from mtv_operator.virt_api.backend import Backend, Vmi
from mtv_operator.virt_api.statuses import Refusal

VMI = "virtualmachineinstances"
Operations = Sequence[json_patch.Operation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: of what, and its body."""

    namespace: str
    name: str
    body: bytes = b""
    query: str = ""


Answer = Callable[[Backend, Call], Response]


def start(backend: Backend, call: Call) -> Response:
    """Start a VM."""
    given = backends.options(call.body, kubevirt.StartOptions) or kubevirt.StartOptions()

    def attempt() -> None:
        vm, vmi = backend.vm(call.namespace, call.name), _vmi(backend, call)
        orders = lifecycle.start(vm, vmi, paused=bool(given.paused))
        backend.order(vm, vmi, orders, given.dry_run)

    backends.again_on_conflict(attempt)
    return statuses.accepted()


def stop(backend: Backend, call: Call) -> Response:
    """Stop a VM."""
    given = backends.options(call.body, kubevirt.StopOptions) or kubevirt.StopOptions()

    def attempt() -> None:
        vm, vmi = backend.vm(call.namespace, call.name), _vmi(backend, call)
        orders = lifecycle.stop(vm, vmi, grace_s=given.grace_period)
        backend.order(vm, vmi, orders, given.dry_run)

    backends.again_on_conflict(attempt)
    return statuses.accepted()


def restart(backend: Backend, call: Call) -> Response:
    """Restart a VM; a grace period that was shortened for it is given back when that fails."""
    given = backends.options(call.body, kubevirt.RestartOptions) or kubevirt.RestartOptions()

    def attempt() -> None:
        vm, vmi = backend.vm(call.namespace, call.name), _vmi(backend, call)
        orders = lifecycle.restart(vm, vmi, grace_s=given.grace_period_seconds)
        try:
            backend.order(vm, vmi, orders, given.dry_run)
        except errors.MigrationError:
            if orders.instance and vmi is not None and not given.dry_run:
                backend.send(vmi, lifecycle.restored_grace(vmi), ())
            raise

    backends.again_on_conflict(attempt)
    return statuses.accepted()


def migrate(backend: Backend, call: Call) -> Response:
    """Make a migration of a running VM."""
    given = backends.options(call.body, kubevirt.MigrateOptions) or kubevirt.MigrateOptions()
    backend.vm(call.namespace, call.name)
    vmi = backend.vmi(call.namespace, call.name)
    if _phase(vmi) != "Running":
        raise statuses.conflict(lifecycle.RESOURCE, call.name, "VM is not running")
    migration = kubevirt.VirtualMachineInstanceMigration(
        metadata=meta.ObjectMeta(generate_name="kubevirt-migrate-vm-", namespace=call.namespace),
        spec=kubevirt.VirtualMachineInstanceMigrationSpec(
            vmi_name=call.name, added_node_selector=given.added_node_selector
        ),
    )
    try:
        path = migration.resource.path(call.namespace)
        query = [("dryRun", one) for one in given.dry_run]
        backend.client.raw("POST", path, migration, query=query)
    except errors.MigrationError as fault:
        raise statuses.of_error(fault) from fault
    return statuses.accepted()


def expand_spec(backend: Backend, call: Call) -> Response:
    """Return a VM with its instance type and preference applied."""
    return _expanded(backend, backend.vm(call.namespace, call.name), refused=500)


def _expanded(backend: Backend, vm: kubevirt.VirtualMachine, *, refused: int) -> Response:
    try:
        found = lookup.of_vm(vm, backend.client)
        made = expanding.expanded(vm, found)
    except errors.BadInput as fault:
        raise Refusal(refused, str(fault)) from fault
    except errors.MigrationError as fault:
        raise statuses.of_error(fault) from fault
    return Response(msgspec.json.encode(made), media_type="application/json")


def expand_vm_spec(backend: Backend, call: Call) -> Response:
    """Return the VM that was sent, with its instance type and preference applied."""
    vm = backends.options(call.body, kubevirt.VirtualMachine)
    if vm is None:
        raise Refusal(400, "Object is not a valid VirtualMachine")
    if vm.metadata.namespace and vm.metadata.namespace != call.namespace:
        raise Refusal(400, f"VM namespace must be empty or {call.namespace}")
    metadata = msgspec.structs.replace(vm.metadata, namespace=call.namespace)
    vm = msgspec.structs.replace(vm, metadata=metadata)
    return _expanded(backend, vm, refused=400)


def pause(backend: Backend, call: Call) -> Response:
    """Stop the vCPUs of a running guest."""
    vmi = _running(backend, call, "VM is not running")
    if vmi.spec.liveness_probe is not None and vmi.spec.liveness_probe.guest_agent_ping is None:
        message = "Pausing VMIs with LivenessProbe is currently not supported"
        raise Refusal(403, message, name=call.name, kind=VMI)
    if _has(vmi, "Paused"):
        raise statuses.conflict(VMI, call.name, "VMI is already paused")
    given = backends.options(call.body, kubevirt.PauseOptions)
    return _dry(given) or _asked(backend, vmi, "pause")


def unpause(backend: Backend, call: Call) -> Response:
    """Let the vCPUs of a paused guest go on."""
    vmi = _running(backend, call)
    if not _has(vmi, "Paused"):
        raise statuses.conflict(VMI, call.name, "VMI is not paused")
    given = backends.options(call.body, kubevirt.UnpauseOptions)
    return _dry(given) or _asked(backend, vmi, "unpause")


def soft_reboot(backend: Backend, call: Call) -> Response:
    """Ask the guest to reboot: by its agent, or by ACPI."""
    vmi = _running(backend, call, "VM is not running")
    if _has(vmi, "Paused"):
        raise statuses.conflict(VMI, call.name, "VMI is paused")
    acpi = vmi.spec.domain.features.acpi if vmi.spec.domain.features else None
    deaf = acpi is not None and acpi.enabled is False
    if deaf and not _has(vmi, "AgentConnected"):
        message = "VMI neither have the agent connected nor the ACPI feature enabled"
        raise statuses.conflict(VMI, call.name, message)
    return _asked(backend, vmi, "softreboot")


def reset(backend: Backend, call: Call) -> Response:
    """Press the reset button."""
    return _asked(backend, _running(backend, call), "reset")


def freeze(backend: Backend, call: Call) -> Response:
    """Freeze the guest's file systems."""
    vmi = _running(backend, call, "VM is not running")
    return _asked(backend, vmi, "freeze", body=call.body)


def unfreeze(backend: Backend, call: Call) -> Response:
    """Thaw the guest's file systems."""
    return _asked(backend, _running(backend, call), "unfreeze")


def _of_agent(verb: str) -> Answer:
    """Return the call that asks the guest's agent. As upstream, 500 and text when it cannot be."""

    def ask(backend: Backend, call: Call) -> Response:
        try:
            vmi = _running(backend, call)
            if not _has(vmi, "AgentConnected"):
                message = "VMI does not have guest agent connected"
                raise statuses.conflict(VMI, call.name, message)
            return _asked(backend, vmi, verb, method="GET")
        except Refusal as fault:
            raise Refusal(500, fault.message, plain=True) from fault

    return ask


def screenshot(backend: Backend, call: Call) -> Response:
    """Return the display as PNG; whoever looks at it over VNC goes on doing so."""
    vmi = backend.vmi(call.namespace, call.name)
    streams.vnc_target(vmi)
    verb = f"vnc/screenshot?{call.query}" if call.query else "vnc/screenshot"
    return _asked(backend, vmi, verb, method="GET")


def change_volumes(resource: str, *, add: bool) -> Answer:
    """Return the call that adds a volume to a VM or an instance, or removes one.

    What is changed in a VM is changed in its running instance, too; what is changed in an instance
    alone is forgotten at its end.
    """

    def change(backend: Backend, call: Call) -> Response:
        wanted, dry_run = _volume_change(call.body, add=add)

        def attempt() -> None:
            patches: list[tuple[kubevirt.VirtualMachine, str, hotplug.Spec]] = []
            if resource == lifecycle.RESOURCE:
                vm, vmi = backend.vm(call.namespace, call.name), _vmi(backend, call)
                if vm.spec.template.spec is None:
                    raise statuses.conflict(resource, call.name, "the VM has no template")
                patches.append((vm, "/spec/template/spec", vm.spec.template.spec))
            else:
                vmi = _running(backend, call)
            orders: list[tuple[meta.Object, Operations]] = [
                (vm, hotplug.patch(at, spec, wanted(spec))) for vm, at, spec in patches
            ]
            if vmi is not None and _phase(vmi) == "Running":
                try:
                    orders.append((vmi, hotplug.patch("/spec", vmi.spec, wanted(vmi.spec))))
                except hotplug.Impossible:
                    if not orders:  # the VM's own wish counts; its instance has it so already
                        raise
            for target, operations in orders:
                backend.send(target, operations, dry_run)

        try:
            backends.again_on_conflict(attempt)
        except hotplug.Impossible as fault:
            raise statuses.conflict(resource, call.name, str(fault)) from fault
        return statuses.accepted()

    return change


def _volume_change(
    body: bytes, *, add: bool
) -> tuple[Callable[[hotplug.Spec], hotplug.Spec], tuple[str, ...]]:
    """Return what a request changes in a spec, and whether it is only to be tried."""
    if not body.strip():
        message = "Request with no body, a new name is expected as the request body"
        raise Refusal(400, message)
    if add:
        given = backends.options(body, kubevirt.AddVolumeOptions)
        if given is None or not given.name:
            raise Refusal(400, "AddVolumeOptions requires name to be set")
        return (lambda spec: hotplug.added(spec, given)), given.dry_run
    unwanted = backends.options(body, kubevirt.RemoveVolumeOptions)
    if unwanted is None or not unwanted.name:
        raise Refusal(400, "RemoveVolumeOptions requires name to be set")
    return (lambda spec: hotplug.removed(spec, unwanted.name)), unwanted.dry_run


def cancel_evacuation(resource: str) -> Answer:
    """Return the call that clears the wish to leave a node."""

    def cancel(backend: Backend, call: Call) -> Response:
        if resource == lifecycle.RESOURCE:
            backend.vm(call.namespace, call.name)
        vmi = backend.vmi(call.namespace, call.name)
        node = vmi.status.evacuation_node_name if vmi.status else None
        if node:
            path = "/status/evacuationNodeName"
            operations = [
                {"op": "test", "path": path, "value": node},
                {"op": "remove", "path": path},
            ]
            backends.again_on_conflict(lambda: backend.send(vmi, operations, ()))
        return statuses.done()

    return cancel


def _not_yet(what: str) -> Answer:
    """Return the call that says that something is not there yet."""

    def refuse(backend: Backend, call: Call) -> Response:
        raise Refusal(400, f"{what} is not supported yet", name=call.name)

    return refuse


# By method, resource and subresource. "" is a resource of the namespace itself.
CALLS: dict[tuple[str, str, str], Answer] = {
    ("PUT", "virtualmachines", "start"): start,
    ("PUT", "virtualmachines", "stop"): stop,
    ("PUT", "virtualmachines", "restart"): restart,
    ("PUT", "virtualmachines", "migrate"): migrate,
    ("GET", "virtualmachines", "expand-spec"): expand_spec,
    ("PUT", "virtualmachines", "evacuate/cancel"): cancel_evacuation("virtualmachines"),
    ("PUT", "virtualmachines", "addvolume"): change_volumes("virtualmachines", add=True),
    ("PUT", "virtualmachines", "removevolume"): change_volumes("virtualmachines", add=False),
    ("PUT", "virtualmachines", "memorydump"): _not_yet("a dump of the guest's memory"),
    ("PUT", "virtualmachines", "removememorydump"): _not_yet("a dump of the guest's memory"),
    ("GET", "virtualmachines", "objectgraph"): _not_yet("the object graph"),
    ("PUT", VMI, "pause"): pause,
    ("PUT", VMI, "unpause"): unpause,
    ("PUT", VMI, "softreboot"): soft_reboot,
    ("PUT", VMI, "reset"): reset,
    ("PUT", VMI, "freeze"): freeze,
    ("PUT", VMI, "unfreeze"): unfreeze,
    ("GET", VMI, "guestosinfo"): _of_agent("guestosinfo"),
    ("GET", VMI, "userlist"): _of_agent("userlist"),
    ("GET", VMI, "filesystemlist"): _of_agent("filesystemlist"),
    ("PUT", VMI, "evacuate/cancel"): cancel_evacuation(VMI),
    ("PUT", VMI, "addvolume"): change_volumes(VMI, add=True),
    ("PUT", VMI, "removevolume"): change_volumes(VMI, add=False),
    ("GET", VMI, "vnc/screenshot"): screenshot,
}


def _vmi(backend: Backend, call: Call) -> Vmi | None:
    return backend.find_vmi(call.namespace, call.name)


def _phase(vmi: Vmi) -> str:
    return (vmi.status.phase if vmi.status else None) or ""


def _has(vmi: Vmi, condition: str) -> bool:
    found = vmi.status.conditions if vmi.status else ()
    return any(one.type == condition and one.status == "True" for one in found)


def _running(backend: Backend, call: Call, otherwise: str = "VMI is not running") -> Vmi:
    vmi = backend.vmi(call.namespace, call.name)
    if _phase(vmi) != "Running":
        raise statuses.conflict(VMI, call.name, otherwise)
    return vmi


def _dry(given: kubevirt.PauseOptions | kubevirt.UnpauseOptions | None) -> Response | None:
    return statuses.done() if given is not None and given.dry_run else None


def _asked(
    backend: Backend, vmi: Vmi, verb: str, *, method: str = "PUT", body: bytes = b""
) -> Response:
    """Pass a call on to the handler of the instance's node, and its answer back."""
    answer = backend.handlers.call(backend.node_of(vmi), vmi, verb, method=method, body=body)
    if answer.code == 200 and method == "PUT":
        return statuses.done()
    return Response(answer.content, status_code=answer.code, media_type=answer.media_type)
