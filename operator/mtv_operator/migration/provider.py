"""A Provider: can it be reached, is its inventory there. Conditions and phases are Forklift's.

A `vsphere` Provider costs one thread (`inventory_cache`). The Provider without URL of type
`openshift`, usually called `host`, is this cluster, and ready at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import core, forklift
from mtv.api.forklift import Condition
from mtv.providers.vsphere.endpoint import CertificateRejected
from mtv_operator.migration import access, conditions, inventory_cache
from mtv_operator.migration.access import Opens
from mtv_operator.migration.conditions import Category
from mtv_operator.reconciling import Decision

VSPHERE, CLUSTER, PACKAGES = "vsphere", "openshift", access.PACKAGES
FOLLOWED = (VSPHERE, PACKAGES)  # those with an inventory thread
# Types that Forklift knows, so that the condition can tell them from misspelt ones.
KNOWN_TYPES = (CLUSTER, VSPHERE, "ovirt", "openstack", "ova", "ec2", "hyperv", "nutanix")
SDK_ENDPOINTS = ("vcenter", "esxi")

VALIDATED = "Validated"
CONNECTED = "ConnectionTestSucceeded"
INVENTORY = "InventoryCreated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Provider, what it names, and what its inventory thread knows."""

    provider: forklift.Provider
    secret: core.Secret | None
    view: inventory_cache.View


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Have the source's inventory followed with this access."""

    key: str
    access: Opens


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Have the source's inventory no longer followed."""

    key: str


Action = Watch | Forget


def key_of(namespace: str, name: str) -> str:
    """Return the key under which a Provider's inventory is kept."""
    return f"{namespace}/{name}"


def is_host(provider: forklift.Provider) -> bool:
    """Tell whether the Provider means the cluster that it is in."""
    return provider.spec.type == CLUSTER and not provider.spec.url


def is_ready(provider: forklift.Provider | None) -> bool:
    """Tell whether a Provider is there and ready."""
    return (
        provider is not None
        and provider.status is not None
        and conditions.is_true(provider.status.conditions, conditions.READY)
    )


def decide(observed: Observed, now: datetime) -> Decision[Action, forklift.ProviderStatus]:
    """Return the status of a Provider, and whether its source is to be watched."""
    provider = observed.provider
    key = key_of(provider.metadata.namespace, provider.metadata.name)
    found = _of_spec(provider)
    if found or provider.spec.type == CLUSTER:
        return _decision(observed, now, found or _of_host(), (Forget(key=key),))
    try:
        wanted = access.of_any(provider, observed.secret)
    except errors.BadInput as fault:
        return _decision(observed, now, (_not_valid(fault),), (Forget(key=key),))
    if wanted is None:
        return _decision(observed, now, (_secret_missing(provider),), (Forget(key=key),))
    if _is_starting(observed):
        return Decision(actions=(Watch(key=key, access=wanted),))
    found = (*_validated(), *_insecure(wanted), *_of_view(observed.view))
    return _decision(observed, now, found, (Watch(key=key, access=wanted),))


def _is_starting(observed: Observed) -> bool:
    """Tell whether only this process is new: what was found out about the Provider still holds."""
    provider, secret, before = observed.provider, observed.secret, observed.provider.status
    return (
        observed.view.phase is inventory_cache.Phase.CONNECTING
        and before is not None
        and before.phase == "Ready"
        and before.observed_generation == provider.metadata.generation
        and before.secret_resource_version
        == (secret.metadata.resource_version if secret is not None else None)
    )


def _decision(
    observed: Observed,
    now: datetime,
    found: tuple[Condition, ...],
    actions: tuple[Action, ...],
) -> Decision[Action, forklift.ProviderStatus]:
    provider, before = observed.provider, observed.provider.status or forklift.ProviderStatus()
    if conditions.is_true(found, CONNECTED) and conditions.is_true(found, INVENTORY):
        found = (*found, *conditions.ready(found, "The provider is ready."))
    status = msgspec.structs.replace(
        before,
        phase=_phase(found),
        conditions=conditions.merge(before.conditions, found, now),
        observed_generation=provider.metadata.generation,
        fingerprint=observed.view.fingerprint or before.fingerprint,
        secret_resource_version=observed.secret.metadata.resource_version
        if observed.secret
        else None,
    )
    return Decision(status=status, actions=actions)


def _phase(found: tuple[Condition, ...]) -> str:
    if conditions.is_true(found, conditions.READY):
        return "Ready"
    blocking = {one.type for one in conditions.blocking(found)}
    if not blocking:
        return "Staging"
    return "ConnectionFailed" if blocking & _CONNECTION else "ValidationFailed"


_CONNECTION = {"ConnectionTestFailed", "ConnectionAuthFailed"}


