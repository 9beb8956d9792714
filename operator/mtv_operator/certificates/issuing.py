"""An authority and its certificates, as PEM. Keys are P-256: making one takes a millisecond."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = datetime.timedelta(hours=1)  # clocks of guests and containers differ a little

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a certificate names, and the DNS names and IP addresses at which it serves."""

    common_name: str
    organisations: Sequence[str] = ()
    addresses: Sequence[str] = ()

    @property
    def subject(self) -> x509.Name:
        """Return the X.509 name."""
        return x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in self.organisations),
                x509.NameAttribute(NameOID.COMMON_NAME, self.common_name),
            ]
        )


def new_authority(now: datetime.datetime, lifetime: datetime.timedelta, name: str = "mtv") -> Pair:
    """Return a new authority, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
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
    public = key.public_key()
    certificate = (
        _builder(subject, subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        # Two authorities of one name, old and new, are told apart by this.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(
    authority: Pair, identity: Identity, now: datetime.datetime, lifetime: datetime.timedelta
) -> Pair:
    """Return a new pair for both ends of a connection, signed by `authority`."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signing = load_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(identity.subject, issuer.subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
    )
    if identity.addresses:
        names = x509.SubjectAlternativeName([_general_name(one) for one in identity.addresses])
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(signing, hashes.SHA256()), key)


def fits(
    pair: Pair,
    authority: Pair,
    identity: Identity,
    now: datetime.datetime,
    left: datetime.timedelta,
) -> bool:
    """Tell whether a pair is of this authority and identity, and valid for longer than `left`."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        key = load_key(pair.key)
    except (ValueError, TypeError, InvalidSignature):  # damaged, or of an authority before this
        return False
    return (
        certificate.public_key() == key.public_key()
        and certificate.subject == identity.subject
        and names_of(certificate) == sorted(identity.addresses)
        and certificate.not_valid_after_utc > now + left
    )


def validity(certificate: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """Return when a certificate was made and when it expires. Raises ValueError."""
    found = x509.load_pem_x509_certificate(certificate)
    return found.not_valid_before_utc + BACKDATED, found.not_valid_after_utc


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses of a certificate, sorted."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    return sorted([*found.get_values_for_type(x509.DNSName), *addresses])


def load_key(pem: bytes) -> Key:
    """Return a key of ours. Raises ValueError or TypeError for what is none."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a P-256 key")
    return key


def encode_key(key: Key) -> bytes:
    """Return a key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _pair(certificate: x509.Certificate, key: Key) -> Pair:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return Pair(certificate=pem, key=encode_key(key))


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )
