"""One disk of a package, opened to be copied; its digest is compared with the manifest at the end.

It is read forwards, past the disks before it. What cannot be checked before all of it has been read
is checked on leaving the context, which raises then.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from converters import errors as conversion
from converters import packages, web_packages
from converters.packages import Package, PackagedDisk
from converters.sources.contract import Source
from converters.sources.http_connection import Authorization
from converters.sources.image_file import ImageFile
from mtv.providers.ova.location import Kind, Location

TRANSPORT = "package"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDisk:
    """A disk that can be read, and what tells this state of it from another."""

    source: Source
    transport: str = TRANSPORT
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a package is reached from here: `folder` is where the node's folder is mounted."""

    location: Location
    folder: Path | None = None
    tls: ssl.SSLContext | None = None
    authorization: Authorization | None = None

    @property
    def path(self) -> str:
        """The local path of a package that has one."""
        return str(self.folder / self.location.name) if self.folder else self.location.text


@contextmanager
def opened(place: Place, member: str) -> Iterator[OpenDisk]:
    """Open the disk in the file `member`.

    Raises ConversionError; on leaving too, where the package is not what its manifest says.
    """
    with _package(place) as package:
        disks = package.disks()
        disk = _found(package, disks, member)
        yield OpenDisk(source=disk.source, revision=_revision(place))
        try:
            _pass_over_the_rest(package, disks)
            package.finish()
        except conversion.Mismatch as fault:
            # To the copy a mismatch is a target that differs; here the source is at fault.
            raise conversion.CorruptImage(
                str(fault), file=package.name,
                hint="the package was damaged or changed: fetch it again",
            ) from fault  # fmt: skip


def _package(place: Place) -> Package:
    if place.location.kind is Kind.PATH:
        return packages.open_package(place.path)
    return Package(
        web_packages.open_files(
            place.location.text, tls=place.tls, authorization=place.authorization
        )
    )


def _found(package: Package, disks: Iterator[PackagedDisk], member: str) -> PackagedDisk:
    for disk in disks:
        if disk.file == member:
            return disk
        package.pass_over()
    raise conversion.CorruptImage(f"{member} is missing, or is no disk", file=package.name)


def _pass_over_the_rest(package: Package, disks: Iterator[PackagedDisk]) -> None:
    """Go on to the end: a manifest may come last, and what is missing must be noticed."""
    for _ in disks:
        package.pass_over()


def _revision(place: Place) -> str:
    if place.location.kind is Kind.WEB:
        return ""
    file = ImageFile(place.path)
    try:
        return file.version
    finally:
        file.close()


@contextmanager
def for_a_look(place: Place, member: str) -> Iterator[OpenDisk]:
    """Open the disk in the file `member` to read a part of it; nothing is checked at the end."""
    with _package(place) as package:
        yield OpenDisk(source=_found(package, package.disks(), member).source)
