"""CustomResourceDefinitions: what is filled in, and what the status of one says. Pure.

A definition is established by the write that stores it, so that its resource can be used at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mtv_operator.embedded.apiserver.kinds import ResourceInfo

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
Document = dict[str, Any]


def default(document: Document) -> None:
    """Fill in what a definition may leave out."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("conversion", {"strategy": "None"})
    wanted = spec.get("names")
    if isinstance(wanted, dict) and isinstance(wanted.get("kind"), str):
        wanted.setdefault("singular", wanted["kind"].lower())
        wanted.setdefault("listKind", f"{wanted['kind']}List")


def establish(document: Document, served: Iterable[ResourceInfo], now: str) -> None:
    """Write the status: established, or which name is taken by somebody else."""
    spec = document["spec"]
    wanted = spec["names"]
    taken = _taken(spec["group"], wanted, served)
    status = document.setdefault("status", {})
    old = {one.get("type"): one for one in status.get("conditions") or ()}
    accepted = (
        ("False", "NameConflict", taken) if taken else ("True", "NoConflicts", "no conflicts found")
    )
    established = (
        ("False", "NotAccepted", "not all names are accepted")
        if taken
        else ("True", "InitialNamesAccepted", "the initial names have been accepted")
    )
    status["conditions"] = [
        _condition("NamesAccepted", accepted, old.get("NamesAccepted"), now),
        _condition("Established", established, old.get("Established"), now),
    ] + [one for kind, one in old.items() if kind not in ("NamesAccepted", "Established")]
    status["acceptedNames"] = {} if taken else dict(wanted)
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    versions = status.setdefault("storedVersions", [])
    if stored not in versions:
        versions.append(stored)


def _taken(group: str, wanted: Document, served: Iterable[ResourceInfo]) -> str:
    """Return which name another resource of the group has, "" when all are free."""
    mine = {wanted["plural"], wanted.get("singular", ""), *(wanted.get("shortNames") or ())} - {""}
    for info in served:
        if info.group != group or info.plural == wanted["plural"]:
            continue
        if info.kind == wanted["kind"]:
            return f'"{wanted["kind"]}" is already in use'
        clash = mine & {info.plural, info.singular, *info.short_names}
        if clash:
            return f'"{sorted(clash)[0]}" is already in use'
    return ""


def _condition(kind: str, told: tuple[str, str, str], old: Document | None, now: str) -> Document:
    value, reason, message = told
    since = old["lastTransitionTime"] if old and old.get("status") == value else now
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }
