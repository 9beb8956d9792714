"""AdmissionReviews answered: defaults as a patch, refusals with their causes, warnings. Pure.

Each webhook is a function from the review's request to a `Verdict`; `answer` makes the review of
it. What is asked of the cluster (`World`) is handed in.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from mtv import errors
from mtv.api import core, instancetype, json_patch, kubevirt, meta
from mtv.api.configuration import Configuration
from mtv_operator.instancetypes.lookup import Reader
from mtv_operator.virt_api import (
    defaults,
    eviction,
    honoured,
    instancetype_rules,
    plan_warnings,
    validation,
    volume_rules,
)
from mtv_operator.virt_api.causes import Cause

Document = Mapping[str, Any]
T = TypeVar("T", bound=meta.Object)

IGNORED = "FieldsIgnored"
DEPRECATED_RUNNING = "spec.running is deprecated, please use spec.runStrategy instead."
MOST_WARNINGS = 40


class NoReader:
    """A reader that finds nothing."""

    def find(self, kind: type[T], name: str, namespace: str = "") -> T | None:
        """Return None."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What admission depends on besides the object."""

    configuration: Configuration
    trusted: frozenset[str]  # users that are parts of the runtime
    now: datetime
    new_uuid: Callable[[], str]
    instance: Callable[[str, str], kubevirt.VirtualMachineInstance | None]
    migrations: Callable[[str], Sequence[kubevirt.VirtualMachineInstanceMigration]]
    pod: Callable[[str, str], core.Pod | None] = lambda namespace, name: None
    evacuate: Callable[[kubevirt.VirtualMachineInstance, str], None] = lambda vmi, node: None
    reader: Reader = field(default_factory=NoReader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is answered. No causes and nothing to come again for (`later`): allowed."""

    patch: Sequence[json_patch.Operation] = ()
    causes: Sequence[Cause] = ()
    warnings: Sequence[str] = field(default=())
    later: str = ""


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an AdmissionRequest that is looked at."""

    uid: str
    operation: str = ""
    namespace: str = ""
    name: str = ""
    dry_run: bool | None = None
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None
    user_info: dict[str, Any] = {}

    @property
    def user(self) -> str:
        """Return who asks."""
        return str(self.user_info.get("username", ""))


class Review(msgspec.Struct, frozen=True):
    """An AdmissionReview that asks."""

    request: Request


def mutate_virtual_machine(request: Request, world: World) -> Verdict:
    """Fill in what a VM leaves open."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    vm = _decoded(request.object, kubevirt.VirtualMachine)
    if isinstance(vm, Cause):
        return Verdict(causes=(vm,))
    old = _decoded(request.old_object, kubevirt.VirtualMachine) if request.old_object else None
    wrong = instancetype_rules.matcher_causes(vm, None if isinstance(old, Cause) else old)
    if wrong:
        return Verdict(causes=wrong)
    try:
        named = instancetype_rules.filled_in(vm, world.reader)
    except (errors.NotFound, errors.BadInput) as fault:
        at = "spec.instancetype" if vm.spec.instancetype is not None else "spec.preference"
        return Verdict(causes=(Cause(field=f"{at}.inferFromVolume", message=fault.message),))
    created = request.operation == "CREATE"
    changed = defaults.virtual_machine(named, world.configuration, world.new_uuid, created=created)
    patch = json_patch.additions(request.object, msgspec.to_builtins(changed))
    return Verdict(patch=[*_taken_away(vm, named), *patch])


def _taken_away(
    before: kubevirt.VirtualMachine, after: kubevirt.VirtualMachine
) -> Sequence[json_patch.Operation]:
    """Return the removal of what an inference replaces, before anything is added."""
    inferred = (before.spec.instancetype, before.spec.preference)
    if not any(one is not None and one.infer_from_volume for one in inferred):
        return ()
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return [one for one in json_patch.changes(old, new) if one["op"] == "remove"]


def validate_virtual_machine(request: Request, world: World) -> Verdict:
    """Refuse a VM that could not work; warn of what it asks for in vain."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    vm = _decoded(request.object, kubevirt.VirtualMachine)
    if isinstance(vm, Cause):
        return Verdict(causes=(vm,))
    old = request.old_object or {}
    if old.get("spec") == request.object.get("spec") and old:
        return Verdict()  # metadata only: finalizers must come off whatever the spec says
    made, found, sized = instancetype_rules.applied(vm, world.reader)
    found = found or validation.virtual_machine(made, sized=sized)
    if vm.spec.template.spec is not None:
        gates = world.configuration.feature_gates
        found += volume_rules.gated(vm.spec.template.spec, "spec.template.spec", gates)
    warned = [DEPRECATED_RUNNING] if vm.spec.running is not None else []
    warned += honoured.warnings(request.object.get("spec") or {}, honoured.VM_SPEC)
    return Verdict(causes=found, warnings=warned)


def mutate_instance(request: Request, world: World) -> Verdict:
    """Fill in what an instance leaves open; keep its status from anybody who is not of us."""
    if request.object is None:
        return Verdict()
    if request.operation != "CREATE":
        return _guarded_status(request, world)
    spec = request.object.get("spec") or {}
    fields = list(honoured.ignored(spec, honoured.INSTANCE_SPEC, "spec"))

    def change(vmi: kubevirt.VirtualMachineInstance) -> kubevirt.VirtualMachineInstance:
        made = defaults.instance(vmi, world.configuration, world.new_uuid, world.now)
        return _with_ignored(made, fields, world.now)

    return _defaulted(request, kubevirt.VirtualMachineInstance, change)


def _with_ignored(
    vmi: kubevirt.VirtualMachineInstance, fields: Sequence[str], now: datetime
) -> kubevirt.VirtualMachineInstance:
    """Say in a condition which fields have no effect."""
    if not fields or vmi.status is None:
        return vmi
    said = kubevirt.VirtualMachineInstanceCondition(
        type=IGNORED,
        status="True",
        reason="NotSupportedYet",
        message=f"{honoured.MESSAGE}: {', '.join(fields)}",
        last_transition_time=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    status = msgspec.structs.replace(vmi.status, conditions=(*vmi.status.conditions, said))
    return msgspec.structs.replace(vmi, status=status)


def _guarded_status(request: Request, world: World) -> Verdict:
    """Give an instance its old status back: the kind has no status subresource to guard it."""
    if request.user in world.trusted or request.object is None:
        return Verdict()
    old = (request.old_object or {}).get("status")
    if request.object.get("status") == old:
        return Verdict()
    if old is None:
        return Verdict(patch=[{"op": "remove", "path": "/status"}])
    return Verdict(patch=[{"op": "add", "path": "/status", "value": old}])


def validate_instance(request: Request, world: World) -> Verdict:
    """Refuse an instance that could not work, and changes that a running one cannot take."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    trusted = request.user in world.trusted
    old_document = request.old_object or {}
    if request.operation == "UPDATE" and trusted:
        return Verdict()
    new = _decoded(request.object, kubevirt.VirtualMachineInstance)
    if isinstance(new, Cause):
        return Verdict(causes=(new,))
    if request.operation == "UPDATE":
        old = _decoded(old_document, kubevirt.VirtualMachineInstance)
        if isinstance(old, Cause):
            return Verdict()
        return Verdict(causes=validation.instance_update(old, new, trusted=trusted))
    spec = request.object.get("spec") or {}
    return Verdict(
        causes=[
            *validation.instance(new, trusted=trusted),
            *volume_rules.gated(new.spec, "spec", world.configuration.feature_gates),
        ],
        warnings=honoured.warnings(spec, honoured.INSTANCE_SPEC),
    )


def mutate_migration(request: Request, world: World) -> Verdict:
    """Give a migration its label and its finalizer."""
    return _defaulted(request, kubevirt.VirtualMachineInstanceMigration, defaults.migration)


def validate_migration(request: Request, world: World) -> Verdict:
    """Refuse a migration that cannot be begun, and a change of what it is about."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    one = _decoded(request.object, kubevirt.VirtualMachineInstanceMigration)
    if isinstance(one, Cause):
        return Verdict(causes=(one,))
    if request.operation == "UPDATE":
        if (request.old_object or {}).get("spec") == request.object.get("spec"):
            return Verdict()
        message = "update of Migration object's spec is restricted"
        return Verdict(causes=(Cause(field="spec", message=message),))
    vmi = world.instance(request.namespace, one.spec.vmi_name or "")
    others = list(world.migrations(request.namespace))
    return Verdict(causes=validation.migration(one, vmi, others))


def validate_eviction(request: Request, world: World) -> Verdict:
    """Have a guest move to another node instead of ending with its pod."""
    pod = world.pod(request.namespace, request.name)
    name = eviction.instance_of(pod) if pod is not None else ""
    if pod is None or not name:
        return Verdict()
    vmi = world.instance(request.namespace, name)
    answered = eviction.judge(pod, vmi, world.configuration.eviction_strategy)
    if answered.mark and vmi is not None and not request.dry_run:
        world.evacuate(vmi, answered.mark)
    return Verdict(later=answered.refusal)


def validate_instancetype(request: Request, world: World) -> Verdict:
    """Refuse an instance type that contradicts itself."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    found = _decoded(request.object, instancetype.VirtualMachineInstancetype)
    if isinstance(found, Cause):
        return Verdict(causes=(found,))
    return Verdict(causes=instancetype_rules.size_causes(found.spec))


def validate_preference(request: Request, world: World) -> Verdict:
    """Refuse a preference that cannot be followed."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    found = _decoded(request.object, instancetype.VirtualMachinePreference)
    if isinstance(found, Cause):
        return Verdict(causes=(found,))
    return Verdict(
        causes=instancetype_rules.preference_causes(found.spec),
        warnings=instancetype_rules.preference_warnings(found.spec),
    )


def validate_replica_set(request: Request, world: World) -> Verdict:
    """Refuse a set whose instances would not be its own, or could not work."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    found = _decoded(request.object, kubevirt.VirtualMachineInstanceReplicaSet)
    if isinstance(found, Cause):
        return Verdict(causes=(found,))
    if (request.old_object or {}).get("spec") == request.object.get("spec"):
        return Verdict()
    template = ((request.object.get("spec") or {}).get("template") or {}).get("spec") or {}
    return Verdict(
        causes=validation.replica_set(found),
        warnings=honoured.warnings(template, honoured.INSTANCE_SPEC, "spec.template.spec"),
    )


def validate_stored_only(request: Request, world: World) -> Verdict:
    """Admit a kind that nothing acts on yet, and say so."""
    if request.operation != "CREATE" or request.object is None:
        return Verdict()
    kind = request.object.get("kind", "this kind")
    return Verdict(warnings=[f"{kind}: {honoured.MESSAGE}"])


Webhook = Callable[[Request, World], Verdict]


def warn_of_plan(request: Request, world: World) -> Verdict:
    """Say which fields of a Plan have no effect."""
    return Verdict(warnings=plan_warnings.of_plan(request.object or {}))


def warn_of_storage_map(request: Request, world: World) -> Verdict:
    """Say which fields of a StorageMap have no effect."""
    return Verdict(warnings=plan_warnings.of_storage_map(request.object or {}))


# By path, as upstream.
WEBHOOKS: dict[str, Webhook] = {
    "/virtualmachines-mutate": mutate_virtual_machine,
    "/virtualmachines-validate": validate_virtual_machine,
    "/virtualmachineinstances-mutate": mutate_instance,
    "/virtualmachineinstances-validate-create": validate_instance,
    "/virtualmachineinstances-validate-update": validate_instance,
    "/migration-mutate-create": mutate_migration,
    "/migration-validate-create": validate_migration,
    "/migration-validate-update": validate_migration,
    "/pod-eviction-validate": validate_eviction,
    "/instancetype-validate": validate_instancetype,
    "/preference-validate": validate_preference,
    "/vmirs-validate": validate_replica_set,
    "/stored-only-validate": validate_stored_only,
    "/plan-warnings": warn_of_plan,
    "/storage-map-warnings": warn_of_storage_map,
}


def answer(request: Request, verdict: Verdict) -> dict[str, Any]:
    """Return the AdmissionReview that answers."""
    response: dict[str, Any] = {
        "uid": request.uid,
        "allowed": not (verdict.causes or verdict.later),
    }
    if verdict.warnings:
        response["warnings"] = list(verdict.warnings[:MOST_WARNINGS])
    if verdict.causes:
        response["status"] = refusal(verdict.causes)
    elif verdict.later:
        response["status"] = {
            "status": "Failure",
            "message": verdict.later,
            "reason": "TooManyRequests",
            "code": 429,
        }
    elif verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(verdict.patch)).decode()
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    }


def refusal(causes: Sequence[Cause]) -> dict[str, Any]:
    """Return the Status of a refusal: all that is wrong, at once."""
    return {
        "status": "Failure",
        "message": ", ".join(one.message for one in causes),
        "reason": "Invalid",
        "code": 422,
        "details": {
            "causes": [
                {"reason": one.reason, "message": one.message, "field": one.field} for one in causes
            ]
        },
    }


def _defaulted(request: Request, kind: type[T], change: Callable[[T], T]) -> Verdict:
    """Return the patch that adds defaults; what cannot be understood is left to validation."""
    if request.object is None or _is_going(request.object):
        return Verdict()
    found = _decoded(request.object, kind)
    if isinstance(found, Cause):
        return Verdict(causes=(found,))
    changed = msgspec.to_builtins(change(found))
    return Verdict(patch=json_patch.additions(request.object, changed))


def _decoded(document: Document, kind: type[T]) -> T | Cause:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as fault:
        text, _, at = str(fault).partition(" - at `$.")
        return Cause(field=at.rstrip("`") or "spec", message=text)


def _is_going(document: Document) -> bool:
    metadata = document.get("metadata") or {}
    return bool(metadata.get("deletionTimestamp"))
