"""The copy of one disk: opens it, goes on where an earlier process stopped, says how far it is.

A source that breaks is tried again here as long as something comes in between; https goes on at the
missing byte, nfc begins the disk again. Whoever kills this process at any line loses some MiB.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from converters import checksum, extents, pipeline
from converters.errors import (
    Cancelled,
    ConversionError,
    Mismatch,
    SourceBroken,
    SourceChanged,
)
from converters.journal import State
from converters.sources.contract import Source
from mtv import errors
from mtv.api import conditions
from mtv.api.meta import Condition
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv.planning import verify
from mtv_operator.transfer import checkpoints, endings, target, verifying
from mtv_operator.transfer.checkpoints import Checkpoints, Known
from mtv_operator.transfer.report import Rate, Reporter, StatusWriter
from mtv_operator.transfer.target import Target

log = logging.getLogger(__name__)

RESTARTED = "Restarted"
RETRYING = "Retrying"  # the controller's word between two attempts
_PAUSES_S = (1.0, 2.0, 5.0, 10.0)  # after breaks in a row without a byte in between
_LOOK_S = 0.1
_CONCLUDE_PATIENCE_S = 60.0


class OpenDisk(Protocol):
    """A disk of a source that can be read; `mtv.providers.vsphere.disks.OpenDisk` is one."""

    @property
    def source(self) -> Source:
        """The bytes."""
        ...

    @property
    def transport(self) -> str:
        """How they come."""
        ...

    @property
    def revision(self) -> str:
        """What tells this state of the content from another."""
        ...


class Opener(Protocol):
    """Opens the disk: with what to ask for its progress, and whom to tell of each retry."""

    def __call__(
        self, *, percent: Callable[[], int], on_retry: Callable[[ConversionError], None]
    ) -> AbstractContextManager[OpenDisk]:
        """Return a context in which the disk is open."""
        ...


@dataclass(slots=True)
class _Counts:
    """What was fetched and written before the attempt that runs."""

    fetched: int = 0
    written: int = 0


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
        before = wanted.status or DiskTransferStatus()
        self._journal, self._revision = before.journal or "", before.source_revision or ""
        self._stale = tuple(
            one.type for one in before.conditions if one.type in (*endings.CAUSES, RETRYING)
        )
        self._counts = _Counts(before.fetched_bytes or 0, before.written_bytes or 0)
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
            state = self._starting_state(disk)
            sums = self._copy(disk, state)
        # The export is over and its lease is complete: from here on the source is not needed.
        verified = self._verify(disk, sums, state)
        self._finish(disk, sums, verified)

    def _starting_state(self, disk: OpenDisk) -> State:
        source = disk.source
        known = Known(
            notes=self._target.notes.read(),
            lasting_notes=self._target.notes.lasting,
            status_journal=self._journal,
            status_revision=self._revision,
            boot=checkpoints.boot_id(),
        )
        state, why = checkpoints.starting_state(
            known,
            seekable=source.capabilities.seekable,
            revision=disk.revision,
            capacity_bytes=source.capacity_bytes,
        )
        if why:
            self._say_restarted(f"{source.name} is copied from its beginning again: {why}")
        elif state.extents:
            settled = extents.total(state.extents)
            log.info("%s: goes on after %d bytes", source.name, settled)
            # The status of a process that was killed is older than its journal.
            self._counts.fetched = max(self._counts.fetched, settled)
        if not state.extents:
            self._counts.written = 0
        return state

    def _say_restarted(self, message: str) -> None:
        """Say that what was copied is of no use, in a condition and an event."""
        log.warning("%s", message)
        self._writer.record(RESTARTED, message, warning=True)
        restarted = Condition(type=RESTARTED, status="True", reason=RESTARTED, message=message)
        try:
            self._writer.conclude({}, new=[restarted])
        except errors.MigrationError as fault:
            log.warning("the condition %s cannot be written: %s", RESTARTED, fault)

    def _copy(self, disk: OpenDisk, state: State) -> checksum.Sums:
        """Copy what `state` says is missing; return the sums of the whole disk."""
        marks = Checkpoints(
            self._target.sink,
            self._target.notes,
            state,
            disk.revision,
            on_lasting=lambda: self._reporter.soon() if self._reporter else None,
        )
        running = pipeline.Copy(
            marks.paced(disk.source), self._target.sink, self._options, journal=marks.journal
        )
        try:
            with marks, running, _counted(self._counts, running):
                look = _View(disk, running, marks, self._counts, self._wanted)
                with Reporter(self._writer, look, on_sent=_told(marks)) as self._reporter:
                    self._wait(running, marks, look)
                    marks.sync()
        finally:
            self._journal, self._revision = marks.journal.state().encode(), disk.revision
        return running.sums

    def _wait(self, running: pipeline.Copy, marks: Checkpoints, look: _View) -> None:
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

    def _verify(self, disk: OpenDisk, sums: checksum.Sums, state: State) -> dict[str, Any]:
        """Read the target again, as far as is wanted; return what to say of it. Raises Mismatch."""
        how = self._wanted.spec.verify
        if how in ("", verify.NONE):
            return {}
        try:
            done, read = verifying.check(
                how,
                sums,
                self._target.sink,
                self._options,
                block_bytes=disk.source.block_bytes,
                earlier=state.extents,
                stop=self._stop,
            )
        except Mismatch:
            # What is there is not believed any more: the next attempt begins the disk again.
            self._target.notes.clear(target.JOURNAL, target.SYNCED, target.REVISION)
            self._journal = ""
            self._writer.conclude({"journal": None, "sourceRevision": None, "percent": "0%"})
            raise
        return {"verified": done, "verifiedBytes": read}

    def _finish(self, disk: OpenDisk, sums: checksum.Sums, verified: Mapping[str, Any]) -> None:
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
            "checksum": f"xxh3:{checksum.text(sums.total)}",
            "journal": State(extents=extents.whole(capacity), block_sum=sums.total).encode(),
            "sourceRevision": disk.revision or None,
            **verified,
        }
        self._conclude(done)
        self._target.leave()
        self._writer.record("Copied", f"{disk.source.name} is copied, by {disk.transport}")

    def _conclude(self, status: Mapping[str, Any]) -> None:
        succeeded = Condition(
            type="Succeeded", status="True", reason="Copied", message="the disk is complete"
        )
        deadline = time.monotonic() + _CONCLUDE_PATIENCE_S
        while True:
            try:
                self._writer.conclude(status, new=[succeeded], without=(*endings.CAUSES, RETRYING))
                return
            except errors.Retryable as fault:
                if time.monotonic() > deadline or self._stop.wait(0.5):
                    raise
                log.warning("the end cannot be reported yet: %s", fault)


class _View:
    """The status fields of a copy that runs, each time it is called."""

    def __init__(
        self,
        disk: OpenDisk,
        running: pipeline.Copy,
        marks: Checkpoints,
        counts: _Counts,
        wanted: DiskTransfer,
    ) -> None:
        self._disk, self._running, self._marks = disk, running, marks
        self._fetched, self._written = counts.fetched, counts.written
        self._rate = Rate()
        status = wanted.status or DiskTransferStatus()
        self._started = status.started or conditions.timestamp(datetime.now(UTC))

    def __call__(self) -> dict[str, Any]:
        """Return the fields."""
        progress = self._running.progress()
        return {
            "phase": "Running",
            "started": self._started,
            "transport": str(self._disk.transport),
            "totalBytes": progress.capacity_bytes,
            "doneBytes": progress.settled_bytes,
            "fetchedBytes": self._fetched + progress.read_bytes,
            "writtenBytes": self._written + progress.written_bytes,
            "ratePerSecond": self._rate.of(progress.settled_bytes, time.monotonic()),
            "percent": f"{self.percent(progress)}%",
            "journal": self._marks.lasting or None,
            "sourceRevision": self._disk.revision or None,
        }

    def percent(self, progress: pipeline.Progress) -> int:
        """Return how much is done; 100 only when all of it is on the medium."""
        if not progress.capacity_bytes:
            return 0
        return min(progress.settled_bytes * 100 // progress.capacity_bytes, 99)


def _told(marks: Checkpoints) -> Callable[[dict[str, Any] | None], None]:
    """Return what tells the checkpoints which journal others know."""

    def told(sent: dict[str, Any] | None) -> None:
        marks.published(None if sent is None else str(sent["journal"] or ""))

    return told


@contextmanager
def _counted(counts: _Counts, running: pipeline.Copy) -> Iterator[None]:
    """Add what the copy fetched and wrote, whether it succeeds or not."""
    try:
        yield
    finally:
        progress = running.progress()
        counts.fetched += progress.read_bytes
        counts.written += progress.written_bytes
