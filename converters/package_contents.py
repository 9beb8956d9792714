"""What is in a package, without reading its disks: descriptor, manifest, sizes, capacities.

A package at a URL is looked at up to its first disk; what lies behind is as the descriptor says.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from converters.errors import CorruptImage, Mismatch
from converters.images import ovf
from converters.packages import Entry, Files, Package, local_files
from converters.sources.wrapped_stream import read_all

_MOST_MANIFEST = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A package. Sizes are by the names of files, capacities by the ids of disks."""

    descriptor: bytes
    envelope: ovf.Envelope
    has_manifest: bool
    sizes: dict[str, int]
    capacities: dict[str, int]


@dataclass(slots=True)
class _Found:
    descriptor: bytes = b""
    descriptor_name: str = ""
    manifest: dict[str, tuple[str, str]] | None = None
    envelope: ovf.Envelope | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    capacities: dict[str, int] = field(default_factory=dict)


def look(path: str) -> Contents:
    """Return what is in a local OVA, or in an OVF and beside it. Raises ConversionError."""
    return look_at(local_files(path), stop_at_disk=False)


def look_at(files: Files, *, stop_at_disk: bool) -> Contents:
    """Return what is in a package whose files come one by one. Raises ConversionError."""
    found = _Found()
    with closing(Package(files)) as package:
        for entry in files.entries():
            found.sizes[entry.name] = entry.size_bytes
            kind = os.path.splitext(entry.name)[1].lower()
            if kind == ".ovf" and found.envelope is None:
                found.descriptor = read_all(entry.stream, ovf.MOST_BYTES)
                found.descriptor_name = entry.name
                found.envelope = ovf.parse(found.descriptor, file=entry.name)
            elif kind == ".mf":
                content = read_all(entry.stream, _MOST_MANIFEST)
                found.manifest = ovf.parse_manifest(content, file=entry.name)
            elif found.envelope is not None and _is_disk(found, entry, package) and stop_at_disk:
                break
    return _checked(found, files.name, whole=not stop_at_disk)


def _is_disk(found: _Found, entry: Entry, package: Package) -> bool:
    """Note the capacity of a disk; tell whether it is one."""
    assert found.envelope is not None
    theirs = [one for one in found.envelope.disks if one.file and one.file.href == entry.name]
    if not theirs:
        return False
    file = theirs[0].file
    with ExitStack() as stack:
        source = package.open_source(
            theirs[0], entry, entry.stream, file.compression if file else "", stack
        )
        for disk in theirs:
            found.capacities[disk.id] = source.capacity_bytes or disk.capacity_bytes
    return True


def _checked(found: _Found, name: str, *, whole: bool) -> Contents:
    if found.envelope is None:
        raise CorruptImage("has no descriptor (*.ovf)", file=name)
    for file in found.envelope.files if whole else ():
        if missing := [part for part in file.parts if part not in found.sizes]:
            raise CorruptImage(f"{missing[0]} is missing", file=name)
        size = sum(found.sizes[part] for part in file.parts)
        if file.size_bytes not in (None, size):
            raise CorruptImage(
                file=name, field=f"size of {file.href}", value=size,
                expected=f"the {file.size_bytes} bytes that the descriptor says",
                hint="the package is not whole: fetch it again",
            )  # fmt: skip
    _check_descriptor(found, name)
    for disk in found.envelope.disks:
        found.capacities.setdefault(disk.id, disk.capacity_bytes)
    return Contents(
        descriptor=found.descriptor,
        envelope=found.envelope,
        has_manifest=found.manifest is not None,
        sizes=found.sizes,
        capacities=found.capacities,
    )


def _check_descriptor(found: _Found, name: str) -> None:
    """Compare the descriptor with the manifest: what it says is about to be believed."""
    said = (found.manifest or {}).get(found.descriptor_name)
    if said is None:
        return
    digest = hashlib.new(said[0], found.descriptor, usedforsecurity=False).hexdigest()
    if digest != said[1]:
        raise Mismatch(
            file=name, field=f"{said[0]} of {found.descriptor_name}", value=digest,
            expected=f"{said[1]}, as the manifest says",
            hint="the package was damaged or changed: fetch it again",
        )  # fmt: skip
