"""Maps, Hosts, Hooks and Migrations: conditions of the kinds that have no effects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from migration_simulation import of_vms, provider
from mtv_planning import plans, source

from mtv.api import core, forklift, meta
from mtv.planning.target import Target
from mtv_operator.migration import hook, host, maps, migration
from mtv_operator.migration.inventory_cache import Phase, View

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIEW = View(phase=Phase.LOADED, inventory=source.inventory(source.vm()))
AT = meta.ObjectReference(name="vcenter", namespace="mtv")


def of_map(
    found: forklift.NetworkMap | forklift.StorageMap,
    *,
    source_provider: forklift.Provider | None = None,
    view: View = VIEW,
    target: Target | None = None,
) -> forklift.MapStatus:
    status = maps.decide(
        maps.Observed(
            map=found,
            source=source_provider or provider("vcenter"),
            destination=provider("host", "openshift"),
            view=view,
            target=target or plans.target(),
        ),
        NOW,
    ).status
    assert status is not None
    return status


def kinds(status: Any) -> set[str]:
    return {one.type for one in status.conditions}


def test_a_map_whose_sources_exist_is_ready_and_lists_them() -> None:
    status = of_map(plans.network_map(plans.POD, plans.PROD))
    assert kinds(status) == {"Ready"}
    assert [(one.id, one.name) for one in status.references] == [
        ("network-1", "VM Network"),
        ("dvportgroup-2", "prod"),
    ]


@pytest.mark.parametrize(
    ("found", "kind", "reason"),
    [
        (
            plans.network_map({"source": {"name": "nix"}, "destination": {"type": "pod"}}),
            "SourceNetworkNotValid",
            "NotFound",
        ),
        (
            plans.network_map({"source": {}, "destination": {"type": "pod"}}),
            "SourceNetworkNotValid",
            "NotSet",
        ),
        (
            plans.storage_map({"source": {"name": "ds1"}, "destination": {"storageClass": "x"}}),
            "DestinationStorageNotValid",
            "NotFound",
        ),
        (
            plans.storage_map({"source": {"id": "ds-9"}, "destination": {"storageClass": "local"}}),
            "SourceStorageNotValid",
            "NotFound",
        ),
    ],
    ids=str,
)
def test_a_reference_that_stands_for_nothing_is_said(
    found: forklift.NetworkMap | forklift.StorageMap, kind: str, reason: str
) -> None:
    status = of_map(found)
    assert "Ready" not in kinds(status)
    (condition,) = [one for one in status.conditions if one.type == kind]
    assert (condition.category, condition.reason) == ("Critical", reason)


def test_a_missing_attachment_is_said_when_attachments_are_known() -> None:
    target = plans.target(network_attachments=frozenset({"nets/other"}))
    status = of_map(plans.network_map(plans.PROD), target=target)
    assert kinds(status) == {"DestinationNetworkNotValid"}


def test_providers_that_are_wrong_or_not_ready_are_said() -> None:
    unready = msgspec.structs.replace(provider("vcenter"), status=None)
    status = of_map(plans.network_map(plans.POD), source_provider=unready, view=View())
    assert kinds(status) == {"SourceProviderNotReady"}
    cluster = provider("vcenter", "openshift")
    assert "SourceProviderNotValid" in kinds(
        of_map(plans.network_map(plans.POD), source_provider=cluster)
    )


def of_host(**spec: Any) -> set[str]:
    one = forklift.Host(
        metadata=meta.ObjectMeta(name="h", namespace="mtv"),
        spec=forklift.HostSpec(
            **{"provider": AT, "secret": AT, "ip_address": "10.0.0.1", "id": "host-1", **spec}
        ),
    )
    status = host.decide(
        host.Observed(host=one, provider=provider("vcenter"), secret=core.Secret(), view=VIEW), NOW
    ).status
    assert status is not None
    return kinds(status)


def test_hosts_are_validated() -> None:
    assert of_host() == {"Validated", "FieldNotHonoured", "Ready"}
    assert "IpNotValid" in of_host(ip_address="10.0.0")
    assert "IpNotValid" in of_host(ip_address="")
    assert "RefNotValid" in of_host(id="host-9")


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (forklift.HookSpec(), "InvalidImage"),
        (forklift.HookSpec(playbook="***"), "InvalidPlaybook"),
        (
            forklift.HookSpec(image="x", aap=forklift.AapSpec(job_template_id=1)),
            "InvalidHookExecute",
        ),
        (forklift.HookSpec(image="x", playbook="LSBob3N0czogYWxs"), "Ready"),
    ],
    ids=str,
)
def test_hooks_are_validated(spec: forklift.HookSpec, kind: str) -> None:
    one = forklift.Hook(metadata=meta.ObjectMeta(name="h", namespace="mtv"), spec=spec)
    status = hook.decide(hook.Observed(hook=one), NOW).status
    assert status is not None
    assert kind in kinds(status)
    assert ("Ready" in kinds(status)) == (kind == "Ready")


def test_a_migration_without_its_plan_says_so() -> None:
    decision = migration.decide(migration.Observed(migration=plans.migration(), plan=None), NOW)
    assert kinds(decision.status) == {"PlanNotValid"}


def test_a_migration_shows_the_run_and_is_left_alone_when_it_is_over() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until("CopyDisks")
    status = simulation.migrations[0].status
    assert status is not None
    assert kinds(status) == {"Running", "Ready"}
    assert status.vms == simulation.status.vms
    assert status.started
    simulation.run()
    over = simulation.migrations[0].status
    assert over is not None
    assert kinds(over) == {"Succeeded", "Ready"}
    assert over.completed
    simulation.start()
    simulation.run()
    assert simulation.migrations[0].status == over


def test_a_cancel_of_an_unknown_vm_is_a_warning() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until("CopyDisks")
    simulation.cancel("vm-99")
    simulation.step()
    status = simulation.migrations[0].status
    assert status is not None
    (found,) = [one for one in status.conditions if one.type == "VMNotFound"]
    assert (found.category, found.items) == ("Warn", ("vm-99",))
    simulation.run()
    assert "Succeeded" in simulation.conditions()
