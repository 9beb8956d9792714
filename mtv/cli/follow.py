"""Follow a plan on the terminal: one bar per step or disk, and how it ended.

What is shown is computed from the objects alone (`lines`, `outcome`: pure), so that a second
`mtv plan watch` on another terminal shows the same. Ctrl-C ends the following, not the migration.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtv.api.forklift import Plan, Task, VMStatus
from mtv.api.mtv import DiskTransfer

POLL_S = 0.5
PLAIN_EVERY_S = 5.0
FINAL = ("Succeeded", "Failed", "Canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row: a step of a VM, or one of its disks. Bytes; total 0 when it is not known."""

    vm: str
    label: str
    done: int
    total: int
    state: str  # Pending, Running, Completed, Failed
    rate: int = 0  # bytes per second
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a plan ended; `state` is "" while it runs."""

    state: str
    reasons: tuple[str, ...] = ()


def lines(plan: Plan, transfers: Sequence[DiskTransfer]) -> list[Line]:
    """Return the rows to show, in the order of the plan's VMs and steps."""
    by_disk = {(t.spec.vm.id, t.spec.disk.base_file): t for t in transfers}
    rows: list[Line] = []
    for vm in plan.status.migration.vms if plan.status and plan.status.migration else ():
        name, vm_id = vm.name or vm.id or "", vm.id or ""
        if vm.started:
            rows.append(_vm_line(vm))
        for step in vm.pipeline:
            if not step.tasks:
                state = "Failed" if step.error else (step.phase or "Pending")
                rows.append(Line(vm=name, label=step.name, done=0, total=0, state=state))
            rows += [_disk_line(name, task, by_disk.get((vm_id, task.name))) for task in step.tasks]
    return rows


def _vm_line(vm: VMStatus) -> Line:
    """Return the row of a VM: its phase, and how long it would be off, or was."""
    known = vm.warm
    note = ""
    if known is not None and known.downtime_seconds is not None:
        note = f"was off for {known.downtime_seconds} s"
    elif known is not None and known.predicted_downtime_seconds is not None:
        note = f"predicted downtime {known.predicted_downtime_seconds} s"
    copies = len(known.precopies) if known is not None else 0
    if copies:
        note = f"{copies} precop{'y' if copies == 1 else 'ies'}{', ' if note else ''}{note}"
    return Line(
        vm=vm.name or vm.id or "", label="phase", done=0, total=0, state=vm.phase, note=note
    )


def _disk_line(vm: str, task: Task, transfer: DiskTransfer | None) -> Line:
    """Return the row of one disk; the transfer knows bytes and rate, the task only MiB."""
    name, state = task.name, "Failed" if task.error else (task.phase or "Pending")
    if transfer is not None and transfer.status is not None and transfer.status.total_bytes:
        status = transfer.status
        return Line(
            vm=vm,
            label=name,
            done=status.done_bytes or 0,
            total=status.total_bytes or 0,
            state=state,
            rate=int(status.rate_per_second or 0),
            note=status.transport or "",
        )
    return Line(
        vm=vm,
        label=name,
        done=task.progress.completed << 20,
        total=task.progress.total << 20,
        state=state,
    )


def outcome(plan: Plan, since: str = "") -> Outcome:
    """Return how the plan's newest migration ended, or an empty state while it runs.

    `since`: the uid of the Migration that is followed; an outcome of an earlier one does not count.
    """
    status = plan.status
    if status is None or status.migration is None:
        return Outcome(state="")
    history = status.migration.history
    if since and (not history or history[-1].migration.uid != since):
        return Outcome(state="")
    ended = [c.type for c in status.conditions if c.type in FINAL and c.status == "True"]
    if not ended or not status.migration.completed:
        return Outcome(state="")
    reasons = tuple(
        f"{vm.name or vm.id}: {reason}"
        for vm in status.migration.vms
        if vm.error
        for reason in vm.error.reasons
    )
    return Outcome(state=ended[0], reasons=reasons)


def blockers(plan: Plan) -> tuple[str, ...]:
    """Return what keeps a plan from running: its critical conditions, with what they name."""
    if plan.status is None:
        return ()
    return tuple(
        f"{c.type}: {c.message or c.reason or ''}" + (f" ({', '.join(c.items)})" if c.items else "")
        for c in plan.status.conditions
        if c.category in ("Critical", "Error") and c.status == "True"
    )


def follow(
    read: Callable[[], tuple[Plan, list[DiskTransfer]]], *, since: str = "", timeout_s: float = 0.0
) -> Outcome:
    """Show progress until the plan ends; return its outcome (state "" when timeout_s ran out)."""
    deadline = time.monotonic() + timeout_s if timeout_s else float("inf")
    screen = _Bars() if sys.stderr.isatty() else _PlainLines()
    with screen:
        while True:
            plan, transfers = read()
            screen.show(lines(plan, transfers))
            ended = outcome(plan, since)
            if ended.state or time.monotonic() > deadline:
                return ended
            time.sleep(POLL_S)


class _PlainLines:
    """For logs and pipes: a line when something changed, at most every few seconds per disk."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], tuple[str, float, str]] = {}

    def __enter__(self) -> _PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, rows: Sequence[Line]) -> None:
        """Print the rows whose state is new, and running disks now and then."""
        now = time.monotonic()
        for row in rows:
            state, at, noted = self._shown.get((row.vm, row.label), ("Pending", 0.0, row.note))
            due = row.state == "Running" and row.total and now - at >= PLAIN_EVERY_S
            if row.state != state or due or (row.note and row.note != noted):
                self._shown[row.vm, row.label] = (row.state, now, row.note)
                print(describe(row), file=sys.stderr, flush=True)


class _Bars:
    """For terminals: bars that move."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[vm]:<16}"),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            auto_refresh=True,
        )
        self._tasks: dict[tuple[str, str], int] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, rows: Sequence[Line]) -> None:
        """Move the bars."""
        for row in rows:
            key = (row.vm, row.label)
            if key not in self._tasks:
                self._tasks[key] = self._progress.add_task(row.label, vm=row.vm, text="")
            finished = row.state == "Completed"
            named = row.label == "phase"
            self._progress.update(
                self._tasks[key],  # type: ignore[arg-type]
                total=row.total or 1,
                visible=not named or not finished,
                completed=(row.total or 1) if finished else row.done,
                text=_measure(row),
            )


def describe(row: Line) -> str:
    """Return a row as one plain line."""
    return f"{row.vm}  {row.label}  {_measure(row)}"


def _measure(row: Line) -> str:
    if not row.total:
        return f"{row.state}  {row.note}".rstrip()
    share = f"{row.done * 100 // row.total:3d} %"
    text = f"{share}  {size(row.done)} of {size(row.total)}"
    if row.state == "Running" and row.rate:
        remaining_s = (row.total - row.done) / row.rate
        text += f"  {size(row.rate)}/s  {remaining_s:.0f} s left"
    elif row.state != "Running":
        text += f"  {row.state}"
    return f"{text}  {row.note}".rstrip()


def size(count: float) -> str:
    """Return a number of bytes as people read it: `12.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
