"""OVA and OVF: the disks of a package, its manifest checked as they pass.

    with open_package("vm.ova") as package:
        for disk in package.disks():          # in the order of the package
            pipeline.copy(disk.source, sink)
        package.finish()                      # raises Mismatch where a digest differs

An OVA may also come as a stream; then its descriptor must be the first member, as the standard
wants it, and a disk must be copied before the next one is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, Self

from converters import opening
from converters.chunks import Chunks
from converters.chunks import Entry as Entry
from converters.errors import ConversionError, CorruptImage, Mismatch, UnsupportedImage
from converters.images import ovf, tar
from converters.images.identify import START_BYTES, Format, identify
from converters.images.vmdk import descriptor
from converters.sources.byte_stream import ByteStream, FileStream
from converters.sources.contract import Source
from converters.sources.image_file import ImageFile
from converters.sources.raw_stream import RawStream
from converters.sources.vmdk_stream import VmdkStream
from converters.sources.wrapped_stream import Digested, Gunzipped, Part, Peeked, read_all, skip

_MOST_MEMBERS = 10_000
_MOST_MANIFEST = 4 << 20
_ALGORITHMS = ("sha1", "sha256", "sha512")  # what manifests are written with


class Files(Protocol):
    """The files of a package in the order in which they can be had."""

    @property
    def name(self) -> str:
        """How messages call the package."""
        ...

    @property
    def may_have_manifest(self) -> bool:
        """Whether a manifest is among them, or may still come."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield each file once; its stream is to be read before the next is asked for."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedDisk:
    """A disk of a package that can be read now."""

    id: str
    file: str
    size_bytes: int  # in the package
    capacity_bytes: int  # as the descriptor says, 0 if it does not
    source: Source
    path: str = ""  # the local file that it lies in as it is, from `start` on
    start: int = 0


@dataclass(slots=True)
class _Digests:
    """What the manifest says, and what has passed."""

    expected: bool = True  # whether a manifest may come
    said: dict[str, tuple[str, str]] | None = None
    passed: dict[str, Digested] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)

    def algorithms(self, name: str) -> tuple[str, ...]:
        """Return what is to be counted for a file; everything usual until that is known."""
        if self.said is None:
            return _ALGORITHMS if self.expected else ()
        return (self.said[name][0],) if name in self.said else ()

    def check(self, package: str) -> None:
        """Compare what has passed. Raises Mismatch."""
        for name, stream in list(self.passed.items()):
            if self.said is None:
                return
            del self.passed[name]
            if name not in self.said:
                continue
            algorithm, digest = self.said[name]
            if algorithm not in stream.algorithms:
                raise UnsupportedImage(
                    f"the manifest comes last, and has {algorithm} of {name}", file=package,
                    hint="read the package from a file, not from a pipe",
                )  # fmt: skip
            found = stream.hexdigest(algorithm)
            if found != digest:
                raise Mismatch(
                    file=package, field=f"{algorithm} of {name}", value=found,
                    expected=f"{digest}, as the manifest says",
                    hint="the package was damaged or changed: fetch it again",
                )  # fmt: skip
            self.checked.append(name)


