"""apps/v1: the workloads that mtv itself is on a cluster, as far as their state is read; and
ControllerRevisions, which keep what an object was."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from mtv.api import meta

GROUP = "apps"


class DeploymentSpec(meta.Part, frozen=True, kw_only=True):
    replicas: int | None = None


class DeploymentStatus(meta.Part, frozen=True, kw_only=True):
    observed_generation: int | None = None
    replicas: int | None = None
    updated_replicas: int | None = None
    available_replicas: int | None = None


class Deployment(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP, version="v1", plural="deployments", singular="deployment", status=True
    )
    api_version: str = meta.always("apps/v1")
    kind: str = meta.always("Deployment")
    spec: DeploymentSpec | None = None
    status: DeploymentStatus | None = None


class DaemonSetStatus(meta.Part, frozen=True, kw_only=True):
    observed_generation: int | None = None
    desired_number_scheduled: int | None = None
    updated_number_scheduled: int | None = None
    number_available: int | None = None


class DaemonSet(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP, version="v1", plural="daemonsets", singular="daemonset", status=True
    )
    api_version: str = meta.always("apps/v1")
    kind: str = meta.always("DaemonSet")
    status: DaemonSetStatus | None = None


class ControllerRevision(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP, version="v1", plural="controllerrevisions", singular="controllerrevision"
    )
    api_version: str = meta.always("apps/v1")
    kind: str = meta.always("ControllerRevision")
    data: dict[str, Any] | None = None
    revision: int = msgspec.field(default_factory=int)
