"""Carries out what is decided on claims and volumes. Each step may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mtv import errors
from mtv.api.core import (
    HostPathVolumeSource,
    LocalVolumeSource,
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimStatus,
    PersistentVolumeSpec,
    Pod,
    StorageClass,
    VolumeNodeAffinity,
)
from mtv.api.meta import ObjectMeta, reference_to
from mtv_operator.embedded.node import devices
from mtv_operator.embedded.node import volumes as node_volumes
from mtv_operator.embedded.provisioner import claims, volumes
from mtv_operator.embedded.provisioner.storage import Store
from mtv_operator.embedded.scheduler import fitting
from mtv_operator.objects import Caches, Client, Key
from mtv_operator.reconciling import Decision

COMPONENT = "persistentvolume-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"


@dataclass(frozen=True, slots=True)
class Shared:
    """What both controllers need."""

    client: Client
    caches: Caches
    store: Store


class Claims:
    """The controller of claims: classes, provisioning, binding, growth, protection."""

    name = "claims"

    def __init__(self, shared: Shared) -> None:
        self.client, self.store = shared.client, shared.store
        self.claims = shared.caches.watch(PersistentVolumeClaim)
        self.volumes = shared.caches.watch(PersistentVolume)
        self.classes = shared.caches.watch(StorageClass)
        self.pods = shared.caches.watch(Pod)
        self.nodes = shared.caches.watch(Node)

    def observe(self, key: Key) -> claims.Observed | None:
        """Return a claim and what it can be bound to."""
        claim = self.claims.get(key.namespace, key.name)
        if claim is None:
            return None
        pods = self.pods.list(key.namespace)
        if claim.metadata.deletion_timestamp:
            pods = self.client.list(Pod, key.namespace)  # the last word, before data may go
        return claims.Observed(
            claim=claim,
            classes={one.metadata.name: one for one in self.classes.list()},
            volumes=self.volumes.list(),
            users=[pod for pod in pods if uses(pod, key.name)],
            nodes=sorted(one.metadata.name for one in self.nodes.list()),
            free_bytes=self.store.free_bytes(),
            place=str(self.store.folder),
        )

    def decide(self, observed: claims.Observed, now: datetime) -> claims.Answer:
        """Return what to do with a claim."""
        return claims.decide(observed, now)

    def perform(self, observed: claims.Observed, action: claims.Action) -> None:
        """Do one thing for a claim. Raises MigrationError."""
        claim = observed.claim
        match action:
            case claims.AssignClass():
                self._patch(claim, {"spec": {"storageClassName": action.name}})
            case claims.Provision():
                self._provision(claim, action)
            case claims.BindTo():
                self._bind(claim, action.volume)
            case claims.Expand():
                self._expand(claim, action)
            case claims.Release():
                left = [one for one in claim.metadata.finalizers if one != claims.PROTECTION]
                body = {"resourceVersion": claim.metadata.resource_version, "finalizers": left}
                self._patch(claim, {"metadata": body})
            case claims.Refuse():
                self._refuse(claim, action)
            case claims.Lost():
                self._status(claim, {"phase": "Lost"})

    def write_status(self, observed: claims.Observed, status: PersistentVolumeClaimStatus) -> None:
        """Nothing: every action writes its part."""

    def _provision(self, claim: PersistentVolumeClaim, action: claims.Provision) -> None:
        try:
            path = self.store.make(action.name, action.size_bytes, block=action.block)
        except OSError as fault:
            raise errors.TargetRefused(
                f"volume {action.name}: {fault.strerror}",
                hint=f"look at the disk of {self.store.folder}",
            ) from fault
        volume = build(claim, action, path)
        try:
            volume = self.client.create(volume)
        except errors.AlreadyExists:
            volume = self.client.get(PersistentVolume, action.name)
        self.client.record(
            claim,
            "ProvisioningSucceeded",
            f"Successfully provisioned volume {action.name}",
            component=action.storage.provisioner,
        )
        self._bind(claim, volume)

    def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """Write both sides of a binding: the volume's first, as it is what must not be shared."""
        spec = volume.spec or PersistentVolumeSpec()
        owner = spec.claim_ref
        if owner is None or owner.uid != claim.metadata.uid:
            reference = msgspec.to_builtins(reference_to(claim))
            self.client.patch(
                PersistentVolume,
                volume.metadata.name,
                "",
                {
                    "metadata": {"resourceVersion": volume.metadata.resource_version},
                    "spec": {"claimRef": reference},
                },
            )
        finalizers = list(dict.fromkeys([*claim.metadata.finalizers, claims.PROTECTION]))
        annotations = {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
        if claims.is_ours(volume):
            annotations[PROVISIONER] = volume.metadata.annotations[PROVISIONED_BY]
        self._patch(
            claim,
            {
                "metadata": {
                    "uid": claim.metadata.uid,
                    "annotations": annotations,
                    "finalizers": finalizers,
                },
                "spec": {"volumeName": volume.metadata.name},
            },
        )
        self.client.patch(
            PersistentVolume,
            volume.metadata.name,
            "",
            {"status": {"phase": "Bound"}},
            subresource="status",
        )
        before = claim.status or PersistentVolumeClaimStatus()
        left = [one for one in before.conditions if one.type != claims.FAILED]
        self._status(
            claim,
            {
                "phase": "Bound",
                "accessModes": list(spec.access_modes),
                "capacity": dict(spec.capacity),
                "conditions": msgspec.to_builtins(left) or None,
            },
        )

    def _expand(self, claim: PersistentVolumeClaim, action: claims.Expand) -> None:
        path = Path(node_volumes.path_of(action.volume))
        self.store.grow(path, action.size_bytes)
        amount = (
            claim.spec.resources.requests["storage"] if claim.spec and claim.spec.resources else 0
        )
        body = {"spec": {"capacity": {"storage": amount}}}
        self.client.patch(PersistentVolume, action.volume.metadata.name, "", body)
        self._status(claim, {"capacity": {"storage": amount}})
        self.client.record(
            claim, "VolumeResizeSuccessful", f"Resized to {amount}", component=COMPONENT
        )

    def _refuse(self, claim: PersistentVolumeClaim, action: claims.Refuse) -> None:
        before = claim.status or PersistentVolumeClaimStatus()
        known = next((one for one in before.conditions if one.type == claims.FAILED), None)
        if known is not None and _words(known.message) == _words(action.message):
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        others = [one for one in before.conditions if one.type != claims.FAILED]
        conditions = [*others, claims.failure(action.message, now)]
        change = {
            "phase": before.phase or "Pending",
            "conditions": msgspec.to_builtins(conditions),
        }
        self._status(claim, change)
        self.client.record(
            claim, action.reason, action.message, type="Warning", component=COMPONENT
        )

    def _patch(self, claim: PersistentVolumeClaim, body: Mapping[str, Any]) -> None:
        self.client.patch(
            PersistentVolumeClaim, claim.metadata.name, claim.metadata.namespace, body
        )

    def _status(self, claim: PersistentVolumeClaim, change: Mapping[str, Any]) -> None:
        self.client.patch(
            PersistentVolumeClaim,
            claim.metadata.name,
            claim.metadata.namespace,
            {"metadata": {"uid": claim.metadata.uid}, "status": change},
            subresource="status",
        )


class Volumes:
    """The controller of volumes: their phase, and their end."""

    name = "volumes"

    def __init__(self, shared: Shared) -> None:
        self.client, self.store = shared.client, shared.store
        self.volumes = shared.caches.watch(PersistentVolume)
        self.claims = shared.caches.watch(PersistentVolumeClaim)

    def observe(self, key: Key) -> volumes.Observed | None:
        """Return a volume and its claim; that a claim is gone is asked of the server itself."""
        volume = self.volumes.get("", key.name)
        if volume is None:
            return None
        owner = volume.spec.claim_ref if volume.spec else None
        claim = self.claims.get(owner.namespace, owner.name) if owner else None
        if owner and owner.uid and (claim is None or claim.metadata.uid != owner.uid):
            claim = self.client.find(PersistentVolumeClaim, owner.name, owner.namespace)
        users = []
        if claims.is_ours(volume):
            users = devices.in_use(self.store.folder, Path(node_volumes.path_of(volume)).name)
        return volumes.Observed(volume=volume, claim=claim, users=users)

    def decide(self, observed: volumes.Observed, now: datetime) -> Decision[volumes.Action, None]:
        """Return what to do with a volume."""
        return volumes.decide(observed, now)

    def perform(self, observed: volumes.Observed, action: volumes.Action) -> None:
        """Do one thing for a volume."""
        found = observed.volume.metadata
        match action:
            case volumes.SetPhase():
                body = {"status": {"phase": action.phase}}
                self.client.patch(PersistentVolume, found.name, "", body, subresource="status")
            case volumes.Destroy():
                self.store.destroy(Path(node_volumes.path_of(observed.volume)))
                self.client.delete(PersistentVolume, found.name, uid=found.uid)
                self._unprotect(found)
            case volumes.Unprotect():
                self._unprotect(found)

    def _unprotect(self, found: ObjectMeta) -> None:
        if volumes.PROTECTION in found.finalizers:
            left = [one for one in found.finalizers if one != volumes.PROTECTION]
            try:
                body = {"metadata": {"uid": found.uid, "finalizers": left}}
                self.client.patch(PersistentVolume, found.name, "", body)
            except errors.NotFound:
                return

    def write_status(self, observed: volumes.Observed, status: None) -> None:
        """Nothing: every action writes its part."""


def uses(pod: Pod, claim: str) -> bool:
    """Tell whether a pod that has not ended names a claim."""
    ended = pod.status is not None and pod.status.phase in fitting.ENDED
    return not ended and claim in fitting.claims_of(pod)


def build(claim: PersistentVolumeClaim, action: claims.Provision, path: Path) -> PersistentVolume:
    """Return the object of a volume that was made for a claim. Pure."""
    spec = claim.spec
    here = NodeSelectorRequirement(
        key="kubernetes.io/hostname", operator="In", values=(action.node,)
    )
    only_here = NodeSelector(node_selector_terms=(NodeSelectorTerm(match_expressions=(here,)),))
    resources = spec.resources if spec else None
    return PersistentVolume(
        metadata=ObjectMeta(
            name=action.name,
            annotations={PROVISIONED_BY: action.storage.provisioner},
            finalizers=(volumes.PROTECTION,),
        ),
        spec=PersistentVolumeSpec(
            access_modes=spec.access_modes if spec else (),
            capacity={"storage": resources.requests["storage"] if resources else 0},
            claim_ref=reference_to(claim),
            persistent_volume_reclaim_policy=action.storage.reclaim_policy or "Delete",
            storage_class_name=action.storage.metadata.name,
            volume_mode="Block" if action.block else "Filesystem",
            mount_options=action.storage.mount_options,
            node_affinity=VolumeNodeAffinity(required=only_here) if action.node else None,
            local=LocalVolumeSource(path=str(path)) if action.node else None,
            host_path=None if action.node else HostPathVolumeSource(path=str(path)),
        ),
    )


def _words(message: str | None) -> str:
    """Return a message without its numbers: free space changes all the time."""
    return "".join(letter for letter in message or "" if not letter.isdigit())
