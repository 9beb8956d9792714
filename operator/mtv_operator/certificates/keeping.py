"""Reads and stores the certificates of a set of servers; several processes may, at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import core, meta
from mtv_operator.certificates import rotation
from mtv_operator.certificates.issuing import Identity
from mtv_operator.certificates.rotation import KeepAuthority, KeepBundle, KeepServer
from mtv_operator.objects import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where certificates lie, and for whom they are."""

    namespace: str
    authority: str  # of the Secret, and of the ConfigMap with what is to be believed
    identities: Mapping[str, Identity]  # by the name of the Secret
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What lies there."""

    authority: core.Secret | None
    bundle: core.ConfigMap | None
    servers: Mapping[str, core.Secret]


def read(client: Client, store: Store) -> Stored:
    """Return what is stored. Raises MigrationError."""
    find = client.find
    servers = {name: find(core.Secret, name, store.namespace) for name in store.identities}
    return Stored(
        authority=find(core.Secret, store.authority, store.namespace),
        bundle=find(core.ConfigMap, store.authority, store.namespace),
        servers={name: secret for name, secret in servers.items() if secret is not None},
    )


def decide(
    store: Store, stored: Stored, wanted: rotation.Lifetimes, now: datetime
) -> tuple[rotation.Action, ...]:
    """Return what is to be stored. Pure but for new keys."""
    found = rotation.decide(
        stored.authority.data if stored.authority is not None else {},
        stored.bundle.data.get(rotation.BUNDLE, "") if stored.bundle is not None else "",
        {name: secret.data for name, secret in stored.servers.items()},
        store.identities,
        wanted,
        now,
    )
    return tuple(found)


def perform(client: Client, store: Store, stored: Stored, action: rotation.Action) -> None:
    """Store one Secret or ConfigMap. Raises Conflict when somebody else did meanwhile."""
    match action:
        case KeepAuthority(data=data):
            _keep(client, _secret(store, store.authority, data, "Opaque"), stored.authority)
        case KeepBundle(text=text):
            metadata = _metadata(store, store.authority)
            bundle = core.ConfigMap(metadata=metadata, data={rotation.BUNDLE: text})
            _keep(client, bundle, stored.bundle)
        case KeepServer(name=name, pair=pair):
            content = {rotation.CERTIFICATE: pair.certificate, rotation.KEY: pair.key}
            secret = _secret(store, name, content, "kubernetes.io/tls")
            _keep(client, secret, stored.servers.get(name))
        case _:
            assert_never(action)


def _keep(client: Client, wanted: core.Secret | core.ConfigMap, there: meta.Object | None) -> None:
    if there is None:
        try:
            client.create(wanted)
        except errors.AlreadyExists as fault:
            raise errors.Conflict(str(fault)) from fault
        return
    version = there.metadata.resource_version
    metadata = msgspec.structs.replace(wanted.metadata, resource_version=version)
    client.replace(msgspec.structs.replace(wanted, metadata=metadata))


def _metadata(store: Store, name: str) -> meta.ObjectMeta:
    return meta.ObjectMeta(name=name, namespace=store.namespace, labels=store.labels)


def _secret(store: Store, name: str, data: dict[str, bytes], kind: str) -> core.Secret:
    return core.Secret(metadata=_metadata(store, name), type=kind, data=data)
