"""Bytes that come in one direction only: a file from its start, a pipe.

An HTTP body is one too (`http_body`). What the bytes mean is the business of whoever reads them.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import Protocol

from converters.errors import Cancelled, SourceBroken, SourceRefused


class ByteStream(Protocol):
    """A forward-only stream."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def announced_bytes(self) -> int | None:
        """The length that was promised, if one was."""
        ...

    def readinto(self, room: memoryview) -> int:
        """Read at least one byte into `room`; 0 is the end. Raises SourceError."""
        ...

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class FileStream:
    """A regular file read forwards, or `length` bytes of it from `start` on."""

    def __init__(
        self, path: str, *, name: str = "", start: int = 0, length: int | None = None
    ) -> None:
        self.name = name or os.path.basename(path)
        self._file = open_regular(path)
        size = os.lseek(self._file, 0, os.SEEK_END)
        self._at = start
        self._end = size if length is None else start + length
        self.announced_bytes: int | None = self._end - start
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def readinto(self, room: memoryview) -> int:
        """Read into `room`; 0 at the end."""
        try:
            count = os.preadv(self._file, [room[: self._end - self._at]], self._at)
        except OSError as fault:
            raise SourceBroken(str(fault.strerror), file=self.name) from fault
        self._at += count
        return count

    def interrupt(self) -> None:
        """Reads of a file do not wait for anybody."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class PipeStream:
    """A pipe, socket or terminal: standard input, mostly."""

    announced_bytes: int | None = None

    def __init__(self, file: int, *, name: str = "standard input") -> None:
        self.name = name
        self._file = file
        # Closing the writing end wakes the reader that waits below.
        self._wake_read, self._wake_write = os.pipe()
        self._interrupted = False

    def readinto(self, room: memoryview) -> int:
        """Read into `room`; 0 at the end. Raises Cancelled after `interrupt`."""
        select.select([self._file, self._wake_read], [], [])
        if self._interrupted:
            raise Cancelled
        try:
            return os.readv(self._file, [room])
        except OSError as fault:
            raise SourceBroken(str(fault.strerror), file=self.name) from fault

    def interrupt(self) -> None:
        """Wake the reader."""
        if not self._interrupted:
            self._interrupted = True
            os.write(self._wake_write, b"x")

    def close(self) -> None:
        """Close what was opened here; the pipe belongs to the caller."""
        os.close(self._wake_read)
        os.close(self._wake_write)


class MemoryStream:
    """Bytes that are there already."""

    def __init__(self, content: bytes, *, name: str) -> None:
        self.name = name
        self.announced_bytes: int | None = len(content)
        self._left = memoryview(content)

    def readinto(self, room: memoryview) -> int:
        """Read into `room`; 0 at the end."""
        count = min(len(room), len(self._left))
        room[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def interrupt(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is held."""


def open_regular(path: str, *, follow_links: bool = True) -> int:
    """Open a regular file for reading and return its descriptor.

    A pipe or a device in its place must not make us hang; a link, where an image names the file,
    must not lead us elsewhere. Raises SourceRefused.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        file = os.open(path, flags)
    except OSError as fault:
        problem = "is a symbolic link" if fault.errno == errno.ELOOP else str(fault.strerror)
        raise SourceRefused(problem, file=path) from fault
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode) or (stat.S_ISBLK(mode) and follow_links):
        return file
    os.close(file)
    raise SourceRefused("is neither a file nor a block device", file=path)
