"""A raw disk that comes as a stream, from its first byte to its last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.checksum import BLOCK
from converters.errors import CorruptImage, SourceBroken, UnsupportedImage
from converters.extents import Extent
from converters.sources.byte_stream import ByteStream
from converters.sources.contract import Batch, Capabilities, Intake, RawBatch

_BUFFER = 1 << 20


class RawStream:
    """A raw disk. Its size is what the stream announces, or what the caller knows."""

    block_bytes = BLOCK

    def __init__(self, stream: ByteStream, *, capacity_bytes: int | None = None) -> None:
        self._stream = stream
        self.name = stream.name
        known = capacity_bytes or stream.announced_bytes
        if not known:
            raise UnsupportedImage(
                "a raw disk from a stream does not tell its size", file=stream.name,
                hint="say the size of the disk (--size), or read it from a file",
            )  # fmt: skip
        self.capacity_bytes = known
        self.capabilities = Capabilities(seekable=False, buffer_bytes=_BUFFER)

    def feeds(self, wanted: Sequence[Extent], intake: Intake) -> Sequence[Iterator[Batch]]:
        """Return the one feed there is; it can be read once."""
        return [self._feed(intake)]

    def _feed(self, intake: Intake) -> Iterator[Batch]:
        at = 0
        while at < self.capacity_bytes:
            buffer = intake.take_buffer()
            length = min(_BUFFER, self.capacity_bytes - at)
            self._read(memoryview(buffer)[:length], at, intake)
            yield RawBatch(intake, buffer, [(at, 0, length)], [Extent(at, length)])
            at += length
        if self._stream.readinto(memoryview(bytearray(1))):
            raise CorruptImage(
                f"more follows the {self.capacity_bytes} bytes of the disk", file=self.name
            )

    def _read(self, room: memoryview, at: int, intake: Intake) -> None:
        filled = 0
        while filled < len(room):
            count = self._stream.readinto(room[filled : filled + intake.piece_bytes])
            if not count:
                raise SourceBroken(
                    f"{at + filled} bytes came, expected the {self.capacity_bytes} of the disk",
                    file=self.name,
                )
            filled += count
            intake.came_in(count)

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        self._stream.interrupt()

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
