"""Where a vSphere API is, whose certificate is trusted there, and which version it speaks.

Everything that can go wrong before the login is found out here with one request, so that each cause
has its own sentence: no such host, nobody listens, no TLS, a certificate that is not trusted,
a server that is not vSphere.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree import ElementTree

from mtv import errors

SDK_PATH = "/sdk"
DEFAULT_PORT = 443
_SHA1_HEX, _SHA256_HEX = 40, 64  # digits of a fingerprint
_NO_CHECK_TIME = (
    0x200000  # X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h; Python has no name for it
)


class CertificateRejected(errors.SourceRefused):
    """The server showed a certificate that is not trusted. `presented` is its SHA-256."""

    def __init__(self, message: str, *, presented: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.presented = presented


class NotVSphere(errors.SourceRefused):
    """Something answers at the address, but it is not a vSphere API."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host, port and path of a vSphere API."""

    host: str
    port: int = DEFAULT_PORT
    path: str = SDK_PATH

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Return the endpoint that a URL as users write it names; `/sdk` and https may be left out.

        Raises BadInput with field `url`.
        """
        parts = urlsplit(url if "://" in url else f"https://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise errors.BadInput(f"{url!r} has no valid port: {error}", field="url") from error
        if parts.scheme != "https":
            raise errors.BadInput(
                f"{url!r} does not begin with https://",
                field="url",
                hint="vCenter and ESXi serve their API over TLS only",
            )
        if not parts.hostname or parts.username is not None:
            raise errors.BadInput(
                f"{url!r} is not the address of a vSphere API",
                field="url",
                hint="write it as https://vcenter.example.com/sdk, without user and password",
            )
        path = parts.path.rstrip("/") or SDK_PATH
        return cls(parts.hostname, port or DEFAULT_PORT, path)

    @property
    def netloc(self) -> str:
        """Host and port for a URL; the port is left out where it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"https://{self.netloc}{self.path}"


