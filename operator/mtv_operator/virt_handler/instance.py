"""What a VMI on this node needs done, and how it stands. Pure.

launcher  absent ─► ready ─► (silent) ─► gone
domain    none ─► runs ─► ended
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from mtv import errors
from mtv.api import kubevirt, well_known
from mtv_operator.reconciling import Decision
from mtv_operator.virt_handler import conditions, hotplug, instance_status
from mtv_operator.virt_launcher.protocol import Domain

Vmi = kubevirt.VirtualMachineInstance

OURS = ("Scheduled", "Running")
FINAL = (instance_status.SUCCEEDED, instance_status.FAILED)
ABSENT_TIMEOUT = timedelta(minutes=3)  # as upstream: a launcher that never listens
SILENT_TIMEOUT = timedelta(seconds=30)  # as upstream: one that listens and does not answer
FIRST_LOOKS = timedelta(seconds=5)
LOOK_SOON_S = 0.05  # a launcher needs half a second to listen
LOOK_S = 1.0
PRESS_AGAIN_S = 5.0
AFTER_ORDER_S = 0.1
FIRST_PAUSE_S, LONGEST_PAUSE_S, OPERATOR_PAUSE_S = 0.5, 30.0, 10.0


class Reach(StrEnum):
    """How the launcher of a pod is reached."""

    ABSENT = "absent"  # it does not listen yet
    READY = "ready"  # it answers
    SILENT = "silent"  # it listens, and does not answer in time
    GONE = "gone"  # it listened once, and is no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """The launcher as it was seen now; `domain` is its answer, or what it wrote last."""

    reach: Reach
    since: datetime
    domain: Domain = field(default_factory=Domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An order that could not be carried out."""

    error: errors.MigrationError
    at: datetime
    attempts: int

    @property
    def next_try(self) -> datetime:
        """Return when the order is given again."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self.attempts - 1, 10))
        if isinstance(self.error, errors.NeedsOperator):
            pause_s = max(pause_s, OPERATOR_PAUSE_S)
        return self.at + timedelta(seconds=pause_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A VMI that has this node's name, and its launcher. Without a pod there is no launcher."""

    vmi: Vmi
    saw: datetime
    launcher: Launcher | None = None
    addresses: tuple[str, ...] = ()
    ordered: datetime | None = None
    failure: Failure | None = None
    emulated_because: str = ""


@dataclass(frozen=True, slots=True)
class Boot:
    """Give the pod its devices and network, and order the start."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Ask the guest to shut down; it is destroyed when the time is over."""

    grace_period_s: int


@dataclass(frozen=True, slots=True)
class Destroy:
    """End QEMU now."""


@dataclass(frozen=True, slots=True)
class Plug:
    """Give the running guest a volume."""

    name: str


@dataclass(frozen=True, slots=True)
class Unplug:
    """Take a volume from the running guest."""

    name: str


@dataclass(frozen=True, slots=True)
class Release:
    """Let the launcher end: the state that it holds is written down."""


Action = Boot | Shutdown | Destroy | Release | Plug | Unplug
Decided = Decision[Action, Vmi]


def decide(observed: Observed, now: datetime) -> Decided:
    """Return what to do now, and the VMI as it should be stored."""
    vmi = observed.vmi
    phase = (vmi.status.phase if vmi.status else None) or ""
    launcher = observed.launcher
    if phase in FINAL:
        return _after_the_end(launcher)
    if phase not in OURS:
        return Decision()
    if launcher is None:
        return Decision(requeue_after_s=PRESS_AGAIN_S)
    match launcher.reach:
        case Reach.READY:
            return _reachable(observed, launcher.domain, now)
        case Reach.GONE if launcher.domain.migrated:
            return _left()
        case Reach.GONE:
            if launcher.domain.ended:
                return Decision(status=_ended(observed, launcher.domain, now))
            return Decision(status=_lost(observed, "LauncherGone", now))
        case Reach.ABSENT:
            return _wait(observed, launcher, ABSENT_TIMEOUT, "LauncherNotReady", now)
        case Reach.SILENT:
            return _wait(observed, launcher, SILENT_TIMEOUT, "LauncherUnresponsive", now)


def _after_the_end(launcher: Launcher | None) -> Decided:
    """Let go of a launcher whose VMI has ended; a guest that still runs is ended first."""
    if launcher is None or launcher.reach is not Reach.READY:
        return Decision()
    if launcher.domain.alive:
        return Decision(actions=(Destroy(),), requeue_after_s=LOOK_S)
    return Decision(actions=(Release(),))


def _wait(
    observed: Observed, launcher: Launcher, patience: timedelta, reason: str, now: datetime
) -> Decided:
    waited = now - launcher.since
    if waited > patience:
        return Decision(status=_lost(observed, reason, now))
    return Decision(requeue_after_s=LOOK_SOON_S if waited < FIRST_LOOKS else LOOK_S)


