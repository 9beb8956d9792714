"""A raw disk in a sparse file: what is zero is never written.

Nothing is allocated ahead: a disk that is mostly empty must fit where its data fits, and a hole
that was allocated would count as data for whoever copies the file next. A volume that is to be
thick is made so by its storage class.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from converters import batching, extents
from converters.batching import Piece, Readable, Sum
from converters.errors import TargetBroken, TargetFull, TargetTooSmall
from converters.extents import Extent
from converters.sinks import allocation
from converters.sinks.contract import Buffer
from converters.sources.contract import Source
from converters.sources.raw_file import RawFile

_MOST_BUFFERS = 1024  # IOV_MAX


class RawFileSink:
    """A raw disk in a regular file, which is made if it is not there."""

    def __init__(self, path: str, *, mode: int = 0o660) -> None:
        self.name = os.path.basename(path)
        self.path = path
        self.file = open_target(path, mode)

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Make it a disk of this size that is zero outside `keep`."""
        with translated(self.name):
            if not keep:
                os.ftruncate(self.file, 0)
            os.ftruncate(self.file, capacity_bytes)
            if keep:
                for gap in extents.subtract(extents.whole(capacity_bytes), keep):
                    allocation.make_zero(self.file, gap)

    def write(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers from `offset` on."""
        with translated(self.name):
            write_all(self.file, offset, buffers)

    def write_scanned(
        self, buffer: Readable, pieces: Sequence[Piece], block_bytes: int, sums: bool
    ) -> tuple[int, list[Sum]]:
        """Write what of the pieces is not zero; return how much that was, and sums by extent."""
        with translated(self.name):
            return batching.scan_and_write(buffer, pieces, block_bytes, sums, self.file)

    def zero(self, extent: Extent) -> None:
        """Make an extent read as zeros, and give its space back."""
        with translated(self.name):
            allocation.make_zero(self.file, extent)

    def flush(self) -> None:
        """Return when all that was written survives a loss of power."""
        with translated(self.name):
            os.fdatasync(self.file)

    def reader(self) -> Source:
        """Return a source that reads the file from the medium."""
        return RawFile(self.path, from_medium=True)

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)


def open_target(path: str, mode: int) -> int:
    """Open a regular file for writing, and make it if it is not there. Raises SinkError."""
    with translated(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise TargetBroken("is not a regular file", file=path)
    return file


def write_all(file: int, offset: int, buffers: Sequence[Buffer]) -> None:
    """Write all bytes of the buffers from `offset` on. Raises OSError."""
    left: Sequence[Buffer] = buffers
    while left:
        now = left[:_MOST_BUFFERS]
        count = os.pwritev(file, now, offset)
        offset += count
        done = 0
        while done < len(now) and count >= len(now[done]):
            count -= len(now[done])
            done += 1
        left = left[done:]
        if count:  # the kernel stopped in the middle of a buffer
            left = [memoryview(left[0])[count:], *left[1:]]


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn an OSError of the target into ours."""
    try:
        yield
    except OSError as fault:
        problem = os.strerror(fault.errno) if fault.errno else str(fault)
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TargetFull(
                problem.lower(), file=name,
                hint="free or add space on the target's volume; the copy goes on by itself",
            ) from fault  # fmt: skip
        if fault.errno == errno.EFBIG:
            raise TargetTooSmall(
                problem.lower(), file=name, hint="use a file system that holds larger files"
            ) from fault
        raise TargetBroken(problem, file=name) from fault
