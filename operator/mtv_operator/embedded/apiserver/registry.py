"""Which resources are served: the built-in kinds, and those of CustomResourceDefinitions.

A definition takes effect with the commit that stores it. Versions of one resource share their
objects; the stored form is the storage version's, and only `apiVersion` differs between them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtv_operator.embedded.apiserver import kinds, schemas, status
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.schemas import Schema

log = logging.getLogger(__name__)

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


def _question(group: str, kind: str, *, namespaced: bool = False) -> ResourceInfo:
    return ResourceInfo(
        group=group,
        version="v1",
        kind=kind,
        plural=kind.lower() + "s",
        singular=kind.lower(),
        namespaced=namespaced,
        verbs=("create",),
        list_kind=f"{kind}List",
    )


# Answered and not stored; what is asked has no schema, `reviews` reads it field by field.
QUESTIONS = (
    _question("authentication.k8s.io", "SelfSubjectReview"),
    _question("authorization.k8s.io", "LocalSubjectAccessReview", namespaced=True),
    _question("authorization.k8s.io", "SelfSubjectRulesReview"),
)


@dataclass(frozen=True)
class Served:
    """One version of a resource, ready to be asked for."""

    info: ResourceInfo
    stored_as: str  # the apiVersion in storage
    definition: str = ""  # the name of the CustomResourceDefinition; "" for a built-in kind
    terminating: bool = False  # the definition is being deleted: nothing new is made

    @cached_property
    def table(self) -> str:
        """Return the name under which the objects are stored."""
        if self.info.plural == "events":
            return "events"  # core and events.k8s.io show the same objects
        return status.qualified(self.info.group, self.info.plural)

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone for the core."""
        return self.info.api_version

    @cached_property
    def schema(self) -> Schema | None:
        """Return the compiled schema, None when anything goes."""
        return schemas.compile(self.info.schema) if self.info.schema else None


class Registry:
    """What is served now. Changed only by `update`."""

    def __init__(self) -> None:
        self._builtin = [
            Served(info, "v1" if info.plural == "events" else info.api_version)
            for info in (*kinds.BUILTIN, *QUESTIONS)
        ]
        self._custom: dict[str, tuple[Served, ...]] = {}
        self._by_path: dict[tuple[str, str, str], Served] = {}
        self._cached: dict[str, Any] = {}
        self.generation = 0
        self._index()

    def find(self, group: str, version: str, plural: str) -> Served | None:
        """Return what is served under this group, version and plural."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Served | None:
        """Return what serves a kind, as owner references name it."""
        return self._by_kind.get((api_version, kind))

    def of_table(self, table: str) -> Served | None:
        """Return one version of the resource stored under this name."""
        return self._by_table.get(table)

    def all(self) -> Iterable[Served]:
        """Return every version of every resource."""
        return self._by_path.values()

    def infos(self) -> list[ResourceInfo]:
        """Return the description of every version of every resource."""
        return [served.info for served in self._by_path.values()]

    def has_group_version(self, group: str, version: str) -> bool:
        """Return whether anything of this group and version is served here."""
        return (group, version) in self._group_versions

    def update(self, name: str, definition: dict[str, Any] | None) -> None:
        """Serve what a definition says, or stop (None)."""
        self._custom.pop(name, None)
        if definition is not None and _accepted(definition):
            try:
                self._custom[name] = tuple(_served(definition))
            except (KeyError, TypeError, AttributeError, StopIteration) as error:
                # Stored by a version that thought otherwise of what is right.
                log.error("definition %s is not served: %r", name, error)
        self._index()

    def _index(self) -> None:
        everything = [*self._builtin, *(one for many in self._custom.values() for one in many)]
        self._by_path = {
            (one.info.group, one.info.version, one.info.plural): one for one in everything
        }
        self._by_kind = {(one.api_version, one.info.kind): one for one in everything}
        self._by_table = {one.table: one for one in reversed(everything)}
        self._group_versions = {(one.info.group, one.info.version) for one in everything}
        self.generation += 1


def _served(definition: dict[str, Any]) -> Iterable[Served]:
    spec = definition["spec"]
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    for info in kinds.from_checked(definition):
        yield Served(
            info,
            f"{spec['group']}/{stored}",
            definition=definition["metadata"]["name"],
            terminating="deletionTimestamp" in definition["metadata"],
        )


def _accepted(definition: dict[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions", ())
    return any(
        condition.get("type") == "Established" and condition.get("status") == "True"
        for condition in conditions
    )
