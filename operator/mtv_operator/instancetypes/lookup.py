"""The instance type and the preference that a VM names, read from the API server.

A VM that keeps a ControllerRevision gets what that says; the original may have changed since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from mtv import errors
from mtv.api import apps, instancetype, kubevirt, meta
from mtv_operator.instancetypes import revisions

T = TypeVar("T", bound=meta.Object)
S = TypeVar("S", bound=msgspec.Struct)
Matcher = kubevirt.InstancetypeMatcher | kubevirt.PreferenceMatcher

CLUSTER_INSTANCETYPE = "virtualmachineclusterinstancetype"  # kinds that a matcher has by default
CLUSTER_PREFERENCE = "virtualmachineclusterpreference"
_KINDS: dict[str, type[meta.Object]] = {
    word: kind
    for kind in instancetype.KINDS
    for word in (kind.resource.singular, kind.resource.plural)
}


class Reader(Protocol):
    """What looks objects up: `objects.Client`."""

    def find(self, kind: type[T], name: str, namespace: str = "") -> T | None:
        """Return an object, or None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What one matcher of a VM leads to.

    `source` is the original, read only where no revision is kept yet; `trouble` says why there is
    no spec.
    """

    source: meta.Object | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The instance type and the preference of a VM, their originals, and what is missing."""

    size: instancetype.VirtualMachineInstancetypeSpec | None = None
    preference: instancetype.VirtualMachinePreferenceSpec | None = None
    size_source: meta.Object | None = None
    preference_source: meta.Object | None = None
    size_trouble: str = ""
    preference_trouble: str = ""


NOTHING = Found()


def of_vm(vm: kubevirt.VirtualMachine, reader: Reader) -> Found:
    """Return both. Raises MigrationError only when the API server does not answer."""
    spec = vm.spec
    if spec.instancetype is None and spec.preference is None:
        return NOTHING
    status = vm.status or kubevirt.VirtualMachineStatus()
    size, size_named = _look_up(
        spec.instancetype,
        status.instancetype_ref,
        instancetype.VirtualMachineInstancetypeSpec,
        CLUSTER_INSTANCETYPE,
        vm.metadata.namespace,
        reader,
    )
    preference, preference_named = _look_up(
        spec.preference,
        status.preference_ref,
        instancetype.VirtualMachinePreferenceSpec,
        CLUSTER_PREFERENCE,
        vm.metadata.namespace,
        reader,
    )
    return Found(
        size=size,
        preference=preference,
        size_source=size_named.source,
        preference_source=preference_named.source,
        size_trouble=size_named.trouble,
        preference_trouble=preference_named.trouble,
    )


def _look_up(
    matcher: Matcher | None,
    ref: kubevirt.InstancetypeStatusRef | None,
    spec: type[S],
    default_kind: str,
    namespace: str,
    reader: Reader,
) -> tuple[S | None, Named]:
    if matcher is None:
        return None, Named()
    try:
        kept = _revision(matcher, ref, namespace, reader)
        if kept is not None:
            return revisions.spec_in(kept, spec), Named()
        source = _original(matcher, default_kind, namespace, reader)
    except (errors.NotFound, errors.BadInput) as fault:
        return None, Named(trouble=str(fault))
    found = getattr(source, "spec", None)
    if not isinstance(found, spec):
        return None, Named(trouble=f"{source.kind} is not what is wanted here")
    return found, Named(source=source)


def _revision(
    matcher: Matcher,
    ref: kubevirt.InstancetypeStatusRef | None,
    namespace: str,
    reader: Reader,
) -> apps.ControllerRevision | None:
    """Return the revision that the VM wants or has. Raises NotFound when it is not there."""
    if matcher.revision_name:
        return _read(apps.ControllerRevision, matcher.revision_name, namespace, reader)
    kept = ref.controller_revision_ref.name if ref and ref.controller_revision_ref else None
    if not kept or not is_about(ref, matcher):
        return None
    return _read(apps.ControllerRevision, kept, namespace, reader)


def is_about(ref: kubevirt.InstancetypeStatusRef | None, matcher: Matcher) -> bool:
    """Tell whether the status still speaks of what the matcher names."""
    if ref is None or ref.name != matcher.name:
        return False
    return not matcher.kind or (ref.kind or "").lower() == matcher.kind.lower()


def _original(matcher: Matcher, default_kind: str, namespace: str, reader: Reader) -> meta.Object:
    kind = _KINDS.get((matcher.kind or default_kind).lower())
    if kind is None:
        raise errors.BadInput(f"got unexpected kind in matcher: {matcher.kind}")
    return _read(kind, matcher.name or "", namespace if kind.resource.namespaced else "", reader)


def _read(kind: type[T], name: str, namespace: str, reader: Reader) -> T:
    found = reader.find(kind, name, namespace) if name else None
    if found is None:
        what = f"{kind.resource.plural}.{kind.resource.group}"
        raise errors.NotFound(f'{what} "{name}" not found')
    return found
