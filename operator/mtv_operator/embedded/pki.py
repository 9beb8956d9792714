"""The embedded home's own certificate authority, kept in `<data>/pki`, files 0600.

Everything that speaks TLS here trusts this authority and nothing else. Keys are P-256: making one
takes a millisecond. A certificate is made anew when it is about to expire or its names changed.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 730
RENEW_DAYS = 60
BACKDATED = datetime.timedelta(hours=1)  # clocks of guests and containers differ a little

Key = ec.EllipticCurvePrivateKey


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
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(key_path, _pem(key))
            write_private(self.certificate_path, _encode(_root(key, now)))
        self._key = _load_key(key_path)
        self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())

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
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organisations),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        if not self._fits(pair, subject, addresses):
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(pair.key, _pem(key))
            write_private(pair.certificate, _encode(self._sign(key, subject, addresses)))
        return pair

    def signing_key(self, name: str) -> Path:
        """Return a key without certificate, for tokens; made on first use."""
        path = self.folder / f"{name}.key"
        if not path.exists():
            write_private(path, _pem(ec.generate_private_key(ec.SECP256R1())))
        return path

    def _fits(self, pair: Pair, subject: x509.Name, addresses: Sequence[str]) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            certificate.verify_directly_issued_by(self._certificate)
            key = _load_key(pair.key)
        except (OSError, ValueError, TypeError, InvalidSignature):  # or of a CA before this one
            return False
        return (
            certificate.public_key() == key.public_key()
            and certificate.subject == subject
            and names_of(certificate) == sorted(addresses)
            and certificate.not_valid_after_utc > self.now + datetime.timedelta(days=RENEW_DAYS)
        )

    def _sign(self, key: Key, subject: x509.Name, addresses: Sequence[str]) -> x509.Certificate:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(subject, self._certificate.subject, key, self.now, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if addresses:
            names = x509.SubjectAlternativeName([_general_name(one) for one in addresses])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses of a certificate, sorted."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    return sorted([*found.get_values_for_type(x509.DNSName), *addresses])


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


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _root(key: Key, now: datetime.datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mtv")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(subject, subject, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _encode(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _load_key(path: Path) -> Key:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no P-256 key")
    return key
