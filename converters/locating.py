"""From what a person writes to the disks that are meant: a path, `-`, an NBD or HTTP address.

with open_disks("vm.ova") as found:
    for disk in found.disks():
        ...
    found.finish()
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from converters import opening
from converters.errors import UnsupportedImage
from converters.images.identify import START_BYTES, Format, identify
from converters.opening import Chain
from converters.sources.byte_stream import ByteStream, FileStream, PipeStream
from converters.sources.contract import Source
from converters.sources.image_file import ImageFile
from converters.sources.raw_stream import RawStream
from converters.sources.vmdk_stream import VmdkStream
from converters.sources.wrapped_stream import Gunzipped, Peeked

if TYPE_CHECKING:
    from converters import packages

STANDARD_INPUT = "-"
_MOST_WRAPPINGS = 2
SOURCE_FORMATS = {
    "raw": Format.RAW,
    "qcow2": Format.QCOW2,
    "vmdk": None,
    "ova": Format.OVA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDisk:
    """A disk to copy. `version` tells it from any other; empty where that cannot be known.

    `by_tables` gives a streamed disk as one that is read at any place, if a copy can go on so.
    """

    name: str
    source: Source
    version: str = ""
    by_tables: Callable[[], Source | None] | None = None


class Found:
    """The disks behind what was written; their files stay open until `close`."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.warnings: list[str] = []
        self.checked: tuple[str, ...] = ()
        self.files: tuple[str, ...] = ()  # local paths that must not be written to
        self._one: FoundDisk | None = None
        self._package: packages.Package | None = None

    def hold(
        self,
        name: str,
        source: Source,
        *,
        version: str = "",
        chain: Callable[[], Chain] | None = None,
    ) -> None:
        """Make `source` the one disk; `chain` opens the file of a streamed one with its tables."""
        self.stack.callback(source.close)
        by_tables = functools.partial(self._by_tables, chain) if chain is not None else None
        self._one = FoundDisk(name=name, source=source, version=version, by_tables=by_tables)

    def _by_tables(self, opened: Callable[[], Chain]) -> Source | None:
        chain = opened()
        self.stack.callback(chain.close)
        return chain.disk() if chain.in_order() else None

    def hold_package(self, package: packages.Package) -> None:
        """Make the disks of a package those that are meant."""
        self.stack.callback(package.close)
        self._package = package

    @property
    def is_package(self) -> bool:
        """Whether there may be several disks."""
        return self._package is not None

    def disks(self) -> Iterator[FoundDisk]:
        """Yield the disks, each to be copied before the next is asked for."""
        if self._one is not None:
            yield self._one
        if self._package is not None:
            for disk in self._package.disks():
                yield self._packaged(disk)

    def _packaged(self, disk: packages.PackagedDisk) -> FoundDisk:
        if not disk.path:
            return FoundDisk(name=disk.file, source=disk.source)
        image = ImageFile(disk.path)
        image.close()
        chain = functools.partial(
            opening.open_chain, disk.path, name=disk.file, start=disk.start, length=disk.size_bytes
        )
        return FoundDisk(
            name=disk.file,
            source=disk.source,
            version=f"{image.version} {disk.start:x} {disk.file}",
            by_tables=functools.partial(self._by_tables, chain),
        )

    def finish(self) -> None:
        """Check what can only be checked at the end. Raises ConversionError."""
        if self._package is not None:
            self._package.finish()
            self.warnings += self._package.warnings
            self.checked = self._package.checked

    def close(self) -> None:
        """Close everything."""
        self.stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_disks(
    text: str,
    *,
    known: Format | None = None,
    size_bytes: int | None = None,
    by_tables: bool = False,
) -> Found:
    """Open what a person wrote. Raises ConversionError.

    `known` says the format, `size_bytes` the size of a raw disk from a pipe. With `by_tables` a
    streamOptimized VMDK in a file is read at any place, so that a copy can go on.
    """
    found = Found()
    try:
        scheme = text.partition("://")[0].lower() if "://" in text else ""
        if text == STANDARD_INPUT:
            from_stream(found, PipeStream(0), known, size_bytes)
        elif scheme in ("nbd", "nbds", "nbd+unix", "nbds+unix"):
            from converters.sources.nbd_export import NbdExport  # most copies need neither

            export = NbdExport(text)
            found.hold(text, export, version=f"{text} {export.capacity_bytes:x}")
        elif scheme in ("http", "https"):
            from converters import remote_disks

            remote_disks.open_url(found, text, known, size_bytes)
        else:
            _from_path(found, text, known, size_bytes, by_tables=by_tables)
    except BaseException:
        found.close()
        raise
    return found


def from_stream(
    found: Found,
    stream: ByteStream,
    known: Format | None,
    size_bytes: int | None,
    *,
    version: str = "",
    chain: Callable[[], Chain] | None = None,
) -> None:
    """Find out what a stream is; it may be packed by gzip."""
    with ExitStack() as stack:
        stack.callback(stream.close)
        for _ in range(_MOST_WRAPPINGS):
            peeked = Peeked(stream, START_BYTES)
            format_ = known or identify(peeked.start)
            if format_ is not Format.GZIP:
                break
            stream = Gunzipped(peeked)
        match format_:
            case Format.OVA:
                from converters import packages  # a single disk is none

                found.hold_package(packages.read_package(peeked))
            case Format.VMDK_SPARSE:
                found.hold(stream.name, VmdkStream(peeked), version=version, chain=chain)
            case Format.RAW:
                found.hold(stream.name, RawStream(peeked, capacity_bytes=size_bytes))
            case other:
                raise UnsupportedImage(
                    f"the format {other.value} cannot be read forwards", file=stream.name,
                    hint="write it to a file first, and convert that",
                )  # fmt: skip
        stack.pop_all()  # what holds the stream closes it


def _from_path(
    found: Found, path: str, known: Format | None, size_bytes: int | None, *, by_tables: bool
) -> None:
    if is_pipe(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found.stack.callback(os.close, file)
        from_stream(found, PipeStream(file, name=os.path.basename(path)), known, size_bytes)
        return
    image = ImageFile(path)
    try:
        start = image.read_at(0, min(START_BYTES, image.size_bytes))
    finally:
        image.close()
    format_ = known or identify(start)
    found.files = (path,)
    suffix = os.path.splitext(path)[1].lower()
    if not known and format_ is Format.RAW and suffix in (".ova", ".ovf", ".qcow2", ".gz"):
        found.warnings.append(f"{os.path.basename(path)} is no {suffix[1:]}: read as a raw disk")
    if format_ in (Format.OVA, Format.OVF):
        from converters import packages

        found.hold_package(packages.open_package(path))
        return
    if format_ is Format.GZIP:
        from_stream(found, FileStream(path), known, size_bytes)
        return
    chain = opening.open_chain(path, known=known)
    found.stack.callback(chain.close)
    found.warnings += chain.warnings
    found.files = tuple(file.path for file in chain.files)
    if chain.images[0].streamed and not by_tables:
        again = functools.partial(opening.open_chain, path, known=known)
        stream = VmdkStream(FileStream(path))
        found.hold(chain.images[0].name, stream, version=chain.version, chain=again)
    else:
        found.hold(chain.images[0].name, chain.disk(), version=chain.version)


def is_pipe(path: str) -> bool:
    """Return whether a path is a pipe or socket, which can be read once."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # opening it says why
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
