"""Problems of a NetworkMap or a StorageMap, under the types that Forklift's conditions have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtv.planning.mappings import Destination, Networks, Reason, Storage, Unresolved
from mtv.planning.problems import Category, Problem
from mtv.planning.target import STATIC_PROVISIONER, Target

SOURCE_NETWORK = "SourceNetworkNotValid"
DESTINATION_NETWORK = "DestinationNetworkNotValid"
SOURCE_STORAGE = "SourceStorageNotValid"
DESTINATION_STORAGE = "DestinationStorageNotValid"


def of_networks(networks: Networks, target: Target, *, namespace: str = "") -> tuple[Problem, ...]:
    """Return what is wrong with a NetworkMap; `namespace` is that of the VMs, if it is known."""
    return (
        *_unresolved(networks.unresolved, SOURCE_NETWORK, DESTINATION_NETWORK),
        *_attachments(networks, target, namespace),
    )


def of_storage(storage: Storage, target: Target) -> tuple[Problem, ...]:
    """Return what is wrong with a StorageMap."""
    return (
        *_unresolved(storage.unresolved, SOURCE_STORAGE, DESTINATION_STORAGE),
        *_storage_classes(storage, target),
        *_twice(storage),
    )


def _unresolved(found: Iterable[Unresolved], source: str, destination: str) -> Iterator[Problem]:
    for one in found:
        yield Problem(
            type=destination if ".destination" in one.field else source,
            category=Category.CRITICAL,
            reason=one.reason,
            message=one.message,
            field=one.field,
        )


def _attachments(networks: Networks, target: Target, namespace: str) -> Iterator[Problem]:
    if target.network_attachments is None:
        return
    for pair in networks.pairs:
        if pair.destination is not Destination.MULTUS or not (pair.namespace or namespace):
            continue
        name = f"{pair.namespace or namespace}/{pair.name}"
        if name not in target.network_attachments:
            yield Problem(
                type=DESTINATION_NETWORK,
                category=Category.CRITICAL,
                reason=Reason.NOT_FOUND,
                message=f"there is no NetworkAttachmentDefinition {name}",
                field=f"{pair.field}.destination",
            )


def _storage_classes(storage: Storage, target: Target) -> Iterator[Problem]:
    for pair in storage.pairs:
        if target.storage_classes is None:
            continue
        known = target.storage_classes.get(pair.storage_class)
        field = f"{pair.field}.destination.storageClass"
        if known is None:
            there = ", ".join(sorted(target.storage_classes)) or "none"
            yield Problem(
                type=DESTINATION_STORAGE,
                category=Category.CRITICAL,
                reason=Reason.NOT_FOUND,
                message=f"there is no storage class {pair.storage_class!r}; there are: {there}",
                field=field,
            )
        elif known.provisioner == STATIC_PROVISIONER:
            yield Problem(
                type=DESTINATION_STORAGE,
                category=Category.CRITICAL,
                reason="NotSupported",
                message=f"storage class {pair.storage_class!r} makes no volumes on demand",
                field=field,
            )


def _twice(storage: Storage) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for pair in storage.pairs:
        if pair.source.id in first:
            yield Problem(
                type=SOURCE_STORAGE,
                category=Category.WARN,
                reason="NotUnique",
                message=f"datastore {pair.source.name!r} is mapped by {first[pair.source.id]} too, "
                "which wins",
                field=f"{pair.field}.source",
            )
        first.setdefault(pair.source.id, pair.field)
