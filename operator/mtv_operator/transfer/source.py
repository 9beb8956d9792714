"""The login at the source, as the folder of a mounted Secret has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from converters.errors import ConversionError
from converters.sources.http_range import Patience
from mtv import errors
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import Moref
from mtv.providers.vsphere import disks, vddk
from mtv.providers.vsphere.session import Session

PATIENCE_S = 60.0


def session_of(folder: Path, url: str) -> Session:
    """Return a session, not yet open, with the keys of a provider's Secret (see `access`).

    Raises BadInput that names the key, or the field `spec.url`.
    """
    url = url or value(folder, "url")
    if not url:
        raise errors.BadInput("it must be set", field="spec.url")
    insecure = value(folder, "insecureSkipVerify").lower() == "true"
    return Session(
        url,
        _needed(folder, "user"),
        _needed(folder, "password"),
        ca_pem="" if insecure else value(folder, "ca.crt") or value(folder, "cacert"),
        thumbprint="" if insecure else value(folder, "thumbprint"),
        insecure=insecure,
    )


def value(folder: Path, key: str) -> str:
    """Return a key of the Secret, "" if it is not there. Raises BadInput that names the key."""
    try:
        return (folder / key).read_text().strip("\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as fault:
        raise errors.BadInput(f"it cannot be read: {fault}", field=f"data.{key}") from fault


def _needed(folder: Path, key: str) -> str:
    found = value(folder, key)
    if not found:
        raise errors.BadInput("the source's Secret does not have it", field=f"data.{key}")
    return found


class Opener:
    """Opens the disk of a DiskTransfer; each time with a login of its own."""

    def __init__(self, folder: Path, wanted: DiskTransfer) -> None:
        self._folder = folder
        self._spec = wanted.spec

    def __call__(
        self, *, percent: Callable[[], int], on_retry: Callable[[ConversionError], None]
    ) -> AbstractContextManager[disks.OpenDisk]:
        """Return a context in which the disk is open."""
        return self._opened(
            disks.Options(
                transport=self._spec.transport,
                vddk_libdir=vddk.library(os.environ),
                patience=Patience(limit_s=PATIENCE_S, on_retry=on_retry),
                percent=percent,
            )
        )

    @contextmanager
    def _opened(self, options: disks.Options) -> Iterator[disks.OpenDisk]:
        spec = self._spec
        vm, key, checkpoint = Moref(spec.vm.id), spec.disk.key, spec.checkpoint
        with session_of(self._folder, spec.url) as session:
            if checkpoint is None:
                opened = disks.opened(session, vm, key, options)
            else:
                snapshot = Moref(checkpoint.snapshot)
                opened = disks.opened_in_snapshot(session, vm, snapshot, key, options)
            with opened as disk:
                yield disk
