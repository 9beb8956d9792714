"""Our certificate, where nobody gives us one: of an authority that all replicas share.

Each of them looks now and then whether what is stored will do, and stores what is missing. Who
comes second reads again: the API server lets only one win.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from mtv import errors
from mtv_operator.certificates import keeping, rotation
from mtv_operator.certificates.issuing import Identity
from mtv_operator.objects import Client

log = logging.getLogger(__name__)

NAME = "mtv-inventory"
AUTHORITY, SECRET = f"{NAME}-ca", f"{NAME}-certs"
LOOK_S = 60.0
FIRST_S = 120.0
PAUSE_S = 0.5


def store_in(namespace: str) -> keeping.Store:
    """Return where the certificate lies, and whom it names. Pure."""
    service = f"{NAME}.{namespace}"
    identity = Identity(
        common_name=NAME,
        # The last two: who comes by `kubectl port-forward`.
        addresses=(NAME, service, f"{service}.svc", "localhost", "127.0.0.1"),
    )
    return keeping.Store(
        namespace=namespace,
        authority=AUTHORITY,
        identities={SECRET: identity},
        labels={"app.kubernetes.io/managed-by": NAME, "app.kubernetes.io/part-of": "mtv"},
    )


class OwnCertificates:
    """The files `certificate` and `key`, kept valid."""

    def __init__(self, client: Client, namespace: str, folder: Path) -> None:
        self._client = client
        self._store = store_in(namespace)
        self._lifetimes = rotation.Lifetimes()
        self.certificate, self.key = folder / rotation.CERTIFICATE, folder / rotation.KEY

    def begin(self) -> None:
        """Have the files there. Raises MigrationError if that takes too long."""
        deadline = time.monotonic() + FIRST_S
        while True:
            try:
                self.keep()
                return
            except errors.Retryable as fault:
                if time.monotonic() > deadline:
                    raise
                log.warning("no certificate yet: %s", fault)
            time.sleep(PAUSE_S)

    def follow(self, stop: threading.Event) -> None:
        """Keep the files valid until `stop`."""
        while not stop.wait(LOOK_S):
            try:
                self.keep()
            except errors.MigrationError as fault:
                log.warning("the certificate was not looked at: %s", fault)

    def keep(self) -> None:
        """Store what is missing, and write what is stored. Raises MigrationError."""
        stored = keeping.read(self._client, self._store)
        for action in keeping.decide(self._store, stored, self._lifetimes, datetime.now(UTC)):
            keeping.perform(self._client, self._store, stored, action)
            stored = keeping.read(self._client, self._store)
        data = stored.servers[SECRET].data
        # In this order: a key that does not fit yet is read again at the next look.
        _write(self.key, data[rotation.KEY])
        _write(self.certificate, data[rotation.CERTIFICATE])


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
