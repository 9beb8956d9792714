"""The claim of a DataVolume. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from mtv import errors
from mtv.api import cdi, core, meta, quantities
from mtv_operator.data_volumes import names

OVERHEAD = 0.06  # of a file system; CDI's DefaultGlobalOverhead
ALIGNMENT = 1 << 20
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# What a class can do is nowhere in the API; of others only what every class can is assumed.
SHARED_PROVISIONERS = ("mtv.dev/shared",)


def build(
    wanted: cdi.DataVolume,
    source_claim: core.PersistentVolumeClaim | None,
    classes: Sequence[core.StorageClass],
) -> core.PersistentVolumeClaim:
    """Return the claim. Raises BadInput for a DataVolume that says too little or too much."""
    spec = wanted.spec
    if (spec.pvc is None) == (spec.storage is None):
        raise errors.BadInput("exactly one of spec.pvc and spec.storage is needed", field="spec")
    source = spec.source or cdi.DataVolumeSource()
    annotations = dict(wanted.metadata.annotations)
    if source.blank is None:
        annotations[names.SOURCE] = msgspec.json.encode(source).decode()
    if source.upload is not None:
        annotations[names.UPLOAD] = ""
    if spec.content_type:
        annotations[names.CONTENT_TYPE] = spec.content_type
    made = (
        spec.pvc
        if spec.pvc is not None
        else of_storage(spec.storage or cdi.StorageSpec(), source_claim, classes)
    )
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(
            name=wanted.metadata.name,
            namespace=wanted.metadata.namespace,
            labels=wanted.metadata.labels,
            annotations=annotations,
            owner_references=(meta.owner_of(wanted),),
        ),
        spec=made,
    )


def of_storage(
    storage: cdi.StorageSpec,
    source_claim: core.PersistentVolumeClaim | None,
    classes: Sequence[core.StorageClass],
) -> core.PersistentVolumeClaimSpec:
    """Return the claim's spec of a `storage`: what it leaves out is filled in, and the size grows
    by what a file system needs for itself."""
    mode = storage.volume_mode if storage.volume_mode != "FromStorageProfile" else None
    asked = _requested(storage.resources)
    if asked is None and source_claim is not None and source_claim.spec is not None:
        resources = source_claim.spec.resources
        mode = mode or source_claim.spec.volume_mode
    elif asked is None:
        raise errors.BadInput(
            "no size is asked for",
            field="spec.storage.resources.requests.storage",
            hint="say how large the disk shall be",
        )
    else:
        size = asked if mode == "Block" else with_overhead(asked)
        resources = core.VolumeResourceRequirements(requests={"storage": str(size)})
    return core.PersistentVolumeClaimSpec(
        access_modes=storage.access_modes or (_access_mode(storage, classes),),
        data_source=storage.data_source,
        data_source_ref=storage.data_source_ref,
        resources=resources,
        selector=storage.selector,
        storage_class_name=storage.storage_class_name,
        volume_mode=mode,
        volume_name=storage.volume_name,
    )


def with_overhead(size_bytes: int) -> int:
    """Return the size of a file system that has room for a disk of so many bytes."""
    return math.ceil(size_bytes / (1 - OVERHEAD) / ALIGNMENT) * ALIGNMENT


def _requested(resources: core.VolumeResourceRequirements | None) -> int | None:
    given = resources.requests.get("storage") if resources is not None else None
    return quantities.whole(given) if given is not None else None


def _access_mode(storage: cdi.StorageSpec, classes: Sequence[core.StorageClass]) -> str:
    wanted = storage.storage_class_name
    for one in classes:
        default = one.metadata.annotations.get(DEFAULT_CLASS) == "true"
        if (one.metadata.name == wanted) if wanted else default:
            return "ReadWriteMany" if one.provisioner in SHARED_PROVISIONERS else "ReadWriteOnce"
    return "ReadWriteOnce"
