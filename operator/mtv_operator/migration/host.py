"""A Host: an ESXi host that disks are to be read from directly. Validated; not used yet.

Transfers go through the address of the Provider for now, which the conditions say.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mtv.api import core, forklift
from mtv.api.forklift import Condition
from mtv.planning import mappings
from mtv.planning.mappings import Unresolved
from mtv_operator.migration import conditions, inventory_cache, provider
from mtv_operator.migration.conditions import Category
from mtv_operator.reconciling import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Host and what it names."""

    host: forklift.Host
    provider: forklift.Provider | None
    secret: core.Secret | None
    view: inventory_cache.View


def decide(observed: Observed, now: datetime) -> Decision[None, forklift.HostStatus]:
    """Return the conditions of a Host."""
    host = observed.host
    found = tuple(_found(observed))
    found = (*found, *conditions.ready(found, "The host is ready."))
    before = host.status.conditions if host.status else ()
    return Decision(
        status=forklift.HostStatus(
            conditions=conditions.merge(before, found, now),
            observed_generation=host.metadata.generation,
        )
    )


def _found(observed: Observed) -> Iterator[Condition]:
    spec = observed.host.spec
    yield from _address(spec.ip_address)
    if spec.secret.name and observed.secret is None:
        yield _critical("SecretNotValid", "NotFound", f"there is no Secret {spec.secret.name}")
    if observed.provider is None:
        yield _critical("RefNotValid", "NotFound", f"there is no Provider {spec.provider.name}")
    elif observed.provider.spec.type != provider.VSPHERE:
        yield _critical("TypeNotValid", "NotValid", "the provider is no vSphere")
    elif observed.view.inventory is None:
        yield conditions.condition(
            "ProviderNotReady", Category.ERROR, "the provider has no inventory yet"
        )
    else:
        yield from _of_inventory(observed)
    yield conditions.condition(
        "FieldNotHonoured",
        Category.ADVISORY,
        "disks are read through the provider's address; this host's is stored and not used yet",
        reason="NotSupported",
        items=("spec.ipAddress",),
    )


def _of_inventory(observed: Observed) -> Iterator[Condition]:
    assert observed.view.inventory is not None
    hosts = observed.view.inventory.hosts
    found = mappings.find(observed.host.spec, hosts, field="spec", kind="host")
    if isinstance(found, Unresolved):
        yield _critical("RefNotValid", found.reason, str(found))
        return
    yield conditions.condition("Validated", Category.REQUIRED, "The host is in the inventory.")
    if found.in_maintenance:
        yield conditions.condition(
            "InMaintenance", Category.WARN, f"host {found.name} is in maintenance mode"
        )
    if found.status not in {"green", ""}:
        yield conditions.condition(
            "HostStatusNotGreen", Category.WARN, f"host {found.name} is {found.status}"
        )


def _address(text: str) -> Iterator[Condition]:
    if not text:
        yield _critical("IpNotValid", "NotSet", "spec.ipAddress must be set")
        return
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield _critical("IpNotValid", "NotValid", f"spec.ipAddress: {text!r} is no IP address")


def _critical(kind: str, reason: str, message: str) -> Condition:
    return conditions.condition(kind, Category.CRITICAL, message, reason=reason)
