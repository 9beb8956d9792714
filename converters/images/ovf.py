"""OVF: which files of a package are disks, and their digests. DSP0243 of the DMTF.

A package comes from outside: no document type (so no entities), a bound on the size, and names only
of files that lie beside the descriptor.
"""

from __future__ import annotations

import re
import xml.parsers.expat
from dataclasses import dataclass

from converters.errors import CorruptImage, UnsupportedImage
from converters.images.vmdk import descriptor

MOST_BYTES = 16 << 20
_MOST_DEPTH = 200
_MOST_CHUNKS = 9000  # fewer than a package may have members
_MOST_CAPACITY = 128 << 40
_DIGEST = re.compile(
    r"(?P<algorithm>SHA1|SHA256|SHA384|SHA512)\s*\((?P<file>[^)]+)\)\s*=\s*(?P<digest>[0-9a-fA-F]+)"
)
_DIGEST_DIGITS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
# "byte * 2^30": what capacityAllocationUnits may say.
_UNITS = re.compile(
    r"byte\s*(?:\*\s*(?:(?P<base>\d{1,4})\s*\^\s*(?P<power>\d{1,2})|(?P<plain>\d{1,12})))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that the package refers to."""

    id: str
    href: str
    size_bytes: int | None
    compression: str
    chunk_bytes: int = 0  # the file is cut into others of this size

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the files that it is in: DSP0243, 7.1, "chunkSize"."""
        if not self.chunk_bytes or self.size_bytes is None:
            return (self.href,)
        count = max(-(-self.size_bytes // self.chunk_bytes), 1)
        return tuple(f"{self.href}.{number:09}" for number in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk of the package; `file` is None for an empty one."""

    id: str
    file: File | None
    capacity_bytes: int
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What of an OVF descriptor concerns its disks."""

    disks: tuple[Disk, ...]
    files: tuple[File, ...]


def parse(content: bytes, *, file: str) -> Envelope:
    """Return the disks of a descriptor. Raises CorruptImage or UnsupportedImage."""
    if len(content) > MOST_BYTES:
        raise CorruptImage(
            file=file, field="size", value=len(content), expected=f"at most {MOST_BYTES} bytes"
        )
    elements = _elements(content, file)
    files: dict[str, File] = {}
    for attributes in elements["File"]:
        one = _file(attributes, file)
        if one.id in files:
            raise CorruptImage(
                file=file, field="id of a File", value=one.id, expected="one of each"
            )
        files[one.id] = one
    disks = []
    for attributes in elements["Disk"]:
        if attributes.get("parentRef"):
            raise UnsupportedImage("a disk of the package is a delta of another", file=file)
        reference = attributes.get("fileRef", "")
        if reference and reference not in files:
            raise CorruptImage(
                file=file, field="fileRef", value=reference, expected="the id of a File"
            )
        disks.append(
            Disk(
                id=attributes.get("diskId", ""),
                file=files.get(reference),
                capacity_bytes=_capacity(attributes, file),
                format=attributes.get("format", ""),
            )
        )
    return Envelope(disks=tuple(disks), files=tuple(files.values()))


def _elements(content: bytes, file: str) -> dict[str, list[dict[str, str]]]:
    """Return the attributes (without their namespaces) of all File and Disk elements."""
    found: dict[str, list[dict[str, str]]] = {"File": [], "Disk": []}
    depth = 0
    parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")

    def doctype(*_: object) -> None:
        raise CorruptImage("has a document type, which an OVF has not", file=file)

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        local = name.rpartition(" ")[2]
        if depth > _MOST_DEPTH:
            raise CorruptImage(f"has elements more than {_MOST_DEPTH} deep", file=file)
        if local in found and depth == 3:  # Envelope, References or DiskSection
            found[local].append({k.rpartition(" ")[2]: v for k, v in attributes.items()})

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(content, True)
    except xml.parsers.expat.ExpatError as fault:
        raise CorruptImage(
            f"is not well-formed XML: {fault}", file=file, offset=parser.ErrorByteIndex
        ) from fault
    return found


def _file(attributes: dict[str, str], file: str) -> File:
    size, chunk = attributes.get("size", ""), attributes.get("chunkSize", "")
    chunk_bytes = _number(chunk, "chunkSize", file) if chunk else 0
    if chunk and not size:
        raise CorruptImage(file=file, field="size of a File", value="", expected="one, as it "
                           "has a chunkSize")  # fmt: skip
    if chunk and not 0 < _number(size, "size of a File", file) <= chunk_bytes * _MOST_CHUNKS:
        raise CorruptImage(
            file=file, field="chunkSize", value=chunk,
            expected=f"a size that makes 1 to {_MOST_CHUNKS} chunks of the {size} bytes",
        )  # fmt: skip
    return File(
        id=attributes.get("id", ""),
        href=descriptor.sibling(attributes.get("href", ""), file=file),
        size_bytes=_number(size, "size of a File", file) if size else None,
        compression=attributes.get("compression", "").lower(),
        chunk_bytes=chunk_bytes,
    )


def _capacity(attributes: dict[str, str], file: str) -> int:
    units = attributes.get("capacityAllocationUnits") or "byte"
    match = _UNITS.fullmatch(units.strip())
    if match is None:
        raise CorruptImage(
            file=file, field="capacityAllocationUnits", value=units, expected="like `byte * 2^30`"
        )
    unit = int(match["base"]) ** int(match["power"]) if match["base"] else int(match["plain"] or 1)
    # `${name}` refers to a property of the deployment; the image's own size counts then.
    text = attributes.get("capacity", "")
    capacity = 0 if text.startswith("${") else _number(text, "capacity", file) * unit
    if capacity > _MOST_CAPACITY:
        raise CorruptImage(
            file=file, field="capacity", value=capacity, expected=f"at most {_MOST_CAPACITY} bytes"
        )
    return capacity


def _number(text: str, field: str, file: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise CorruptImage(file=file, field=field, value=text, expected="a number")
    return int(text)


def parse_manifest(content: bytes, *, file: str) -> dict[str, tuple[str, str]]:
    """Return algorithm (as hashlib calls it) and digest of each file. Raises CorruptImage."""
    digests: dict[str, tuple[str, str]] = {}
    text = content.decode("utf-8", "replace").removeprefix("\ufeff")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _DIGEST.fullmatch(line.strip())
        algorithm = match["algorithm"].lower() if match else ""
        if match is None or len(match["digest"]) != _DIGEST_DIGITS[algorithm]:
            raise CorruptImage(
                file=file, field=f"line {number}", value=line,
                expected="SHA1, SHA256, SHA384 or SHA512, like `SHA256(disk.vmdk)= 0123…`",
            )  # fmt: skip
        if match["file"] in digests:
            raise CorruptImage(
                file=file, field=f"line {number}", value=line, expected="one line for each file"
            )
        digests[match["file"]] = (algorithm, match["digest"].lower())
    return digests
