"""The copy of one disk: opens it, goes on where an earlier process stopped, says how far it is.

With a checkpoint that disk is a snapshot's, and `ways` says what of it has to come.

A source that breaks is tried again here as long as something comes in between; https goes on at the
missing byte, nfc begins the disk again. Whoever kills this process at any line loses some MiB.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from converters import checksum, extents, pipeline
from converters.errors import (
    Cancelled,
    ConversionError,
    Mismatch,
    SourceBroken,
    SourceChanged,
)
from converters.extents import Extent
from converters.journal import State
from converters.sinks.comparing import ComparingSink
from converters.sinks.contract import Sink
from converters.sources.contract import Source
from converters.sources.selection import Selection
from converters.sources.vmdk_stream import VmdkStream
from mtv import errors
from mtv.api import conditions
from mtv.api.meta import Condition
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv.planning import verify
from mtv.providers.vsphere import disks
from mtv_operator.transfer import approach, checkpoints, endings, target, verifying, ways
from mtv_operator.transfer.checkpoints import Checkpoints, Known
from mtv_operator.transfer.report import Reporter, StatusWriter
from mtv_operator.transfer.target import Target
from mtv_operator.transfer.viewing import Counts, OpenDisk, View, counted, told_to
from mtv_operator.transfer.ways import Course, Way

log = logging.getLogger(__name__)

RESTARTED = "Restarted"
RETRYING = "Retrying"  # the controller's word between two attempts
_PAUSES_S = (1.0, 2.0, 5.0, 10.0)  # after breaks in a row without a byte in between
_LOOK_S = 0.1
_CONCLUDE_PATIENCE_S = 60.0


class Opener(Protocol):
    """Opens the disk: with what to ask for its progress, and whom to tell of each retry."""

    def __call__(
        self, *, percent: Callable[[], int], on_retry: Callable[[ConversionError], None]
    ) -> AbstractContextManager[OpenDisk]:
        """Return a context in which the disk is open."""
        ...


class Transfer:
    """One DiskTransfer, as this process carries it out."""

    def __init__(
        self,
        wanted: DiskTransfer,
        open_disk: Opener,
        target: Target,
        writer: StatusWriter,
        *,
        stop: threading.Event,
        options: pipeline.Options | None = None,
    ) -> None:
        self._wanted = wanted
        self._open, self._target, self._writer, self._stop = open_disk, target, writer, stop
        limit = wanted.spec.bandwidth_limit_bytes_per_second or 0
        self._options = options or pipeline.Options(limit_bytes_per_s=limit)
        before = self._before = wanted.status or DiskTransferStatus()
        self._journal, self._revision = before.journal or "", before.source_revision or ""
        self._stale = tuple(
            one.type for one in before.conditions if one.type in (*endings.CAUSES, RETRYING)
        )
        self._counts = Counts(before.fetched_bytes or 0, before.written_bytes or 0)
        self._fetched_before = self._counts.fetched
        self._began = time.monotonic()
        self._reporter: Reporter | None = None
        self._percent = 0

    def run(self) -> None:
        """Copy the disk and report its end. Raises what ended it before; Cancelled after `stop`."""
        failures = 0
        while True:
            fetched_before = self._counts.fetched
            try:
                self._attempt()
                return
            except (SourceBroken, errors.SourceUnavailable, SourceChanged) as fault:
                moved = self._counts.fetched > fetched_before
                failures = 1 if moved else failures + 1
                if failures > len(_PAUSES_S) or self._stop.is_set():
                    raise
                log.warning("the source broke off, tried again: %s", fault)
                self._writer.record("SourceBroke", str(fault), warning=True)
                if self._stop.wait(_PAUSES_S[failures - 1]):
                    raise Cancelled from None

    def _attempt(self) -> None:
        with self._open(percent=lambda: self._percent, on_retry=self._hear_of_retry) as disk:
            source = disk.source
            wanted_bytes = self._wanted.spec.disk.capacity_bytes
            if source.capacity_bytes != wanted_bytes:
                raise endings.SourceResized(
                    f"{source.name} has {source.capacity_bytes} bytes, expected {wanted_bytes}",
                    hint="the disk was resized since the VM was read: start the migration again",
                )
            way = self._way(disk)
            state = self._starting_state(disk, way)
            sums = self._copy(disk, way, state)
            self._verify_source(disk, way, sums, state)
        # The export is over and its lease is complete: from here on the source is not needed.
        verified = self._verify(disk, way, sums, state)
        self._finish(disk, way, sums, verified)

    def _way(self, disk: OpenDisk) -> Way:
        """Find out what has to come; note it, and say what it costs."""
        wanted = self._wanted.spec.checkpoint
        if wanted is None:
            return Way(revision=disk.revision)
        found = checkpoints.journals(self._known(), disk.source.capacity_bytes)
        way, told = approach.find(
            disk, wanted, self._before, self._target.sink, self._look, list(found)
        )
        pending = ways.pending(way, disk.source.capacity_bytes)
        if told is not None:
            self._writer.record(told.reason, told.message)
        based: dict[str, Any] = {}
        if way.is_kept:
            self._journal, self._revision = way.rest.encode(), way.revision
            based = {"journal": self._journal, "sourceRevision": self._revision}
        if told is not None or based or pending != self._before.pending_delta:
            self._conclude(
                {"pendingDelta": pending, **based},
                new=() if told is None else (told,),
                without=(ways.READ_WHOLE,) if told is None else (),
            )
            self._before = msgspec.structs.replace(self._before, pending_delta=pending)
        return way

    def _look(self, _progress: pipeline.Progress) -> None:
        """Raise Cancelled after `stop`, while the target is read."""
        if self._stop.is_set():
            raise Cancelled

    def _starting_state(self, disk: OpenDisk, way: Way) -> State:
        source = disk.source
        seekable = source.capabilities.seekable or way.is_onto_old
        state, why = checkpoints.starting_state(
            self._known(),
            seekable=seekable,
            revision=way.revision,
            capacity_bytes=source.capacity_bytes,
        )
        if way.is_onto_old:
            if self._counts.fetched == self._fetched_before:  # else this process has brought it
                earlier = extents.total(state.extents) - extents.total(way.rest.extents)
                self._counts.delta = max(earlier, 0)
        elif why and not way.is_kept:
            self._say_restarted(f"{source.name} is copied from its beginning again: {why}")
        elif state.extents:
            settled = extents.total(state.extents) - extents.total(way.rest.extents)
            log.info("%s: goes on after %d bytes", source.name, settled)
            # The status of a process that was killed is older than its journal.
            self._counts.fetched = max(self._counts.fetched, settled)
        if not state.extents:
            self._counts.written = 0
            return way.rest
        return state

    def _known(self) -> Known:
        return Known(
            notes=self._target.notes.read(),
            lasting_notes=self._target.notes.lasting,
            status_journal=self._journal,
            status_revision=self._revision,
            boot=checkpoints.boot_id(),
        )

    def _say_restarted(self, message: str) -> None:
        """Say that what was copied is of no use, in a condition and an event."""
        log.warning("%s", message)
        self._writer.record(RESTARTED, message, warning=True)
        restarted = Condition(type=RESTARTED, status="True", reason=RESTARTED, message=message)
        try:
            self._writer.conclude({}, new=[restarted])
        except errors.MigrationError as fault:
            log.warning("the condition %s cannot be written: %s", RESTARTED, fault)

    def _copy(self, disk: OpenDisk, way: Way, state: State) -> checksum.Sums:
        """Copy what `state` says is missing; return the sums of the whole disk."""
        sink = self._target.sink
        if way.course is Course.WHOLE and state is way.rest and state.extents and not way.is_kept:
            _clear(sink, state.extents, disk.source.capacity_bytes)
        marks = Checkpoints(
            sink,
            self._target.notes,
            state,
            way.revision,
            on_lasting=lambda: self._reporter.soon() if self._reporter else None,
        )
        with _compared(way, self._target) as chosen:
            running = pipeline.Copy(
                marks.paced(_selected(way, disk.source)),
                chosen,
                self._options,
                journal=marks.journal,
                delta=_delta(way, disk.source),
            )
            return self._run(disk, way, marks, running)

    def _run(
        self, disk: OpenDisk, way: Way, marks: Checkpoints, running: pipeline.Copy
    ) -> checksum.Sums:
        try:
            with marks, running, counted(self._counts, running):
                look = View(disk, way, running, marks, self._counts, self._wanted)
                with Reporter(self._writer, look, on_sent=told_to(marks)) as self._reporter:
                    self._wait(running, marks, look)
                    marks.sync()
        finally:
            self._journal, self._revision = marks.journal.state().encode(), way.revision
        return running.sums

    def _wait(self, running: pipeline.Copy, marks: Checkpoints, look: View) -> None:
        """Wait for the end of the copy. Raises its error, Cancelled after `stop`."""
        seen = 0
        reporter = self._reporter
        while not running.wait(_LOOK_S):
            if self._stop.is_set():
                marks.note()
                running.cancel()
            progress = running.progress()
            self._percent = look.percent(progress)
            if reporter is not None and progress.read_bytes > seen:
                reporter.trouble = None
            if reporter is not None and progress.written_bytes and self._stale:
                reporter.stale, self._stale = self._stale, ()
            seen = progress.read_bytes

    def _hear_of_retry(self, fault: ConversionError) -> None:
        """Hear from a feed that it tries again."""
        log.info("tried again: %s", fault)
        if self._reporter is not None and self._reporter.trouble is None:
            message = f"tried again: {fault}"
            self._reporter.trouble = Condition(
                type=endings.SOURCE_UNAVAILABLE,
                status="True",
                reason="Retrying",
                message=message,
            )

    def _verify(
        self, disk: OpenDisk, way: Way, sums: checksum.Sums, state: State
    ) -> dict[str, Any]:
        """Read the target again, as far as is wanted; return what to say of it. Raises Mismatch."""
        how = self._wanted.spec.verify
        if how in ("", verify.NONE):
            return {}
        sink = self._target.sink
        with self._believing():
            if way.course is Course.DELTA and (how == verify.SAMPLE or is_running(disk)):
                done, read = verifying.check_delta(way, sums, sink, look=self._look)
            else:
                done, read = verifying.check(
                    how,
                    sums,
                    sink,
                    self._options,
                    block_bytes=disk.source.block_bytes,
                    earlier=_earlier(way, state),
                    look=self._look,
                )
        return {"verified": done, "verifiedBytes": read}

    def _verify_source(self, disk: OpenDisk, way: Way, sums: checksum.Sums, state: State) -> None:
        """Read the source again, as far as is wanted. Raises Mismatch."""
        how = self._wanted.spec.verify
        if how in ("", verify.NONE):
            return
        with self._believing():
            verifying.check_source(
                how,
                way,
                sums,
                disk.source,
                self._options,
                earlier=_earlier(way, state),
                is_running=is_running(disk),
                look=self._look,
            )

    @contextmanager
    def _believing(self) -> Iterator[None]:
        """Stop to believe in what is on the target when it is not what it should be."""
        try:
            yield
        except Mismatch:
            # What is there is not believed any more: the next attempt begins the disk again.
            self._target.notes.clear(target.JOURNAL, target.SYNCED, target.REVISION)
            self._journal = ""
            nothing = ("journal", "sourceRevision", "checkpoint", "pendingDelta", "checksum")
            self._before = msgspec.structs.replace(
                self._before, checkpoint=None, pending_delta=None, checksum=None
            )
            self._writer.conclude({**dict.fromkeys(nothing), "percent": "0%"})
            raise

    def _finish(
        self, disk: OpenDisk, way: Way, sums: checksum.Sums, verified: Mapping[str, Any]
    ) -> None:
        """Make the disk last, and say that it is complete; insist on being heard."""
        capacity = self._wanted.spec.disk.capacity_bytes
        self._target.finish(capacity)
        done = {
            "phase": "Succeeded",
            "completed": conditions.timestamp(datetime.now(UTC)),
            "transport": str(disk.transport),
            "totalBytes": capacity,
            "doneBytes": capacity,
            "fetchedBytes": self._counts.fetched,
            "writtenBytes": self._counts.written,
            "ratePerSecond": 0,
            "percent": "100%",
            "checksum": f"{ways.SUM_PREFIX}{checksum.text(sums.total)}",
            "journal": State(extents=extents.whole(capacity), block_sum=sums.total).encode(),
            "sourceRevision": way.revision or None,
            **self._reached(way),
            **verified,
        }
        succeeded = Condition(
            type="Succeeded", status="True", reason="Copied", message="the disk is complete"
        )
        self._conclude(done, new=(succeeded,), without=(*endings.CAUSES, RETRYING))
        if self._wanted.spec.checkpoint is None:
            self._target.leave()  # else its notes are needed for the next delta
        self._writer.record("Copied", f"{disk.source.name} is copied, by {disk.transport}")

    def _reached(self, way: Way) -> dict[str, Any]:
        """Return what to say of the checkpoint that is there now."""
        wanted = self._wanted.spec.checkpoint
        if wanted is None:
            return {}
        found: dict[str, Any] = {"checkpoint": ways.encoded(wanted), "pendingDelta": None}
        if way.is_onto_old:
            fetched = self._counts.fetched - self._fetched_before
            found["deltaBytes"] = fetched + self._counts.delta
            found["deltaSeconds"] = round(time.monotonic() - self._began, 3)
        return found

    def _conclude(
        self,
        status: Mapping[str, Any],
        *,
        new: Sequence[Condition] = (),
        without: Sequence[str] = (),
    ) -> None:
        """Write to the status, and insist on it."""
        deadline = time.monotonic() + _CONCLUDE_PATIENCE_S
        while True:
            try:
                self._writer.conclude(status, new=new, without=without)
                return
            except errors.Retryable as fault:
                if time.monotonic() > deadline or self._stop.wait(0.5):
                    raise
                log.warning("the status cannot be written yet: %s", fault)


def _earlier(way: Way, state: State) -> Sequence[Extent]:
    """Return what was copied by an earlier process, so that only its sum is known."""
    return () if state is way.rest and not (way.areas or way.is_kept) else state.extents


def is_running(disk: OpenDisk) -> bool:
    """Tell whether this is a state of a VM that runs on."""
    return isinstance(disk, disks.OpenDisk) and disk.is_running


def _clear(sink: Sink, areas: Sequence[Extent], capacity_bytes: int) -> None:
    """Make these areas zero, for good: nothing comes for them, and the journal counts them."""
    sink.prepare(capacity_bytes, extents.whole(capacity_bytes))
    for area in areas:
        sink.zero(area)
    sink.flush()


def _selected(way: Way, source: Source) -> Source:
    """Return the source as one of which parts can be wanted."""
    if way.is_onto_old and isinstance(source, VmdkStream):
        return Selection(source)
    return source


def _delta(way: Way, source: Source) -> Sequence[Extent] | None:
    match way.course:
        case Course.WHOLE:
            return None
        case Course.DELTA:
            return way.areas
    return extents.whole(source.capacity_bytes)


@contextmanager
def _compared(way: Way, target: Target) -> Iterator[Sink]:
    """Give the sink to write to: a comparison writes only what differs."""
    if way.course is not Course.COMPARISON:
        yield target.sink
        return
    sink = ComparingSink(target.sink, target.path)
    with closing(sink):
        yield sink
    log.info("%d bytes differed", sink.different_bytes)