def _of_spec(provider: forklift.Provider) -> tuple[Condition, ...]:
    spec = provider.spec
    if spec.type == CLUSTER and spec.url:
        return (
            _critical(
                "ProviderTypeNotSupported",
                "NotSupported",
                "only the cluster that mtv runs in can be a destination: leave spec.url empty",
            ),
        )
    if spec.type not in (*FOLLOWED, CLUSTER):
        known = spec.type in KNOWN_TYPES
        text = "is not implemented yet" if known else f"is none of {', '.join(KNOWN_TYPES)}"
        return (
            _critical(
                "ProviderTypeNotSupported",
                "NotSupported" if known else "NotValid",
                f"provider type {spec.type!r} {text}",
            ),
        )
    wrong = spec.settings.get("sdkEndpoint", "")
    if wrong and wrong not in SDK_ENDPOINTS:
        return (
            _critical(
                "SettingsNotValid",
                "NotValid",
                f"spec.settings.sdkEndpoint: {wrong!r} is none of {', '.join(SDK_ENDPOINTS)}",
            ),
        )
    return ()


def _of_host() -> tuple[Condition, ...]:
    return (
        *_validated(),
        _required(CONNECTED, "This is the cluster that mtv runs in."),
        _required(INVENTORY, "The inventory is the cluster's own API."),
    )


def _secret_missing(provider: forklift.Provider) -> Condition:
    reference = provider.spec.secret
    if not reference.name:
        return _critical("SecretNotValid", "NotSet", "spec.secret.name is not set")
    where = f"{reference.namespace or provider.metadata.namespace}/{reference.name}"
    return _critical(
        "SecretNotValid",
        "NotFound",
        f"there is no Secret {where}",
        suggestion="make it with the keys user and password, or use `mtv provider add`",
    )


def _not_valid(fault: errors.BadInput) -> Condition:
    kind = "UrlNotValid" if fault.field == "spec.url" else "SecretNotValid"
    reason = "NotSet" if "must be set" in fault.message else "NotValid"
    return _critical(kind, reason, str(fault), suggestion=fault.hint)


def _validated() -> tuple[Condition, ...]:
    return (conditions.condition(VALIDATED, Category.ADVISORY, "Validation has been completed."),)


def _insecure(wanted: Opens) -> tuple[Condition, ...]:
    if not wanted.insecure:
        return ()
    return (
        conditions.condition(
            "ConnectionInsecure",
            Category.WARN,
            "TLS is susceptible to machine-in-the-middle attacks when certificate verification is "
            "skipped.",
            reason="SkipTLSVerification",
            suggestion="give the CA as ca.crt, or the certificate's thumbprint, in the Secret",
        ),
    )


def _of_view(view: inventory_cache.View) -> tuple[Condition, ...]:
    match view.phase:
        case inventory_cache.Phase.CONNECTING:
            return (_loading(),)
        case inventory_cache.Phase.LOADED:
            return (
                _required(CONNECTED, "Connection test, succeeded."),
                _required(INVENTORY, "The inventory has been loaded."),
                *_notes(view),
            )
        case inventory_cache.Phase.LOST | inventory_cache.Phase.REFUSED:
            failed = _connection_failed(view.error or errors.SourceUnavailable("no answer"))
            if view.inventory is None:
                return (failed,)
            return (failed, _required(INVENTORY, "The inventory is that of the last connection."))
        case _:
            assert_never(view.phase)


def _loading() -> Condition:
    return conditions.condition(
        "LoadInventory", Category.ADVISORY, "Loading the inventory.", reason="Started"
    )


def _notes(view: inventory_cache.View) -> tuple[Condition, ...]:
    notes = view.inventory.notes if view.inventory else ()
    if not notes:
        return ()
    return (
        conditions.condition(
            "InventoryError",
            Category.WARN,
            "A part of the inventory cannot be read.",
            reason="NotValid",
            items=notes[:20],
        ),
    )


def _connection_failed(fault: errors.MigrationError) -> Condition:
    refused = isinstance(fault, errors.Forbidden)
    return _critical(
        "ConnectionAuthFailed" if refused else "ConnectionTestFailed",
        "AuthenticationFailed" if refused else _reason(fault),
        str(fault),
        suggestion=fault.hint,
    )


def _reason(fault: errors.MigrationError) -> str:
    if isinstance(fault, CertificateRejected):
        return "CertificateRejected"
    return "Unreachable" if isinstance(fault, errors.Retryable) else "NotValid"


def _required(kind: str, message: str) -> Condition:
    return conditions.condition(kind, Category.REQUIRED, message, reason="Completed")


def _critical(kind: str, reason: str, message: str, *, suggestion: str = "") -> Condition:
    return conditions.condition(
        kind, Category.CRITICAL, message, reason=reason, suggestion=suggestion or None
    )
