"""What a VM that failed is told: a stable reason, a way out, and what another try costs. Pure.

The evidence is in the errors themselves; here is what follows from the phase in which it failed.
"""

from __future__ import annotations

from dataclasses import dataclass

_KEPT = "what is copied is not copied again, as long as the source has not run since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """Why, in a word that stays the same, and what to do."""

    reason: str
    advice: str
    cost: str

    @property
    def sentence(self) -> str:
        """Both, as a condition's suggestion has them."""
        return f"{self.advice}; then start the plan again: {self.cost}"


_NOTHING = "nothing had been done"
_BY_PHASE: tuple[tuple[tuple[str, ...], Remedy], ...] = (
    (
        ("Started",),
        Remedy(
            reason="NotStartable",
            advice="solve what `mtv plan check` shows",
            cost=_NOTHING,
        ),
    ),
    (
        ("PreHook",),
        Remedy(
            reason="PreHookFailed",
            advice="read the logs of the hook's Job and mend the hook, or take it out of the plan",
            cost=_NOTHING,
        ),
    ),
    (
        ("StorePowerState", "PowerOffSource", "WaitForPowerOff"),
        Remedy(
            reason="SourceNotOff",
            advice="shut the source down by hand, or allow force by the annotation "
            "mtv.dev/power-off: force-after=5m",
            cost=_KEPT,
        ),
    ),
    (
        ("CreateInitialSnapshot", "WaitForInitialSnapshot", "CreateSnapshot", "WaitForSnapshot",
         "CreateFinalSnapshot", "WaitForFinalSnapshot", "RemovePreviousSnapshot",
         "WaitForPreviousSnapshotRemoval"),
        Remedy(
            reason="SnapshotFailed",
            advice="see in vSphere why the VM's snapshot failed (space on the datastore, other "
            "programs, the snapshot privileges)",
            cost="the disks that have a whole state go on with what has changed",
        ),
    ),
    (
        ("CreateDataVolumes",),
        Remedy(
            reason="VolumesNotMade",
            advice="mend the claims that are named: storage class, quota, size",
            cost=_KEPT,
        ),
    ),
    (
        ("CreateGuestConversionPod", "ConvertGuest"),
        Remedy(
            reason="GuestNotAdapted",
            advice="look into the guest with `mtv disk inspect`, or set skipGuestConversion",
            cost="only the adaptation is done again",
        ),
    ),
    (
        ("CreateVM",),
        Remedy(
            reason="VMNotCreated",
            advice="mend what the API server refused",
            cost="only the VM is made; no disk is copied again while the source stays off",
        ),
    ),
    (
        ("PostHook",),
        Remedy(
            reason="PostHookFailed",
            advice="the VM is moved; read the logs of the hook's Job, and mend the hook",
            cost="only the hook runs again",
        ),
    ),
)  # fmt: skip
_COPY = Remedy(
    reason="DiskTransferFailed",
    advice="`mtv why plan NAME` shows the first cause of the disk that failed",
    cost=_KEPT,
)


def of(phase: str) -> Remedy:
    """Return what a failure in a phase means."""
    return next((remedy for phases, remedy in _BY_PHASE if phase in phases), _COPY)
