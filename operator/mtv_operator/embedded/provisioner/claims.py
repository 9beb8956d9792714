"""What happens to a claim next: a pure decision, as Kubernetes' volume controller takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mtv import errors
from mtv.api import quantities
from mtv.api.core import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimCondition,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    Pod,
    StorageClass,
)
from mtv_operator.embedded.provisioner import classes
from mtv_operator.embedded.scheduler import fitting, matching
from mtv_operator.reconciling import Decision

PROTECTION = "kubernetes.io/pvc-protection"
FAILED = "ProvisioningFailed"  # a condition of the claim
FREE_AT_LEAST_BYTES = 512 << 20  # with less, the disk counts as full
FULL_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A claim and what it can be bound to."""

    claim: PersistentVolumeClaim
    classes: Mapping[str, StorageClass]
    volumes: Sequence[PersistentVolume] = ()
    users: Sequence[Pod] = ()  # pods that name the claim and have not ended
    nodes: Sequence[str] = ()
    free_bytes: int = 1 << 62
    place: str = ""  # where volumes are made


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignClass:
    """Give a claim without a class the default one."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """Make a volume for the claim."""

    name: str
    storage: StorageClass
    size_bytes: int
    node: str  # "" when every node reaches it
    block: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BindTo:
    """Bind the claim and a volume to each other."""

    volume: PersistentVolume


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """Grow the volume to what the claim asks for."""

    volume: PersistentVolume
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Let the deletion of the claim go on: nobody uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Say why the claim gets no volume."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Say that the volume of a bound claim is gone."""


