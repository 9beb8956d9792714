"""Registers the node and says that it lives: a lease every ten seconds, the status now and then."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mtv import errors
from mtv.api.core import Lease, LeaseSpec, Node, NodeStatus
from mtv.api.meta import ObjectMeta, owner_of
from mtv_operator.embedded.node import node_object
from mtv_operator.embedded.node.runner import difference
from mtv_operator.objects import Client

log = logging.getLogger(__name__)

LEASES = "kube-node-lease"
LEASE_S = 40  # as the kubelet: renewed every quarter of it
RENEW_S = 10.0
STATUS_S = 60.0
RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One node's presence in the API server."""

    client: Client
    name: str
    address: str
    port: int
    pod_cidr: str
    folder: Path  # where pods keep what they write
    kvm: bool

    def keep(self, stop: threading.Event) -> None:
        """Register, then say that the node lives until `stop`; faults are tried again."""
        status_due = 0.0
        while not stop.is_set():
            try:
                if time.monotonic() >= status_due:
                    self.register()
                    status_due = time.monotonic() + STATUS_S
                self.renew()
                pause = RENEW_S
            except errors.MigrationError as fault:
                log.warning("node %s is not registered: %s", self.name, fault)
                status_due, pause = 0.0, RETRY_S
            stop.wait(pause)

    def register(self) -> None:
        """Make the Node object, or bring it up to date."""
        machine = node_object.look(self.folder, kvm=self.kvm)
        before = self.client.find(Node, self.name)
        wanted = node_object.build(
            self.name,
            machine,
            address=self.address,
            port=self.port,
            pod_cidr=self.pod_cidr,
            now=time.time(),
            before=before,
        )
        if before is None:
            before = self.client.create(wanted)
        found = msgspec.to_builtins(before)
        target = msgspec.to_builtins(wanted)
        change = difference(
            {key: found.get(key, {}) for key in ("metadata", "spec")},
            {key: target.get(key, {}) for key in ("metadata", "spec")},
        )
        change["metadata"] = {
            key: value
            for key, value in change.get("metadata", {}).items()
            if key in ("labels", "annotations")
        }
        if change["metadata"] or change.get("spec"):
            self.client.patch(Node, self.name, "", change)
        old = msgspec.to_builtins(before.status or NodeStatus())
        status = difference(old, target["status"])
        if status:
            self.client.patch(Node, self.name, "", {"status": status}, subresource="status")

    def renew(self) -> None:
        """Renew the lease, or make it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {"spec": {"renewTime": now, "holderIdentity": self.name}}
        try:
            self.client.patch(Lease, self.name, LEASES, body)
        except errors.NotFound:
            node = self.client.get(Node, self.name)
            self.client.create(
                Lease(
                    metadata=ObjectMeta(
                        name=self.name,
                        namespace=LEASES,
                        owner_references=(owner_of(node, controller=False),),
                    ),
                    spec=LeaseSpec(
                        holder_identity=self.name, lease_duration_seconds=LEASE_S, renew_time=now
                    ),
                )
            )
