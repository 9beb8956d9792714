"""Jobs of hooks where no cluster runs Jobs: in a container engine of this machine.

The embedded API server stores Jobs; here they are carried out. A container has the name of its Job
and its attempt, so that it is found again by whoever starts after us.

    no container → files written, started → running → exit code → Complete, or the next attempt
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from mtv import errors
from mtv.api import batch, core
from mtv.api.meta import Condition
from mtv_operator.migration import conditions, hook_jobs
from mtv_operator.objects import Cache, Client, Key, key_of
from mtv_operator.reconciling import Decision

NAME = "hookjob"
ENGINES = ("podman", "docker")
LOOK_S = 1.0
_CALL_S = 60.0
_PULL_S = 600.0  # starting may fetch the image
_LOG_BYTES = 600


def find_engine() -> str:
    """Return the path of a container engine that answers, "" if there is none."""
    for name in ENGINES:
        path = shutil.which(name)
        if path is None:
            continue
        done = subprocess.run(
            [path, "ps", "--quiet"], capture_output=True, timeout=_CALL_S, check=False
        )
        if done.returncode == 0:
            return path
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What is seen of one attempt: `exit_code` is None while it runs."""

    name: str
    exit_code: int | None = None
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Job of a hook, and the container of its newest attempt."""

    job: batch.Job
    container: Container | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start an attempt."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Take the container of an attempt away; one that runs is ended."""

    name: str


Action = Start | Remove


def container_name(job: batch.Job) -> str:
    """Return the name of the container of the newest attempt."""
    failed = (job.status.failed or 0) if job.status else 0
    return f"{job.metadata.name}-{failed}"


def decide(observed: Observed, now: datetime) -> Decision[Action, batch.JobStatus]:
    """Return the status of a Job, and what is done for it."""
    job, container = observed.job, observed.container
    status = job.status or batch.JobStatus()
    if any(one.type in ("Complete", "Failed") for one in status.conditions):
        gone = (Remove(name=container.name),) if container is not None else ()
        return Decision(status=status, actions=gone)
    name = container_name(job)
    started = status.start_time or conditions.timestamp(now)
    status = msgspec.structs.replace(status, start_time=started, active=1)
    deadline_s = job.spec.active_deadline_seconds
    if deadline_s and conditions.seconds_since(started, now) > deadline_s:
        why = f"Job was active longer than specified deadline ({deadline_s} s)"
        return Decision(
            status=_over(status, now, failed="DeadlineExceeded", message=why),
            actions=(Remove(name=name),) if container is not None else (),
        )
    if container is None:
        return Decision(status=status, actions=(Start(name=name),), requeue_after_s=LOOK_S)
    if container.exit_code is None:
        return Decision(status=status, requeue_after_s=LOOK_S)
    removed = (Remove(name=container.name),)
    if container.exit_code == 0:
        return Decision(status=_over(status, now), actions=removed)
    failed = (status.failed or 0) + 1
    status = msgspec.structs.replace(status, failed=failed)
    if failed > (job.spec.backoff_limit or 0):
        said = f": {container.said}" if container.said else ""
        why = f"its container ended with {container.exit_code}{said}"
        ended = _over(status, now, failed="BackoffLimitExceeded", message=why)
        return Decision(status=ended, actions=removed)
    return Decision(status=status, actions=removed, requeue_after_s=LOOK_S)


def _over(
    status: batch.JobStatus, now: datetime, *, failed: str = "", message: str = ""
) -> batch.JobStatus:
    at = conditions.timestamp(now)
    end = Condition(
        type="Failed" if failed else "Complete",
        status="True",
        reason=failed or "CompletionsReached",
        message=message or "the hook has ended well",
        last_transition_time=at,
    )
    return msgspec.structs.replace(
        status,
        active=0,
        succeeded=None if failed else 1,
        completion_time=None if failed else at,
        conditions=(*status.conditions, end),
    )


class HookJobs:
    """The controller of Jobs of hooks, with a container engine."""

    name = NAME

    def __init__(self, client: Client, jobs: Cache[batch.Job], engine: str, folder: Path) -> None:
        self._client, self._jobs, self._engine, self._folder = client, jobs, engine, folder

    def observe(self, key: Key) -> Observed | None:
        """Return a Job and its container; what is left of a Job that is gone is removed."""
        job = self._jobs.get(*key)
        if job is None or job.metadata.deletion_timestamp:
            self._remove_all(key.name)
            return None
        return Observed(job=job, container=self._seen(container_name(job)))

    def decide(self, observed: Observed, now: datetime) -> Decision[Action, batch.JobStatus]:
        """Decide."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: Action) -> None:
        """Start or remove a container."""
        if isinstance(action, Start):
            self._start(observed.job, action.name)
        else:
            self._call("rm", "--force", action.name)

    def write_status(self, observed: Observed, status: batch.JobStatus) -> None:
        """Store the status."""
        if status != observed.job.status:
            self._client.replace_status(msgspec.structs.replace(observed.job, status=status))

    def wire(self, enqueue: Any) -> None:  # noqa: ANN401 - reconciling's
        """Have each change of a Job looked at."""
        self._jobs.on_change(lambda key, one: enqueue(NAME, key_of(one) if one else key))

    def _seen(self, name: str) -> Container | None:
        done = self._call("inspect", "--type", "container", name)
        if done.returncode:
            return None
        state = json.loads(done.stdout)[0]["State"]
        if state.get("Running") or state.get("Status") in ("created", "running", "initialized"):
            return Container(name=name)
        logs = self._call("logs", "--tail", "3", name)
        said = " ".join(f"{logs.stdout} {logs.stderr}".split())[-_LOG_BYTES:]
        return Container(name=name, exit_code=int(state.get("ExitCode", 1)), said=said)

    def _start(self, job: batch.Job, name: str) -> None:
        """Write the files of a hook, and start its container."""
        spec = job.spec.template.spec.containers[0]
        done = self._call(
            *("run", "--detach", "--name", name, "--network", "host"),
            *("--volume", f"{self._files(job)}:{hook_jobs.FOLDER}:ro", spec.image or ""),
            *spec.command,
            timeout_s=_PULL_S,
        )
        if done.returncode and "already in use" not in done.stderr:
            raise errors.TargetUnavailable(
                f"{self._engine} cannot start the hook {job.metadata.name}: "
                f"{done.stderr.strip()[-_LOG_BYTES:]}"
            )

    def _files(self, job: batch.Job) -> Path:
        there = job.metadata
        files = self._client.get(core.ConfigMap, there.name, there.namespace)
        folder = self._folder / there.uid
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.data.items():
            (folder / name).write_text(text)
        return folder

    def _remove_all(self, name: str) -> None:
        for attempt in range(hook_jobs.RETRIES + 1):
            self._call("rm", "--force", f"{name}-{attempt}")

    def _call(
        self, *arguments: str, timeout_s: float = _CALL_S
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._engine, *arguments],
                capture_output=True, text=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise errors.TargetUnavailable(f"{self._engine} does not answer: {fault}") from fault
