"""Manifests and indexes of container images: which layers an image has. Pure.

OCI Image Format Specification 1.1, "Image Manifest" and "Image Index"; Docker's schema 2 has the
same fields under other media types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.errors import CorruptImage, UnsupportedImage
from converters.oci import reference

MOST_BYTES = 4 << 20
MOST_LAYERS = 512
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Content by its digest."""

    digest: str
    media_type: str
    size_bytes: int


def decode(content: bytes, name: str) -> dict[str, Any]:
    """Return a document. Raises CorruptImage."""
    if len(content) > MOST_BYTES:
        raise CorruptImage(f"the manifest has {len(content)} bytes", file=name)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise CorruptImage(f"the manifest is no JSON: {fault}", file=name) from fault
    if not isinstance(found, dict):
        raise CorruptImage("the manifest is no JSON object", file=name)
    return found


def is_index(document: Mapping[str, Any]) -> bool:
    """Tell whether a document names manifests of several architectures."""
    return document.get("mediaType") in INDEXES or isinstance(document.get("manifests"), list)


def chosen(document: Mapping[str, Any], architecture: str, name: str) -> Blob:
    """Return the manifest for an architecture out of an index."""
    entries = [one for one in document.get("manifests") or [] if isinstance(one, dict)]
    platforms = []
    for entry in entries:
        platform = entry.get("platform") or {}
        if not isinstance(platform, dict):
            continue
        seen = str(platform.get("architecture", "") or architecture)
        platforms.append(seen)
        if seen == architecture and platform.get("os", "linux") in ("linux", ""):
            return blob(entry, name)
    raise UnsupportedImage(
        f"there is no image for {architecture}, only for {', '.join(platforms)[:200] or 'none'}",
        file=name,
    )


def layers(document: Mapping[str, Any], name: str) -> list[Blob]:
    """Return an image's layers, the lowest first."""
    found = document.get("layers")
    if not isinstance(found, list) or not found or len(found) > MOST_LAYERS:
        raise UnsupportedImage(
            "the manifest names no layers", file=name, hint="is it a container image?"
        )
    return [blob(one, name) for one in found]


def blob(entry: object, name: str) -> Blob:
    """Return a descriptor. Raises CorruptImage."""
    if isinstance(entry, dict):
        digest, size = entry.get("digest"), entry.get("size")
        if isinstance(digest, str) and isinstance(size, int) and size >= 0:
            if not reference.is_digest(digest):
                raise UnsupportedImage(f"the digest {digest[:80]!r} is not sha256", file=name)
            media_type = str(entry.get("mediaType", ""))
            return Blob(digest=digest, media_type=media_type, size_bytes=size)
    raise CorruptImage("a descriptor lacks digest or size", file=name)
