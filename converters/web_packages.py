"""Packages at a URL: an OVA as one stream, or an OVF whose files lie beside it on the server."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote, unquote, urlsplit

from converters.errors import SourceRefused, UnsupportedImage
from converters.images import ovf
from converters.packages import Entry, Files, TarFiles
from converters.sources.byte_stream import MemoryStream
from converters.sources.http_connection import Authorization, Server
from converters.sources.http_stream import HttpStream
from converters.sources.wrapped_stream import read_all


def open_files(
    url: str, *, tls: ssl.SSLContext | None = None, authorization: Authorization | None = None
) -> Files:
    """Return the files of the package at a URL. `tls` is what an https server is checked with."""
    site = _Site(url, tls, authorization)
    if site.path.lower().endswith(".ovf"):
        return _BesideFiles(site)
    return TarFiles(site.get(site.path))


class _Site:
    """A server, and the path of a package on it."""

    def __init__(
        self, url: str, tls: ssl.SSLContext | None, authorization: Authorization | None
    ) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.path, self._query = parts.path, parts.query
        self._authorization = authorization
        self._server = Server(
            host=parts.hostname or "",
            port=parts.port or (443 if secure else 80),
            tls=(tls or ssl.create_default_context()) if secure else None,
        )

    def get(self, path: str) -> HttpStream:
        """Ask for a file. Raises SourceError."""
        target = f"{path}?{self._query}" if self._query else path
        name = unquote(os.path.basename(path)) or path
        return HttpStream(self._server, target, name=name, authorization=self._authorization)

    def beside(self, name: str) -> HttpStream:
        """Ask for a file in the same folder."""
        return self.get(f"{self.path.rpartition('/')[0]}/{quote(name)}")


class _BesideFiles:
    """An OVF, its manifest, and the files that it names."""

    def __init__(self, site: _Site) -> None:
        self._site = site
        self.name = unquote(os.path.basename(site.path))
        descriptor = site.get(site.path)
        try:
            self._descriptor = read_all(descriptor, ovf.MOST_BYTES)
        finally:
            descriptor.close()
        self._manifest_name = os.path.splitext(self.name)[0] + ".mf"
        self._manifest = self._fetch_manifest()
        self.may_have_manifest = self._manifest is not None

    def _fetch_manifest(self) -> bytes | None:
        try:
            stream = self._site.beside(self._manifest_name)
        except SourceRefused as fault:
            if fault.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        try:
            return read_all(stream, ovf.MOST_BYTES)
        finally:
            stream.close()

    def entries(self) -> Iterator[Entry]:
        """Yield the files, descriptor and manifest first."""
        yield self._entry(self.name, self._descriptor)
        if self._manifest is not None:
            yield self._entry(self._manifest_name, self._manifest)
        envelope = ovf.parse(self._descriptor, file=self.name)
        for name in (name for file in envelope.files for name in file.parts):
            stream = self._site.beside(name)
            try:
                if stream.announced_bytes is None:
                    raise UnsupportedImage(
                        "the server does not say how large it is", file=name,
                        hint="a web server that sends Content-Length is needed",
                    )  # fmt: skip
                yield Entry(name, stream.announced_bytes, stream)
            finally:
                stream.close()

    def _entry(self, name: str, content: bytes) -> Entry:
        return Entry(name, len(content), MemoryStream(content, name=name))

    def close(self) -> None:
        """Nothing is held."""
