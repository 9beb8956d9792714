"""batch/v1: Jobs, which hooks of a migration run in."""

from __future__ import annotations

from typing import ClassVar

from mtv.api import core, meta


class JobTemplate(meta.Part, frozen=True, kw_only=True):
    metadata: meta.ObjectMeta | None = None
    spec: core.PodSpec


class JobSpec(meta.Part, frozen=True, kw_only=True):
    template: JobTemplate
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None


class JobStatus(meta.Part, frozen=True, kw_only=True):
    """`conditions` has Complete or Failed once the Job is over."""

    active: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    start_time: meta.Time | None = None
    completion_time: meta.Time | None = None
    conditions: tuple[meta.Condition, ...] = ()


class Job(meta.Object, frozen=True, kw_only=True):
    resource: ClassVar[meta.Resource] = meta.Resource(
        group="batch", version="v1", plural="jobs", singular="job", status=True
    )
    api_version: str = meta.always("batch/v1")
    kind: str = meta.always("Job")
    spec: JobSpec
    status: JobStatus | None = None
