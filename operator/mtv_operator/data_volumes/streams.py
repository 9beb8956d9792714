"""Bodies of HTTP requests and answers as streams, and into a file where they must be."""

from __future__ import annotations

import lzma
from http.client import HTTPException
from pathlib import Path
from typing import Any

from converters.errors import CorruptImage, SourceBroken
from converters.images.identify import START_BYTES, Format, identify
from converters.sources.byte_stream import ByteStream
from converters.sources.wrapped_stream import Gunzipped, Peeked

_CHUNK = 1 << 20
_HOLE = 1 << 16
XZ = b"\xfd7zXZ\0"


class FileObjectStream:
    """A `ByteStream` of whatever has `read` and `close`."""

    def __init__(self, name: str, file: Any, announced_bytes: int | None) -> None:  # noqa: ANN401
        self.name, self.announced_bytes = name, announced_bytes
        self._file, self._seen = file, 0

    def readinto(self, room: memoryview) -> int:
        """Read at least one byte; 0 is the end. Raises SourceBroken."""
        length = len(room)
        if self.announced_bytes is not None:
            length = min(length, self.announced_bytes - self._seen)
        try:
            part = self._file.read(length) if length else b""
        except (OSError, HTTPException) as fault:
            raise SourceBroken(f"broke off: {fault}", file=self.name) from fault
        room[: len(part)] = part
        self._seen += len(part)
        if not part and length and self.announced_bytes is not None:
            raise SourceBroken(
                f"{self._seen} bytes came, {self.announced_bytes} were announced", file=self.name
            )
        return len(part)

    def interrupt(self) -> None:
        """Close, so that a read fails."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def spool(stream: ByteStream, path: Path) -> None:
    """Write a stream to a file, unpacked if it is packed by gzip or xz; zeros become holes."""
    peeked = Peeked(stream, START_BYTES)
    unpack = None
    packed: ByteStream = peeked
    if identify(peeked.start) is Format.GZIP:
        packed = Gunzipped(peeked)
    elif peeked.start.startswith(XZ):
        unpack = lzma.LZMADecompressor()
    room = memoryview(bytearray(_CHUNK))
    size = 0
    with path.open("xb") as file:
        while count := packed.readinto(room):
            part = bytes(room[:count])
            while True:
                try:
                    out = part if unpack is None else unpack.decompress(part, _CHUNK)
                except lzma.LZMAError as fault:
                    raise CorruptImage(f"damaged: {fault}", file=stream.name) from fault
                for at in range(0, len(out), _HOLE):
                    piece = out[at : at + _HOLE]
                    if piece.count(0) == len(piece):
                        file.seek(len(piece), 1)
                    else:
                        file.write(piece)
                size += len(out)
                part = b""
                if unpack is None or unpack.needs_input or unpack.eof:
                    break
        file.truncate(size)
