"""Definitions that are deleted take their custom resources with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtv_operator.embedded.apiserver import definitions, writing
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.namespaces import CONTROLLER
from mtv_operator.embedded.apiserver.registry import DEFINITIONS
from mtv_operator.embedded.apiserver.storage import Change, Entry, Key
from mtv_operator.embedded.apiserver.worklist import Worklist


class Cleaner:
    """Empties the tables of definitions that go. A table is named as its definition is."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._work: Worklist[str] = Worklist("definitions")
        self._going: set[str] = set()

    async def run(self) -> None:
        """Clean until cancelled."""
        store = self._deps.store
        for entry in store.table(DEFINITIONS).select(""):
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
            if key.resource == DEFINITIONS:
                if change.kind == "DELETED":
                    self._going.discard(key.name)
                else:
                    self._see(change.entry)
            elif key.resource in self._going:
                self._work.add(key.resource)

    async def _look_at(self, name: str) -> None:
        deps = self._deps
        definition = deps.registry.of_table(DEFINITIONS)
        assert definition is not None
        served = deps.registry.of_table(name)
        keys = deps.store.head_keys(name)
        for key in keys if served is not None else ():
            head = deps.store.head(key)
            if served is not None and head is not None and not head.meta.deletion_timestamp:
                await writing.remove(deps, served, key, CONTROLLER, propagation="Background")
        if not deps.store.head_keys(name) or served is None:
            await writing.amend(deps, definition, Key(DEFINITIONS, "", name), _release)


def _release(document: dict[str, Any]) -> None:
    metadata = document["metadata"]
    left = [one for one in metadata.get("finalizers") or () if one != definitions.CLEANUP]
    if left:
        metadata["finalizers"] = left
    else:
        metadata.pop("finalizers", None)
