"""Where and as whom to log in at a source, as a Provider and its Secret say. Pure.

The keys of the Secret are Forklift's: `user`, `password`, and for the certificate one of `ca.crt`
(formerly `cacert`), `thumbprint`, or `insecureSkipVerify: "true"`. Packages in a folder need none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from mtv import errors
from mtv.api import core, forklift, meta
from mtv.inventory.model import Inventory
from mtv.providers.ova import location
from mtv.providers.ova import session as ova_session
from mtv.providers.vsphere import endpoint
from mtv.providers.vsphere.session import Session

PACKAGES = "ova"  # the type of Providers of packages
USER, PASSWORD, URL = "user", "password", "url"
CA, OLD_CA, THUMBPRINT, INSECURE = "ca.crt", "cacert", "thumbprint", "insecureSkipVerify"


class Watched(Protocol):
    """A source that tells what it has, and of each change; see the sessions of the providers."""

    def pull(self) -> Inventory:
        """Read the whole inventory."""
        ...

    def watch(
        self,
        on_change: Callable[[Inventory], None],
        stop: threading.Event,
        *,
        on_lost: Callable[[errors.MigrationError], None] | None = None,
    ) -> None:
        """Call `on_change` with the inventory, and again after each change, until `stop`."""
        ...


class Opens(Protocol):
    """What a source is reached with."""

    @property
    def insecure(self) -> bool:
        """Whether any certificate is accepted."""
        ...

    def open(self) -> AbstractContextManager[Watched]:
        """Return the source, to be entered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageAccess:
    """Where packages lie, and for a web server as whom to fetch them."""

    url: str
    name: str  # of the Provider, which the storage is named after
    user: str = ""
    password: str = field(default="", repr=False)
    ca_pem: str = field(default="", repr=False)
    insecure: bool = False

    def open(self) -> ova_session.Session:
        """Return the place, not yet read."""
        return ova_session.Session(
            self.url,
            name=self.name,
            user=self.user,
            password=self.password,
            ca_pem=self.ca_pem,
            insecure=self.insecure,
        )


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


def of_packages(provider: forklift.Provider, secret: core.Secret | None) -> PackageAccess:
    """Return the access that a Provider of packages describes; its Secret may be missing.

    Raises BadInput; its `field` is `spec.url` or a key of the Secret.
    """
    known = secret or core.Secret(metadata=meta.ObjectMeta())
    url = provider.spec.url or _text(known, URL)
    if not url:
        raise errors.BadInput("it must be set", field="spec.url", hint=location.HINT)
    location.parse(url)
    insecure = _text(known, INSECURE).lower() == "true" and url.startswith("https:")
    return PackageAccess(
        url=url,
        name=provider.metadata.name,
        user=_text(known, USER),
        password=_text(known, PASSWORD),
        ca_pem="" if insecure else _text(known, CA) or _text(known, OLD_CA),
        insecure=insecure,
    )


def of_any(provider: forklift.Provider, secret: core.Secret | None) -> Opens | None:
    """Return the access to a source of any type; None where the Secret it needs is missing.

    Raises BadInput, as the functions for each type.
    """
    if provider.spec.type == PACKAGES:
        return of_packages(provider, secret)
    return of_provider(provider, secret) if secret is not None else None


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
