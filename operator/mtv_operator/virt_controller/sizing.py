"""What a VM's instance type and preference mean for its controller. Pure.

What was taken is kept in ControllerRevisions, which the VM's status names: from then on the VM is
made of these, whatever becomes of the originals.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtv import errors
from mtv.api import apps, kubevirt, meta
from mtv_operator.instancetypes import applying, expanding, lookup, revisions

Ref = kubevirt.InstancetypeStatusRef

NO_INSTANCETYPE, NO_PREFERENCE = "FailedFindInstancetype", "FailedFindPreference"
FAILED_CREATE = "FailedCreate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why an instance cannot be made."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the VM's status shall name, and the revisions that are to be made for it."""

    instancetype_ref: Ref | None = None
    preference_ref: Ref | None = None
    to_make: tuple[apps.ControllerRevision, ...] = ()


def kept(vm: kubevirt.VirtualMachine, found: lookup.Found) -> Kept:
    """Return what is kept for a VM."""
    status = vm.status or kubevirt.VirtualMachineStatus()
    size, first = _kept(vm, vm.spec.instancetype, status.instancetype_ref, found.size_source)
    preference, second = _kept(
        vm, vm.spec.preference, status.preference_ref, found.preference_source
    )
    made = tuple(one for one in (first, second) if one is not None)
    return Kept(instancetype_ref=size, preference_ref=preference, to_make=made)


def _kept(
    vm: kubevirt.VirtualMachine,
    matcher: lookup.Matcher | None,
    ref: Ref | None,
    source: meta.Object | None,
) -> tuple[Ref | None, apps.ControllerRevision | None]:
    if matcher is None:
        return None, None
    name, made = matcher.revision_name, None
    if not name and lookup.is_about(ref, matcher) and ref is not None:
        name = ref.controller_revision_ref.name if ref.controller_revision_ref else None
    if not name and source is not None:
        made = revisions.build(vm, source)
        name = made.metadata.name
    if not name:
        return ref, None  # the original is missing: what was known stays
    changed = Ref(
        name=matcher.name,
        kind=matcher.kind,
        controller_revision_ref=kubevirt.ControllerRevisionRef(name=name),
    )
    return changed, made


def trouble(vm: kubevirt.VirtualMachine, found: lookup.Found) -> Trouble | None:
    """Return why no instance can be made of the VM with these."""
    if found.size_trouble:
        return Trouble(reason=NO_INSTANCETYPE, message=found.size_trouble)
    if found.preference_trouble:
        return Trouble(reason=NO_PREFERENCE, message=found.preference_trouble)
    if vm.spec.template.spec is None or (found.size is None and found.preference is None):
        return None
    try:
        expanding.template(vm, found)
    except errors.BadInput as fault:
        return Trouble(reason=FAILED_CREATE, message=fault.message)
    return None


def template(vm: kubevirt.VirtualMachine, found: lookup.Found) -> applying.Template | None:
    """Return what an instance is made of; None where the VM's own template says it all."""
    if found.size is None and found.preference is None:
        return None
    return expanding.template(vm, found)
