"""Where images come from, as all who read them see it."""

from __future__ import annotations

import hashlib
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from converters.errors import CorruptImage
from converters.oci import manifests
from converters.oci.manifests import Blob

_MOST_INDEXES = 3  # in one another: that of a layout, and that of architectures
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname to GOARCH


class Bytes(Protocol):
    """A file that is read forwards."""

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes; none at the end."""
        ...


class Origin(Protocol):
    """A registry, an image layout or an archive."""

    def manifest(self, version: str) -> bytes:
        """Return the manifest or index of a tag or digest; "" is the only one there is."""
        ...

    def blob(self, blob: Blob) -> AbstractContextManager[Bytes]:
        """Return the bytes of a blob, which the caller checks."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that was found: its manifest's digest, and its layers, the lowest first."""

    name: str
    digest: str
    layers: tuple[Blob, ...]


def own_architecture() -> str:
    """Return this machine's architecture, as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def resolve(origin: Origin, version: str, name: str, architecture: str = "") -> Image:
    """Return the image of a tag or digest. Raises ConversionError."""
    content = origin.manifest(version)
    document = manifests.decode(content, name)
    for _ in range(_MOST_INDEXES):
        if not manifests.is_index(document):
            break
        wanted = manifests.chosen(document, architecture or own_architecture(), name)
        content = origin.manifest(wanted.digest)
        if digest_of(content) != wanted.digest:
            raise CorruptImage("the manifest is not the one that its index names", file=name)
        document = manifests.decode(content, name)
    found = tuple(manifests.layers(document, name))
    return Image(name=name, digest=digest_of(content), layers=found)


def digest_of(content: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
