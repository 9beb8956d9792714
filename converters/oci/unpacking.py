"""Layers of a container image into a folder, within limits.

OCI Image Format Specification 1.1, "Image Layer Filesystem Changeset": tar archives, the later over
the earlier, `.wh.` entries remove. Who made the image is not trusted: nothing is written outside of
the folder, links are kept as links and never followed, devices are left out. Zeros become holes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from converters.errors import Cancelled, CorruptImage, TargetBroken, TargetFull, UnsupportedImage
from converters.oci.manifests import Blob
from converters.oci.origin import Bytes, Image, Origin

_CHUNK = 1 << 20
_HOLE = 1 << 16
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_ENOSPC = (28, 122)  # ENOSPC, EDQUOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an image may cost."""

    entries: int = 200_000
    total_bytes: int = 16 << 40  # as the guest sees it: holes cost nothing


def unpack(
    origin: Origin,
    image: Image,
    folder: Path,
    *,
    limits: Limits | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write an image's files into `folder`, which is empty. Raises ConversionError."""
    writer = _Writer(folder, image.name, limits or Limits(), cancelled)
    for layer in image.layers:
        with origin.blob(layer) as content:
            checked = _Checked(content, layer, image.name)
            writer.add(checked, layer)
            checked.finish()


class _Checked:
    """A blob that is what its digest says, or raises CorruptImage at its end."""

    def __init__(self, content: Bytes, blob: Blob, name: str) -> None:
        self._content, self._blob, self._name = content, blob, name
        self._sum, self._seen = hashlib.sha256(), 0

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes."""
        part = self._content.read(count)
        self._sum.update(part)
        self._seen += len(part)
        if self._seen > self._blob.size_bytes:
            raise CorruptImage(
                f"layer {self._blob.digest[:19]} is longer than its manifest says", file=self._name
            )
        return part

    def finish(self) -> None:
        """Read what is left, and compare the digest."""
        while self.read(_CHUNK):
            pass
        if f"sha256:{self._sum.hexdigest()}" != self._blob.digest:
            raise CorruptImage(
                f"layer {self._blob.digest[:19]} has another content than its manifest says",
                file=self._name,
                hint="it was cut short or changed on its way: try again",
            )


class _Begun:
    """A stream whose first bytes were looked at."""

    def __init__(self, start: bytes, rest: _Checked) -> None:
        self._start, self._rest = start, rest

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes."""
        if not self._start:
            return self._rest.read(count)
        part, self._start = self._start[:count], self._start[len(self._start[:count]) :]
        return part


class _Writer:
    """A folder that layers are written into."""

    def __init__(
        self, folder: Path, name: str, limits: Limits, cancelled: Callable[[], bool]
    ) -> None:
        self._root, self._name = folder, name
        self._entries, self._bytes = limits.entries, limits.total_bytes
        self._cancelled = cancelled

    def add(self, content: _Checked, layer: Blob) -> None:
        """Write one layer."""
        start = content.read(4)
        stream = _Begun(start, content)
        try:
            if start[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=stream) as inflated:  # type: ignore[call-overload]
                    self._tar(inflated)
            elif start == b"\x28\xb5\x2f\xfd":
                raise UnsupportedImage(
                    "its layers are compressed with zstd", file=self._name,
                    hint="push it with gzip: skopeo copy --dest-compress-format gzip",
                )  # fmt: skip
            else:
                self._tar(stream)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as fault:
            raise CorruptImage(
                f"layer {layer.digest[:19]} is damaged: {fault}", file=self._name
            ) from fault
        except OSError as fault:
            kind = TargetFull if fault.errno in _ENOSPC else TargetBroken
            raise kind(f"cannot be written: {fault.strerror}", file=str(self._root)) from fault

    def _tar(self, stream: object) -> None:
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                self._entries -= 1
                self._bytes -= member.size if member.isreg() else 0
                if self._entries < 0 or self._bytes < 0:
                    raise UnsupportedImage("has more files or bytes than allowed", file=self._name)
                if self._cancelled():
                    raise Cancelled
                self._member(archive, member)

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            return
        leaf = parts[-1]
        parent = self._folder(parts[:-1])
        if leaf == _OPAQUE:
            for path in parent.iterdir():
                _remove(path)
            return
        if leaf.startswith(_WHITEOUT):
            _remove(parent / leaf.removeprefix(_WHITEOUT))
            return
        path = parent / leaf
        if member.isdir():
            self._folder(parts)
            return
        _remove(path)
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            target = [part for part in member.linkname.split("/") if part not in ("", ".")]
            if ".." not in target and target:
                source = self._folder(target[:-1]) / target[-1]
                if source.is_file() and not source.is_symlink():
                    os.link(source, path)
        elif member.isreg():
            content = archive.extractfile(member)
            if content is not None:
                write_sparse(content, path, member.size, self._cancelled)

    def _folder(self, parts: list[str]) -> Path:
        """Return a folder below the root, made if needed; what is no folder there is replaced."""
        path = self._root
        for part in parts:
            path = path / part
            if path.is_symlink() or not path.is_dir():
                _remove(path)
                path.mkdir(mode=0o755)
        return path


def write_sparse(
    content: Bytes, path: Path, size: int, cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Write a new file with holes where it is zero; all may read it, as one QEMU of many will."""
    zeros = bytes(_HOLE)
    with path.open("xb") as file:
        while part := content.read(_CHUNK):
            if cancelled():
                raise Cancelled
            for at in range(0, len(part), _HOLE):
                piece = part[at : at + _HOLE]
                if piece == zeros[: len(piece)]:
                    file.seek(len(piece), os.SEEK_CUR)
                else:
                    file.write(piece)
        file.truncate(size)
        os.fchmod(file.fileno(), 0o644)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
