"""What a disk image is: format, size, what is in it, its chain, what was checked, what is odd."""

from __future__ import annotations

import os
from dataclasses import dataclass

from converters import checksum, opening, packages, pipeline
from converters.errors import ImageError
from converters.images.identify import START_BYTES, Format, identify
from converters.opening import Chain, OpenFile
from converters.sinks.memory import NullSink
from converters.sources.byte_stream import FileStream
from converters.sources.image_file import ImageFile
from converters.sources.vmdk_stream import VmdkStream


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that belongs to an image."""

    name: str
    size_bytes: int
    allocated_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """One image of a chain."""

    name: str
    format: str
    kind: str
    capacity_bytes: int
    files: tuple[File, ...]
    cid: str
    parent: str
    parent_cid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReport:
    """One disk: its chain, the newest image first."""

    name: str
    capacity_bytes: int
    data_bytes: int | None  # what its tables name; None where there are none to ask
    allocated_bytes: int
    chain: tuple[ImageReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A file and the disks in it. A check that failed is an error instead."""

    file: str
    format: str
    disks: tuple[DiskReport, ...]
    checks: tuple[str, ...]
    warnings: tuple[str, ...]
    checksum: str = ""


def inspect(path: str, *, known: Format | None = None, deep: bool = False) -> Report:
    """Return the report of a file. With `deep` all of it is read. Raises ConversionError."""
    image = ImageFile(path)
    try:
        start = image.read_at(0, min(START_BYTES, image.size_bytes))
    finally:
        image.close()
    format_ = known or identify(start)
    if format_ in (Format.OVA, Format.OVF):
        return _package(path, format_, deep=deep)
    if format_ is Format.GZIP:
        raise ImageError(
            "is packed by gzip", file=os.path.basename(path),
            hint="`mtv convert` reads it; to look into it, unpack it first",
        )  # fmt: skip
    with opening.open_chain(path, known=known) as chain:
        disk = _disk(chain)
        checks = ["headers", "tables"] if chain.images[0].format != "raw" else []
        if len(chain.images) > 1:
            checks.append(f"chain of {len(chain.images)} images")
        if any(image.parent_cid is not None for image in chain.images):
            checks.append("content ids")
        total = ""
        if deep:
            total = _read(path, chain)
            checks.append("content")
        return Report(
            file=path, format=chain.images[0].format, disks=(disk,), checks=tuple(checks),
            warnings=tuple(chain.warnings), checksum=total,
        )  # fmt: skip


def _disk(chain: Chain) -> DiskReport:
    files = {file.path: _file(file) for file in chain.files}
    images = tuple(
        ImageReport(
            name=image.name,
            format=image.format,
            kind=image.kind,
            capacity_bytes=image.capacity_bytes,
            files=tuple(files[file.path] for file in image.files),
            cid="" if image.cid is None else f"{image.cid:08x}",
            parent=image.parent,
            parent_cid="" if image.parent_cid is None else f"{image.parent_cid:08x}",
        )
        for image in chain.images
    )
    return DiskReport(
        name=chain.images[0].name,
        capacity_bytes=chain.images[0].capacity_bytes,
        data_bytes=chain.data_bytes(),
        allocated_bytes=sum(file.allocated_bytes for file in files.values()),
        chain=images,
    )


def _file(file: OpenFile) -> File:
    return File(
        name=file.name,
        size_bytes=file.size_bytes,
        allocated_bytes=min(os.stat(file.path).st_blocks * 512, -(-file.size_bytes // 512) * 512),
    )


def _read(path: str, chain: Chain) -> str:
    """Read all of the disk, forwards where markers are to be checked, too."""
    if chain.images[0].streamed:
        source = VmdkStream(FileStream(path))
        try:
            sums = pipeline.copy(source, NullSink())
        finally:
            source.close()
    else:
        sums = pipeline.copy(chain.disk(), NullSink())
    return f"{checksum.ALGORITHM}:{checksum.text(sums.total)}"


def _package(path: str, format_: Format, *, deep: bool) -> Report:
    """Describe the disks of a package; its digests are compared only when all is read."""
    disks = []
    with packages.open_package(path) as package:
        checks = ["descriptor"]
        for disk in package.disks():
            if deep:
                pipeline.copy(disk.source, NullSink())
            disks.append(
                DiskReport(
                    name=disk.file,
                    capacity_bytes=disk.source.capacity_bytes,
                    data_bytes=None,
                    allocated_bytes=disk.size_bytes,
                    chain=(),
                )
            )
            if not deep:
                package.pass_over()
        if deep:
            package.finish()
            checks += ["content", *(f"digest of {name}" for name in package.checked)]
        return Report(
            file=path, format=format_.value, disks=tuple(disks), checks=tuple(checks),
            warnings=tuple(package.warnings),
        )  # fmt: skip
