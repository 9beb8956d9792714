"""What the server itself sees to in every object: identity, generation, finalizers, deletion. Pure.

After apiserver's `pkg/registry/rest` (`create.go`, `update.go`, `delete.go`). Documents are changed
in place and belong to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mtv.api import meta
from mtv_operator.embedded.apiserver import names, status
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.schemas import FieldError

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
DEFAULT_POD_GRACE_S = 30
# Kinds of these groups have no generation on a cluster either.
_WITHOUT_GENERATION = frozenset(
    {
        "",
        "coordination.k8s.io",
        "events.k8s.io",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)
_SERVERS_OWN = ("deletionGracePeriodSeconds", "deletionTimestamp", "selfLink")
_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(meta.ObjectMeta))

Document = dict[str, Any]


def timestamp(now: datetime) -> str:
    """Return a moment as Kubernetes writes it: UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_shape(document: Document, info: ResourceInfo) -> list[str]:
    """Drop nulls and unknown fields of the metadata; return a warning for each unknown one.

    Raises Refusal (400) when a field is of the wrong type.
    """
    metadata = document.get("metadata")
    if metadata is None:
        metadata = document["metadata"] = {}
    elif not isinstance(metadata, dict):
        raise _unreadable(info, "metadata: expected an object")
    for name in [name for name, value in metadata.items() if value is None]:
        del metadata[name]
    unknown = [name for name in metadata if name not in _KNOWN]
    for name in unknown:
        del metadata[name]
    try:
        msgspec.convert(metadata, meta.ObjectMeta)
    except msgspec.ValidationError as error:
        text = str(error).replace("$", "metadata")
        raise _unreadable(info, text) from error
    return [f'unknown field "metadata.{name}"' for name in unknown]


def _unreadable(info: ResourceInfo, problem: str) -> status.Refusal:
    return status.bad_request(
        f'{info.kind} in version "{info.version}" cannot be handled as a {info.kind}: {problem}'
    )


