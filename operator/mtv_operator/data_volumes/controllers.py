"""The controllers of DataVolumes and of the claims that they fill: what they read, and do."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import cdi, configuration, core, json_patch, meta, upload_token
from mtv_operator.data_volumes import data_volume, filling, names
from mtv_operator.objects import Cache, Caches, Client, Key
from mtv_operator.reconciling import Controller

COMPONENT = "datavolume-controller"
Enqueue = Callable[[str, Key], None]


class DataVolumes:
    """Makes the claims of DataVolumes, and says how far they are."""

    name = "data-volume"

    def __init__(
        self,
        client: Client,
        volumes: Cache[cdi.DataVolume],
        claims: Cache[core.PersistentVolumeClaim],
        classes: Cache[core.StorageClass],
    ) -> None:
        self._client = client
        self._volumes, self._claims, self._classes = volumes, claims, classes

    def observe(self, key: Key) -> data_volume.Observed | None:
        """Return the DataVolume and its claims."""
        wanted = self._volumes.get(*key)
        if wanted is None:
            return None
        source = wanted.spec.source.pvc if wanted.spec.source is not None else None
        namespace = (source.namespace or key.namespace) if source is not None else ""
        return data_volume.Observed(
            wanted=wanted,
            claim=self._claims.get(*key),
            source_claim=self._claims.get(namespace, source.name) if source is not None else None,
            classes=tuple(self._classes.list()),
        )

    def decide(self, observed: data_volume.Observed, now: datetime) -> data_volume.Plan:
        """Return what the DataVolume needs."""
        return data_volume.decide(observed, now)

    def perform(self, observed: data_volume.Observed, action: data_volume.CreateClaim) -> None:
        """Make the claim."""
        try:
            self._client.create(action.claim)
        except errors.AlreadyExists:
            return  # ours from an earlier pass, or somebody's: the next look tells
        message = f"Created PVC {action.claim.metadata.name}"
        self._client.record(observed.wanted, "PVCCreated", message, component=COMPONENT)

    def write_status(self, observed: data_volume.Observed, status: cdi.DataVolumeStatus) -> None:
        """Store the status where it differs, and say what is new."""
        before = observed.wanted.status or cdi.DataVolumeStatus()
        if status == before:
            return
        self._client.replace_status(msgspec.structs.replace(observed.wanted, status=status))
        trouble, known = _trouble(status), _trouble(before)
        if trouble and trouble != known:
            self._client.record(
                observed.wanted, "Error", trouble, type="Warning", component=COMPONENT
            )
        if status.phase != before.phase:
            reason = status.phase or "Pending"
            message = f"{observed.wanted.metadata.name}: {reason}"
            self._client.record(observed.wanted, reason, message, component=COMPONENT)


def _trouble(status: cdi.DataVolumeStatus) -> str:
    return next((one.message or "" for one in status.conditions if one.type == "Running"), "")


class Fillings:
    """Fills claims: one worker pod each."""

    name = "claim-filling"

    def __init__(
        self,
        client: Client,
        claims: Cache[core.PersistentVolumeClaim],
        pods: Cache[core.Pod],
        image: str,
    ) -> None:
        self._client, self._claims, self._pods, self._image = client, claims, pods, image

    def observe(self, key: Key) -> filling.Observed | None:
        """Return the claim and its worker."""
        claim = self._claims.get(*key)
        if claim is None or not names.is_to_fill(claim):
            return None
        try:
            source = filling.source_of(claim).pvc
        except errors.BadInput:
            source = None
        namespace = (source.namespace or key.namespace) if source is not None else ""
        return filling.Observed(
            claim=claim,
            pod=next(iter(self._pods.by_owner(claim.metadata.uid)), None),
            source_claim=self._claims.get(namespace, source.name) if source is not None else None,
            image=self._image,
        )

    def decide(self, observed: filling.Observed, now: datetime) -> filling.Plan:
        """Return what the claim needs."""
        return filling.decide(observed, now)

    def perform(self, observed: filling.Observed, action: filling.Action) -> None:
        """Carry out one action."""
        namespace = observed.claim.metadata.namespace
        match action:
            case filling.CreatePod(pod=pod, needs_key=needs_key):
                if needs_key:
                    self._make_key(observed.claim)
                try:
                    self._client.create(pod)
                except errors.AlreadyExists:
                    return  # made by an earlier pass; its name is the claim's alone
            case filling.DeletePod(name=name, uid=uid):
                self._client.delete(core.Pod, name, namespace, uid=uid)
            case _:
                assert_never(action)

    def _make_key(self, claim: core.PersistentVolumeClaim) -> None:
        """Make the key by which uploads into the claim are allowed."""
        key = upload_token.claim_key(self._root_key(), claim.metadata.uid)
        secret = core.Secret(
            metadata=meta.ObjectMeta(
                name=upload_token.secret_name(claim.metadata.name),
                namespace=claim.metadata.namespace,
                owner_references=(meta.owner_of(claim),),
            ),
            data={upload_token.KEY: key},
        )
        with contextlib.suppress(errors.AlreadyExists):
            self._client.create(secret)

    def _root_key(self) -> bytes:
        """Return the key that all others are made of; the first who needs it makes it."""
        metadata = meta.ObjectMeta(name=upload_token.ROOT_SECRET, namespace=configuration.NAMESPACE)
        new = core.Secret(
            metadata=metadata,
            data={upload_token.KEY: secrets.token_bytes(upload_token.KEY_BYTES)},
        )
        found = self._client.find(core.Secret, metadata.name, metadata.namespace)
        if found is None:
            with contextlib.suppress(errors.AlreadyExists):
                self._client.create(new)
            found = self._client.get(core.Secret, metadata.name, metadata.namespace)
        return found.data[upload_token.KEY]

    def write_status(self, observed: filling.Observed, status: filling.Annotations) -> None:
        """Store the annotations where they differ."""
        claim = observed.claim
        if status == claim.metadata.annotations:
            return
        operations: list[json_patch.Operation] = [
            json_patch.same_version(claim.metadata.resource_version),
            {"op": "add", "path": "/metadata/annotations", "value": status},
        ]
        metadata = claim.metadata
        try:
            self._client.json_patch(type(claim), metadata.name, metadata.namespace, operations)
        except errors.NotFound:
            return  # it is gone: nothing to say any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The controllers, and how they hear of changes."""

    controllers: tuple[Controller, ...]
    wire: Callable[[Enqueue], None]


