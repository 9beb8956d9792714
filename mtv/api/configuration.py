"""What the KubeVirt object configures, with the defaults of what it does not say. Pure.

`spec.configuration` of the object `kubevirt` in the namespace `kubevirt`; defaults are upstream's
(`pkg/virt-config/virt-config.go`), but for the interface of VMs that name none: masquerade, which
every pod network allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from mtv import errors
from mtv.api import installation, meta, quantities

NAME, NAMESPACE = "kubevirt", "kubevirt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """How live migration is done; auto-converge is on, unlike upstream: without it, busy guests
    do not arrive. A bandwidth of 0 is unlimited."""

    parallel_per_cluster: int = 5
    parallel_outbound_per_node: int = 2
    bandwidth: meta.Quantity | None = None
    auto_converge: bool = True
    completion_timeout_per_gib_s: int = 150
    progress_timeout_s: int = 150
    post_copy: bool = False
    workload_disruption: bool | None = None  # as post_copy
    max_downtime_ms: int | None = None
    policy: str = ""  # the MigrationPolicy that these are from

    def replaced(self, values: Mapping[str, Any]) -> Migrations:
        """Return the same with other values of some fields."""
        return replace(self, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The values that admission and controllers use."""

    use_emulation: bool = False
    machine_type: str = "q35"
    cpu_model: str = "host-model"
    cpu_request_millicores: int = 100
    cpu_allocation_ratio: int = 10
    memory_overcommit_percent: int = 100
    memory_overhead_ratio: Fraction = Fraction(1)
    default_interface: str = "masquerade"
    bridge_on_pod_network: bool = True
    eviction_strategy: str = ""
    migrations: Migrations = Migrations()
    image_pull_policy: str = "IfNotPresent"
    node_selectors: tuple[tuple[str, str], ...] = ()
    feature_gates: frozenset[str] = frozenset()
    vm_state_storage_class: str | None = None


DEFAULT = Configuration()


def of(kubevirt: installation.KubeVirt | None) -> Configuration:
    """Return the configuration; values that cannot be understood are as if they were not there."""
    found = kubevirt.spec.configuration if kubevirt is not None else None
    if found is None:
        return DEFAULT
    developer = found.developer_configuration or installation.DeveloperConfiguration()
    network = found.network or installation.NetworkConfiguration()
    return Configuration(
        use_emulation=bool(developer.use_emulation),
        machine_type=_machine(found),
        cpu_model=found.cpu_model or DEFAULT.cpu_model,
        cpu_request_millicores=_millicores(found.cpu_request),
        cpu_allocation_ratio=developer.cpu_allocation_ratio or DEFAULT.cpu_allocation_ratio,
        memory_overcommit_percent=developer.memory_overcommit or DEFAULT.memory_overcommit_percent,
        memory_overhead_ratio=_ratio(found.additional_guest_memory_overhead_ratio),
        default_interface=network.default_network_interface or DEFAULT.default_interface,
        bridge_on_pod_network=network.permit_bridge_interface_on_pod_network is not False,
        eviction_strategy=found.eviction_strategy or "",
        migrations=_migrations(found.migrations),
        image_pull_policy=found.image_pull_policy or DEFAULT.image_pull_policy,
        node_selectors=tuple(sorted(developer.node_selectors.items())),
        feature_gates=frozenset(developer.feature_gates) - {*developer.disabled_feature_gates},
        vm_state_storage_class=found.vm_state_storage_class or None,
    )


def _migrations(given: installation.MigrationConfiguration | None) -> Migrations:
    if given is None:
        return Migrations()
    default = Migrations()
    return Migrations(
        parallel_per_cluster=given.parallel_migrations_per_cluster or default.parallel_per_cluster,
        parallel_outbound_per_node=given.parallel_outbound_migrations_per_node
        or default.parallel_outbound_per_node,
        bandwidth=given.bandwidth_per_migration,
        auto_converge=given.allow_auto_converge is not False,
        completion_timeout_per_gib_s=given.completion_timeout_per_gi_b
        or default.completion_timeout_per_gib_s,
        progress_timeout_s=given.progress_timeout or default.progress_timeout_s,
        post_copy=bool(given.allow_post_copy),
        workload_disruption=given.allow_workload_disruption,
        max_downtime_ms=given.max_downtime_ms,
    )


def _machine(found: installation.KubeVirtConfiguration) -> str:
    architectures = found.architecture_configuration
    amd64 = architectures.amd64.machine_type if architectures and architectures.amd64 else None
    return found.machine_type or amd64 or DEFAULT.machine_type


def _millicores(value: meta.Quantity | None) -> int:
    try:
        return quantities.thousandths(value) if value else DEFAULT.cpu_request_millicores
    except errors.BadInput:
        return DEFAULT.cpu_request_millicores


def _ratio(text: str | None) -> Fraction:
    try:
        ratio = quantities.exact(text) if text else Fraction(1)
    except errors.BadInput:
        return Fraction(1)
    return ratio if ratio >= 1 else Fraction(1)
