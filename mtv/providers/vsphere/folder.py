"""Disks through a datastore's HTTPS access: the flat extents of a VM that is off, by ranges.

`https://vcenter/folder/web1/web1-flat.vmdk?dcPath=DC0&dsName=ds1` (vSphere Web Services SDK
Programming Guide 8.0, "Uploading Files to a Datastore"). Any byte of a file can be asked for again,
so that a copy goes on where it broke. Deltas of snapshots are in formats of their own and not read
here, and holes are sent as zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pyVmomi import vim

from converters.errors import (
    CorruptImage,
    SourceBroken,
    SourceChanged,
    SourceRefused,
    SourceUnauthorized,
    UnsupportedImage,
)
from converters.images.vmdk import descriptor as descriptors
from converters.images.vmdk.header import SECTOR
from converters.sources.http_connection import Server
from converters.sources.http_range import HttpRange, Part, Patience
from converters.sources.http_stream import HttpStream
from mtv import errors
from mtv.inventory.model import Disk, Moref

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_DATASTORE_PATH = re.compile(r"\[(?P<datastore>[^\]]+)\]\s*(?P<path>.+)$")
_FLAT = frozenset({"VMFS", "FLAT"})


class NotReadable(Exception):
    """The file cannot be read this way; another transport may do."""


class Login:
    """The session's cookie as `Authorization`: a new login when the server no longer takes it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def headers(self) -> Mapping[str, str]:
        """Return the cookie of the session."""
        return {"Cookie": self._session.cookie}

    def renew(self, refused: Mapping[str, str]) -> None:
        """Log in again, unless somebody has since `refused` was sent."""
        login = self._session.logins
        if refused != self.headers():
            return
        try:
            self._session.log_in_again(login)
        except errors.Forbidden as fault:
            raise SourceUnauthorized(str(fault), status=401, hint=fault.hint) from fault
        except errors.Retryable as fault:
            raise SourceBroken(str(fault), hint=fault.hint) from fault
        except errors.MigrationError as fault:
            raise SourceRefused(str(fault), hint=fault.hint) from fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Where a datastore's files are found: the datastore by name, in its datacenter by path."""

    datacenter_path: str
    datastore: str

    def target(self, path: str) -> str:
        """Return what a request for a file asks for."""
        query = f"dcPath={quote(self.datacenter_path, safe='')}&dsName={quote(self.datastore)}"
        return f"/folder/{quote(path)}?{query}"


def server_of(session: Session) -> Server:
    """Return the session's own server as one for disks."""
    return Server(host=session.endpoint.host, port=session.endpoint.port, tls=session.tls)


def split(file: str) -> tuple[str, str]:
    """Return datastore and path of `[ds1] web1/web1.vmdk`. Raises NotReadable."""
    match = _DATASTORE_PATH.match(file)
    if match is None:
        raise NotReadable(f"{file!r} is not a file on a datastore")
    return match["datastore"], match["path"]


def folder_of(session: Session, disk: Disk) -> Folder:
    """Return where the disk's files are. Raises Gone, or NotReadable."""
    datastore, _ = split(disk.file)
    if disk.datastore is None:
        raise NotReadable(f"the datastore of {disk.file!r} is not known")
    names: list[str] = []
    above: Any = session.read(disk.datastore, vim.Datastore, ("parent",)).get("parent")
    while above is not None:
        values = session.read(Moref(above._moId), type(above), ("name", "parent"))
        if names or isinstance(above, vim.Datacenter):
            names.insert(0, values.get("name", ""))
        above = values.get("parent")
    if not names:
        raise NotReadable(f"the datastore {datastore!r} is in no datacenter")
    # The root folder is no part of the path; an ESXi host has it, too.
    return Folder(datacenter_path="/".join(names[1:]), datastore=datastore)


def open_disk(
    session: Session, disk: Disk, *, connections: int, patience: Patience
) -> tuple[HttpRange, str]:
    """Return the disk as a source, and what tells this state of its content from another.

    Raises NotReadable where another transport has to be taken, and SourceError.
    """
    folder = folder_of(session, disk)
    described = _descriptor(session, folder, disk)
    parts = _parts(described, folder, disk)
    source = HttpRange(
        server_of(session),
        parts,
        name=disk.base_file,
        authorization=Login(session),
        connections=connections,
        patience=patience,
    )
    try:
        revision = source.probe()
    except SourceUnauthorized:
        source.close()
        raise
    except SourceRefused as fault:
        source.close()
        raise NotReadable(str(fault)) from fault
    except BaseException:
        source.close()
        raise
    return source, f"{described.cid or 0:08x} {revision}".strip()


def _descriptor(session: Session, folder: Folder, disk: Disk) -> descriptors.Descriptor:
    """Read the small text file that says which files hold the data."""
    _, path = split(disk.base_file)
    login = Login(session)
    for last in (False, True):
        sent = login.headers()
        try:
            return _fetch(server_of(session), folder.target(path), disk.base_file, login)
        except SourceUnauthorized:
            if last:
                raise
            login.renew(sent)
        except SourceRefused as fault:
            raise NotReadable(str(fault)) from fault
        except (CorruptImage, UnsupportedImage) as fault:
            raise NotReadable(f"its descriptor cannot be read: {fault}") from fault
    raise errors.Bug("unreachable")


def _fetch(server: Server, target: str, name: str, login: Login) -> descriptors.Descriptor:
    stream = HttpStream(server, target, name=name, authorization=login)
    try:
        content = bytearray(descriptors.MOST_BYTES)
        room = memoryview(content)
        filled = 0
        while filled < len(content) and (count := stream.readinto(room[filled:])):
            filled += count
    finally:
        stream.close()
    return descriptors.parse(memoryview(content)[:filled], file=name)


def _parts(described: descriptors.Descriptor, folder: Folder, disk: Disk) -> list[Part]:
    """Return where the bytes of the disk are. Raises NotReadable, SourceChanged."""
    if described.has_parent:
        raise NotReadable(f"{disk.base_file} is a delta of a snapshot")
    if described.capacity_bytes != disk.capacity_bytes:
        raise SourceChanged(
            f"its descriptor says {described.capacity_bytes} bytes, expected {disk.capacity_bytes}",
            file=disk.base_file,
            hint="the disk was resized since the VM was read: begin again",
        )
    _, path = split(disk.base_file)
    home = path.rpartition("/")[0]
    parts: list[Part] = []
    offset = 0
    for extent in described.extents:
        length = extent.sectors * SECTOR
        if extent.type == "ZERO":
            parts.append(Part(offset=offset, length=length))
        elif extent.type in _FLAT and extent.file and "/" not in extent.file:
            parts.append(
                Part(
                    offset=offset,
                    length=length,
                    target=folder.target(f"{home}/{extent.file}" if home else extent.file),
                    start=extent.offset_sectors * SECTOR,
                )
            )
        else:
            raise NotReadable(f"{disk.base_file} has its data in {extent.type} {extent.file!r}")
        offset += length
    return parts
