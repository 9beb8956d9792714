"""The whole road of one guest: look, decide, change an overlay, try it, commit it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from converters import opening
from converters.errors import CorruptGuest, TargetBroken, UnsupportedGuest
from converters.guest.application import drivers, injecting, local, overlay, writing
from converters.guest.application.overlay import Overlay
from converters.guest.changes import plan, record, windows
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
    drivers: str = ""  # a virtio-win, for Windows: a folder or an ISO
    folder: str = ""  # where the overlays lie; "" for beside the disks
    rehearse: bool = False  # the overlays are thrown away at the end, whatever happened
    proven: str = ""  # the recipe that booted in a rehearsal: it is not tried again
    on_commit: Callable[[], None] = lambda: None  # told before the disks are written to
    root: str = ""  # the device, or the number of the disk, whose system is meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found, decided and done."""

    inspection: Inspection
    decision: Decision
    entries: tuple[Entry, ...]
    committed: bool
    overlay_bytes: int
    seconds: Mapping[str, float]
    recipe: str = ""  # the same for the same changes of the same files; "" where nothing changes
    booted: bool = False  # in a trial now, or the same recipe in an earlier one


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
    if not order.dry_run and not order.rehearse:
        overlay.finish(order.disks[0], order.folder)
    formats = [_format(disk, order.known) for disk in order.disks]
    with inspect.open_disks(order.disks, known=order.known) as disks:
        guest = inspect.look(disks, order.disks, root=order.root)
        clock.lap("inspect")
        wish, given = _with_drivers(guest.inspection, order)
        decision = decide(guest.inspection, wish, order.tools)
        changes, entries = _planned(guest, decision, order)
        clock.lap("plan")
        if decision.way is Way.INJECT and not order.dry_run:
            return _injected(guest, decision, order, given, formats, clock)
        if order.dry_run or not changes or guest.tree is None:
            return _result(guest, decision, entries, clock)
        sorted_ = local.sort(guest.tree, changes)
    booted = bool(order.proven) and order.proven == recipe_of(entries)
    with _overlays(order, formats) as overlays:
        writing.write(guest, sorted_, overlays, check=order.check)
        clock.lap("write")
        if order.trial is not None and not booted:
            order.trial(overlays, decision, guest.inspection)
            booted = True
            clock.lap("trial")
        size = _settled(order, overlays, clock)
    return _result(
        guest, decision, entries, clock,
        committed=not order.rehearse, overlay_bytes=size, booted=booted,
    )  # fmt: skip


def _with_drivers(found: Inspection, order: Order) -> tuple[Wish, Mapping[str, bytes]]:
    """Return the wish with the drivers that are given for this Windows, and these."""
    guest = found.windows
    if guest is None or not order.drivers:
        return order.wish, {}
    release = windows.release(guest.version, guest.name)
    given = drivers.read(order.drivers, release) if release else {}
    return dataclasses.replace(order.wish, drivers=tuple(given)), given


def _injected(
    guest: Guest,
    decision: Decision,
    order: Order,
    given: Mapping[str, bytes],
    formats: Sequence[str],
    clock: _Clock,
) -> Result:
    assert guest.inspection.windows is not None
    volume = guest.inspection.volume(guest.inspection.windows.root)
    assert volume is not None
    with _overlays(order, formats) as overlays:
        nics = order.wish.nics
        entries = injecting.inject(overlays, volume, decision, given, nics, when=order.when)
        clock.lap("write")
        size = _settled(order, overlays, clock, changed=bool(entries))
    return _result(
        guest, decision, entries, clock,
        committed=bool(entries) and not order.rehearse, overlay_bytes=size,
    )  # fmt: skip


@contextlib.contextmanager
def _overlays(order: Order, formats: Sequence[str]) -> Iterator[list[Overlay]]:
    """Yield overlays over the disks; they stay only where a commit has begun and not ended."""
    overlays = overlay.create(order.disks, formats, order.folder)
    try:
        yield overlays
    finally:
        if order.rehearse or not overlay.pending(order.disks[0], order.folder):
            overlay.discard(overlays)


def _settled(
    order: Order, overlays: Sequence[Overlay], clock: _Clock, *, changed: bool = True
) -> int:
    """Commit what was changed, unless this is a rehearsal; return the overlays' size in bytes."""
    size = sum(overlay.size_bytes(one) for one in overlays)
    if changed and not order.rehearse:
        order.on_commit()
        overlay.commit(overlays, order.folder)
        clock.lap("commit")
    return size


def recipe_of(entries: Sequence[Entry]) -> str:
    """Return a digest of what is changed from what into what; "" for no change."""
    if not entries:
        return ""
    lines = sorted(f"{one.path}\0{one.old_sha256}\0{one.new_sha256}" for one in entries)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _planned(guest: Guest, decision: Decision, order: Order) -> tuple[list[Change], list[Entry]]:
    if guest.tree is None or decision.way is not Way.LIGHT:
        return [], []
    made = plan.plan(guest.tree, guest.inspection, decision, order.packages)
    noted = record.entries(guest.tree, made)
    if not made:
        return [], []
    own = record.changes(guest.tree, made, noted, way=decision.way, when=order.when)
    return [*made, *own], noted


@_translated()
def undo(order: Order) -> tuple[list[Change], list[str]]:
    """Take back what an adaptation changed; return what was done, and what stays, and why."""
    overlay.finish(order.disks[0], order.folder)
    formats = [_format(disk, order.known) for disk in order.disks]
    with inspect.open_disks(order.disks, known=order.known) as disks:
        guest = inspect.look(disks, order.disks, root=order.root)
        if guest.tree is None or guest.inspection.linux is None:
            raise UnsupportedGuest("no Linux guest was found", file=order.disks[0])
        if not guest.inspection.linux.adapted:
            raise CorruptGuest("the guest has no record of an adaptation", file=order.disks[0])
        changes, left = record.undo(guest.tree)
        if order.dry_run:
            return changes, left
        sorted_ = local.sort(guest.tree, changes)
    overlays = overlay.create(order.disks, formats, order.folder)
    try:
        writing.write(guest, sorted_, overlays, check=order.check)
        overlay.commit(overlays, order.folder)
    finally:
        if not overlay.pending(order.disks[0], order.folder):
            overlay.discard(overlays)
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
    booted: bool = False,
) -> Result:
    return Result(
        inspection=guest.inspection,
        decision=decision,
        entries=tuple(entries),
        committed=committed,
        overlay_bytes=overlay_bytes,
        seconds=clock.seconds,
        recipe=recipe_of(entries),
        booted=booted,
    )
