"""Images in files: OCI image layouts as folder or tar archive, and what `docker save` writes.

OCI Image Format Specification 1.1, "Image Layout": `index.json`, and `blobs/<algorithm>/<hex>`.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from converters.errors import CorruptImage, SourceRefused
from converters.oci import manifests
from converters.oci.manifests import Blob
from converters.oci.origin import Bytes

_REFERENCE = "org.opencontainers.image.ref.name"
_DOCKER = "manifest.json"  # of `docker save`


class Layout:
    """An image layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self, version: str) -> bytes:
        """Return a manifest."""
        if version.startswith("sha256:"):
            return self._read(f"blobs/sha256/{version.removeprefix('sha256:')}")
        content = self._read("index.json")
        wanted = _entry(manifests.decode(content, self.name), version, self.name)
        return content if wanted is None else self.manifest(wanted.digest)

    @contextmanager
    def blob(self, blob: Blob) -> Iterator[Bytes]:
        """Return the bytes of a blob."""
        with self._open(f"blobs/sha256/{blob.digest.removeprefix('sha256:')}") as file:
            yield file

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    def _read(self, path: str) -> bytes:
        with self._open(path) as file:
            return bytes(file.read(manifests.MOST_BYTES + 1))

    def _open(self, path: str) -> Any:  # noqa: ANN401 - a binary file
        try:
            return (self.folder / path).open("rb")
        except OSError as fault:
            raise SourceRefused(f"has no {path}: {fault.strerror}", file=self.name) from fault


class Archive:
    """A tar archive that holds an image layout, or what `docker save` wrote."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._tar = tarfile.open(path, "r:*")  # noqa: SIM115 - closed by __exit__
            self._members = {one.name.removeprefix("./"): one for one in self._tar}
        except (OSError, tarfile.TarError) as fault:
            raise SourceRefused(f"is no tar archive: {fault}", file=self.name) from fault
        self._docker_layers: dict[str, str] = {}

    def manifest(self, version: str) -> bytes:
        """Return a manifest; for an archive of Docker one that is made of what it says."""
        if version.startswith("sha256:"):
            return self._read(f"blobs/sha256/{version.removeprefix('sha256:')}")
        if "index.json" in self._members:
            content = self._read("index.json")
            wanted = _entry(manifests.decode(content, self.name), version, self.name)
            return content if wanted is None else self.manifest(wanted.digest)
        return self._of_docker()

    @contextmanager
    def blob(self, blob: Blob) -> Iterator[Bytes]:
        """Return the bytes of a blob."""
        hexadecimal = blob.digest.removeprefix("sha256:")
        path = self._docker_layers.get(blob.digest, f"blobs/sha256/{hexadecimal}")
        with self._open(path) as file:
            yield file

    def _of_docker(self) -> bytes:
        entries = json.loads(self._read(_DOCKER))
        if not isinstance(entries, list) or len(entries) != 1:
            raise SourceRefused(
                "does not hold exactly one image", file=self.name, hint="save one image per file"
            )
        layers = []
        for path in entries[0].get("Layers") or []:
            with self._open(str(path)) as file:
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            self._docker_layers[digest] = str(path)
            size = self._members[str(path)].size
            layers.append({"digest": digest, "size": size, "mediaType": ""})
        return json.dumps({"mediaType": manifests.MANIFESTS[0], "layers": layers}).encode()

    def _read(self, path: str) -> bytes:
        with self._open(path) as file:
            return bytes(file.read(manifests.MOST_BYTES + 1))

    def _open(self, path: str) -> Any:  # noqa: ANN401 - a binary file
        member = self._members.get(path)
        file = self._tar.extractfile(member) if member is not None and member.isfile() else None
        if file is None:
            raise SourceRefused(f"has no {path}", file=self.name, hint="is it a container image?")
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tar.close()


def _entry(index: dict[str, Any], version: str, name: str) -> Blob | None:
    """Return the manifest of a tag in a layout's index; None where all of it is one image."""
    entries = [one for one in index.get("manifests") or [] if isinstance(one, dict)]
    tags = [str((one.get("annotations") or {}).get(_REFERENCE, "")) for one in entries]
    for entry, tag in zip(entries, tags, strict=True):
        if version and (tag == version or tag.endswith(f":{version}")):
            return manifests.blob(entry, name)
    if not entries:
        raise CorruptImage("the index names no image", file=name)
    if not version and len({tag for tag in tags if tag}) <= 1:
        return None
    raise SourceRefused(
        f"has no image {version!r}" if version else f"holds {len(entries)} images",
        file=name,
        hint=f"its images: {', '.join(tag or '(no name)' for tag in tags)[:300]}",
    )
