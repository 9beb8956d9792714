"""ControllerRevisions: what an instance type or a preference was when a VM took it. Pure.

A VM keeps what it started with, whatever becomes of the original. Names and labels are upstream's.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mtv import errors
from mtv.api import apps, instancetype, kubevirt, meta

GENERATION_LABEL = f"{instancetype.GROUP}/object-generation"
KIND_LABEL = f"{instancetype.GROUP}/object-kind"
NAME_LABEL = f"{instancetype.GROUP}/object-name"
UID_LABEL = f"{instancetype.GROUP}/object-uid"
VERSION_LABEL = f"{instancetype.GROUP}/object-version"

S = TypeVar("S", bound=msgspec.Struct)


def build(vm: kubevirt.VirtualMachine, source: meta.Object) -> apps.ControllerRevision:
    """Return the revision that keeps `source` for a VM."""
    found = source.metadata
    kept = meta.ObjectMeta(
        name=found.name, namespace=found.namespace, uid=found.uid, generation=found.generation
    )
    version = source.resource.version
    name = f"{vm.metadata.name}-{found.name}-{version}-{found.uid}-{found.generation}"
    return apps.ControllerRevision(
        metadata=meta.ObjectMeta(
            name=name,
            namespace=vm.metadata.namespace,
            owner_references=(meta.owner_of(vm),),
            labels={
                GENERATION_LABEL: str(found.generation),
                KIND_LABEL: source.kind,
                NAME_LABEL: found.name,
                UID_LABEL: found.uid,
                VERSION_LABEL: version,
            },
        ),
        data=msgspec.to_builtins(msgspec.structs.replace(source, metadata=kept)),
        revision=0,
    )


def spec_in(revision: apps.ControllerRevision, kind: type[S]) -> S:
    """Return the spec that a revision keeps. Raises BadInput when it is no such thing."""
    data: dict[str, Any] = revision.data or {}
    try:
        return msgspec.convert(data.get("spec"), kind)
    except msgspec.ValidationError as fault:
        raise errors.BadInput(
            f"ControllerRevision {revision.metadata.name} does not keep a {kind.__name__}: {fault}",
            hint="set revisionName to the name of one that does, or leave it out",
        ) from fault
