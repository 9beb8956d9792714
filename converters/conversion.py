"""One disk into one local target: which sink, what of an interrupted copy is there, verified.

A copy that is going on says so in an extended attribute of the target: which source, and what is
settled. Killed at any moment, the same conversion goes on from there, as long as the machine has
not been started again since (what was written is in the page cache, not surely on the medium).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from converters import checksum, journal
from converters.errors import ImageError, SinkError
from converters.journal import Journal, State
from converters.pipeline import Copy, Options, Progress
from converters.sinks.contract import Sink
from converters.sinks.raw_file import RawFileSink
from converters.sources.contract import Source

_ATTRIBUTE = "user.mtv.unfinished"
_NOTE_BYTES = 32 << 20  # what may be fetched again after a kill
_NOTE_S = 0.5
_TICK_S = 0.1


class TargetFormat(StrEnum):
    """What can be written."""

    RAW = "raw"
    QCOW2 = "qcow2"


class TargetExists(SinkError):
    """The target has something in it that nobody said may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is shown: `copying` or `verifying`, and how far."""

    name: str
    progress: Progress


OnStage = Callable[[Stage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a disk is to be written."""

    target: str
    format: TargetFormat
    options: Options = field(default_factory=Options)
    verify: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was done. Times in seconds, the rest in bytes."""

    target: str
    format: str
    capacity_bytes: int
    read_bytes: int
    written_bytes: int
    allocated_bytes: int
    continued_at: int  # how much an earlier, interrupted copy had settled
    elapsed_s: float
    checksum: str
    verified: bool


def unfinished(target: str, version: str) -> tuple[bool, str]:
    """Return whether a copy to this target was interrupted, and its journal if it can be used."""
    note = _read_note(target)
    if note is None:
        return False, ""
    usable = bool(version) and note.get("version") == version and note.get("boot") == _boot()
    return True, str(note.get("state", "")) if usable else ""


def note_unfinished(target: str, version: str, state: State) -> None:
    """Say that a copy to this target is not finished, and what of it is settled."""
    _Note(target, version, kept=True).write(state)


def convert(
    source: Source,
    order: Order,
    *,
    version: str = "",
    by_tables: Callable[[], Source | None] | None = None,
    on_stage: OnStage,
) -> Result:
    """Copy the disk, and verify it if that is wanted. Raises ConversionError.

    `by_tables` gives the disk of a stream by its tables, if a copy of it can go on so.
    """
    device = _is_device(order.target)
    interrupted, text = (False, "") if device else unfinished(order.target, version)
    if not (device or interrupted or order.overwrite) and _has_content(order.target):
        raise TargetExists(
            "exists and is not empty", file=order.target,
            hint="name another target, or allow it to be overwritten with --force",
        )  # fmt: skip
    known = text if text and not order.overwrite else ""
    state = journal.decode(known, capacity_bytes=source.capacity_bytes) if known else State()
    resumable = source.capabilities.seekable or by_tables is not None
    if state.extents and not source.capabilities.seekable:
        tables = by_tables() if by_tables is not None else None
        if tables is None:
            state = State()
        else:
            sums_by = dataclasses.replace(order.options, block_bytes=source.block_bytes)
            order, source = dataclasses.replace(order, options=sums_by), tables
    made = not device and not os.path.exists(order.target)
    sink = _sink(order, device=device)
    try:
        note = None if device else _Note(order.target, version, kept=resumable)
        result = _copied(source, sink, order, state, note, on_stage)
    except ImageError:
        if made:  # what is half a disk is no use to anybody; the image will not get better
            with contextlib.suppress(OSError):
                os.unlink(order.target)
        raise
    finally:
        sink.close()
    return result


def _copied(
    source: Source, sink: Sink, order: Order, state: State, note: _Note | None, on_stage: OnStage
) -> Result:
    started = time.monotonic()
    if note is not None:
        note.write(state)
    kept = note.settled if note is not None and note.kept else None
    with Copy(source, sink, order.options, journal=Journal(state, on_settled=kept)) as running:
        while not running.wait(_TICK_S):
            on_stage(Stage(name="copying", progress=running.progress()))
        progress, sums = running.progress(), running.sums
    on_stage(Stage(name="copying", progress=progress))
    if order.verify:
        from converters import verification  # most copies need neither this nor other sinks

        verification.verify(
            sums, sink, order.options,
            block_bytes=order.options.block_bytes or source.block_bytes,
            whole=not state.extents,
            on_progress=lambda at: on_stage(Stage(name="verifying", progress=at)),
        )  # fmt: skip
    if note is not None:
        note.remove()
    return Result(
        target=order.target,
        format=order.format.value,
        capacity_bytes=source.capacity_bytes,
        read_bytes=progress.read_bytes,
        written_bytes=progress.written_bytes,
        allocated_bytes=os.stat(order.target).st_blocks * 512,
        continued_at=sum(extent.length for extent in state.extents),
        elapsed_s=time.monotonic() - started,
        checksum=f"{checksum.ALGORITHM}:{checksum.text(sums.total)}",
        verified=order.verify,
    )


def _sink(order: Order, *, device: bool) -> Sink:
    if device:
        from converters.sinks.block_device import BlockDeviceSink

        return BlockDeviceSink(order.target)
    if order.format is TargetFormat.QCOW2:
        from converters.sinks.qcow2_file import Qcow2Sink

        return Qcow2Sink(order.target)
    return RawFileSink(order.target)


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


class _Note:
    """The attribute of a target that is not finished; what is settled only where it is `kept`."""

    def __init__(self, path: str, version: str, *, kept: bool) -> None:
        self._path = path
        self.kept = kept
        self._version = version
        self._lock = threading.Lock()
        self._at = time.monotonic()
        self._bytes = 0

    def settled(self, running: Journal) -> None:
        """Write the journal, unless that was done just now."""
        now = time.monotonic()
        if running.settled_bytes - self._bytes < _NOTE_BYTES and now - self._at < _NOTE_S:
            return
        self._at, self._bytes = now, running.settled_bytes
        self.write(running.state())

    def write(self, state: State) -> None:
        """Write a state; where attributes are not known or too small, a copy begins anew."""
        text = json.dumps({"version": self._version, "boot": _boot(), "state": state.encode()})
        with contextlib.suppress(OSError):
            os.setxattr(self._path, _ATTRIBUTE, text.encode())

    def remove(self) -> None:
        """Say that the target is whole."""
        with contextlib.suppress(OSError):
            os.removexattr(self._path, _ATTRIBUTE)


def _read_note(path: str) -> dict[str, object] | None:
    try:
        note = json.loads(os.getxattr(path, _ATTRIBUTE))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
