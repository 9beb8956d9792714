"""A local file that an image lies in, read at any place by any number of threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from converters.errors import CorruptImage, SourceBroken
from converters.extents import Extent
from converters.sources.byte_stream import open_regular


class ImageFile:
    """A file, or `length` bytes of it from `start` on (a member of a tar).

    With `from_medium` the page cache is dropped first, as a verification wants it.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str = "",
        start: int = 0,
        length: int | None = None,
        follow_links: bool = True,
        from_medium: bool = False,
    ) -> None:
        self.name = name or os.path.basename(path)
        self.path = path
        self._file = open_regular(path, follow_links=follow_links)
        size = os.lseek(self._file, 0, os.SEEK_END)
        self._start = start
        self._data = (0, 0, 0)  # asked from where, and the data found there
        self.size_bytes = size - start if length is None else length
        if start + self.size_bytes > size or self.size_bytes < 0:
            os.close(self._file)
            raise CorruptImage(
                f"the file has {size} bytes", file=self.name,
                expected=f"{self.size_bytes} from byte {start} on",
            )  # fmt: skip
        if from_medium:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        status = os.fstat(self._file)
        self.identity = (status.st_dev, status.st_ino, start)
        self.version = (
            f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
        )

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes. Raises CorruptImage where the file ends before."""
        self._within(offset, length)
        content = self._pread(length, offset)
        while len(content) < length:
            more = self._pread(length - len(content), offset + len(content))
            if not more:
                raise self._ended(offset + len(content))
            content += more
        return content

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._file, length, self._start + offset)
        except OSError as fault:
            raise self._broken(fault, offset) from fault

    def read_into(self, room: memoryview, offset: int) -> None:
        """Fill `room` from `offset` on. Raises as `read_at`."""
        self._within(offset, len(room))
        done = 0
        while done < len(room):
            try:
                count = os.preadv(self._file, [room[done:]], self._start + offset + done)
            except OSError as fault:
                raise self._broken(fault, offset + done) from fault
            if not count:
                raise self._ended(offset + done)
            done += count

    def data_extents(self, start: int, end: int) -> Iterator[Extent]:
        """Yield where the file is not a hole."""
        at = start
        while at < end:
            # Deltas ask for many small parts of a base, and file systems look far for an answer.
            asked, low, high = self._data
            if not asked <= at < high:
                low, high = self._find_data(at)
                self._data = (at, low, high)
            if low >= end:
                return
            low, high = max(low, at), min(high, end)
            yield Extent(low, high - low)
            at = high

    def _find_data(self, at: int) -> tuple[int, int]:
        """Return where data begins, at `at` or behind it, and where it ends."""
        try:
            low = os.lseek(self._file, self._start + at, os.SEEK_DATA)
            return low - self._start, os.lseek(self._file, low, os.SEEK_HOLE) - self._start
        except OSError as fault:
            if fault.errno == errno.ENXIO:  # nothing but a hole up to the end
                return self.size_bytes, self.size_bytes
            return at, self.size_bytes  # no maps here: all is data

    def _within(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size_bytes:
            raise self._ended(min(max(offset, 0), self.size_bytes))

    def _ended(self, offset: int) -> CorruptImage:
        return CorruptImage(
            "the file ends in the middle of what the image says is there",
            file=self.name, offset=offset, hint="it was cut short: fetch it again",
        )  # fmt: skip

    def _broken(self, fault: OSError, offset: int) -> SourceBroken:
        return SourceBroken(str(fault.strerror), file=self.name, offset=offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
