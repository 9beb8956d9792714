"""Providers as the command line uses them: found by name, opened directly with their secret.

The inventory is read from the source itself, so that these commands also work while no controller
runs, and show what is there now.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtv import errors

if TYPE_CHECKING:
    from mtv.api.forklift import Provider
    from mtv.inventory.model import Inventory
    from mtv.providers.vsphere.session import Session
    from mtv_operator.migration.access import Opens
    from mtv_operator.objects import Client


CLOSE = 0.5  # difflib's ratio from which a name is worth offering


def find(client: Client, name: str, namespace: str) -> Provider:
    """Return a Provider. Raises NotFound with a hint that names those that are there."""
    from mtv.api.forklift import Provider

    provider = client.find(Provider, name, namespace)
    if provider is None:
        others = [f"{p.metadata.name} (-n {p.metadata.namespace})" for p in client.list(Provider)]
        raise errors.NotFound(
            f"there is no provider {name} in namespace {namespace}",
            hint=f"there are: {', '.join(others)}"
            if others
            else "add one: mtv provider add NAME --type vsphere --url https://… --user …",
        )
    return provider


def session(client: Client, provider: Provider) -> Session:
    """Return a session for a Provider of type vsphere, not yet open. Raises BadInput, NotFound."""
    from mtv_operator.migration.access import Access

    wanted = access_of(client, provider)
    if not isinstance(wanted, Access):
        raise errors.BadInput(
            f"provider {provider.metadata.name} is of type {provider.spec.type!r}: nobody logs in "
            "there",
            hint=f"mtv inventory vms {provider.metadata.name} shows what it has",
        )
    return wanted.open()


def access_of(client: Client, provider: Provider) -> Opens:
    """Return how the source of a Provider is reached. Raises BadInput, NotFound."""
    from mtv.api.core import Secret
    from mtv_operator.migration import access
    from mtv_operator.migration.provider import FOLLOWED

    name = f"{provider.metadata.namespace}/{provider.metadata.name}"
    if provider.spec.type not in FOLLOWED:
        raise errors.BadInput(
            f"provider {name} is of type {provider.spec.type!r}, which has no inventory to read",
            hint=f"providers of type {' or '.join(FOLLOWED)} have one: mtv provider list",
        )
    reference = provider.spec.secret
    namespace = reference.namespace or provider.metadata.namespace
    secret = client.find(Secret, reference.name, namespace) if reference.name else None
    wanted = access.of_any(provider, secret)
    if wanted is None:
        raise errors.NotFound(
            f"the secret of provider {name} is missing: {namespace}/{reference.name or '(unset)'}",
            hint=f"mtv provider delete {provider.metadata.name}, and add it again",
        )
    return wanted


def inventory(client: Client, provider: Provider) -> Inventory:
    """Read the whole inventory of a Provider."""
    with access_of(client, provider).open() as opened:
        return opened.pull()


def similar(name: str, known: Iterable[str], limit: int = 5) -> list[str]:
    """Return the names that somebody who wrote `name` may have meant, best first."""
    wanted = name.lower().rpartition("/")[2]

    def likeness(one: str) -> float:
        ratio = difflib.SequenceMatcher(None, wanted, one.lower()).ratio()
        return max(ratio, CLOSE) if wanted and wanted in one.lower() else ratio

    close = [one for one in sorted(set(known)) if likeness(one) >= CLOSE]
    return sorted(close, key=likeness, reverse=True)[:limit]
