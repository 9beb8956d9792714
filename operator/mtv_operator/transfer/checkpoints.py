"""When what was written is noted, and from which note a restart goes on.

Two journals are kept. One after every few MiB, beside the disk: it survives the death of the
process, since the kernel has the data, and is believed as long as the machine was not restarted.
The other every few seconds, after fdatasync: beside the disk and, for those who have no place
there, in the status of the DiskTransfer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from converters import extents, journal
from converters.errors import ConversionError
from converters.extents import Extent
from converters.journal import Journal, State
from converters.sinks.contract import Sink
from converters.sources.contract import Batch, Capabilities, Intake, Source
from mtv_operator.transfer import target
from mtv_operator.transfer.target import Notes

log = logging.getLogger(__name__)

NOTE_EVERY_BYTES = 8 << 20
SYNC_EVERY_S = 5.0
# Where nothing is kept beside the disk: how far the copy may be ahead of what was made to last.
MOST_AHEAD_BYTES = 48 << 20
SYNC_EVERY_BYTES = 16 << 20

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_JOIN_S = 10.0


def boot_id() -> str:
    """Return what tells this run of the kernel from others."""
    return _BOOT_ID.read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is known at the start about what an earlier process wrote."""

    notes: Mapping[str, str]
    status_journal: str = ""
    status_revision: str = ""
    boot: str = ""
    lasting_notes: bool = True


def starting_state(
    known: Known, *, seekable: bool, revision: str, capacity_bytes: int
) -> tuple[State, str]:
    """Return what need not be copied again, and why that is nothing although there was something.

    Pure. A journal is believed only for the same state of the source, and, where notes are kept
    with the disk, only if these are of this very disk (`FileTarget` has looked at that).
    """
    candidates = [one for one in journals(known, capacity_bytes) if one[0].extents]
    own = [state for state, written_of in candidates if written_of == revision]
    if not candidates:
        return State(), ""
    if not seekable:
        return State(), "this transport cannot be resumed"
    if not own:
        return State(), "the disk was changed in the source"
    return max(own, key=lambda state: extents.total(state.extents)), ""


def journals(known: Known, capacity_bytes: int) -> Iterator[tuple[State, str]]:
    """Yield the states of the journals that may be believed, with their revisions."""
    revision = known.notes.get(target.REVISION, "")
    boot, _, text = known.notes.get(target.JOURNAL, "").partition(" ")
    texts = [(known.notes.get(target.SYNCED, ""), revision)]
    if boot and boot == known.boot:
        texts.append((text, revision))
    if not known.lasting_notes or known.notes.get(target.REVISION):
        texts.append((known.status_journal, known.status_revision))
    for text, written_of in texts:
        if not text:
            continue
        try:
            yield journal.decode(text, capacity_bytes=capacity_bytes), written_of
        except ConversionError as fault:
            log.warning("a journal is not believed: %s", fault)


class Checkpoints:
    """Keeps the journals of one copy. A context manager; leaving it ends its thread.

    `lasting` is the text of what survives a loss of power, for the status.
    """

    def __init__(
        self,
        sink: Sink,
        notes: Notes,
        start: State,
        revision: str,
        *,
        on_lasting: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_lasting = on_lasting
        self.journal = Journal(start, on_settled=self._settled)
        self.lasting = start.encode() if start.extents else ""
        self._sink, self._notes = sink, notes
        self._boot = boot_id()
        self._noted = self._synced = self.journal.settled_bytes
        self._published: int | None = self._synced
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        if not start.extents or notes.read().get(target.REVISION) != revision:
            notes.clear(target.JOURNAL, target.SYNCED)  # first: they are of another state
        notes.write({target.REVISION: revision})
        if start.extents:
            sink.flush()  # what was written by a process that was killed is to last, too
            self._write_note(self.journal)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.note()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _settled(self, running: Journal) -> None:
        """Hear of a batch that was written; called under the journal's lock."""
        settled = running.settled_bytes
        if settled - self._noted >= NOTE_EVERY_BYTES:
            self._noted = settled
            self._write_note(running)
        if not self._notes.lasting and settled - self._synced >= SYNC_EVERY_BYTES:
            with self._changed:
                self._changed.notify_all()

    def _write_note(self, running: Journal) -> None:
        self._notes.write({target.JOURNAL: f"{self._boot} {running.state().encode()}"})

    def note(self) -> None:
        """Note what is written now: the process is about to end."""
        self._write_note(self.journal)

    def sync(self) -> None:
        """Make what is written last, and note it. Raises SinkError."""
        state = self.journal.state()
        if not state.extents:
            return
        self._sink.flush()
        text = state.encode()
        self._notes.write({target.SYNCED: text})
        self.lasting = text
        with self._changed:
            self._synced = extents.total(state.extents)
        self._on_lasting()

    def _run(self) -> None:
        while self._wait():
            if self.journal.settled_bytes == self._synced:
                continue
            try:
                self.sync()
            except ConversionError as fault:
                # The copy meets the same trouble, and is the one to say so.
                log.warning("the disk cannot be flushed: %s", fault)

    def _wait(self) -> bool:
        """Wait until a sync is due; return whether there shall be one."""
        with self._changed:
            self._changed.wait_for(self._is_due, SYNC_EVERY_S)
            return not self._ending

    def _is_due(self) -> bool:
        ahead = self.journal.settled_bytes - self._synced
        return self._ending or (not self._notes.lasting and ahead >= SYNC_EVERY_BYTES)

    def published(self, text: str | None) -> None:
        """Hear that others know this journal; None: that they cannot be told at present."""
        if text is None:
            self._published = None
        elif text == self.lasting:
            self._published = self._synced

    def paced(self, source: Source) -> Source:
        """Return the source, held back so that a restart never has to fetch much again."""
        if self._notes.lasting or not source.capabilities.seekable:
            return source
        return _Paced(source, self)

    def wait_for_room(self, intake: Intake) -> None:
        """Wait while the copy is too far ahead of the journal that others know. Raises Cancelled.

        Not while they cannot be told: a copy outlives the API server.
        """
        while self._published is not None and (
            self.journal.settled_bytes - self._published > MOST_AHEAD_BYTES
        ):
            intake.wait(0.005)


class _Paced:
    """A source whose feeds wait for the checkpoints."""

    def __init__(self, source: Source, checkpoints: Checkpoints) -> None:
        self._source, self._checkpoints = source, checkpoints
        self.name = source.name
        self.capacity_bytes = source.capacity_bytes
        self.block_bytes = source.block_bytes
        self.capabilities: Capabilities = source.capabilities

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return the source's feeds, each of which waits for the checkpoints."""
        return [self._feed(feed, intake) for feed in self._source.feeds(wanted, intake)]

    def _feed(self, feed: Iterator[Batch], intake: Intake) -> Iterator[Batch]:
        for batch in feed:
            yield batch
            self._checkpoints.wait_for_room(intake)

    def interrupt(self) -> None:
        """Make reads that wait fail soon."""
        self._source.interrupt()

    def close(self) -> None:
        """Free what the source holds."""
        self._source.close()
