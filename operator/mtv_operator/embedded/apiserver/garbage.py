"""Garbage: objects whose owners are gone go too; foreground and orphan deletion.

After Kubernetes' `pkg/controller/garbagecollector`: a dependent goes when none of its owners
exists; an owner with the finalizer `foregroundDeletion` waits for those dependents that block it;
with `orphan`, its dependents lose the reference and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtv_operator.embedded.apiserver import writing
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import User
from mtv_operator.embedded.apiserver.metadata import FOREGROUND, ORPHAN
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.storage import Change, Entry, Key, OwnerReference
from mtv_operator.embedded.apiserver.worklist import Worklist

COLLECTOR = User(
    name="system:serviceaccount:kube-system:generic-garbage-collector",
    groups=("system:masters", "system:authenticated"),
)


class Collector:
    """Knows who owns whom, and acts on what changes."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._work: Worklist[Key] = Worklist("garbage")
        self._uids: dict[str, Key] = {}
        self._owned: dict[str, set[Key]] = {}  # by the owner's uid
        self._owners: dict[Key, tuple[str, ...]] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        store = self._deps.store
        entries = [entry for table in store.tables() for entry in store.table(table).select("")]
        for entry in entries:
            self._index(entry)
        for entry in entries:
            self._look(entry)
        stop = store.listen("", self._on_changes)
        try:
            await self._work.run(self._collect)
        finally:
            stop()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.kind == "DELETED":
                self._forget(change.entry)
            else:
                self._index(change.entry)
                self._look(change.entry)

    def _index(self, entry: Entry) -> None:
        key, meta = entry.key, entry.meta
        self._uids[meta.uid] = key
        owners = tuple(one.uid for one in meta.owner_references or ())
        known = self._owners.get(key, ())
        if owners == known:
            return
        for uid in known:
            self._disown(uid, key)
        for uid in owners:
            self._owned.setdefault(uid, set()).add(key)
        if owners:
            self._owners[key] = owners
        else:
            self._owners.pop(key, None)

    def _disown(self, uid: str, key: Key) -> None:
        keys = self._owned.get(uid)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._owned[uid]

    def _look(self, entry: Entry) -> None:
        """Name the object if there may be something to do about it."""
        meta = entry.meta
        finalizers = meta.finalizers or ()
        ending = meta.deletion_timestamp and (FOREGROUND in finalizers or ORPHAN in finalizers)
        if ending or any(one.uid not in self._uids for one in meta.owner_references or ()):
            self._work.add(entry.key)

    def _forget(self, entry: Entry) -> None:
        key, meta = entry.key, entry.meta
        if self._uids.get(meta.uid) == key:
            del self._uids[meta.uid]
        for uid in self._owners.pop(key, ()):
            self._disown(uid, key)
            if uid in self._uids:
                self._work.add(self._uids[uid])
        for dependent in self._owned.get(meta.uid, ()):
            self._work.add(dependent)

    async def _collect(self, key: Key) -> None:
        entry = self._deps.store.head(key)
        served = self._deps.registry.of_table(key.resource)
        if entry is None or served is None:
            return
        meta = entry.meta
        finalizers = meta.finalizers or ()
        if meta.deletion_timestamp and ORPHAN in finalizers:
            await self._orphan(served, entry)
        elif meta.deletion_timestamp and FOREGROUND in finalizers:
            await self._foreground(served, entry)
        elif meta.owner_references and not meta.deletion_timestamp:
            await self._check_owners(served, entry, meta.owner_references)

    async def _check_owners(
        self, served: Served, entry: Entry, owners: Sequence[OwnerReference]
    ) -> None:
        gone = {one.uid for one in owners if self._is_gone(one)}
        if not gone:
            return
        if len(gone) < len(owners):
            await writing.amend(self._deps, served, entry.key, lambda it: _drop(it, gone))
            return
        uid = entry.meta.uid
        await writing.remove(
            self._deps, served, entry.key, COLLECTOR, propagation="Background", uid=uid
        )

    def _is_gone(self, owner: OwnerReference) -> bool:
        """Return whether an owner is known not to exist; of an unknown kind nothing is known."""
        if owner.uid in self._uids:
            return False
        return self._deps.registry.of_kind(owner.api_version, owner.kind) is not None

    async def _foreground(self, served: Served, entry: Entry) -> None:
        """Delete the dependents; let the owner go once none of them blocks it."""
        uid = entry.meta.uid
        blocked = False
        for key in sorted(self._owned.get(uid, ())):
            dependent = self._deps.store.head(key)
            of = self._deps.registry.of_table(key.resource)
            if dependent is None or of is None:
                continue
            owners = dependent.meta.owner_references or ()
            if any(one.uid != uid and not self._is_gone(one) for one in owners):
                await writing.amend(self._deps, of, key, lambda it: _drop(it, {uid}))
                continue
            blocked = blocked or any(one.uid == uid and one.block_owner_deletion for one in owners)
            if dependent.meta.deletion_timestamp:
                continue
            propagation = "Foreground" if dependent.meta.uid in self._owned else "Background"
            await writing.remove(
                self._deps, of, key, COLLECTOR, propagation=propagation, uid=dependent.meta.uid
            )
        if not blocked:
            await writing.amend(self._deps, served, entry.key, lambda it: _finish(it, FOREGROUND))

    async def _orphan(self, served: Served, entry: Entry) -> None:
        uid = entry.meta.uid
        for key in sorted(self._owned.get(uid, ())):
            of = self._deps.registry.of_table(key.resource)
            if of is not None:
                await writing.amend(self._deps, of, key, lambda it: _drop(it, {uid}))
        await writing.amend(self._deps, served, entry.key, lambda it: _finish(it, ORPHAN))


def _drop(document: dict[str, Any], uids: set[str]) -> None:
    """Take owner references away."""
    metadata = document["metadata"]
    left = [one for one in metadata.get("ownerReferences") or () if one.get("uid") not in uids]
    if left:
        metadata["ownerReferences"] = left
    else:
        metadata.pop("ownerReferences", None)


def _finish(document: dict[str, Any], finalizer: str) -> None:
    """Take a finalizer away."""
    metadata = document["metadata"]
    left = [one for one in metadata.get("finalizers") or () if one != finalizer]
    if left:
        metadata["finalizers"] = left
    else:
        metadata.pop("finalizers", None)
