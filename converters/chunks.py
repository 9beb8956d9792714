"""A file of a package; one that is cut into chunks, joined (DSP0243, "chunkSize")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from converters.errors import CorruptImage
from converters.images import ovf
from converters.sources.byte_stream import ByteStream
from converters.sources.wrapped_stream import Digested


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a package; `path`, `start` say where it lies, if it lies in a local file."""

    name: str
    size_bytes: int
    stream: ByteStream
    path: str = ""
    start: int = 0


class Chunks:
    """A file that is cut into others, joined: each is taken as soon as the one before has ended."""

    def __init__(
        self,
        file: ovf.File,
        first: Entry,
        stream: Digested,
        *,
        following: Callable[[], tuple[Entry, Digested] | None],
        settle: Callable[[Entry, Digested], None],
    ) -> None:
        self.name = file.href
        self.announced_bytes = file.size_bytes
        self._file, self._following, self._settle = file, following, settle
        self._number, self._now = 0, (first, stream)
        self._check()

    def _check(self) -> None:
        entry, file, number = self._now[0], self._file, self._number
        expected = file.parts[number]
        size = min(file.chunk_bytes, (file.size_bytes or 0) - number * file.chunk_bytes)
        if entry.name != expected or entry.size_bytes != size:
            raise CorruptImage(
                f"{entry.name} of {entry.size_bytes} bytes comes", file=file.href,
                expected=f"{expected} of {size} bytes", hint="the package is not whole",
            )  # fmt: skip

    def readinto(self, room: memoryview) -> int:
        """Read at least one byte into `room`; 0 is the end of the last chunk."""
        while not (count := self._now[1].readinto(room)):
            if self._number >= len(self._file.parts):
                return 0
            self._settle(*self._now)
            self._number += 1
            if self._number == len(self._file.parts):
                return 0
            found = self._following()
            if found is None:
                raise CorruptImage(
                    f"{self._file.parts[self._number]} is missing", file=self._file.href
                )
            self._now = found
            self._check()
        return count

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        self._now[1].interrupt()

    def close(self) -> None:
        """Leave the files to the package."""