Action = AssignClass | Provision | BindTo | Expand | Release | Refuse | Lost
Answer = Decision[Action, PersistentVolumeClaimStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a claim asks for, read once."""

    size_bytes: int
    block: bool
    access_modes: tuple[str, ...]
    class_name: str | None
    spec: PersistentVolumeClaimSpec = field(default_factory=PersistentVolumeClaimSpec)


def decide(observed: Observed, now: datetime) -> Answer:
    """Return what to do with a claim. Total."""
    claim = observed.claim
    if claim.metadata.deletion_timestamp:
        free = PROTECTION in claim.metadata.finalizers and not observed.users
        return Decision(actions=(Release(),) if free else ())
    try:
        wish = _wish(claim)
    except errors.BadInput as fault:
        return _refused(str(fault))
    if claim.spec and claim.spec.volume_name:
        return _bound(observed, wish)
    return _unbound(observed, wish)


def _wish(claim: PersistentVolumeClaim) -> _Wish:
    spec = claim.spec or PersistentVolumeClaimSpec()
    asked = spec.resources.requests.get("storage") if spec.resources else None
    if asked is None:
        raise errors.BadInput("the size is missing", field="spec.resources.requests.storage")
    return _Wish(
        size_bytes=quantities.whole(asked),
        block=spec.volume_mode == "Block",
        access_modes=spec.access_modes,
        class_name=spec.storage_class_name,
        spec=spec,
    )


def _bound(observed: Observed, wish: _Wish) -> Answer:
    """Finish a binding that is under way, or grow the volume."""
    claim = observed.claim
    volume = next(
        (one for one in observed.volumes if one.metadata.name == wish.spec.volume_name), None
    )
    phase = claim.status.phase if claim.status else None
    if volume is None:
        return Decision(actions=(Lost(),) if phase == "Bound" else ())
    owner = volume.spec.claim_ref if volume.spec else None
    if owner is not None and owner.uid and owner.uid != claim.metadata.uid:
        return _refused(f"volume {volume.metadata.name} belongs to another claim")
    has = quantities.whole((volume.spec.capacity if volume.spec else {}).get("storage", 0))
    storage = observed.classes.get((volume.spec.storage_class_name if volume.spec else "") or "")
    ours = storage is not None and storage.provisioner in classes.ABILITIES
    shown = (claim.status.capacity if claim.status else {}).get("storage")
    if phase == "Bound" and wish.size_bytes > has and ours and is_ours(volume):
        if not (storage and storage.allow_volume_expansion):
            return _refused("the storage class does not allow volume expansion")
        if observed.free_bytes < FREE_AT_LEAST_BYTES:
            return _full(observed)
        return Decision(actions=(Expand(volume=volume, size_bytes=wish.size_bytes),))
    complete = (
        phase == "Bound"
        and owner is not None
        and PROTECTION in claim.metadata.finalizers
        and shown is not None
        and quantities.whole(shown) == has
        and volume.status is not None
        and volume.status.phase == "Bound"
    )
    return Decision(actions=() if complete else (BindTo(volume=volume),))


def is_ours(volume: PersistentVolume) -> bool:
    """Tell whether the provisioner has made a volume."""
    key = "pv.kubernetes.io/provisioned-by"
    return volume.metadata.annotations.get(key) in classes.ABILITIES


def _unbound(observed: Observed, wish: _Wish) -> Answer:
    claim = observed.claim
    for volume in observed.volumes:  # ours, made before a crash; or meant for this claim
        owner = volume.spec.claim_ref if volume.spec else None
        if owner is None or (owner.namespace, owner.name) != (
            claim.metadata.namespace,
            claim.metadata.name,
        ):
            continue
        if owner.uid in ("", claim.metadata.uid):
            return Decision(actions=(BindTo(volume=volume),))
    if wish.class_name is None:
        default = sorted(
            one.metadata.name for one in observed.classes.values() if classes.is_default(one)
        )
        return Decision(actions=(AssignClass(name=default[0]),) if default else ())
    existing = find_existing(observed, wish.size_bytes, wish.block)
    if existing is not None:
        return Decision(actions=(BindTo(volume=existing),))
    storage = observed.classes.get(wish.class_name)
    if wish.class_name == "":
        return Decision()  # for a volume that somebody makes by hand
    if storage is None:
        return _refused(
            f'storageclass.storage.k8s.io "{wish.class_name}" not found; there are '
            + ", ".join(sorted(observed.classes))
        )
    return _provision(observed, wish, storage)


def _provision(observed: Observed, wish: _Wish, storage: StorageClass) -> Answer:
    ability = classes.ABILITIES.get(storage.provisioner)
    if ability is None:
        return Decision()  # another program's
    impossible = [mode for mode in wish.access_modes if mode not in ability.access_modes]
    if impossible:
        return _refused(
            f"class {storage.metadata.name} cannot do {', '.join(impossible)}, only "
            f"{', '.join(sorted(ability.access_modes))}; class shared can"
        )
    if wish.spec.data_source or wish.spec.data_source_ref:
        return _refused(f"class {storage.metadata.name} cannot fill a volume from a dataSource")
    claim = observed.claim
    node = claim.metadata.annotations.get(fitting.SELECTED_NODE, "")
    waits = storage.volume_binding_mode == "WaitForFirstConsumer"
    if waits and not node:
        return Decision()  # the scheduler comes first
    if ability.tied_to_node and not node:
        node = observed.nodes[0] if observed.nodes else ""
        if not node:
            return Decision()
    if observed.free_bytes < FREE_AT_LEAST_BYTES:
        return _full(observed)
    return Decision(
        actions=(
            Provision(
                name=f"pvc-{claim.metadata.uid}",
                storage=storage,
                size_bytes=wish.size_bytes,
                node=node if ability.tied_to_node else "",
                block=wish.block,
            ),
        )
    )


def find_existing(observed: Observed, size_bytes: int, block: bool) -> PersistentVolume | None:
    """Return the smallest free volume that an administrator made and the claim fits on."""
    claim = observed.claim
    spec = claim.spec or PersistentVolumeClaimSpec()
    fits = []
    for volume in observed.volumes:
        has = volume.spec
        if has is None or has.claim_ref is not None or volume.metadata.deletion_timestamp:
            continue
        if (has.storage_class_name or "") != (spec.storage_class_name or ""):
            continue
        if (has.volume_mode == "Block") != block:
            continue
        if not set(spec.access_modes) <= set(has.access_modes):
            continue
        if spec.selector and not matching.labels_match(spec.selector, volume.metadata.labels):
            continue
        capacity = quantities.whole(has.capacity.get("storage", 0))
        if capacity >= size_bytes:
            fits.append((capacity, volume.metadata.name, volume))
    return min(fits)[2] if fits else None


def _refused(message: str) -> Answer:
    return Decision(actions=(Refuse(reason=FAILED, message=message),))


def _full(observed: Observed) -> Answer:
    free_mib = observed.free_bytes >> 20
    return Decision(
        actions=(
            Refuse(
                reason=FAILED,
                message=f"the disk of {observed.place} is full: {free_mib} MiB are free,"
                f" {FREE_AT_LEAST_BYTES >> 20} MiB must be; delete claims or files there,"
                " or enlarge the disk: it is tried again by itself",
            ),
        ),
        requeue_after_s=FULL_AGAIN_S,
    )


def failure(message: str, now: str) -> PersistentVolumeClaimCondition:
    """Return the condition of a claim that gets no volume."""
    return PersistentVolumeClaimCondition(
        type=FAILED, status="True", reason=FAILED, message=message, last_transition_time=now
    )
