"""One HTTP request and its answer, between ASGI and the verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import status
from mtv_operator.embedded.apiserver.requests import Query

JSON = b"application/json"
MAX_BODY = 3 << 20  # as kube-apiserver

Message = dict[str, Any]
Headers = Sequence[tuple[bytes, bytes]]

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))


class Exchange:
    """A request, who sent it, and the means to answer it once."""

    __slots__ = (
        "_receive",
        "_send",
        "gone",
        "headers",
        "method",
        "path",
        "query",
        "scope",
        "started",
        "user",
        "warnings",
    )

    def __init__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query = Query(scope["query_string"])
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.user = ANONYMOUS
        self.warnings: list[str] = []
        self.started = False
        self.gone = False

    def header(self, name: bytes) -> str:
        """Return a header of the request, "" when it is not there."""
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self) -> bytes:
        """Return the whole body. Raises Refusal (413) when it is too long to be an object."""
        message = await self._receive()
        content: bytes = message.get("body", b"")
        parts = [content]
        size = len(content)
        while message.get("more_body"):
            if size > MAX_BODY:
                raise status.too_large(MAX_BODY)
            message = await self._receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if size > MAX_BODY:
            raise status.too_large(MAX_BODY)
        return b"".join(parts) if len(parts) > 1 else content

    async def chunk(self) -> tuple[bytes, bool]:
        """Return the next part of the body, and whether more follows."""
        message = await self._receive()
        return message.get("body", b""), bool(message.get("more_body"))

    async def until_gone(self) -> None:
        """Return when the client has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    async def until_either_ends(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what another server sends, until it ends or the client has gone."""
        gone = asyncio.ensure_future(self.until_gone())
        following: asyncio.Future[bytes | None] | None = None
        try:
            while not self.gone:
                following = asyncio.ensure_future(anext(parts, None))
                await asyncio.wait((gone, following), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    return
                part = following.result()
                if part is None:
                    return
                yield part
        finally:
            gone.cancel()
            if following is not None:
                following.cancel()

    async def answer(
        self, code: int, body: bytes, content_type: bytes = JSON, headers: Headers = ()
    ) -> None:
        """Send a whole answer."""
        self.started = True
        length = str(len(body)).encode()
        own = [(b"content-type", content_type), (b"content-length", length), *headers]
        if self.warnings:
            own += [(b"warning", _warning(text)) for text in dict.fromkeys(self.warnings)]
        await self._send({"type": "http.response.start", "status": code, "headers": own})
        await self._send({"type": "http.response.body", "body": body})

    async def answer_object(self, code: int, document: object) -> None:
        """Send a whole answer in JSON."""
        await self.answer(code, encode(document))

    async def refuse(self, refusal: status.Refusal) -> None:
        """Send a Status that says why not."""
        await self.answer(refusal.code, encode(refusal.body()), JSON, refusal.headers)

    async def begin(self, code: int, headers: Headers) -> None:
        """Begin an answer whose length is not known."""
        self.started = True
        await self._send({"type": "http.response.start", "status": code, "headers": list(headers)})

    async def write(self, content: bytes, *, more: bool = True) -> None:
        """Send a part of an answer; waits while the client is slow."""
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


def _warning(text: str) -> bytes:
    """Return a warning as RFC 7234 has it, with the code of "miscellaneous, persistent"."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    quoted = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode()
