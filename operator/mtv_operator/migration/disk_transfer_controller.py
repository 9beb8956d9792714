"""The controller of DiskTransfers: what it observes, and how its decisions are carried out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from mtv import errors
from mtv.api import core, meta
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv_operator.migration import disk_transfer, disk_transfer_pod
from mtv_operator.migration.disk_transfer import (
    Action,
    CreatePod,
    DeletePod,
    Observed,
    Record,
    Rival,
    Settings,
)
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.reconciling import Decision

NAME = "disktransfer"
_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"

# The id of the host that a provider's VM is on, "" where that is not known: (provider, VM).
HostOf = Callable[[Key, str], str]


class DiskTransfers:
    """Reconciles DiskTransfers and their pods."""

    name = NAME

    def __init__(
        self,
        client: Client,
        transfers: Cache[DiskTransfer],
        pods: Cache[core.Pod],
        claims: Cache[core.PersistentVolumeClaim],
        *,
        host_of: HostOf = lambda _provider, _vm: "",
        settings: Settings | None = None,
    ) -> None:
        self._client = client
        self._transfers, self._pods, self._claims = transfers, pods, claims
        self._host_of = host_of
        self._settings = settings or Settings()
        self._lock = threading.Lock()
        self._written: dict[Key, str] = {}  # versions that were observed and are outdated
        self._accounts: set[str] = set()  # namespaces that have the pods' account

    def wire(self, enqueue: Callable[[str, Key], None]) -> None:
        """Have each change looked at: of transfers, of their pods, of the claims they fill."""
        self._transfers.on_change(lambda key, _: enqueue(NAME, key))
        self._pods.on_change(lambda key, pod: self._pod_changed(enqueue, key, pod))
        self._claims.on_change(lambda key, _: self._claim_changed(enqueue, key))

    def _pod_changed(
        self, enqueue: Callable[[str, Key], None], key: Key, pod: core.Pod | None
    ) -> None:
        if pod is not None:
            for owner in pod.metadata.owner_references:
                if owner.kind == DiskTransfer.kind_name():
                    enqueue(NAME, Key(key.namespace, owner.name))
        elif f"-{disk_transfer_pod.CONTAINER}-" in key.name:
            # Whose it was is no longer known.
            for one in self._transfers.list(key.namespace):
                if one.status is not None and one.status.pod == key.name:
                    enqueue(NAME, Key(key.namespace, one.metadata.name))

    def _claim_changed(self, enqueue: Callable[[str, Key], None], key: Key) -> None:
        for one in self._transfers.list(key.namespace):
            if one.spec.target.claim_name == key.name:
                enqueue(NAME, Key(key.namespace, one.metadata.name))

    def observe(self, key: Key) -> Observed | None:
        """Return a transfer with all that its decision needs."""
        transfer = self._transfers.get(*key)
        if transfer is None:
            with self._lock:
                self._written.pop(key, None)
            return None
        with self._lock:
            if self._written.get(key) == transfer.metadata.resource_version:
                return None  # the cache brings the newer version at once
        return Observed(
            transfer=transfer,
            pods=self._pods_of(transfer),
            claim=self._claim_of(transfer),
            host=self._host(transfer),
            rivals=self._rivals(transfer),
            settings=self._settings,
        )

    def _claim_of(self, transfer: DiskTransfer) -> core.PersistentVolumeClaim | None:
        return self._claims.get(transfer.metadata.namespace, transfer.spec.target.claim_name)

    def _pods_of(self, transfer: DiskTransfer) -> tuple[core.Pod, ...]:
        return tuple(self._pods.by_owner(transfer.metadata.uid))

    def _host(self, transfer: DiskTransfer) -> str:
        provider = transfer.spec.provider
        return self._host_of(Key(provider.namespace, provider.name), transfer.spec.vm.id)

    def _rivals(self, transfer: DiskTransfer) -> tuple[Rival, ...]:
        """Return the unfinished transfers that run or could run now: of this source or target."""
        provider = disk_transfer.provider_of(transfer)
        target = disk_transfer.target_of(self._claim_of(transfer))
        rivals = []
        for one in self._transfers.list():
            status = one.status or DiskTransferStatus()
            if (
                status.phase in disk_transfer.FINAL
                or one.metadata.uid == transfer.metadata.uid
                or one.metadata.deletion_timestamp
            ):
                continue
            claim, of = self._claim_of(one), disk_transfer.provider_of(one)
            if of != provider and disk_transfer.target_of(claim) != target:
                continue
            active = disk_transfer.is_active(self._pods_of(one))
            waits = any(c.type == disk_transfer.RETRYING for c in status.conditions)
            if active or (claim is not None and not waits):
                rivals.append(
                    Rival(
                        key=disk_transfer.key_of(one),
                        provider=of,
                        host=self._host(one),
                        target=disk_transfer.target_of(claim),
                        created=one.metadata.creation_timestamp or "",
                        active=active,
                    )
                )
        return tuple(rivals)

    def decide(self, observed: Observed, now: datetime) -> Decision[Action, disk_transfer.Status]:
        """Decide."""
        return disk_transfer.decide(observed, now)

    def perform(self, observed: Observed, action: Action) -> None:
        """Carry out an action; it may have been carried out before."""
        match action:
            case CreatePod(pod=pod):
                self._ensure_account(pod.metadata.namespace)
                self._create(observed.transfer, pod)
            case DeletePod(pod=pod):
                there = pod.metadata
                self._client.delete(core.Pod, there.name, there.namespace, uid=there.uid)
            case Record(reason=reason, message=message):
                failed = reason == disk_transfer.FAILED
                self._client.record(
                    observed.transfer,
                    reason,
                    message,
                    type="Warning" if failed or reason == disk_transfer.RETRYING else "Normal",
                    component="mtv-controller",
                )

    def _create(self, transfer: DiskTransfer, pod: core.Pod) -> None:
        try:
            self._client.create(pod)
        except errors.AlreadyExists as fault:
            there = self._client.find(core.Pod, pod.metadata.name, pod.metadata.namespace)
            owners = there.metadata.owner_references if there is not None else ()
            if all(owner.uid != transfer.metadata.uid for owner in owners):
                raise errors.Conflict(
                    f"the pod {pod.metadata.name} of an earlier transfer still exists"
                ) from fault

    def _ensure_account(self, namespace: str) -> None:
        """Make what lets the pods of a namespace write the status of their DiskTransfers."""
        if namespace in self._accounts:
            return
        name = disk_transfer_pod.ACCOUNT
        account = core.ServiceAccount(metadata=meta.ObjectMeta(name=name, namespace=namespace))
        with contextlib.suppress(errors.AlreadyExists):
            self._client.create(account)
        with contextlib.suppress(errors.AlreadyExists):
            self._client.raw("POST", _BINDINGS.format(namespace), _binding(name, namespace))
        self._accounts.add(namespace)

    def write_status(self, observed: Observed, status: disk_transfer.Status) -> None:
        """Store what differs, unless the transfer has changed meanwhile. Raises Conflict.

        The transfer's process writes to the same status once a second: only our fields are sent.
        """
        transfer = observed.transfer
        before: dict[str, Any] = msgspec.to_builtins(transfer.status or DiskTransferStatus())
        after: dict[str, Any] = msgspec.to_builtins(status)
        changed = {
            name: after.get(name)
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        }
        if not changed:
            return
        there = transfer.metadata
        body = {"metadata": {"resourceVersion": there.resource_version}, "status": changed}
        self._client.patch(DiskTransfer, there.name, there.namespace, body, subresource="status")
        with self._lock:
            self._written[Key(there.namespace, there.name)] = there.resource_version


def _binding(account: str, namespace: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": account, "namespace": namespace},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
