"""The disk of a package: from the folder of the node that is mounted, or from a web server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from converters.errors import ConversionError
from converters.sources.http_connection import Open
from mtv.api.mtv import DiskTransfer
from mtv.providers.ova import credentials, disks, inventory, location
from mtv.providers.ova.location import Kind
from mtv_operator.transfer.source import value

TRANSPORT = disks.TRANSPORT


class Opener:
    """Opens the disk of a DiskTransfer; `folder` is where the package's own is mounted."""

    def __init__(self, secret: Path, folder: Path, wanted: DiskTransfer) -> None:
        self._secret, self._folder, self._spec = secret, folder, wanted.spec

    def __call__(
        self, *, percent: Callable[[], int], on_retry: Callable[[ConversionError], None]
    ) -> AbstractContextManager[disks.OpenDisk]:
        """Return a context in which the disk is open. A stream that breaks is begun again."""
        return self._opened()

    @contextmanager
    def _opened(self) -> Iterator[disks.OpenDisk]:
        spec = self._spec
        with disks.opened(self._place(), inventory.member_of(spec.disk.file, spec.url)) as disk:
            yield disk

    def _place(self) -> disks.Place:
        where = location.parse(self._spec.url)
        if where.kind is Kind.PATH:
            return disks.Place(location=where, folder=self._folder)
        user = value(self._secret, "user")
        insecure = value(self._secret, "insecureSkipVerify").lower() == "true"
        ca_pem = value(self._secret, "ca.crt") or value(self._secret, "cacert")
        return disks.Place(
            location=where,
            tls=credentials.context("" if insecure else ca_pem, insecure=insecure),
            authorization=credentials.Basic(user, value(self._secret, "password"))
            if user
            else Open(),
        )
