"""Where and as whom to log in at a source, as a Provider and its Secret say. Pure.

The keys of the Secret are Forklift's: `user`, `password`, and for the certificate one of `ca.crt`
(formerly `cacert`), `thumbprint`, or `insecureSkipVerify: "true"`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mtv import errors
from mtv.api import core, forklift
from mtv.providers.vsphere import endpoint
from mtv.providers.vsphere.session import Session

USER, PASSWORD, URL = "user", "password", "url"
CA, OLD_CA, THUMBPRINT, INSECURE = "ca.crt", "cacert", "thumbprint", "insecureSkipVerify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where and as whom to log in. Two that are equal need not be connected anew."""

    url: str
    user: str
    password: str = field(repr=False)
    ca_pem: str = field(default="", repr=False)
    thumbprint: str = ""
    insecure: bool = False

    def open(self) -> Session:
        """Return a session for it, not yet logged in."""
        return Session(
            self.url,
            self.user,
            self.password,
            ca_pem=self.ca_pem or None,
            thumbprint=self.thumbprint or None,
            insecure=self.insecure,
        )


def of_provider(provider: forklift.Provider, secret: core.Secret) -> Access:
    """Return the access that a Provider and its Secret describe.

    Raises BadInput; its `field` is `spec.url` or a key of the Secret, `data.user`.
    """
    url = provider.spec.url or _text(secret, URL)
    if not url:
        raise errors.BadInput("it must be set", field="spec.url", hint="https://vcenter/sdk")
    try:
        endpoint.Endpoint.parse(url)
    except errors.BadInput as fault:
        raise errors.BadInput(fault.message, field="spec.url", hint=fault.hint) from fault
    insecure = _text(secret, INSECURE).lower() == "true"
    return Access(
        url=url,
        user=_needed(secret, USER),
        password=_needed(secret, PASSWORD),
        ca_pem="" if insecure else _text(secret, CA) or _text(secret, OLD_CA),
        thumbprint="" if insecure else _text(secret, THUMBPRINT),
        insecure=insecure,
    )


def _needed(secret: core.Secret, key: str) -> str:
    value = _text(secret, key)
    if not value:
        name = f"{secret.metadata.namespace}/{secret.metadata.name}"
        raise errors.BadInput(
            f"Secret {name} has no {key!r}",
            field=f"data.{key}",
            hint=f"it needs {USER!r} and {PASSWORD!r}, and one of {CA!r}, {THUMBPRINT!r}, "
            f'{INSECURE}: "true"',
        )
    return value


def _text(secret: core.Secret, key: str) -> str:
    if key in secret.string_data:
        return secret.string_data[key]
    try:
        return secret.data.get(key, b"").decode().strip("\n")
    except UnicodeDecodeError as fault:
        raise errors.BadInput("it is not UTF-8 text", field=f"data.{key}") from fault
