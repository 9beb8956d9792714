"""What a web server of packages is shown, and how it is checked."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from http import HTTPStatus

from converters.errors import SourceUnauthorized
from mtv import errors


class Basic:
    """User and password, as RFC 7617 sends them."""

    def __init__(self, user: str, password: str) -> None:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def headers(self) -> Mapping[str, str]:
        """Return the header."""
        return self._headers

    def renew(self, refused: Mapping[str, str]) -> None:
        """There is no other password. Raises SourceUnauthorized."""
        raise SourceUnauthorized("user or password is wrong", status=HTTPStatus.UNAUTHORIZED)


def context(ca_pem: str, *, insecure: bool) -> ssl.SSLContext | None:
    """Return what a server's certificate is checked with; None: by the system's CAs."""
    if insecure:
        unchecked = ssl.create_default_context()
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return unchecked
    if not ca_pem:
        return None
    try:
        return ssl.create_default_context(cadata=ca_pem)
    except ssl.SSLError as fault:
        raise errors.BadInput("it holds no PEM certificate", field="data.ca.crt") from fault