def prepare_create(document: Document, info: ResourceInfo, uid: str, now: datetime) -> None:
    """Give a new object its identity; what only the server may say is taken away."""
    metadata = document["metadata"]
    if metadata.get("resourceVersion"):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    for name in (*_SERVERS_OWN, "generation", "resourceVersion"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = names.generated(metadata["generateName"])
    metadata["uid"] = uid
    metadata["creationTimestamp"] = timestamp(now)
    if has_generation(info):
        metadata["generation"] = 1


def has_generation(info: ResourceInfo) -> bool:
    """Return whether objects of this kind count changes of what is wanted."""
    return info.group not in _WITHOUT_GENERATION


def check_preconditions(
    before: Document, info: ResourceInfo, uid: str | None, resource_version: str | None
) -> None:
    """Raise Refusal (409) when the object is not the one, or the version, that the client means."""
    metadata = before["metadata"]
    name = metadata["name"]
    if uid and uid != metadata["uid"]:
        seen = metadata["uid"]
        text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {seen}"
        raise status.conflict(info.group, info.plural, name, text)
    if resource_version and resource_version != metadata["resourceVersion"]:
        raise status.conflict(info.group, info.plural, name)


def prepare_update(
    before: Document, after: Document, info: ResourceInfo, subresource: str, *, custom: bool
) -> None:
    """Keep in `after` what this request may not change; count the generation."""
    if subresource == "status":
        _keep_all_but_status(before, after, custom=custom)
    elif "status" in info.subresources:
        _keep(before, after, "status")
    old, new = before["metadata"], after["metadata"]
    for name in ("uid", "creationTimestamp", "generation", "generateName", *_SERVERS_OWN):
        _keep(old, new, name)
    new["name"] = old["name"]
    if "namespace" in old:
        new["namespace"] = old["namespace"]
    new["resourceVersion"] = old["resourceVersion"]
    if has_generation(info) and wanted(before, info) != wanted(after, info):
        new["generation"] = old.get("generation", 0) + 1


def _keep_all_but_status(before: Document, after: Document, *, custom: bool) -> None:
    wanted_status, new = after.get("status"), after["metadata"]
    for name in [name for name in after if name not in before]:
        del after[name]
    after.update({name: value for name, value in before.items() if name != "metadata"})
    if wanted_status is None:
        after.pop("status", None)
    else:
        after["status"] = wanted_status
    keep = ("managedFields",) if custom else ("managedFields", "labels", "annotations")
    after["metadata"] = {
        name: value for name, value in before["metadata"].items() if name not in keep
    } | {name: new[name] for name in keep if name in new}


def _keep(old: Mapping[str, Any], new: Document, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def wanted(document: Document, info: ResourceInfo) -> Document:
    """Return what a change of raises the generation: all but metadata and status."""
    skipped = {"metadata", "apiVersion", "kind"}
    if "status" in info.subresources:
        skipped.add("status")
    return {name: value for name, value in document.items() if name not in skipped}


def update_problems(before: Document, after: Document) -> list[FieldError]:
    """Return what is wrong with the metadata of an update."""
    if not before["metadata"].get("deletionTimestamp"):
        return []
    old = before["metadata"].get("finalizers") or []
    added = [one for one in after["metadata"].get("finalizers") or [] if one not in old]
    if not added:
        return []
    listed = ", ".join(f'"{one}"' for one in added)
    message = (
        "Forbidden: no new finalizers can be added if the object is being deleted, found new"
        f" finalizers []string{{{listed}}}"
    )
    return [FieldError(path="metadata.finalizers", reason="FieldValueForbidden", message=message)]


def same(before: Document, after: Document) -> bool:
    """Return whether an update changes nothing, but for the times of managed fields."""
    if before.keys() != after.keys():
        return False
    for name, value in after.items():
        if name != "metadata" and value != before[name]:
            return False
    old, new = before["metadata"], after["metadata"]
    if {name: old[name] for name in old if name != "managedFields"} != {
        name: new[name] for name in new if name != "managedFields"
    }:
        return False
    return _timeless(old.get("managedFields")) == _timeless(new.get("managedFields"))


def _timeless(entries: list[Document] | None) -> list[Document]:
    return [
        {name: value for name, value in entry.items() if name != "time"} for entry in entries or []
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How the client wants an object deleted."""

    grace_period_s: int | None = None
    propagation: str = ""  # Orphan, Background, Foreground; "": the default
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def mark_deleted(
    document: Document, info: ResourceInfo, options: DeleteOptions, now: datetime
) -> bool:
    """Mark an object as being deleted; return whether it can go at once.

    With finalizers or a grace period it stays, with `deletionTimestamp`, until those are over.
    """
    metadata = document["metadata"]
    finalizers = _finalizers(metadata.get("finalizers") or [], options.propagation)
    grace_s = _grace_s(document, info, options)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    pending = finalizers or _namespace_finalizers(document, info)
    if not pending and not grace_s:
        return True
    if not metadata.get("deletionTimestamp"):
        if metadata.get("generation"):
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace_s))
        metadata["deletionGracePeriodSeconds"] = grace_s
    elif grace_s < metadata.get("deletionGracePeriodSeconds", 0):
        began = datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(
            seconds=metadata["deletionGracePeriodSeconds"]
        )
        metadata["deletionTimestamp"] = timestamp(max(now, began + timedelta(seconds=grace_s)))
        metadata["deletionGracePeriodSeconds"] = grace_s
    if info.plural == "namespaces" and not info.group:
        document.setdefault("status", {})["phase"] = "Terminating"
    return False


def _namespace_finalizers(document: Document, info: ResourceInfo) -> list[str]:
    if info.plural != "namespaces" or info.group:
        return []
    return list((document.get("spec") or {}).get("finalizers") or [])


def _finalizers(present: list[str], propagation: str) -> list[str]:
    if propagation == "":
        return present
    kept = [one for one in present if one not in (ORPHAN, FOREGROUND)]
    if propagation == "Orphan":
        return [*kept, ORPHAN]
    return [*kept, FOREGROUND] if propagation == "Foreground" else kept


def _grace_s(document: Document, info: ResourceInfo, options: DeleteOptions) -> int:
    """Return how long the object is given to end. Only pods are given any time."""
    if info.plural != "pods" or info.group:
        return 0
    spec = document.get("spec") or {}
    phase = (document.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.grace_period_s is not None:
        return options.grace_period_s
    return int(spec.get("terminationGracePeriodSeconds", DEFAULT_POD_GRACE_S))


def may_go(document: Document, info: ResourceInfo) -> bool:
    """Return whether nothing keeps an object that is being deleted any longer."""
    metadata = document["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not _namespace_finalizers(document, info)
    )
