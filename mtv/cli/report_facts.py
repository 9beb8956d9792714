"""What a report tells of a plan: read from the Plan and its DiskTransfers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mtv.api.forklift import Plan, Precopy, Step, VMStatus
from mtv.api.mtv import DiskTransfer

FINAL = ("Succeeded", "Failed", "Canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of time; `end` is None while it goes on."""

    name: str
    start: datetime
    end: datetime | None
    state: str  # Completed, Running, Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """One disk. Bytes."""

    file: str
    target: str
    state: str
    transport: str
    capacity_bytes: int
    done_bytes: int
    fetched_bytes: int
    written_bytes: int
    seconds: float | None
    checksum: str
    verified: str
    attempts: int

    @property
    def rate(self) -> float | None:
        """Bytes that came over the wire per second, once the copy is over."""
        return self.fetched_bytes / self.seconds if self.seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VMFacts:
    """One VM."""

    name: str
    id: str
    target: str
    outcome: str
    phase: str
    started: datetime | None
    completed: datetime | None
    steps: tuple[Span, ...]
    disks: tuple[DiskFacts, ...]
    precopies: int
    predicted_downtime_s: int | None
    downtime_s: int | None
    errors: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A plan, its newest run and all VMs of it."""

    plan: str
    namespace: str
    target_namespace: str
    type: str
    outcome: str
    started: datetime | None
    completed: datetime | None
    written: datetime
    vms: tuple[VMFacts, ...]
    problems: tuple[tuple[str, str, str], ...]  # condition, message, suggestion

    @property
    def disks(self) -> list[DiskFacts]:
        """All disks."""
        return [disk for vm in self.vms for disk in vm.disks]


def of(plan: Plan, transfers: Sequence[DiskTransfer], now: datetime) -> Facts:
    """Return what is known of a plan's newest run."""
    status = plan.status
    run = status.migration if status else None
    mine = [one for one in transfers if one.metadata.labels.get("plan") == plan.metadata.uid]
    conditions = status.conditions if status else ()
    true = {one.type for one in conditions if one.status == "True"}
    outcome = next((kind for kind in (*FINAL, "Executing", "Ready") if kind in true), "Not ready")
    warm = plan.spec.type == "warm" if plan.spec.type else bool(plan.spec.warm)
    return Facts(
        plan=plan.metadata.name,
        namespace=plan.metadata.namespace,
        target_namespace=plan.spec.target_namespace,
        type="warm" if warm else plan.spec.type or "cold",
        outcome=outcome,
        started=moment(run.started) if run else None,
        completed=moment(run.completed) if run else None,
        written=now,
        vms=tuple(_vm(vm, mine) for vm in (run.vms if run else ())),
        problems=tuple(
            (one.type, one.message or one.reason or "", one.suggestion or "")
            for one in conditions
            if one.status == "True" and one.category in ("Critical", "Error", "Warn")
        ),
    )


def _vm(vm: VMStatus, transfers: Iterable[DiskTransfer]) -> VMFacts:
    ended = {one.type for one in vm.conditions if one.status == "True"}
    outcome = next((kind for kind in FINAL if kind in ended), "")
    if not outcome:
        outcome = "Failed" if vm.error else "Running" if vm.started else "Waiting"
    spans = [span for step in vm.pipeline if (span := _step(step)) is not None]
    precopies = vm.warm.precopies if vm.warm else ()
    spans += [span for at, one in enumerate(precopies, 1) if (span := _precopy(at, one))]
    return VMFacts(
        name=vm.name or vm.id or "",
        id=vm.id or "",
        target=vm.new_name or "",
        outcome=outcome,
        phase=vm.phase,
        started=moment(vm.started),
        completed=moment(vm.completed),
        steps=tuple(sorted(spans, key=lambda one: one.start)),
        disks=tuple(_disk(one) for one in transfers if one.spec.vm.id == vm.id),
        precopies=len(precopies),
        predicted_downtime_s=vm.warm.predicted_downtime_seconds if vm.warm else None,
        downtime_s=vm.warm.downtime_seconds if vm.warm else None,
        errors=vm.error.reasons if vm.error else (),
        notes=tuple(
            one.message
            for one in vm.conditions
            if one.message and one.type not in FINAL and one.status == "True"
        ),
    )


def _step(step: Step) -> Span | None:
    start = moment(step.started)
    if start is None:
        return None
    state = "Failed" if step.error else step.phase or "Running"
    return Span(name=step.name, start=start, end=moment(step.completed), state=state)


def _precopy(at: int, one: Precopy) -> Span | None:
    start = moment(one.start)
    if start is None:
        return None
    end = moment(one.end)
    return Span(name=f"Precopy {at}", start=start, end=end, state="Completed" if end else "Running")


def _disk(one: DiskTransfer) -> DiskFacts:
    status = one.status
    start = moment(status.started) if status else None
    end = moment(status.completed) if status else None
    return DiskFacts(
        file=one.spec.disk.base_file or one.spec.disk.file,
        target=one.spec.target.claim_name,
        state=(status and status.phase) or "Pending",
        transport=(status and status.transport) or one.spec.transport,
        capacity_bytes=one.spec.disk.capacity_bytes,
        done_bytes=(status and status.done_bytes) or 0,
        fetched_bytes=(status and status.fetched_bytes) or 0,
        written_bytes=(status and status.written_bytes) or 0,
        seconds=max((end - start).total_seconds(), 1.0) if start and end else None,
        checksum=(status and status.checksum) or "",
        verified=(status and status.verified) or "",
        attempts=(status and status.attempts) or 0,
    )


def moment(text: str | None) -> datetime | None:
    """Return a time of the API; None where there is none, or none that can be read."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return None


def duration(seconds: float | None) -> str:
    """Return a length of time as people read it: `1 h 02 min`, `3 min 20 s`, `12 s`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
