"""The whole road of one guest: look, decide, change an overlay, try it, commit it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from converters import opening
from converters.errors import CorruptGuest, TargetBroken, UnsupportedGuest
from converters.guest.application import e2fs, fat, local, overlay, view
from converters.guest.application.local import Local
from converters.guest.application.overlay import Overlay
from converters.guest.changes import plan, record
from converters.guest.changes.change import Change
from converters.guest.changes.record import Entry
from converters.guest.decision import Decision, Tools, Way, Wish, decide
from converters.guest.inspection import inspect
from converters.guest.inspection.facts import Inspection
from converters.guest.inspection.inspect import Guest
from converters.images.identify import Format

Trial = Callable[[Sequence[Overlay], Decision, Inspection], None]  # raises if it does not boot


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What shall be done with which disks, in the guest's order."""

    disks: tuple[str, ...]
    wish: Wish
    tools: Tools
    packages: Mapping[str, bytes]
    when: str = ""  # for the record in the guest
    known: Format | None = None
    dry_run: bool = False
    check: bool = False  # a full e2fsck after the change
    trial: Trial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found, decided and done."""

    inspection: Inspection
    decision: Decision
    entries: tuple[Entry, ...]
    committed: bool
    overlay_bytes: int
    seconds: Mapping[str, float]


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what the folder of the disks refuses into our error."""
    try:
        yield
    except OSError as fault:
        raise TargetBroken(
            f"{fault.filename or 'a file'}: {fault.strerror}",
            hint="the overlay lies beside the disk: its folder must be writable, with some room",
        ) from fault


@_translated()
def adapt(order: Order) -> Result:
    """Adapt a guest. Its disks change only at the end, all at once. Raises ConversionError."""
    clock = _Clock()
    if not order.dry_run:
        overlay.finish(order.disks[0])
    formats = [_format(disk, order.known) for disk in order.disks]
    with inspect.open_disks(order.disks, known=order.known) as disks:
        guest = inspect.look(disks, order.disks)
        clock.lap("inspect")
        decision = decide(guest.inspection, order.wish, order.tools)
        changes, entries = _planned(guest, decision, order)
        clock.lap("plan")
        if order.dry_run or not changes or guest.tree is None:
            return _result(guest, decision, entries, clock)
        sorted_ = local.sort(guest.tree, changes)
    overlays = overlay.create(order.disks, formats)
    try:
        write(guest, sorted_, overlays, check=order.check)
        clock.lap("write")
        if order.trial is not None:
            order.trial(overlays, decision, guest.inspection)
            clock.lap("trial")
        size = sum(overlay.size_bytes(one) for one in overlays)
        overlay.commit(overlays)
        clock.lap("commit")
    except BaseException:
        if not overlay.pending(order.disks[0]):
            overlay.discard(overlays)
        raise
    return _result(guest, decision, entries, clock, committed=True, overlay_bytes=size)


def _planned(guest: Guest, decision: Decision, order: Order) -> tuple[list[Change], list[Entry]]:
    if guest.tree is None or decision.way is not Way.LIGHT:
        return [], []
    made = plan.plan(guest.tree, guest.inspection, decision, order.packages)
    noted = record.entries(guest.tree, made)
    if not made:
        return [], []
    own = record.changes(guest.tree, made, noted, way=decision.way, when=order.when)
    return [*made, *own], noted


def write(
    guest: Guest,
    sorted_: Mapping[str, Sequence[Local]],
    overlays: Sequence[Overlay],
    *,
    check: bool = False,
) -> None:
    """Make changes in overlays. Raises; the overlays are to be thrown away then."""
    for mount, changes in sorted_.items():
        volume = guest.mounted[mount]
        if volume.start < 0:
            raise UnsupportedGuest(f"{volume.device} is not one piece of one disk")
        region = view.Region(
            image=overlays[volume.disk].path,
            format="qcow2",
            start=volume.start,
            size_bytes=volume.size_bytes,
        )
        with view.shown(region) as path:
            if volume.kind == "vfat":
                fat.apply(path, changes)
                continue
            e2fs.repair(path)
            e2fs.apply(path, changes)
            if check:
                e2fs.check(path)


@_translated()
def undo(order: Order) -> tuple[list[Change], list[str]]:
    """Take back what an adaptation changed; return what was done, and what stays, and why."""
    overlay.finish(order.disks[0])
    formats = [_format(disk, order.known) for disk in order.disks]
    with inspect.open_disks(order.disks, known=order.known) as disks:
        guest = inspect.look(disks, order.disks)
        if guest.tree is None or guest.inspection.linux is None:
            raise UnsupportedGuest("no Linux guest was found", file=order.disks[0])
        if not guest.inspection.linux.adapted:
            raise CorruptGuest("the guest has no record of an adaptation", file=order.disks[0])
        changes, left = record.undo(guest.tree)
        if order.dry_run:
            return changes, left
        sorted_ = local.sort(guest.tree, changes)
    overlays = overlay.create(order.disks, formats)
    try:
        write(guest, sorted_, overlays, check=order.check)
        overlay.commit(overlays)
    except BaseException:
        if not overlay.pending(order.disks[0]):
            overlay.discard(overlays)
        raise
    return changes, left


def _format(disk: str, known: Format | None) -> str:
    """Return the format of a disk that can be changed in place. Raises UnsupportedGuest."""
    with opening.open_chain(disk, known=known) as chain:
        found = chain.images[0].format
    if found not in overlay.FORMATS:
        raise UnsupportedGuest(
            f"is {found}", file=disk, expected="raw or qcow2",
            hint=f"mtv convert {disk} {disk}.qcow2",
        )  # fmt: skip
    return found


def _result(
    guest: Guest,
    decision: Decision,
    entries: Sequence[Entry],
    clock: _Clock,
    *,
    committed: bool = False,
    overlay_bytes: int = 0,
) -> Result:
    return Result(
        inspection=guest.inspection,
        decision=decision,
        entries=tuple(entries),
        committed=committed,
        overlay_bytes=overlay_bytes,
        seconds=clock.seconds,
    )
