"""From a URL to the file behind it: redirects followed, its size, whether it comes by ranges."""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self
from urllib.parse import quote, unquote, urljoin, urlsplit

from converters.errors import SourceBroken, SourceRefused, SourceUnauthorized
from converters.sources.http_connection import (
    Authorization,
    Busy,
    Connection,
    Open,
    Server,
    refusal,
    translated,
)
from converters.sources.http_file import HttpFile
from converters.sources.http_stream import HttpStream

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CONTENT_RANGE = re.compile(r"bytes 0-\d+/(\d+)$")


class Basic:
    """User and password of a URL (RFC 7617)."""

    def __init__(self, user: str, password: str) -> None:
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        self._header = f"Basic {base64.b64encode(pair).decode()}"

    def headers(self) -> Mapping[str, str]:
        """Return the header."""
        return {"Authorization": self._header}

    def renew(self, refused: Mapping[str, str]) -> None:
        """There are no others."""
        raise SourceUnauthorized(
            "the server does not take user and password", status=HTTPStatus.UNAUTHORIZED
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a file is. `url` has no credentials."""

    url: str
    server: Server
    target: str
    authorization: Authorization = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the address in a URL. Raises SourceRefused."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as fault:
            raise SourceRefused(f"is no address: {fault}", file=url) from fault
        if not host or parts.scheme not in ("http", "https"):
            raise SourceRefused("is no address", file=url, hint="https://host/path is one")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += f"?{parts.query}"
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        return cls(
            url=bare,
            server=Server(host=host, port=port or (443 if tls else 80), tls=tls),
            target=target,
            authorization=Basic(parts.username, parts.password or "") if parts.username else Open(),
        )

    @property
    def name(self) -> str:
        """The name of the file."""
        return unquote(os.path.basename(urlsplit(self.url).path)) or self.url

    def sibling(self, name: str) -> Address:
        """Return the address of a file in the same folder; a query stays as it is."""
        parts = urlsplit(self.url)
        path = parts.path.rpartition("/")[0] + "/" + quote(name)
        target = path + (f"?{parts.query}" if parts.query else "")
        return Address(
            url=parts._replace(path=path).geturl(), server=self.server, target=target,
            authorization=self.authorization,
        )  # fmt: skip

    def stream(self) -> HttpStream:
        """Return the whole file as a stream."""
        return HttpStream(
            self.server, self.target, name=self.name, authorization=self.authorization
        )

    def file(self, size_bytes: int, version: str) -> HttpFile:
        """Return the file, to be read at any place."""
        return HttpFile(
            self.server, self.target, name=self.name, size_bytes=size_bytes,
            version=version and f"{self.url} {size_bytes:x} {version}",
            authorization=self.authorization,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a server says of a file. Without a size it comes as a stream only."""

    address: Address
    start: bytes
    size_bytes: int | None
    version: str


def find(address: Address, count: int) -> Found:
    """Ask for the first `count` bytes of a file, also where it has moved. Raises SourceError."""
    for _ in range(_MOST_REDIRECTS + 1):
        found = _asked(address, count)
        if isinstance(found, Found):
            return found
        address = found
    raise SourceRefused(f"is redirected more than {_MOST_REDIRECTS} times", file=address.name)


def _asked(address: Address, count: int) -> Found | Address:
    server, name = address.server, address.name
    connection = Connection(server)
    try:
        with translated(server, name):
            answer = connection.get(
                address.target,
                {**address.authorization.headers(), "Range": f"bytes=0-{count - 1}"},
            )
            if answer.status in _REDIRECTS:
                return _moved(address, answer.getheader("Location") or "")
            if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise SourceRefused("the file is empty", file=name)
                raise refusal(answer, server, name)
            given = _CONTENT_RANGE.match((answer.getheader("Content-Range") or "").strip())
            partial = answer.status == HTTPStatus.PARTIAL_CONTENT and given is not None
            start = answer.read(count)
            return Found(
                address=address,
                start=start,
                size_bytes=int(given[1]) if partial and given else None,
                version=answer.getheader("ETag") or answer.getheader("Last-Modified") or "",
            )
    except Busy as fault:
        raise SourceBroken(fault.problem, file=name, hint="try again later") from fault
    finally:
        connection.close()


def _moved(address: Address, location: str) -> Address:
    """Return where a redirect leads; credentials go only to the same server."""
    other = Address.parse(urljoin(address.url, location))
    if address.server.tls is not None and other.server.tls is None:
        raise SourceRefused(
            f"is redirected to {other.url}, which is not encrypted", file=address.name
        )
    if (other.server.host, other.server.port) == (address.server.host, address.server.port):
        return Address(
            url=other.url, server=other.server, target=other.target,
            authorization=address.authorization,
        )  # fmt: skip
    return other
