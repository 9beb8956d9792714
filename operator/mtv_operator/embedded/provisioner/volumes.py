"""What happens to a persistent volume next: a pure decision.

Data is removed only of a volume that is released: its claim is gone, and no pod uses its device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mtv.api.core import PersistentVolume, PersistentVolumeClaim
from mtv_operator.embedded.provisioner import claims
from mtv_operator.reconciling import Decision

PROTECTION = "kubernetes.io/pv-protection"
IN_USE_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A volume, its claim, and who has its device open."""

    volume: PersistentVolume
    claim: PersistentVolumeClaim | None
    users: Sequence[str] = ()  # uids of pods


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPhase:
    """Write the volume's phase."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroy:
    """Remove the volume's data, and then the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotect:
    """Let the deletion of the object go on; the data stays."""


Action = SetPhase | Destroy | Unprotect


def decide(observed: Observed, now: datetime) -> Decision[Action, None]:
    """Return what to do with a volume. Total."""
    volume, spec = observed.volume, observed.volume.spec
    phase = volume.status.phase if volume.status else None
    owner = spec.claim_ref if spec else None
    deleted = volume.metadata.deletion_timestamp is not None
    if owner is None or not owner.uid:
        if deleted:
            return Decision(actions=(Unprotect(),))
        return Decision(actions=() if phase == "Available" else (SetPhase(phase="Available"),))
    if observed.claim is not None and observed.claim.metadata.uid == owner.uid:
        return Decision()  # bound, or about to be: the claim's side does it
    if phase != "Released":
        return Decision(actions=(SetPhase(phase="Released"),), requeue_after_s=0.0)
    if spec and spec.persistent_volume_reclaim_policy == "Delete" and claims.is_ours(volume):
        if observed.users:
            return Decision(requeue_after_s=IN_USE_AGAIN_S)
        return Decision(actions=(Destroy(),))
    return Decision(actions=(Unprotect(),) if deleted else ())
