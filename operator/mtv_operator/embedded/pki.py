"""The embedded home's own certificate authority, kept in `<data>/pki`, files 0600.

Everything that speaks TLS here trusts this authority and nothing else. A certificate is made anew
when it is about to expire or its names changed.
"""

from __future__ import annotations

import base64
import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from mtv_operator.certificates import issuing

CA_LIFETIME = datetime.timedelta(days=3650)
LEAF_LIFETIME = datetime.timedelta(days=730)
RENEW_BEFORE = datetime.timedelta(days=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


class Authority:
    """A CA in a folder, and the certificates that it made."""

    def __init__(self, folder: Path, now: datetime.datetime) -> None:
        self.folder = folder
        self.now = now
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.certificate_path = folder / "ca.crt"
        key_path = folder / "ca.key"
        if not (self.certificate_path.exists() and key_path.exists()):
            made = issuing.new_authority(now, CA_LIFETIME)
            write_private(key_path, made.key)
            write_private(self.certificate_path, made.certificate)
        self._authority = issuing.Pair(
            certificate=self.certificate_path.read_bytes(), key=key_path.read_bytes()
        )

    def issue(
        self,
        name: str,
        *,
        common_name: str,
        organisations: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> Pair:
        """Return the pair called `name`: the one on disk while it fits, a fresh one otherwise.

        `addresses` are DNS names and IP addresses at which it serves. Every pair may be used on
        both ends of a connection.
        """
        pair = Pair(certificate=self.folder / f"{name}.crt", key=self.folder / f"{name}.key")
        identity = issuing.Identity(
            common_name=common_name, organisations=organisations, addresses=addresses
        )
        if not self._fits(pair, identity):
            made = issuing.issue(self._authority, identity, self.now, LEAF_LIFETIME)
            write_private(pair.key, made.key)
            write_private(pair.certificate, made.certificate)
        return pair

    def signing_key(self, name: str) -> Path:
        """Return a key without certificate, for tokens; made on first use."""
        path = self.folder / f"{name}.key"
        if not path.exists():
            write_private(path, issuing.encode_key(ec.generate_private_key(ec.SECP256R1())))
        return path

    def _fits(self, pair: Pair, identity: issuing.Identity) -> bool:
        try:
            found = issuing.Pair(
                certificate=pair.certificate.read_bytes(), key=pair.key.read_bytes()
            )
        except OSError:
            return False
        return issuing.fits(found, self._authority, identity, self.now, RENEW_BEFORE)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only root reads, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def kubeconfig(*, server: str, ca: Path, client: Pair, name: str = "mtv") -> str:
    """Return a kubeconfig that needs no other file: certificates and key stand in it."""

    def embedded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    return f"""apiVersion: v1
kind: Config
current-context: {name}
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {embedded(ca)}
contexts:
- name: {name}
  context: {{cluster: {name}, user: {name}, namespace: default}}
users:
- name: {name}
  user:
    client-certificate-data: {embedded(client.certificate)}
    client-key-data: {embedded(client.key)}
"""
