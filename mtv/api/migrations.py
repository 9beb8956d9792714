"""migrations.kubevirt.io/v1alpha1: how the migrations of some VMs differ from the rest."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from mtv.api import meta

GROUP = "migrations.kubevirt.io"
GROUP_VERSION = f"{GROUP}/v1alpha1"


class Selectors(meta.Part, frozen=True, kw_only=True):
    """Labels that must all be there, of the namespace and of the instance."""

    namespace_selector: dict[str, str] = {}
    virtual_machine_instance_selector: dict[str, str] = {}


class MigrationPolicySpec(meta.Part, frozen=True, kw_only=True):
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: meta.Quantity | None = None
    completion_timeout_per_gi_b: int | None = msgspec.field(
        name="completionTimeoutPerGiB", default=None
    )
    max_downtime_ms: int | None = None
    selectors: Selectors


class MigrationPolicy(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1alpha1",
        plural="migrationpolicies",
        singular="migrationpolicy",
        namespaced=False,
        categories=("all",),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("MigrationPolicy")
    spec: MigrationPolicySpec
    status: dict[str, Any] | None = None


KINDS: tuple[type[meta.Object], ...] = (MigrationPolicy,)
