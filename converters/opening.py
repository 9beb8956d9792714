"""Opens a disk in files: finds out what it is, and follows its chain.

    with open_chain("web1-000002.vmdk") as chain:
        pipeline.copy(chain.disk(), sink)

Files that an image names are opened only in the image's own folder (of this machine, or of a
server), never over a link.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from converters.errors import CorruptImage, SourceRefused, UnsupportedImage
from converters.images import layers
from converters.images.identify import START_BYTES, Format, identify
from converters.images.layers import ImageBytes, Layer
from converters.images.qcow2 import header as qcow2
from converters.images.qcow2 import tables as qcow2_tables
from converters.images.vmdk import descriptor as descriptors
from converters.images.vmdk import header as headers
from converters.images.vmdk import hosted, se_sparse, vmfs_sparse
from converters.images.vmdk.descriptor import Descriptor, ExtentLine
from converters.images.vmdk.header import MOST_CAPACITY, SECTOR
from converters.images.vmdk.tables import GrainTables
from converters.sources.contract import Source
from converters.sources.image_file import ImageFile
from converters.sources.layered_disk import LayeredDisk

_LONGEST_CHAIN = 256  # ESXi allows 255 snapshots of a disk
_NO_DEVICE = "the data of a raw device mapping is on a LUN, not in the datastore"
_DELTA_ALONE = "open its descriptor, which names the parent"


class OpenFile(ImageBytes, Protocol):
    """A file that an image, or a part of one, lies in."""

    @property
    def path(self) -> str:
        """Where it is."""
        ...

    @property
    def identity(self) -> tuple[object, ...]:
        """What only this file has."""
        ...

    @property
    def version(self) -> str:
        """What tells this state of it from another; empty where that cannot be known."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Folder(Protocol):
    """Where the files of a disk lie side by side."""

    def open(self, name: str) -> OpenFile:
        """Open a file by its plain name. Raises SourceError."""
        ...

    def disk(self, layers: Sequence[Layer], *, name: str) -> Source:
        """Return the disk that layers in its files make."""
        ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, name: str) -> OpenFile:
        """Open a file that is no link."""
        return ImageFile(os.path.join(self._path, name), follow_links=False)

    def disk(self, layers: Sequence[Layer], *, name: str) -> Source:
        """Return the disk that layers in its files make."""
        return LayeredDisk(layers, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of a chain."""

    name: str
    format: str  # raw, vmdk, qcow2
    kind: str  # createType of a VMDK, version of a qcow2
    capacity_bytes: int
    layer: Layer
    files: tuple[OpenFile, ...]
    cid: int | None = None
    parent_cid: int | None = None
    parent: str = ""  # as the image names it
    parent_format: str = ""  # if the image says
    warnings: tuple[str, ...] = field(default=())
    streamed: bool = False  # can be read forwards, too


class Chain:
    """The images of a disk, the newest first, and their open files."""

    def __init__(self, images: list[Image], folder: Folder, stack: ExitStack) -> None:
        self.images = images
        self._folder = folder
        self._stack = stack

    @property
    def files(self) -> tuple[OpenFile, ...]:
        """All files of all images."""
        return tuple(file for image in self.images for file in image.files)

    @property
    def warnings(self) -> list[str]:
        """What is odd, but no error."""
        return [f"{image.name}: {text}" for image in self.images for text in image.warnings]

    @property
    def version(self) -> str:
        """What tells this state of the disk from another; empty where that cannot be known."""
        versions = [file.version for file in self.files]
        return ",".join(versions) if all(versions) else ""

    def in_order(self) -> bool:
        """Return whether a copy of the file as a stream can be gone on with by its tables."""
        layer = self.images[0].layer
        if len(self.images) > 1:
            return False
        return isinstance(layer, layers.Flat) or (
            isinstance(layer, GrainTables) and layer.in_order()
        )

    def disk(self) -> Source:
        """Return the disk as a source. The chain still owns the files."""
        return self._folder.disk([image.layer for image in self.images], name=self.images[0].name)

    def data_bytes(self) -> int:
        """Return how much of the disk its tables name. Raises CorruptImage."""
        disk = LayeredDisk([image.layer for image in self.images], name=self.images[0].name)
        return sum(run.length for run in disk.data_runs())

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_chain(
    path: str,
    *,
    known: Format | None = None,
    name: str = "",
    start: int = 0,
    length: int | None = None,
) -> Chain:
    """Open a disk with all its parents. `start` and `length` choose a part of the file.

    `known` says the format where the file must not be asked. Raises ConversionError.
    """
    file = ImageFile(path, name=name, start=start, length=length)
    return follow_chain(file, LocalFolder(os.path.dirname(path)), known=known)


def follow_chain(file: OpenFile, folder: Folder, *, known: Format | None = None) -> Chain:
    """Return the disk that a file, which is the chain's from now on, and its parents make."""
    with ExitStack() as stack:
        opener = _Opener(folder, stack)
        images = [opener.image(opener.add(file), known)]
        while images[-1].parent:
            images.append(opener.parent(images[-1]))
            if len(images) > _LONGEST_CHAIN:
                raise CorruptImage(
                    f"the chain has more than {_LONGEST_CHAIN} images", file=images[0].name
                )
        return Chain(images, folder, stack.pop_all())


class _Opener:
    """Opens the images of one folder, each file once."""

    def __init__(self, folder: Folder, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._seen: set[tuple[object, ...]] = set()

    def add(self, file: OpenFile) -> OpenFile:
        """Own a file. Raises CorruptImage if it is in the chain already."""
        self._stack.callback(file.close)
        if file.identity in self._seen:
            raise CorruptImage(
                "the image is its own ancestor, or names a file twice", file=file.name,
                hint="the chain is damaged or malicious: look at the parentFileNameHint of each",
            )  # fmt: skip
        self._seen.add(file.identity)
        return file

    def sibling(self, name: str, *, by: str) -> OpenFile:
        """Open a file that the image `by` names."""
        try:
            file = self._folder.open(descriptors.sibling(name, file=by))
        except SourceRefused as fault:
            raise SourceRefused(
                f"names {name!r}, which cannot be read: {fault.problem}", file=by,
                hint="put all files of the disk into one folder",
            ) from fault  # fmt: skip
        return self.add(file)

    def image(self, file: OpenFile, known: Format | None = None) -> Image:
        """Return the image that a file is."""
        start = file.read_at(0, min(START_BYTES, file.size_bytes))
        match known or identify(start):
            case Format.RAW:
                return _raw(file)
            case Format.VMDK_DESCRIPTOR:
                return self._described(file)
            case Format.VMDK_SPARSE:
                return _hosted(file)
            case Format.QCOW2:
                return _qcow2(file)
            case Format.VMDK_VMFS_SPARSE | Format.VMDK_SE_SPARSE:
                raise UnsupportedImage(
                    "is the delta of a snapshot, of which the rest is in its parent",
                    file=file.name, hint=_DELTA_ALONE,
                )  # fmt: skip
            case other:
                raise UnsupportedImage(
                    f"is of the format {other.value}", file=file.name,
                    expected="raw, VMDK or qcow2",
                    hint="make one of these of it first: qemu-img convert -O qcow2 …",
                )  # fmt: skip

    def parent(self, child: Image) -> Image:
        """Open the image below. Raises CorruptImage when it is not the one that is meant."""
        file = self.sibling(child.parent, by=child.name)
        known = {"raw": Format.RAW, "qcow2": Format.QCOW2}.get(child.parent_format)
        parent = self.image(file, known)
        if child.parent_cid is not None and child.parent_cid != parent.cid:
            has = "no CID" if parent.cid is None else f"{parent.cid:08x}"
            raise CorruptImage(
                file=child.name, field="parentCID", value=f"{child.parent_cid:08x}",
                expected=f"the CID of {parent.name}, which has {has}",
                hint="the parent was written to after the snapshot, or is another disk: "
                "get the parent that belongs to this delta",
            )  # fmt: skip
        return parent

    def _described(self, file: OpenFile) -> Image:
        size = min(file.size_bytes, descriptors.MOST_BYTES)
        text = descriptors.parse(file.read_at(0, size), file=file.name)
        files: list[OpenFile] = []
        parts: list[Layer] = []
        warnings: list[str] = []
        if not text.extents:
            raise CorruptImage("the descriptor names no extent", file=file.name)
        if text.capacity_bytes > MOST_CAPACITY * SECTOR:
            raise CorruptImage(
                file=file.name, field="size of all extents", value=text.capacity_bytes,
                expected=f"at most {MOST_CAPACITY * SECTOR} bytes",
            )  # fmt: skip
        for line in text.extents:
            if line.type == "ZERO":
                parts.append(layers.Nothing(line.sectors * SECTOR))
                continue
            refuse_type(line, file.name)
            extent = self.sibling(line.file, by=file.name)
            files.append(extent)
            parts.append(_extent(extent, line, file.name, warnings))
        return _vmdk(
            file.name,
            text,
            layers.SideBySide(parts) if len(parts) > 1 else parts[0],
            (file, *files),
            warnings,
        )


def refuse_type(line: ExtentLine, file: str) -> None:
    """Raise UnsupportedImage for a type of extent that has no data here."""
    if line.type not in ("FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE"):
        raise UnsupportedImage(
            file=file, field="type of an extent", value=line.type,
            expected="FLAT, VMFS, SPARSE, VMFSSPARSE, SESPARSE or ZERO",
            hint=_NO_DEVICE if line.type.startswith(("VMFSR", "VMFSPASS")) else "",
        )  # fmt: skip


def _extent(extent: OpenFile, line: ExtentLine, descriptor: str, warnings: list[str]) -> Layer:
    """Return the layer of one extent; its size is that of the line."""
    size = line.sectors * SECTOR
    if line.type in ("FLAT", "VMFS"):
        start = line.offset_sectors * SECTOR
        if start + size > extent.size_bytes:
            raise CorruptImage(
                f"the file has {extent.size_bytes} bytes", file=extent.name,
                expected=f"{size} from byte {start} on, as {descriptor} says",
                hint="it was cut short: fetch it again",
            )  # fmt: skip
        return layers.Flat(extent, start=start, length=size)
    layer: Layer
    if line.type == "SPARSE":
        header = hosted.read_header(extent)
        if header.unclean:
            warnings.append(f"{extent.name} was not closed cleanly")
        layer, capacity = hosted.layer(extent, header), header.capacity_bytes
    elif line.type == "VMFSSPARSE":
        cow = vmfs_sparse.read_header(extent)
        if cow.unclean:
            warnings.append(f"{extent.name} was not closed cleanly")
        layer, capacity = vmfs_sparse.layer(extent, cow), cow.capacity_bytes
    else:
        sparse = se_sparse.read_header(extent)
        layer, capacity = se_sparse.layer(extent, sparse), sparse.capacity_bytes
    if capacity < size:
        raise CorruptImage(
            file=extent.name, field="capacity", value=capacity,
            expected=f"the {size} bytes that {descriptor} says",
        )  # fmt: skip
    return layer if capacity == size else layers.Front(layer, size)


def _raw(file: OpenFile) -> Image:
    if not file.size_bytes:
        raise CorruptImage("the file has 0 bytes, expected at least one", file=file.name)
    return Image(
        name=file.name,
        format="raw",
        kind="",
        capacity_bytes=file.size_bytes,
        layer=layers.Flat(file, start=0, length=file.size_bytes),
        files=(file,),
    )


def _hosted(file: OpenFile) -> Image:
    """Return a sparse VMDK that carries its own descriptor, or one extent of a split disk."""
    header = hosted.read_header(file)
    warnings = ["it was not closed cleanly"] if header.unclean else []
    layer: Layer = hosted.layer(file, header)
    if not header.descriptor_sectors:
        warnings.append("it has no descriptor: perhaps it is one extent of a larger disk")
        kind = "sparse extent"
        return Image(
            name=file.name, format="vmdk", kind=kind, capacity_bytes=header.capacity_bytes,
            layer=layer, files=(file,), warnings=tuple(warnings),
        )  # fmt: skip
    start = header.descriptor_offset * SECTOR
    text = descriptors.parse(
        file.read_at(start, header.descriptor_sectors * SECTOR), file=file.name, offset=start
    )
    headers.check_capacity(header, text.capacity_bytes, file=file.name, offset=start)
    return _vmdk(file.name, text, layer, (file,), warnings, streamed=header.markers)


def _vmdk(
    name: str,
    text: Descriptor,
    layer: Layer,
    files: tuple[OpenFile, ...],
    warnings: list[str],
    *,
    streamed: bool = False,
) -> Image:
    if text.has_parent and not text.parent_file:
        raise CorruptImage(
            "is a delta, but does not name its parent (parentFileNameHint)", file=name
        )
    has_cid = text.parent_cid not in (None, descriptors.NO_PARENT)
    return Image(
        name=name,
        format="vmdk",
        kind=text.create_type,
        capacity_bytes=layer.capacity_bytes,
        layer=layer,
        files=files,
        cid=text.cid,
        parent_cid=text.parent_cid if has_cid else None,
        parent=text.parent_file if text.has_parent else "",
        warnings=tuple(warnings),
        streamed=streamed and not text.has_parent,
    )


def _qcow2(file: OpenFile) -> Image:
    header = qcow2.read_header(file)
    warnings = []
    if header.features & qcow2.DIRTY:
        warnings.append("it was not closed cleanly")
    if header.snapshots:
        warnings.append(f"its {header.snapshots} internal snapshots are not read")
    return Image(
        name=file.name,
        format="qcow2",
        kind=f"version {header.version}",
        capacity_bytes=header.capacity_bytes,
        layer=qcow2_tables.ClusterTables(file, header),
        files=(file,),
        parent=header.backing_file,
        parent_format=header.backing_format,
        warnings=tuple(warnings),
    )
