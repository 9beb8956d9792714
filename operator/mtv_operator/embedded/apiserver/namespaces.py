"""Namespaces: what each one gets, and how one that is deleted becomes empty and goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtv_operator.embedded.apiserver import builtin, housekeeping, writing
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import User
from mtv_operator.embedded.apiserver.storage import Change, Entry, Key
from mtv_operator.embedded.apiserver.worklist import Worklist

CONTROLLER = User(
    name="system:serviceaccount:kube-system:namespace-controller",
    groups=("system:masters", "system:authenticated"),
)
AUTHORITY = "kube-root-ca.crt"  # the ConfigMap by which pods know this server
OWN_OBJECTS = frozenset({("serviceaccounts", "default"), ("configmaps", AUTHORITY)})


class Keeper:
    """Keeps every namespace as it must be."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._work: Worklist[str] = Worklist("namespaces")
        self._authority = deps.front_proxy.ca.read_text()
        self._going: set[str] = set()

    async def run(self) -> None:
        """Keep until cancelled."""
        store = self._deps.store
        for entry in store.table("namespaces").select(""):
            self._see(entry)
        stop = store.listen("", self._on_changes)
        try:
            await self._work.run(self._look_at)
        finally:
            stop()

    def _see(self, entry: Entry) -> None:
        if entry.meta.deletion_timestamp:
            self._going.add(entry.key.name)
        self._work.add(entry.key.name)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            key = change.entry.key
            if key.resource == "namespaces":
                if change.kind == "DELETED":
                    self._going.discard(key.name)
                else:
                    self._see(change.entry)
            elif key.namespace in self._going or (
                change.kind == "DELETED" and (key.resource, key.name) in OWN_OBJECTS
            ):
                self._work.add(key.namespace)

    async def _look_at(self, name: str) -> None:
        entry = self._deps.store.head(Key("namespaces", "", name))
        if entry is None:
            return
        if entry.meta.deletion_timestamp:
            await self._empty(entry)
            return
        for staged in (
            housekeeping.make(
                self._deps, Key("serviceaccounts", name, "default"), "v1", "ServiceAccount"
            ),
            housekeeping.make(
                self._deps,
                Key("configmaps", name, AUTHORITY),
                "v1",
                "ConfigMap",
                data={"ca.crt": self._authority},
            ),
        ):
            if staged is not None:
                await staged

    async def _empty(self, entry: Entry) -> None:
        """Delete all that is in a namespace; let it go once nothing is left."""
        deps, name = self._deps, entry.key.name
        left = 0
        for table in {served.table for served in deps.registry.all() if served.info.namespaced}:
            served = deps.registry.of_table(table)
            assert served is not None
            for key in deps.store.head_keys(table, name):
                left += 1
                head = deps.store.head(key)
                if head is not None and not head.meta.deletion_timestamp:
                    await writing.remove(deps, served, key, CONTROLLER, propagation="Background")
        if left == 0:
            served = deps.registry.of_table("namespaces")
            assert served is not None
            await writing.amend(deps, served, entry.key, _release)


def _release(document: dict[str, Any]) -> None:
    spec = document.get("spec") or {}
    left = [one for one in spec.get("finalizers") or () if one != builtin.NAMESPACE_FINALIZER]
    document["spec"] = {**spec, "finalizers": left}
    if not left:
        del document["spec"]["finalizers"]