def _reachable(observed: Observed, domain: Domain, now: datetime) -> Decided:
    vmi = observed.vmi
    if domain.migrated:
        return _left()
    if domain.receives:
        return Decision(requeue_after_s=LOOK_S)
    if domain.ended:
        return Decision(status=_ended(observed, domain, now))
    going = vmi.metadata.deletion_timestamp is not None
    if domain.alive:
        return _alive(observed, domain, now, going=going)
    if going:
        # Nothing was started, and nothing shall be: the pod ends, and with it the launcher.
        return Decision(requeue_after_s=LOOK_S)
    if observed.failure is not None and now < observed.failure.next_try:
        pause = observed.failure.next_try - now
        return Decision(
            status=_with_failure(observed, observed.failure, now),
            requeue_after_s=pause.total_seconds(),
        )
    return Decision(actions=(Boot(),), requeue_after_s=AFTER_ORDER_S)


def _left() -> Decided:
    """Wait for the other node to take over: it, or the controller's patience, has the word now."""
    return Decision(requeue_after_s=LOOK_S)


def _alive(observed: Observed, domain: Domain, now: datetime, *, going: bool) -> Decided:
    status = instance_status.running(
        observed.vmi, domain, observed.addresses, observed.emulated_because, now
    )
    stored = _with_times(observed, msgspec.structs.replace(observed.vmi, status=status), domain)
    if not going:
        return _with_plugging(Decision(status=stored), domain)
    grace = instance_status.grace_period_s(observed.vmi)
    return Decision(status=stored, actions=(Shutdown(grace),), requeue_after_s=PRESS_AGAIN_S)


def _with_plugging(plan: Decided, domain: Domain) -> Decided:
    """Return the decision with the volumes that come and go. Those never wait for each other."""
    vmi = plan.status
    assert vmi is not None
    actions: tuple[Action, ...] = tuple(Plug(name) for name in hotplug.to_plug(vmi, domain))
    actions += tuple(Unplug(name) for name in hotplug.to_unplug(vmi, domain))
    if vmi.status is not None:
        shown = hotplug.shown(vmi.status, vmi, domain)
        vmi = msgspec.structs.replace(vmi, status=shown)
    return Decision(status=vmi, actions=actions, requeue_after_s=LOOK_S if actions else None)


def _ended(observed: Observed, domain: Domain, now: datetime) -> Vmi:
    vmi = observed.vmi
    phase = instance_status.final_phase(vmi, domain)
    reason = domain.reason if phase == instance_status.FAILED else ""
    status = instance_status.ended(vmi, phase, reason, now)
    return _with_times(observed, msgspec.structs.replace(vmi, status=status), domain)


def _lost(observed: Observed, reason: str, now: datetime) -> Vmi:
    status = instance_status.ended(observed.vmi, instance_status.FAILED, reason, now)
    return msgspec.structs.replace(observed.vmi, status=status)


def _with_failure(observed: Observed, failure: Failure, now: datetime) -> Vmi:
    vmi = observed.vmi
    assert vmi.status is not None
    found = conditions.failed(vmi.status.conditions, failure.error, now)
    status = msgspec.structs.replace(vmi.status, conditions=found)
    return _with_times(observed, msgspec.structs.replace(vmi, status=status), Domain())


def _with_times(observed: Observed, vmi: Vmi, domain: Domain) -> Vmi:
    """Return the VMI with the times that were seen; those that it has already stay."""
    seen = {
        well_known.HANDLER_SAW: domain.saw_at or micro(observed.saw),
        well_known.BOOT_ORDERED: domain.ordered_at
        or (micro(observed.ordered) if observed.ordered else ""),
        well_known.DOMAIN_RUNNING: domain.started_at,
    }
    annotations = {name: text for name, text in seen.items() if text} | vmi.metadata.annotations
    metadata = msgspec.structs.replace(vmi.metadata, annotations=annotations)
    return msgspec.structs.replace(vmi, metadata=metadata)


def micro(time: datetime) -> str:
    """Return a time as RFC 3339 with microseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Said:
    """An event to record."""

    reason: str
    message: str
    type: str = "Normal"


def said(before: Vmi, after: Vmi, domain: Domain) -> list[Said]:
    """Return the events of a change of phase, in upstream's words."""
    old = before.status.phase if before.status else None
    new = after.status.phase if after.status else None
    if old == new:
        return []
    if new == instance_status.RUNNING:
        return [Said("Started", "VirtualMachineInstance started.")]
    if new == instance_status.SUCCEEDED:
        return [Said("Stopped", "The VirtualMachineInstance was shut down.")]
    if new != instance_status.FAILED:
        return []
    crashed = Said(reason="Stopped", message="The VirtualMachineInstance crashed.", type="Warning")
    why = domain.message if domain.ended else _LOST.get(_reason(after), "")
    return [crashed, Said(reason="Stopped", message=why, type="Warning")] if why else [crashed]


_LOST = {
    "LauncherGone": "the launcher ended, and its guest with it",
    "LauncherNotReady": "the launcher did not become ready within 3 minutes: see its log",
    "LauncherUnresponsive": "the launcher has not answered for 30 seconds: see its log",
}


def _reason(vmi: Vmi) -> str:
    return (vmi.status.reason if vmi.status else None) or ""
