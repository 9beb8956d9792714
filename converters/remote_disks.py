"""Disks at a URL: by ranges over several connections where the server gives them, else forwards."""

from __future__ import annotations

from collections.abc import Sequence

from converters import locating, opening
from converters.errors import SourceRefused
from converters.images.identify import START_BYTES, Format, identify
from converters.images.layers import Flat, Layer, Nothing, SideBySide
from converters.opening import Chain, OpenFile
from converters.sources.contract import Source
from converters.sources.http_address import Address, find
from converters.sources.http_file import HttpFile
from converters.sources.http_range import HttpRange, Part
from converters.sources.remote_disk import RemoteDisk


class RemoteFolder:
    """The folder of a file on a server; it keeps what it opens."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._files: list[HttpFile] = []

    def open(self, name: str) -> OpenFile:
        """Open a file beside the first. Raises SourceError."""
        found = find(self._address.sibling(name), 1)
        if found.size_bytes is None:
            raise SourceRefused(
                f"{found.address.server} does not give parts of files", file=name,
                hint="fetch all files of the disk into one folder, and convert them there",
            )  # fmt: skip
        return self.keep(found.address, found.size_bytes, found.version)

    def keep(self, address: Address, size_bytes: int, version: str) -> HttpFile:
        """Open a file that was found."""
        file = address.file(size_bytes, version)
        self._files.append(file)
        return file

    def disk(self, layers: Sequence[Layer], *, name: str) -> Source:
        """Return the disk: one without tables is read by the longest ranges."""
        parts = _flat_parts(layers[0]) if len(layers) == 1 else None
        if parts is not None:
            first = self._files[0]
            return HttpRange(first.server, parts, name=name, authorization=first.authorization)
        return RemoteDisk(layers, self._files, name=name)


def _flat_parts(layer: Layer) -> list[Part] | None:
    """Return where the bytes of a flat layer are, None for any other."""
    layers = layer.parts if isinstance(layer, SideBySide) else (layer,)
    parts: list[Part] = []
    offset = 0
    for one in layers:
        length = one.capacity_bytes
        if isinstance(one, Flat) and isinstance(one.image, HttpFile):
            target = one.image.target
            parts.append(Part(offset=offset, length=length, target=target, start=one.start))
        elif isinstance(one, Nothing):
            parts.append(Part(offset=offset, length=length))
        else:
            return None
        offset += length
    return parts


def open_url(found: locating.Found, url: str, known: Format | None, size_bytes: int | None) -> None:
    """Make the disk at a URL the one that is found; certificates are checked."""
    at = find(Address.parse(url), START_BYTES)
    format_ = known or identify(at.start)
    address, size = at.address, at.size_bytes
    if format_ is Format.OVF:
        from converters import packages, web_packages

        files = web_packages.open_files(address.url, authorization=address.authorization)
        found.hold_package(packages.Package(files))
        return
    if size is None or format_ in (Format.OVA, Format.GZIP):
        locating.from_stream(found, address.stream(), known, size_bytes)
        return

    def opened() -> Chain:
        """Open the file with all that it names."""
        folder = RemoteFolder(address)
        return opening.follow_chain(folder.keep(address, size, at.version), folder, known=known)

    chain = opened()
    found.stack.callback(chain.close)
    found.warnings += chain.warnings
    if chain.images[0].streamed:
        stream = address.stream()
        locating.from_stream(found, stream, known, size_bytes, version=chain.version, chain=opened)
    else:
        found.hold(address.name, chain.disk(), version=chain.version)
