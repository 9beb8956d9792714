"""CustomResourceDefinitions: what is wrong with one, and what its status says. Pure.

A definition is established by the write that stores it, so that its resource can be used at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mtv_operator.embedded.apiserver import names
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.schemas import FieldError

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


def problems(document: Document) -> list[FieldError]:
    """Return everything wrong with a definition."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return [names.required("spec")]
    found = [
        names.required(f"spec.{name}") for name in ("group", "scope", "names") if not spec.get(name)
    ]
    wanted = spec.get("names") or {}
    found += [
        names.required(f"spec.names.{name}") for name in ("plural", "kind") if not wanted.get(name)
    ]
    if spec.get("scope") and spec["scope"] not in ("Namespaced", "Cluster"):
        message = f'Unsupported value: "{spec["scope"]}": supported values: "Cluster", "Namespaced"'
        found.append(
            FieldError(path="spec.scope", reason="FieldValueNotSupported", message=message)
        )
    expected = f"{wanted.get('plural', '')}.{spec.get('group', '')}"
    if document["metadata"].get("name") != expected:
        rule = 'must be spec.names.plural+"."+spec.group'
        found.append(names.invalid("metadata.name", document["metadata"].get("name"), rule))
    if not found:
        found += _version_problems(spec.get("versions") or [])
    return found


def _version_problems(versions: list[Document]) -> list[FieldError]:
    if not versions:
        return [names.required("spec.versions", "must have exactly one version as storage version")]
    found = []
    if sum(1 for version in versions if version.get("storage")) != 1:
        rule = "must have exactly one version marked as storage version"
        found.append(names.invalid("spec.versions", "", rule))
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = str(version.get("name", ""))
        found += [names.invalid(f"{path}.name", name, rule) for rule in names.label_1035(name)]
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(schema, dict):
            found.append(names.required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        elif schema.get("type") != "object" and not schema.get(
            "x-kubernetes-preserve-unknown-fields"
        ):
            found.append(
                names.required(f"{path}.schema.openAPIV3Schema.type", "must be object at the root")
            )
    return found


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
