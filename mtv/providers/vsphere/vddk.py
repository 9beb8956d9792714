"""Disks of snapshots through VMware's VDDK, which the user supplies: nbdkit loads it.

It is the one transport that reads any part of a disk under snapshots, while the VM runs; so a delta
costs no more than what changed. VDDK knows the server by the thumbprint of its certificate: of that
which the session's own trust accepts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from converters.sources import nbdkit
from converters.sources.nbd_export import NbdExport
from mtv import errors
from mtv.inventory.model import Disk, Moref
from mtv.providers.vsphere import endpoint
from mtv.providers.vsphere.endpoint import DEFAULT_PORT

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

CONNECT_TIMEOUT_S = 10.0
LIBDIR = "MTV_VDDK_LIBDIR"  # in the environment: where the library was unpacked
USUAL_LIBDIR = "/opt/vmware-vix-disklib-distrib"  # where images with the library put it


def library(environment: Mapping[str, str]) -> str:
    """Return the folder of the library, "" where it or nbdkit is not there."""
    folder = environment.get(LIBDIR) or USUAL_LIBDIR
    return folder if os.path.isdir(folder) and shutil.which("nbdkit") else ""


@contextlib.contextmanager
def opened(
    session: Session,
    vm_id: Moref,
    disk: Disk,
    *,
    libdir: str,
    snapshot: Moref | None = None,
    connections: int = 4,
) -> Iterator[NbdExport]:
    """Give a disk of a VM that is off, or of a snapshot; name the disk as the snapshot does.

    Raises SourceRefused or SourceBroken of converters, SourceUnavailable.
    """
    user, _, password = session.basic_credentials.partition(":")
    where = session.endpoint
    described = nbdkit.VddkDisk(
        libdir=libdir,
        server=where.host,
        port=0 if where.port == DEFAULT_PORT else where.port,
        user=user,
        password=password,
        thumbprint=thumbprint(session),
        vm=f"moref={vm_id}",
        file=disk.file,
        snapshot=snapshot or "",
    )
    with nbdkit.Nbdkit(nbdkit.vddk(described)) as server:
        source = NbdExport(server.uri, connections=connections, name=disk.file)
        with contextlib.closing(source):
            yield source


def thumbprint(session: Session) -> str:
    """Return the SHA-1 thumbprint of the server's certificate. Raises SourceUnavailable."""
    where = session.endpoint
    try:
        with (
            socket.create_connection((where.host, where.port), CONNECT_TIMEOUT_S) as plain,
            session.tls.wrap_socket(plain, server_hostname=where.host) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except OSError as fault:
        raise errors.SourceUnavailable(
            f"the certificate of {session.server} cannot be read: {fault}"
        ) from fault
    return endpoint.fingerprint(der or b"", "sha1")
