"""What webhooks do about instance types and preferences: names filled in, conflicts refused."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mtv import errors
from mtv.api import instancetype, kubevirt
from mtv_operator.instancetypes import (
    applying,
    expanding,
    inference,
    lookup,
    preferences,
    requirements,
)
from mtv_operator.virt_api.causes import INVALID, NOT_FOUND, Cause

Vm = kubevirt.VirtualMachine
Matcher = kubevirt.InstancetypeMatcher | kubevirt.PreferenceMatcher

POLICIES = (inference.IGNORE, inference.REJECT)


def matcher_causes(vm: Vm, old: Vm | None) -> list[Cause]:
    """Return what is wrong with how a VM names its instance type and its preference."""
    found: list[Cause] = []
    for name, matcher, before in (
        ("instancetype", vm.spec.instancetype, old.spec.instancetype if old else None),
        ("preference", vm.spec.preference, old.spec.preference if old else None),
    ):
        if matcher is not None:
            found += _matcher(matcher, before, f"spec.{name}", f"{name.capitalize()}Matcher")
    return found


def _matcher(matcher: Matcher, old: Matcher | None, at: str, kind: str) -> Iterator[Cause]:
    if not matcher.name and not matcher.infer_from_volume:
        message = f"Either Name or InferFromVolume should be provided within the {kind}"
        yield Cause(field=at, message=message, reason=NOT_FOUND)
    for name in ("name", "kind"):
        if matcher.infer_from_volume and getattr(matcher, name):
            message = (
                f"{name.capitalize()} should not be provided when InferFromVolume is used within "
                f"the {kind}"
            )
            yield Cause(field=f"{at}.{name}", message=message, reason=NOT_FOUND)
    policy = matcher.infer_from_volume_failure_policy
    if policy and policy not in POLICIES:
        message = f"Invalid value '{policy}' for InferFromVolumeFailurePolicy"
        yield Cause(field=f"{at}.inferFromVolumeFailurePolicy", message=message)
    renamed = old is not None and old.revision_name and old.name != matcher.name
    if old is not None and renamed and old.revision_name == matcher.revision_name:
        message = "the Matcher Name has been updated without updating the RevisionName"
        yield Cause(field=f"{at}.revisionName", message=message)


def filled_in(vm: Vm, reader: lookup.Reader) -> Vm:
    """Return the VM with inferred names, kinds, and what a preference says of the VM itself.

    Raises MigrationError for what cannot be inferred.
    """
    vm = inference.inferred(vm, reader)
    spec = vm.spec
    size, preferred = spec.instancetype, spec.preference
    if size is not None and not size.kind:
        named = msgspec.structs.replace(size, kind=lookup.CLUSTER_INSTANCETYPE)
        spec = msgspec.structs.replace(spec, instancetype=named)
    if preferred is not None and not preferred.kind:
        chosen = msgspec.structs.replace(preferred, kind=lookup.CLUSTER_PREFERENCE)
        spec = msgspec.structs.replace(spec, preference=chosen)
    vm = msgspec.structs.replace(vm, spec=spec)
    if preferred is None:
        return vm
    preference = lookup.of_vm(vm, reader).preference
    if preference is None:
        return vm
    return _with_board(expanding.with_storage_class(vm, preference), preference)


def _with_board(vm: Vm, preference: instancetype.VirtualMachinePreferenceSpec) -> Vm:
    """Set machine type and architecture as preferred, before the defaults come."""
    template = vm.spec.template
    if template.spec is None:
        return vm
    board = instancetype.VirtualMachinePreferenceSpec(
        machine=preference.machine, preferred_architecture=preference.preferred_architecture
    )
    template = msgspec.structs.replace(template, spec=preferences.apply(template.spec, board))
    return msgspec.structs.replace(vm, spec=msgspec.structs.replace(vm.spec, template=template))


def applied(vm: Vm, reader: lookup.Reader) -> tuple[Vm, list[Cause], bool]:
    """Return the VM with both in its template, what is in conflict, and whether its size is known.

    What is named and not there is no cause: it may come, and the controller says that it waits.
    """
    if vm.spec.instancetype is None and vm.spec.preference is None:
        return vm, [], True
    spec = vm.spec.template.spec
    if spec is None:
        return vm, [], True
    found = lookup.of_vm(vm, reader)
    wrong = requirements.problems(found.size, found.preference, spec)
    if wrong:
        return vm, [_cause(field, one.message) for one in wrong for field in one.fields], True
    unknown = vm.spec.instancetype is not None and found.size is None
    try:
        made = expanding.template(vm, found)
    except expanding.InConflict as fault:
        return vm, [_conflict(field) for field in fault.fields], True
    except errors.BadInput as fault:
        return vm, [_cause(requirements.CPU_GUEST, fault.message)], True
    return _with_template(vm, made), [], not unknown


def _conflict(field: str) -> Cause:
    return _cause(field, f"VM field(s) {field} conflicts with selected instance type")


def _cause(field: str, message: str) -> Cause:
    return Cause(field=field, message=message, reason=INVALID)


def _with_template(vm: Vm, made: applying.Template) -> Vm:
    template = msgspec.structs.replace(vm.spec.template, spec=made.spec)
    return msgspec.structs.replace(vm, spec=msgspec.structs.replace(vm.spec, template=template))


def size_causes(size: instancetype.VirtualMachineInstancetypeSpec) -> list[Cause]:
    """Return what is wrong with an instance type."""
    memory = size.memory
    if not memory.overcommit_percent or memory.hugepages is None:
        return []
    where = "spec.memory.overcommitPercent"
    message = f"{where} and spec.memory.hugepages should not be requested together."
    return [Cause(field=where, message=message)]


def preference_causes(preference: instancetype.VirtualMachinePreferenceSpec) -> list[Cause]:
    """Return what is wrong with a preference."""
    ratio, across = preferences.spread(preference)
    spreads = preferences.topology_word(preference) == "spread"
    if not spreads or across != "CoresThreads" or ratio == preferences.THREADS_PER_CORE:
        return []
    message = (
        "only a ratio of 2 (1 core 2 threads) is allowed when spreading vCPUs over cores and "
        "threads"
    )
    return [Cause(field="spec.cpu.spreadOptions.ratio", message=message)]


def preference_warnings(preference: instancetype.VirtualMachinePreferenceSpec) -> list[str]:
    """Return which words of a preference are old."""
    word = preference.cpu.preferred_cpu_topology if preference.cpu is not None else None
    if not word or not word.startswith("prefer"):
        return []
    return [
        f"PreferredCPUTopology {word} is deprecated for removal in a future release, please use "
        f"{preferences.topology_word(preference)} instead"
    ]
