"""Conditions and phases of Providers, as Forklift's clients read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from mtv_planning import source

from mtv import errors
from mtv.api import core, forklift, meta
from mtv.providers.vsphere.endpoint import CertificateRejected
from mtv_operator.migration import provider
from mtv_operator.migration.inventory_cache import Phase, View

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = core.Secret(
    metadata=meta.ObjectMeta(name="vc", namespace="mtv", resource_version="7"),
    data={"user": b"me", "password": b"secret", "insecureSkipVerify": b"true"},
)
LOADED = View(phase=Phase.LOADED, inventory=source.inventory(source.vm()), fingerprint="AA:BB")


def observed(
    kind: str = "vsphere",
    url: str | None = "https://vc.example.org/sdk",
    *,
    secret: core.Secret | None = SECRET,
    view: View = LOADED,
    settings: dict[str, str] | None = None,
    status: forklift.ProviderStatus | None = None,
) -> provider.Observed:
    return provider.Observed(
        provider=forklift.Provider(
            metadata=meta.ObjectMeta(name="vc", namespace="mtv", generation=1),
            spec=forklift.ProviderSpec(
                type=kind,
                url=url,
                secret=meta.ObjectReference(name="vc", namespace="mtv"),
                settings=settings or {},
            ),
            status=status,
        ),
        secret=secret,
        view=view,
    )


def status_of(one: provider.Observed) -> forklift.ProviderStatus:
    status = provider.decide(one, NOW).status
    assert status is not None
    return status


def types(one: provider.Observed) -> dict[str, str]:
    return {found.type: found.category for found in status_of(one).conditions}


def test_a_source_that_answers_is_ready() -> None:
    status = status_of(observed())
    assert status.phase == "Ready"
    assert status.fingerprint == "AA:BB"
    assert status.secret_resource_version == "7"
    assert types(observed()) == {
        "Validated": "Advisory",
        "ConnectionInsecure": "Warn",
        "ConnectionTestSucceeded": "Required",
        "InventoryCreated": "Required",
        "Ready": "Required",
    }
    (watch,) = provider.decide(observed(), NOW).actions
    assert isinstance(watch, provider.Watch)
    assert (watch.key, watch.access.user, watch.access.insecure) == ("mtv/vc", "me", True)
    assert "secret" not in repr(watch)


def test_this_cluster_is_ready_at_once() -> None:
    host = observed("openshift", "", secret=None, view=View())
    assert status_of(host).phase == "Ready"
    assert "Ready" in types(host)
    assert provider.decide(host, NOW).actions == (provider.Forget(key="mtv/vc"),)


def test_a_source_that_is_being_read_is_staging() -> None:
    assert status_of(observed(view=View())).phase == "Staging"
    assert "LoadInventory" in types(observed(view=View()))


def test_a_restart_of_the_process_does_not_take_ready_away() -> None:
    ready = status_of(observed())
    again = provider.decide(observed(view=View(), status=ready), NOW)
    assert again.status is None
    assert isinstance(again.actions[0], provider.Watch)


@pytest.mark.parametrize(
    ("more", "kind", "phase"),
    [
        ({"kind": "ovirt"}, "ProviderTypeNotSupported", "ValidationFailed"),
        ({"kind": "nonsense"}, "ProviderTypeNotSupported", "ValidationFailed"),
        ({"kind": "openshift"}, "ProviderTypeNotSupported", "ValidationFailed"),
        ({"url": None}, "UrlNotValid", "ValidationFailed"),
        ({"url": "http://vc"}, "UrlNotValid", "ValidationFailed"),
        ({"url": "https://vc:nine"}, "UrlNotValid", "ValidationFailed"),
        ({"secret": None}, "SecretNotValid", "ValidationFailed"),
        (
            {"secret": msgspec.structs.replace(SECRET, data={"user": b"me"})},
            "SecretNotValid",
            "ValidationFailed",
        ),
        (
            {"secret": msgspec.structs.replace(SECRET, data={"user": b"\xff", "password": b"x"})},
            "SecretNotValid",
            "ValidationFailed",
        ),
        ({"settings": {"sdkEndpoint": "moon"}}, "SettingsNotValid", "ValidationFailed"),
        (
            {"view": View(phase=Phase.REFUSED, error=errors.Forbidden("wrong", hint="type it"))},
            "ConnectionAuthFailed",
            "ConnectionFailed",
        ),
        (
            {
                "view": View(
                    phase=Phase.REFUSED,
                    error=CertificateRejected("no", presented="AA", hint="give the CA"),
                )
            },
            "ConnectionTestFailed",
            "ConnectionFailed",
        ),
        (
            {"view": replace(LOADED, phase=Phase.LOST, error=errors.SourceUnavailable("away"))},
            "ConnectionTestFailed",
            "ConnectionFailed",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_has_a_type_and_a_phase(more: dict[str, Any], kind: str, phase: str) -> None:
    one = observed(**more)
    assert types(one)[kind] == "Critical"
    assert "Ready" not in types(one)
    assert status_of(one).phase == phase


def test_the_hint_of_an_error_is_the_suggestion() -> None:
    view = View(phase=Phase.REFUSED, error=errors.Forbidden("wrong", hint="type it again"))
    (found,) = [
        one
        for one in status_of(observed(view=view)).conditions
        if one.type == "ConnectionAuthFailed"
    ]
    assert (found.message, found.suggestion) == ("wrong", "type it again")


def test_the_old_key_of_the_ca_is_still_read() -> None:
    data = {"user": b"me", "password": b"x\n", "cacert": b"PEM"}
    secret = msgspec.structs.replace(SECRET, data=data)
    (watch,) = provider.decide(observed(secret=secret), NOW).actions
    assert isinstance(watch, provider.Watch)
    assert (watch.access.ca_pem, watch.access.password) == ("PEM", "x")


def test_times_stay_while_the_state_does() -> None:
    first = status_of(observed())
    later = provider.decide(observed(status=first), datetime(2026, 1, 2, tzinfo=UTC)).status
    assert later == first
