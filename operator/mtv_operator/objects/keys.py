"""How an object is named within its kind."""

from __future__ import annotations

from typing import NamedTuple

from mtv.api import meta


class Key(NamedTuple):
    """Namespace ("" for cluster-wide kinds) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(target: meta.Object) -> Key:
    """Return the key of an object."""
    return Key(target.metadata.namespace, target.metadata.name)