def build(client: Client, caches: Caches, image: str) -> Built:
    """Return the controllers; the caches know afterwards what is to be watched."""
    volumes = caches.watch(cdi.DataVolume)
    claims = caches.watch(core.PersistentVolumeClaim)
    classes = caches.watch(core.StorageClass)
    pods = caches.watch(core.Pod, labels=f"{names.APP}={names.WORKER}")

    def of_claim(enqueue: Enqueue, key: Key) -> None:
        enqueue(Fillings.name, key)
        enqueue(DataVolumes.name, key)
        for one in claims.list(key.namespace):  # clones that wait for this one
            if f'"{key.name}"' in one.metadata.annotations.get(names.SOURCE, ""):
                enqueue(Fillings.name, Key(key.namespace, one.metadata.name))
        for wanted in volumes.list(key.namespace):
            source = wanted.spec.source.pvc if wanted.spec.source is not None else None
            if source is not None and source.name == key.name:
                enqueue(DataVolumes.name, Key(key.namespace, wanted.metadata.name))

    def of_pod(enqueue: Enqueue, key: Key, pod: core.Pod | None) -> None:
        if pod is not None:
            for owner in pod.metadata.owner_references:
                enqueue(Fillings.name, Key(key.namespace, owner.name))
            return
        for claim in claims.list(key.namespace):  # whose it was is no longer known
            if not names.is_filled(claim):
                enqueue(Fillings.name, Key(key.namespace, claim.metadata.name))

    def wire(enqueue: Enqueue) -> None:
        volumes.on_change(lambda key, _: enqueue(DataVolumes.name, key))
        claims.on_change(lambda key, _: of_claim(enqueue, key))
        pods.on_change(lambda key, pod: of_pod(enqueue, key, pod))

    found = (DataVolumes(client, volumes, claims, classes), Fillings(client, claims, pods, image))
    return Built(controllers=found, wire=wire)
