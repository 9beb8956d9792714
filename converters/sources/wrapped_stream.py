"""Streams around a stream: looked into, unpacked, a part of it, digested."""

from __future__ import annotations

import hashlib
import zlib

from converters.errors import CorruptImage, SourceBroken
from converters.sources.byte_stream import ByteStream

_CHUNK = 256 * 1024


class Wrapped:
    """Passes everything on; the others change a part."""

    def __init__(self, stream: ByteStream, *, name: str = "") -> None:
        self._stream = stream
        self.name = name or stream.name
        self.announced_bytes = stream.announced_bytes

    def readinto(self, room: memoryview) -> int:
        """Read at least one byte into `room`; 0 is the end."""
        return self._stream.readinto(room)

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        self._stream.interrupt()

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class Peeked(Wrapped):
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, stream: ByteStream, count: int) -> None:
        super().__init__(stream)
        start = bytearray(count)
        filled = 0
        while filled < count and (more := stream.readinto(memoryview(start)[filled:])):
            filled += more
        self.start = bytes(start[:filled])
        self._left = memoryview(self.start)

    def readinto(self, room: memoryview) -> int:
        """Read what was looked at, then the rest."""
        if not self._left:
            return self._stream.readinto(room)
        step = min(len(room), len(self._left))
        room[:step] = self._left[:step]
        self._left = self._left[step:]
        return step


class Digested(Wrapped):
    """A stream whose bytes are digested as they pass; `algorithms` are hashlib's names."""

    def __init__(self, stream: ByteStream, algorithms: tuple[str, ...]) -> None:
        super().__init__(stream)
        self.algorithms = algorithms
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def readinto(self, room: memoryview) -> int:
        """Read and digest."""
        count = self._stream.readinto(room)
        for digest in self._digests.values():
            digest.update(room[:count])
        return count

    def hexdigest(self, algorithm: str) -> str:
        """Return the digest of what has passed."""
        return self._digests[algorithm].hexdigest()


class Gunzipped(Wrapped):
    """The content of a gzip stream; never more than what fits into the reader's room."""

    def __init__(self, stream: ByteStream) -> None:
        super().__init__(stream, name=stream.name.removesuffix(".gz"))
        self.announced_bytes = None
        self._chunk = bytearray(_CHUNK)
        self._packed = memoryview(b"")
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._whole = False
        self._ended = False

    def readinto(self, room: memoryview) -> int:
        """Unpack into `room`. Raises CorruptImage."""
        while not self._ended and len(room):
            if not self._packed and not self._fill():
                break
            try:
                content = self._unpacker.decompress(self._packed, len(room))
            except zlib.error as fault:
                raise CorruptImage(
                    f"the gzip stream is damaged: {fault}", file=self.name,
                    hint="fetch it again",
                ) from fault  # fmt: skip
            self._packed = memoryview(self._unpacker.unconsumed_tail or self._unpacker.unused_data)
            if self._unpacker.eof:
                self._next_member()
            if content:
                room[: len(content)] = content
                return len(content)
        return 0

    def _fill(self) -> bool:
        count = self._stream.readinto(memoryview(self._chunk))
        self._packed = memoryview(self._chunk)[:count]
        if count:
            return True
        self._ended = True
        if not self._whole:
            raise SourceBroken("the gzip stream ends too early", file=self.name)
        return False

    def _next_member(self) -> None:
        """A gzip file may have several members; padding of zeros is no member."""
        self._whole = True
        rest = bytes(self._packed)
        if not rest.strip(b"\0"):
            self._drain()
            return
        self._whole = False
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def _drain(self) -> None:
        """Read to the end of the stream, unless another member follows."""
        while count := self._stream.readinto(memoryview(self._chunk)):
            rest = memoryview(self._chunk)[:count]
            if any(rest):
                self._packed = rest
                self._whole = False
                self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
                return
        self._ended = True


class Part(Wrapped):
    """The next `length` bytes of a stream; closing it does not close the stream."""

    def __init__(self, stream: ByteStream, length: int, *, name: str) -> None:
        super().__init__(stream, name=name)
        self.announced_bytes = length
        self.left = length

    def readinto(self, room: memoryview) -> int:
        """Read within the part. Raises SourceBroken where the stream ends before it."""
        if not self.left:
            return 0
        count = self._stream.readinto(room[: self.left])
        if not count:
            raise SourceBroken(
                f"the stream ends {self.left} bytes before the end of {self.name}",
                file=self._stream.name,
            )
        self.left -= count
        return count

    def close(self) -> None:
        """Leave the stream open."""


def read_all(stream: ByteStream, most_bytes: int) -> bytes:
    """Return all bytes of a stream. Raises CorruptImage where there are more than allowed."""
    content = bytearray()
    room = bytearray(min(most_bytes + 1, _CHUNK))
    while count := stream.readinto(memoryview(room)):
        content += memoryview(room)[:count]
        if len(content) > most_bytes:
            raise CorruptImage(
                file=stream.name, field="size", value=f"more than {most_bytes}",
                expected=f"at most {most_bytes} bytes",
            )  # fmt: skip
    return bytes(content)


def skip(stream: ByteStream) -> None:
    """Read to the end of a stream."""
    room = memoryview(bytearray(_CHUNK))
    while stream.readinto(room):
        pass