class Package:
    """The disks of an OVA or OVF."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.name = files.name
        self.envelope: ovf.Envelope | None = None
        self.warnings: list[str] = []
        self._digests = _Digests(expected=files.may_have_manifest)
        self._seen: set[str] = set()
        self._passing_over = False
        self._stack = ExitStack()
        self._stack.callback(files.close)
        self._entries = files.entries()

    @property
    def checked(self) -> tuple[str, ...]:
        """The files whose digests were compared with the manifest."""
        return tuple(self._digests.checked)

    def disks(self) -> Iterator[PackagedDisk]:
        """Yield the disks that have a file, each to be copied before the next.

        Raises ConversionError, also for a digest that differs.
        """
        for entry in self._entries:
            self._admit(entry)
            stream = Digested(entry.stream, self._digests.algorithms(entry.name))
            kind = os.path.splitext(entry.name)[1].lower()
            if kind == ".ovf" and self.envelope is None:
                self.envelope = ovf.parse(read_all(stream, ovf.MOST_BYTES), file=entry.name)
            elif kind == ".mf":
                content = read_all(entry.stream, _MOST_MANIFEST)
                self._digests.said = ovf.parse_manifest(content, file=entry.name)
                self._digests.check(self.name)
                continue
            elif disk := self._disk_of(entry):
                self._passing_over = False
                if disk.file is not None and disk.file.chunk_bytes:
                    yield from self._copied_chunks(disk, disk.file, entry, stream)
                    continue
                yield from self._copied(disk, entry, stream)
                if self._passing_over:
                    continue
            self.settle(entry, stream)

    def settle(self, entry: Entry, stream: Digested) -> None:
        """Read the rest of a file, and compare its digest if that is known. Raises Mismatch."""
        skip(stream)
        self._digests.passed[entry.name] = stream
        self._digests.check(self.name)

    def _copied_chunks(
        self, disk: ovf.Disk, file: ovf.File, entry: Entry, stream: Digested
    ) -> Iterator[PackagedDisk]:
        """Yield a disk whose file is cut into chunks, of which the first is there."""
        chunks = Chunks(file, entry, stream, following=self._next_chunk, settle=self.settle)
        whole = Entry(file.href, file.size_bytes or 0, chunks)
        yield from self._copied(disk, whole, chunks)
        if not self._passing_over:
            skip(chunks)

    def _next_chunk(self) -> tuple[Entry, Digested] | None:
        entry = next(self._entries, None)
        if entry is None:
            return None
        self._admit(entry)
        return entry, Digested(entry.stream, self._digests.algorithms(entry.name))

    def pass_over(self) -> None:
        """Leave the disk that was given last unread, and so unchecked."""
        self._passing_over = True

    def finish(self) -> None:
        """Check that nothing is missing and all digests are as the manifest says."""
        for _ in self.disks():
            pass
        if self.envelope is None:
            raise CorruptImage("has no descriptor (*.ovf)", file=self.name)
        names = [name for file in self.envelope.files for name in file.parts]
        for name in names:
            if name not in self._seen:
                raise CorruptImage(f"{name} is missing", file=self.name)
        if self._digests.said is None:
            self.warnings.append("has no manifest: nothing tells whether it is complete")
            return
        for name in sorted(self._digests.said.keys() - self._seen):
            raise CorruptImage(f"{name} is in the manifest, but missing", file=self.name)
        for name in sorted(names):
            if name not in self._digests.said:
                self.warnings.append(f"{name} is not in the manifest")

    def _admit(self, entry: Entry) -> None:
        if entry.name in self._seen:
            raise CorruptImage(
                file=self.name, field="name of a member", value=entry.name,
                expected="each name once",
            )  # fmt: skip
        self._seen.add(entry.name)
        if len(self._seen) > _MOST_MEMBERS:
            raise CorruptImage(f"has more than {_MOST_MEMBERS} members", file=self.name)

    def _disk_of(self, entry: Entry) -> ovf.Disk | None:
        if self.envelope is None:
            if entry.name.lower().endswith((".vmdk", ".img", ".raw", ".qcow2", ".gz")):
                raise UnsupportedImage(
                    f"{entry.name} comes before the descriptor", file=self.name,
                    hint="the first member of an OVA is its descriptor; read it from a file, "
                    "not from a pipe",
                )  # fmt: skip
            return None
        for disk in self.envelope.disks:
            if disk.file is not None and disk.file.parts[0] == entry.name:
                return disk
        return None

    def _copied(self, disk: ovf.Disk, entry: Entry, stream: ByteStream) -> Iterator[PackagedDisk]:
        """Yield one disk, and close it when it was copied."""
        file = disk.file
        if file is not None and file.size_bytes not in (None, entry.size_bytes):
            raise CorruptImage(
                file=self.name, field=f"size of {entry.name}", value=entry.size_bytes,
                expected=f"the {file.size_bytes} bytes that the descriptor says",
                hint="the package is not whole: fetch it again",
            )  # fmt: skip
        with ExitStack() as stack:
            compression = file.compression if file is not None else ""
            source = self.open_source(disk, entry, stream, compression, stack)
            if disk.capacity_bytes and source.capacity_bytes != disk.capacity_bytes:
                self.warnings.append(
                    f"{entry.name} is a disk of {source.capacity_bytes} bytes, "
                    f"the descriptor says {disk.capacity_bytes}"
                )
            yield PackagedDisk(
                id=disk.id,
                file=entry.name,
                size_bytes=entry.size_bytes,
                capacity_bytes=disk.capacity_bytes,
                source=source,
                path="" if compression == "gzip" else entry.path,
                start=entry.start,
            )

    def open_source(
        self, disk: ovf.Disk, entry: Entry, stream: ByteStream, compression: str, stack: ExitStack
    ) -> Source:
        """Return the disk that a file of the package is; `stack` closes what that takes."""
        if compression not in ("", "identity", "gzip"):
            raise UnsupportedImage(
                file=self.name,
                field=f"compression of {entry.name}",
                value=compression,
                expected="gzip, or none",
            )
        peeked = Peeked(stream, START_BYTES)
        packed = compression == "gzip" or identify(peeked.start) is Format.GZIP
        content = Peeked(Gunzipped(peeked), START_BYTES) if packed else peeked
        format_ = identify(content.start)
        if format_ is Format.VMDK_SPARSE:
            try:
                return VmdkStream(content)
            except UnsupportedImage:
                if packed or not entry.path:
                    raise
        elif format_ is Format.RAW:
            return RawStream(content, capacity_bytes=disk.capacity_bytes if packed else None)
        if packed or not entry.path:
            raise UnsupportedImage(
                f"{entry.name} is of the format {format_.value}, which cannot be read forwards",
                file=self.name, hint="unpack the package into a folder, and read it from there",
            )  # fmt: skip
        # Its tables tell where things are; the digest is counted when the rest is skipped.
        chain = opening.open_chain(
            entry.path, name=entry.name, start=entry.start, length=entry.size_bytes
        )
        stack.callback(chain.close)
        return chain.disk()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TarFiles:
    """The members of a tar that comes as a stream."""

    may_have_manifest = True

    def __init__(self, stream: ByteStream) -> None:
        self.name = stream.name
        self._stream = stream

    def entries(self) -> Iterator[Entry]:
        """Yield the members as they come."""
        offset = 0
        while (member := tar.next_member(self._read, offset, file=self.name)) is not None:
            part = Part(self._stream, member.size_bytes, name=member.name)
            if member.regular:
                plain_name(member.name, self.name)
                yield Entry(member.name, member.size_bytes, part)
            skip(part)
            skip(Part(self._stream, tar.padded(member.size_bytes) - member.size_bytes, name="tar"))
            offset = member.offset + tar.padded(member.size_bytes)

    def _read(self, count: int) -> bytes:
        content = bytearray(count)
        filled = 0
        while filled < count:
            more = self._stream.readinto(memoryview(content)[filled:])
            if not more:
                break
            filled += more
        return bytes(content[:filled])

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class LocalFiles:
    """Files whose places are known: members of a local OVA, or what an OVF names beside it.

    Descriptor and manifest come first, whatever their order in the package.
    """

    def __init__(self, name: str, places: list[tuple[str, str, int, int]]) -> None:
        self.name = name

        def rank(place: tuple[str, str, int, int]) -> int:
            return {".ovf": 0, ".mf": 1}.get(os.path.splitext(place[0])[1].lower(), 2)

        self._places = sorted(places, key=rank)  # name, path, start, length
        self.may_have_manifest = any(rank(place) == 1 for place in places)

    def entries(self) -> Iterator[Entry]:
        """Yield the files, descriptor first."""
        for name, path, start, length in self._places:
            stream = FileStream(path, name=name, start=start, length=length)
            try:
                yield Entry(name, length, stream, path, start)
            finally:
                stream.close()

    def close(self) -> None:
        """Nothing is held."""


def plain_name(name: str, package: str) -> None:
    """Refuse a member whose name leads elsewhere."""
    if name.startswith("/") or ".." in name.split("/"):
        raise CorruptImage(
            file=package, field="name of a member", value=name, expected="a plain name"
        )


def local_files(path: str) -> LocalFiles:
    """Return the files of a local OVA, or of an OVF and what lies beside it."""
    name = os.path.basename(path)
    image = ImageFile(path)
    try:
        start = image.read_at(0, min(START_BYTES, image.size_bytes))
        if identify(start) is Format.OVF:
            return LocalFiles(name, _beside(path, image))
        return LocalFiles(name, _members(path, image))
    finally:
        image.close()


def _members(path: str, image: ImageFile) -> list[tuple[str, str, int, int]]:
    places = []
    at = 0

    def read(count: int) -> bytes:
        nonlocal at
        content = image.read_at(at, min(count, image.size_bytes - at))
        at += len(content)
        return content

    while (member := tar.next_member(read, at, file=image.name)) is not None:
        at = member.offset + tar.padded(member.size_bytes)
        if member.offset + member.size_bytes > image.size_bytes:
            raise CorruptImage(
                f"the archive ends in the middle of {member.name}", file=image.name,
                offset=image.size_bytes, hint="it was cut short: fetch it again",
            )  # fmt: skip
        at = min(at, image.size_bytes)
        if member.regular:
            plain_name(member.name, image.name)
            places.append((member.name, path, member.offset, member.size_bytes))
        if len(places) > _MOST_MEMBERS:
            raise CorruptImage(f"has more than {_MOST_MEMBERS} members", file=image.name)
    return places


def _beside(path: str, image: ImageFile) -> list[tuple[str, str, int, int]]:
    folder, name = os.path.split(path)
    content = image.read_at(0, min(image.size_bytes, ovf.MOST_BYTES + 1))
    envelope = ovf.parse(content, file=name)
    names = [name]
    manifest = os.path.splitext(name)[0] + ".mf"
    if os.path.exists(os.path.join(folder, manifest)):
        names.append(manifest)
    names += [descriptor.sibling(part, file=name) for file in envelope.files for part in file.parts]
    places = []
    for one in dict.fromkeys(names):
        where = os.path.join(folder, one)
        try:
            file = ImageFile(where, follow_links=one == name)
        except ConversionError as fault:
            raise CorruptImage(f"{one} cannot be read: {fault.problem}", file=name) from fault
        places.append((one, where, 0, file.size_bytes))
        file.close()
    return places


def open_package(path: str) -> Package:
    """Open a local OVA or OVF."""
    return Package(local_files(path))


def read_package(stream: ByteStream) -> Package:
    """Read an OVA as it comes."""
    return Package(TarFiles(stream))
