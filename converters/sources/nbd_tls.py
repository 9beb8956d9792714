"""TLS for NBD, by certificates: of the server always, of the client where it has one."""

from __future__ import annotations

import os
import socket
import ssl

from converters.errors import SourceBroken, SourceRefused
from converters.images.nbd import Address

_CA, _CERTIFICATE, _KEY = "ca-cert.pem", "client-cert.pem", "client-key.pem"  # as QEMU, libnbd


def secured(plain: socket.socket, address: Address, *, file: str) -> ssl.SSLSocket:
    """Return the socket with TLS on it. Raises SourceRefused or SourceBroken."""
    try:
        context = _context(address.tls_folder)
    except (OSError, ssl.SSLError) as fault:
        raise SourceRefused(
            f"the certificates in {address.tls_folder} cannot be read: {fault}", file=file,
            hint=f"{_CA} is wanted there; {_CERTIFICATE} and {_KEY} where the server wants them",
        ) from fault  # fmt: skip
    name = address.tls_name or address.host or "localhost"
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except ssl.SSLCertVerificationError as fault:
        raise SourceRefused(
            f"the certificate of {name} is not trusted: {fault.verify_message}",
            file=file,
            hint="name the folder of its CA: nbds://…?tls-certificates=FOLDER",
        ) from fault
    except OSError as fault:
        raise SourceBroken(f"TLS fails: {fault.strerror or fault}", file=file) from fault


def _context(folder: str) -> ssl.SSLContext:
    authority = os.path.join(folder, _CA) if folder else None
    context = ssl.create_default_context(cafile=authority)
    certificate = os.path.join(folder, _CERTIFICATE)
    if folder and os.path.exists(certificate):
        context.load_cert_chain(certificate, os.path.join(folder, _KEY))
    return context