def fingerprint(der: bytes, algorithm: str = "sha256") -> str:
    """Return a certificate's fingerprint as browsers and vCenter show it: `AB:CD:…`."""
    digest = hashlib.new(algorithm, der).hexdigest().upper()
    return ":".join(re.findall("..", digest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What makes a server's certificate acceptable; the system's CAs where nothing is given.

    `ca_pem` is a CA's certificate, or the server's own. `thumbprint` is the SHA-1 or SHA-256 of the
    server's own certificate, with or without colons; names and dates are not looked at then.
    """

    ca_pem: str = field(default="", repr=False)
    thumbprint: str = ""
    insecure: bool = False

    def context(self, host: str, port: int, timeout_s: float) -> ssl.SSLContext:
        """Return a TLS context that accepts exactly the trusted certificates of host:port.

        With a thumbprint this asks the server for its certificate once, compares, and pins it.
        Raises BadInput for a thumbprint or CA that cannot be understood, CertificateRejected, and
        SourceUnavailable.
        """
        if self.insecure:
            return _unverified_context()
        if self.thumbprint:
            return self._pinned_context(host, port, timeout_s)
        context = ssl.create_default_context()
        if self.ca_pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load_ca(context, self.ca_pem)
        # A CA file that holds the server's own certificate is what users often have.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _pinned_context(self, host: str, port: int, timeout_s: float) -> ssl.SSLContext:
        wanted, algorithm = _parse_thumbprint(self.thumbprint)
        der = presented_certificate(host, port, timeout_s)
        if fingerprint(der, algorithm) != wanted:
            raise CertificateRejected(
                f"{host}:{port} shows the certificate {fingerprint(der, algorithm)}, "
                f"expected the thumbprint {wanted}",
                presented=fingerprint(der),
                hint="if the server's certificate was renewed, compare the new thumbprint on the "
                "server itself and give that one; otherwise somebody stands between",
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
        context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(der))
        return context

    @property
    def expected(self) -> str:
        """What a certificate must be, in words."""
        if self.thumbprint:
            return f"the thumbprint {self.thumbprint}"
        return "one signed by the given CA" if self.ca_pem else "one signed by a CA of this system"


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load_ca(context: ssl.SSLContext, pem: str) -> None:
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise errors.BadInput(
            f"it holds no certificate in PEM format ({error})",
            field="cacert",
            hint="a PEM certificate begins with -----BEGIN CERTIFICATE-----; vCenter offers its "
            "CAs at https://<vcenter>/certs/download.zip",
        ) from error


def _parse_thumbprint(text: str) -> tuple[str, str]:
    """Return a thumbprint in colon form, and the name of its hash."""
    digits = re.sub(r"[:\s]", "", text).upper()
    algorithm = {_SHA1_HEX: "sha1", _SHA256_HEX: "sha256"}.get(len(digits))
    if algorithm is None or not re.fullmatch("[0-9A-F]+", digits):
        raise errors.BadInput(
            f"{text!r} is not a SHA-1 or SHA-256 fingerprint",
            field="thumbprint",
            hint="it has 20 or 32 pairs of hexadecimal digits, as AB:CD:…",
        )
    return ":".join(re.findall("..", digits)), algorithm


def presented_certificate(host: str, port: int, timeout_s: float) -> bytes:
    """Return the certificate (DER) that a server shows, whoever signed it. Sends nothing secret."""
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            _unverified_context().wrap_socket(plain, server_hostname=host) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except OSError as error:
        raise connection_error(error, host, port) from error
    if der is None:
        raise errors.SourceUnavailable(f"{host}:{port} shows no certificate")
    return der


def connection_error(error: OSError, host: str, port: int) -> errors.MigrationError:
    """Return our error for a connection to host:port that did not come about or broke off."""
    where = f"{host}:{port}"
    match error:
        case socket.gaierror():
            return errors.SourceUnavailable(
                f"the host name {host!r} cannot be resolved",
                hint="check the spelling, and that this machine's DNS knows the name",
            )
        case TimeoutError():
            return errors.SourceUnavailable(
                f"{where} does not answer in time",
                hint="check that the host is up and that no firewall drops TCP to this port",
            )
        case ConnectionRefusedError():
            return errors.SourceUnavailable(
                f"nobody listens on {where}",
                hint="check host and port, and that the vCenter services are running",
            )
        case ssl.SSLError() if "WRONG_VERSION_NUMBER" in str(error) or "HTTP_REQUEST" in str(error):
            return NotVSphere(
                f"{where} does not speak TLS",
                hint="vCenter and ESXi serve their API at https, usually on port 443",
            )
        case ssl.SSLError():
            return errors.SourceUnavailable(f"TLS with {where} fails: {error.reason or error}")
    return errors.SourceUnavailable(f"the connection to {where} broke: {error}")


def rejected_certificate(
    error: ssl.SSLCertVerificationError, host: str, port: int, trust: Trust, timeout_s: float
) -> errors.MigrationError:
    """Return the error that says which certificate was shown, what was expected, and what to do."""
    try:
        der = presented_certificate(host, port, timeout_s)
    except errors.MigrationError as unreachable:
        return unreachable
    shown = fingerprint(der)
    return CertificateRejected(
        f"the certificate of {host}:{port} is not trusted: {error.verify_message.rstrip('.')}; "
        f"presented: {_describe(der)}, SHA-256 {shown}; expected: {trust.expected}",
        presented=shown,
        hint="give the CA (vCenter offers it at https://<vcenter>/certs/download.zip), or, after "
        f"comparing it on the server, the thumbprint {shown}",
    )


def _describe(der: bytes) -> str:
    from cryptography import x509  # only needed when something is wrong; costs 30 ms

    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return "a certificate that cannot be read"
    names: list[str] = []
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [str(name.value) for name in alternative.value]
    except x509.ExtensionNotFound:
        pass
    subject = certificate.subject.rfc4514_string() or "no subject"
    issuer = certificate.issuer.rfc4514_string()
    return (
        f"{subject} ({'self-signed' if subject == issuer else f'issued by {issuer}'}, "
        f"for {', '.join(names) or 'no host name'}, until {certificate.not_valid_after_utc:%F})"
    )


def api_versions(
    endpoint: Endpoint, context: ssl.SSLContext, trust: Trust, timeout_s: float
) -> frozenset[str]:
    """Return the versions of the vim25 API that the server speaks: `{"8.0.2.0", "7.0.3.2", …}`.

    Raises SourceUnavailable, CertificateRejected or NotVSphere.
    """
    path = f"{endpoint.path}/vimServiceVersions.xml"
    connection = http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=timeout_s, context=context
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except ssl.SSLCertVerificationError as error:
        raise rejected_certificate(error, endpoint.host, endpoint.port, trust, timeout_s) from error
    except OSError as error:
        raise connection_error(error, endpoint.host, endpoint.port) from error
    except http.client.HTTPException as error:
        raise NotVSphere(f"{endpoint} does not speak HTTP ({error!r})") from error
    finally:
        connection.close()
    if answer.status in (502, 503, 504):
        raise errors.SourceUnavailable(
            f"{endpoint} answers {answer.status} {answer.reason}",
            hint="the vCenter services may be starting; try again in some minutes",
        )
    versions = _parse_versions(body) if answer.status == http.HTTPStatus.OK else frozenset[str]()
    if not versions:
        raise NotVSphere(
            f"{endpoint} is not a vSphere API: GET {path} answers {answer.status} {answer.reason}",
            hint="the address of a vCenter or ESXi is expected, as https://vcenter.example.com/sdk",
        )
    return versions


def _parse_versions(body: bytes) -> frozenset[str]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return frozenset()
    found = {
        version.text
        for namespace in root.iter("namespace")
        if namespace.findtext("name") == "urn:vim25"
        for version in namespace.iter("version")
    }
    return frozenset(text for text in found if text)
