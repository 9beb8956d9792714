"""Asks the probes of running containers when they are due, and remembers what they said."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mtv.api.core import Container, Pod
from mtv_operator.embedded.node import health, lifecycle
from mtv_operator.embedded.node.attempts import Attempt
from mtv_operator.embedded.node.health import Kind, Record
from mtv_operator.embedded.node.lifecycle import Health
from mtv_operator.embedded.node.processes import Identity
from mtv_operator.objects import Key


class Target(NamedTuple):
    """One start of a container."""

    pod_uid: str
    container: str
    number: int

    def key(self) -> Key:
        """Return it as a key of a queue."""
        return Key(self.pod_uid, f"{self.container}/{self.number}")

    @classmethod
    def of(cls, key: Key) -> Target:
        """Return the target that a key is."""
        container, _, number = key.name.partition("/")
        return cls(key.namespace, container, int(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is needed to ask a container's probes."""

    pod: Pod
    container: Container
    process: Identity
    started_at: float
    address: str
    enter: tuple[str, ...]
    environment: Mapping[str, str]


class Prober:
    """Holds the records of all probes of a node. `turn` is called by a pump, for one container."""

    def __init__(
        self,
        changed: Callable[[str], None],
        failed: Callable[[Pod, Container, Kind, str], None],
        schedule: Callable[[Target], None],
    ) -> None:
        self.changed = changed  # with the uid of the pod
        self.failed = failed
        self.schedule = schedule
        self._subjects: dict[Target, Subject] = {}
        self._records: dict[Target, dict[Kind, Record]] = {}

    def follow(self, target: Target, subject: Subject) -> bool:
        """Ask this container's probes from now on; tell whether it was not followed before."""
        if target in self._subjects or not health.probes_of(subject.container):
            return False
        self._records[target] = {
            kind: Record(due=health.first_due(probe, subject.started_at))
            for kind, probe in health.probes_of(subject.container).items()
        }
        self._subjects[target] = subject
        self.schedule(target)
        return True

    def forget(self, pod_uid: str, keep: Mapping[str, int] | None = None) -> None:
        """Drop the records of a pod but those of the starts that still run."""
        for target in list(self._subjects):
            if target.pod_uid == pod_uid and (keep or {}).get(target.container) != target.number:
                self._subjects.pop(target, None)
                self._records.pop(target, None)

    def turn(self, target: Target) -> float | None:
        """Ask what is due; return in how many seconds something is."""
        subject, records = self._subjects.get(target), self._records.get(target)
        if subject is None or records is None:
            return None
        probes = health.probes_of(subject.container)
        for kind, probe in probes.items():
            record = records[kind]
            if not health.is_asked(kind, records, Kind.STARTUP in probes):
                continue
            if time.time() < record.due:
                continue
            answer = health.ask(
                probe,
                subject.container,
                process=subject.process,
                address=subject.address,
                command=subject.enter,
                environment=subject.environment,
            )
            fresh = health.judge(record, answer, probe, time.time())
            records[kind] = fresh
            if not answer.good:
                self.failed(subject.pod, subject.container, kind, answer.output)
            if fresh.health is not record.health:
                self.changed(target.pod_uid)
        dues = [
            record.due
            for kind, record in records.items()
            if health.is_asked(kind, records, Kind.STARTUP in probes)
        ]
        return max(0.05, min(dues) - time.time()) if dues else None

    def liveness(self, pod_uid: str, attempts: Mapping[str, Attempt]) -> dict[str, Health]:
        """Return the health that decides on a restart: a bad startup counts as bad."""
        return {
            name: self._worst(Target(pod_uid, name, attempt.number))
            for name, attempt in attempts.items()
        }

    def _worst(self, target: Target) -> Health:
        records = self._records.get(target, {})
        for kind in (Kind.STARTUP, Kind.LIVENESS):
            record = records.get(kind)
            if record is not None and record.health is Health.BAD:
                return Health.BAD
        return Health.GOOD

    def readiness(self, pod_uid: str, attempts: Mapping[str, Attempt]) -> dict[str, Health]:
        """Return what the readiness probes say, of the containers that have one."""
        return self._by_kind(pod_uid, attempts, Kind.READINESS)

    def started(self, pod_uid: str, attempts: Mapping[str, Attempt]) -> dict[str, bool]:
        """Return whether the startup probes have succeeded, of the containers that have one."""
        found = self._by_kind(pod_uid, attempts, Kind.STARTUP)
        return {name: state is Health.GOOD for name, state in found.items()}

    def _by_kind(
        self, pod_uid: str, attempts: Mapping[str, Attempt], kind: Kind
    ) -> dict[str, Health]:
        result = {}
        for name, attempt in attempts.items():
            record = self._records.get(Target(pod_uid, name, attempt.number), {}).get(kind)
            if record is not None:
                result[name] = record.health
        return result

    def inherit(self, target: Target, ready: bool) -> None:
        """Believe the last status of a container that was adopted, until its probe is asked."""
        records = self._records.get(target)
        if records and ready:
            for kind in (Kind.STARTUP, Kind.READINESS):
                if kind in records:
                    records[kind] = replace(records[kind], health=Health.GOOD)


def running(observed: lifecycle.Observed) -> dict[str, Attempt]:
    """Return the containers that run, with their current start."""
    return {
        name: attempts[-1]
        for name, attempts in observed.attempts.items()
        if attempts and attempts[-1].running
    }
