"""The body of one HTTP answer as a forward-only stream: an NFC export, an OVA, an image.

It is asked for once. Where it breaks it cannot go on: who reads it begins again.
"""

from __future__ import annotations

from http import HTTPStatus

from converters.errors import Cancelled, SourceBroken
from converters.sources.http_connection import (
    Authorization,
    Connection,
    Open,
    Server,
    refusal,
    translated,
)


class HttpStream:
    """A `ByteStream` of the body of `GET target`. The answer's head is read when this is made.

    Raises SourceBroken, SourceRefused or SourceUnauthorized, as all that follows.
    """

    def __init__(
        self, server: Server, target: str, *, name: str, authorization: Authorization | None = None
    ) -> None:
        self.name = name
        self.server = server
        self.received_bytes = 0
        self._connection = Connection(server)
        self._interrupted = False
        try:
            with translated(server, name):
                headers = (authorization or Open()).headers()
                self._answer = self._connection.get(target, headers)
                if self._answer.status != HTTPStatus.OK:
                    raise refusal(self._answer, server, name)
        except BaseException:
            self._connection.close()
            raise
        length = self._answer.getheader("Content-Length") or ""
        self.announced_bytes: int | None = int(length) if length.isdigit() else None

    def readinto(self, room: memoryview) -> int:
        """Read at least one byte into `room`; 0 is the end."""
        try:
            with translated(self.server, self.name):
                count = self._answer.readinto(room)
        except SourceBroken:
            if self._interrupted:
                raise Cancelled from None
            raise
        if not count and self._interrupted:
            raise Cancelled
        self.received_bytes += count
        if not count and self.announced_bytes not in (None, self.received_bytes):
            raise SourceBroken(
                f"the connection to {self.server} broke after {self.received_bytes} bytes, "
                f"expected {self.announced_bytes}",
                file=self.name,
            )
        return count

    def interrupt(self) -> None:
        """Make a read that waits fail soon."""
        self._interrupted = True
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
