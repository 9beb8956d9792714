"""The status fields of a copy that runs, and what it has counted so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from converters import extents, pipeline
from converters.sources.contract import Source
from mtv.api import conditions
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv_operator.transfer.checkpoints import Checkpoints
from mtv_operator.transfer.report import Rate
from mtv_operator.transfer.ways import Way


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


@dataclass(slots=True)
class Counts:
    """What was fetched and written before the attempt that runs."""

    fetched: int = 0
    written: int = 0
    delta: int = 0  # of this checkpoint, by processes before this one


class View:
    """The status fields of a copy that runs, each time it is called."""

    def __init__(
        self,
        disk: OpenDisk,
        way: Way,
        running: pipeline.Copy,
        marks: Checkpoints,
        counts: Counts,
        wanted: DiskTransfer,
    ) -> None:
        self._disk, self._way, self._running, self._marks = disk, way, running, marks
        self._left_out = extents.total(way.rest.extents)
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
            "sourceRevision": self._way.revision or None,
        }

    def percent(self, progress: pipeline.Progress) -> int:
        """Return how much of what has to come is there; 100 only when it is on the medium."""
        needed = progress.capacity_bytes - self._left_out
        if not needed:
            return 0
        return min(max(progress.settled_bytes - self._left_out, 0) * 100 // needed, 99)


def told_to(marks: Checkpoints) -> Callable[[dict[str, Any] | None], None]:
    """Return what tells the checkpoints which journal others know."""

    def told(sent: dict[str, Any] | None) -> None:
        marks.published(None if sent is None else str(sent["journal"] or ""))

    return told


@contextmanager
def counted(counts: Counts, running: pipeline.Copy) -> Iterator[None]:
    """Add what the copy fetched and wrote, whether it succeeds or not."""
    try:
        yield
    finally:
        progress = running.progress()
        counts.fetched += progress.read_bytes
        counts.written += progress.written_bytes
