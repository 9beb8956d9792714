"""One of several processes leads: who holds a Lease and keeps renewing it.

As client-go: the clock of others is never compared with ours; a lease is taken over only after it
was seen unchanged for its whole duration. The library's election is not used: it cannot be stopped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from mtv import errors
from mtv.api import core, meta
from mtv_operator.objects.client import Client

log = logging.getLogger(__name__)

DURATION_S = 15.0
RENEW_DEADLINE_S = 10.0
RETRY_S = 2.0


class _Candidate:
    """What one process knows of the lease."""

    def __init__(self, client: Client, name: str, namespace: str, identity: str) -> None:
        self._client, self._name, self._namespace = client, name, namespace
        self._identity = identity
        self._seen: tuple[str, float] = ("", 0.0)  # version, and when it was first seen

    def try_to_hold(self) -> bool:
        """Take or renew the lease; tell whether it is ours. Raises MigrationError."""
        lease = self._client.find(core.Lease, self._name, self._namespace)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if lease is None:
            spec = core.LeaseSpec(acquire_time=now, lease_transitions=0)
            with contextlib.suppress(errors.AlreadyExists):
                self._client.create(self._lease(meta.ObjectMeta(), spec, now))
                return True
            return False
        spec = lease.spec or core.LeaseSpec()
        ours = spec.holder_identity == self._identity
        if not ours and spec.holder_identity and not self._has_expired(lease):
            return False
        if not ours:
            log.info("taking the lease %s over from %s", self._name, spec.holder_identity)
            transitions = (spec.lease_transitions or 0) + 1
            spec = core.LeaseSpec(acquire_time=now, lease_transitions=transitions)
        with contextlib.suppress(errors.Conflict):
            self._client.replace(self._lease(lease.metadata, spec, now))
            return True
        return False

    def release(self) -> None:
        """Let go of the lease, so that the next one need not wait."""
        lease = self._client.find(core.Lease, self._name, self._namespace)
        if lease is None or not lease.spec or lease.spec.holder_identity != self._identity:
            return
        spec = msgspec.structs.replace(lease.spec, holder_identity=None)
        self._client.replace(msgspec.structs.replace(lease, spec=spec))

    def _has_expired(self, lease: core.Lease) -> bool:
        version, since = self._seen
        if version != lease.metadata.resource_version:
            self._seen = (lease.metadata.resource_version, time.monotonic())
            return False
        duration_s = (lease.spec and lease.spec.lease_duration_seconds) or DURATION_S
        return time.monotonic() - since > duration_s

    def _lease(self, metadata: meta.ObjectMeta, spec: core.LeaseSpec, now: str) -> core.Lease:
        named = msgspec.structs.replace(metadata, name=self._name, namespace=self._namespace)
        held = msgspec.structs.replace(
            spec,
            holder_identity=self._identity,
            lease_duration_seconds=int(DURATION_S),
            renew_time=now,
        )
        return core.Lease(metadata=named, spec=held)


@contextlib.contextmanager
def leading(
    client: Client, name: str, namespace: str, identity: str, stop: threading.Event
) -> Iterator[bool]:
    """Wait until we lead, then yield True; yields False when `stop` is set before.

    The lease is renewed meanwhile; when that fails for too long `stop` is set, since somebody else
    may lead by then. At the end the lease is given back.
    """
    candidate = _Candidate(client, name, namespace, identity)
    if not _wait_to_lead(candidate, stop):
        yield False
        return
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(candidate, ended, stop), name=f"lease-{name}")
    renewing.start()
    try:
        yield True
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(errors.MigrationError):
            candidate.release()


def _wait_to_lead(candidate: _Candidate, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            if candidate.try_to_hold():
                return True
        except errors.MigrationError as fault:
            log.info("the lease cannot be read: %s", fault)
        stop.wait(RETRY_S)
    return False


def _renew(candidate: _Candidate, ended: threading.Event, stop: threading.Event) -> None:
    renewed = time.monotonic()
    while not ended.wait(RETRY_S):
        try:
            if candidate.try_to_hold():
                renewed = time.monotonic()
        except errors.MigrationError as fault:
            log.info("the lease cannot be renewed: %s", fault)
        if time.monotonic() - renewed > RENEW_DEADLINE_S:
            log.error("the lease was lost")
            stop.set()
            return
