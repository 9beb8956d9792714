"""Who owns which field: server-side apply and `metadata.managedFields`. Pure.

`track` notes after a write by whom each changed field was set; `apply` merges what a manager wants
with what is there, gives up fields that it no longer wants, and refuses to take others' fields
unless forced. After structured-merge-diff's `merge/update.go` and apimachinery's
`pkg/util/managedfields`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from mtv import errors
from mtv_operator.embedded.apiserver import field_sets, patching, shapes
from mtv_operator.embedded.apiserver.field_sets import MISSING, FieldSet
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.shapes import Shape

Document = dict[str, Any]
Entry = dict[str, Any]

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATERS: Final = 10  # entries of one object; the oldest are joined beyond that
ANCIENT: Final = "ancient-changes"
BEFORE_APPLY: Final = "before-first-apply"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL: Final = "kubectl"
# The server's own, owned by nobody (apimachinery's managedfields/internal/stripmeta.go).
_ADDRESS = ("apiVersion", "kind")
_IGNORED = frozenset(_ADDRESS)
_IGNORED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)


class ApplyConflict(Exception):
    """Others own fields that were applied with another value.

    `conflicts` has (manager, field path) pairs; `message` and `causes` are what the Status says.
    """

    def __init__(self, conflicts: list[tuple[str, str]], owners: Mapping[str, str] = {}) -> None:
        self.conflicts = conflicts
        shown = {manager: owners.get(manager, f'"{manager}"') for manager, _ in conflicts}
        self.causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {shown[manager]}",
                "field": path,
            }
            for manager, path in conflicts
        ]
        self.message = _conflict_message(conflicts, shown)
        super().__init__(self.message)


def _conflict_message(conflicts: list[tuple[str, str]], shown: Mapping[str, str]) -> str:
    count = len(conflicts)
    if count == 1:
        manager, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {shown[manager]}: {path}"
    lines = []
    for manager in sorted(shown):
        lines.append(f"conflicts with {shown[manager]}:")
        lines += [f"- {path}" for name, path in conflicts if name == manager]
    return f"Apply failed with {count} conflicts: " + "\n".join(lines)


def track(
    before: Document | None,
    after: Document,
    manager: str,
    operation: str,
    info: ResourceInfo,
    now: datetime,
    subresource: str = "",
) -> Document:
    """Note in `after.metadata.managedFields` which fields this write set; return `after`.

    `operation` is "Update" for whatever is no apply: create, update, patch. Fields that others own
    and this write changed or removed leave their sets. Clients may write managedFields themselves;
    a list of one empty entry resets it.
    """
    metadata = after["metadata"]
    entries = _entries(before, metadata)
    changed, removed = _changes(before or {}, after, shapes.of(info))
    if changed or removed:
        mine = _mine(entries, manager, operation, info.api_version, subresource)
        entries = _without(entries, changed, removed)
        fields = field_sets.union(_fields_of(entries, mine), changed)
        if changed:
            entry = _entry(manager, operation, info.api_version, fields, now, subresource)
            entries = [one for one in entries if not _same_owner(one, entry)] + [entry]
            entries = _sorted(_capped(entries))
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
    return after


def _entries(before: Document | None, metadata: Document) -> list[Entry]:
    given = metadata.get("managedFields")
    if given == [{}]:
        return []
    if not given:
        given = (before or {"metadata": {}})["metadata"].get("managedFields") or []
    _check(given)
    return list(given)


def _check(entries: object) -> None:
    if not isinstance(entries, list):
        raise errors.BadInput("must be a list", field="metadata.managedFields")
    for index, entry in enumerate(entries):
        field = f"metadata.managedFields[{index}]"
        if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
            raise errors.BadInput("operation must be Apply or Update", field=field)
        if entry.get("fieldsType") != "FieldsV1":
            raise errors.BadInput("must be `FieldsV1`", field=f"{field}.fieldsType")
        if not isinstance(entry.get("fieldsV1") or {}, dict):
            raise errors.BadInput("must be an object", field=f"{field}.fieldsV1")


def _changes(before: Document, after: Document, shape: Shape) -> tuple[FieldSet, FieldSet]:
    """Return the fields that anybody can own that were set, and those removed."""
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name in {**before, **after}:
        if name in _IGNORED:
            continue
        old, new = before.get(name, MISSING), after.get(name, MISSING)
        if name == "metadata":
            more, less = _metadata_changes(old, new, shape.field(name))
        else:
            more, less = field_sets.compare(old, new, shape.field(name))
        if more is not None:
            changed[f"f:{name}"] = more
        if less is not None:
            removed[f"f:{name}"] = less
    return changed, removed


def _metadata_changes(
    old: Any,  # noqa: ANN401 - any JSON
    new: Any,  # noqa: ANN401 - any JSON
    shape: Shape,
) -> tuple[FieldSet | None, FieldSet | None]:
    changed, removed = field_sets.compare(_owned_metadata(old), _owned_metadata(new), shape)
    return changed or None, removed or None


def _owned_metadata(metadata: Any) -> Document:  # noqa: ANN401 - any JSON
    if not isinstance(metadata, dict):
        return {}
    return {name: value for name, value in metadata.items() if name not in _IGNORED_METADATA}


def _entry(
    manager: str,
    operation: str,
    api_version: str,
    fields: FieldSet,
    now: datetime,
    subresource: str,
) -> Entry:
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return entry | {"subresource": subresource} if subresource else entry


def _same_owner(one: Entry, other: Entry) -> bool:
    """Return whether two entries are one owner's; an applier is one in every version."""
    return (
        one.get("manager") == other.get("manager")
        and one.get("operation") == other.get("operation")
        and one.get("subresource", "") == other.get("subresource", "")
        and (one.get("operation") == APPLY or one.get("apiVersion") == other.get("apiVersion"))
    )


def _mine(
    entries: Iterable[Entry], manager: str, operation: str, api_version: str, subresource: str
) -> Entry:
    wanted: Entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "subresource": subresource,
    }
    return next((one for one in entries if _same_owner(one, wanted)), wanted)


def _fields_of(entries: Iterable[Entry], owner: Entry) -> FieldSet:
    return next((one.get("fieldsV1") or {} for one in entries if _same_owner(one, owner)), {})


def _without(entries: Iterable[Entry], changed: FieldSet, removed: FieldSet) -> list[Entry]:
    """Return the entries without these fields; one that is left with none is dropped."""
    kept = []
    for entry in entries:
        have = entry.get("fieldsV1") or {}
        left = field_sets.difference(field_sets.difference(have, changed), removed)
        if left is have:
            kept.append(entry)
        elif left:
            kept.append({**entry, "fieldsV1": left})
    return kept


def _capped(entries: list[Entry]) -> list[Entry]:
    """Join the oldest updaters' entries when there are too many (`capmanagers.go`)."""
    updaters = [one for one in entries if one["operation"] == UPDATE]
    if len(updaters) <= MAX_UPDATERS:
        return entries
    oldest = sorted(updaters, key=lambda one: (one.get("time", ""), one.get("manager", "")))
    joined: dict[str, Entry] = {}
    gone: list[Entry] = []
    for entry in oldest:
        if len(updaters) - len(gone) + len(joined) <= MAX_UPDATERS:
            break
        gone.append(entry)
        version = entry.get("apiVersion", "")
        have = joined.get(version)
        fields = field_sets.union(have["fieldsV1"] if have else {}, entry.get("fieldsV1") or {})
        made = {**entry, "manager": ANCIENT, "fieldsV1": fields}
        made.pop("subresource", None)
        joined[version] = made
    return [one for one in entries if one not in gone] + list(joined.values())


def _sorted(entries: list[Entry]) -> list[Entry]:
    fields = ("operation", "time", "manager", "apiVersion", "subresource")
    return sorted(entries, key=lambda one: [one.get(field) or "" for field in fields])


def apply(
    live: Document | None,
    applied: Document,
    manager: str,
    force: bool,
    info: ResourceInfo,
    now: datetime,
    subresource: str = "",
) -> Document:
    """Return what a server-side apply makes of the live object (None: there is none yet).

    The result shares nothing with the arguments, and equals `live` when nothing changes.
    Raises ApplyConflict, and BadInput when the applied object has managedFields.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise errors.BadInput("must be nil", field="metadata.managedFields")
    wanted = _wanted(patching.copied(applied), info, subresource)
    before = patching.copied(live) if live is not None else {"metadata": {}}
    shape = shapes.of(info)
    entries = _known(before, live is not None, shape, info, now)
    fields = _owned(field_sets.of_object(wanted, shape))
    mine = _entry(manager, APPLY, info.api_version, fields, now, subresource)
    last = _fields_of(entries, mine)
    others = [one for one in entries if not _same_owner(one, mine)]
    after = field_sets.merged(before, wanted, shape)
    given_up = _given_up(last, fields, others, shape)
    if given_up:  # and empty lists, which are no fields, come back as they were applied
        after = field_sets.merged(field_sets.removed(after, given_up, shape), wanted, shape)
    changed, removed = _changes(before, after, shape)
    if not force:
        _refuse_conflicts(others, changed, _forgiven(before, manager, shape))
    result = _without(others, changed, removed)
    if fields:
        result.append(mine)
    if live is not None and not changed and not removed and fields == last:
        return before
    made: Document = patching.copied(after)
    made["metadata"]["managedFields"] = _sorted(_capped(result))
    return made


def _wanted(applied: Document, info: ResourceInfo, subresource: str) -> Document:
    """Return the part of an applied object that this request may set, without nulls."""
    document = _without_nulls(applied)
    if subresource == "status":
        kept: Document = {name: document[name] for name in _ADDRESS if name in document}
        names = document.get("metadata") or {}
        kept["metadata"] = {name: names[name] for name in ("name", "namespace") if name in names}
        if "status" in document:
            kept["status"] = document["status"]
        return kept
    if "status" in info.subresources:
        document.pop("status", None)
    document.setdefault("metadata", {})
    for name in ("creationTimestamp", "selfLink", "managedFields"):
        document["metadata"].pop(name, None)
    return document


def _without_nulls(document: Document) -> Document:
    return {name: _bare(one) for name, one in document.items() if one is not None}


def _bare(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return _without_nulls(value)
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _owned(fields: FieldSet) -> FieldSet:
    """Return a set without what nobody owns."""
    metadata = {
        name: node
        for name, node in fields.get("f:metadata", {}).items()
        if name[2:] not in _IGNORED_METADATA and name != field_sets.SELF
    }
    owned = {
        name: node
        for name, node in fields.items()
        if name[2:] not in _IGNORED and name != "f:metadata"
    }
    return {"f:metadata": metadata, **owned} if metadata else owned


def _known(
    before: Document, exists: bool, shape: Shape, info: ResourceInfo, now: datetime
) -> list[Entry]:
    """Return the entries of the live object; fields of unknown origin get an owner."""
    entries = before["metadata"].get("managedFields") or []
    if entries or not exists:
        _check(entries)
        return list(entries)
    fields, _ = _changes({}, before, shape)
    return [_entry(BEFORE_APPLY, UPDATE, info.api_version, fields, now, "")] if fields else []


def _given_up(last: FieldSet, fields: FieldSet, others: list[Entry], shape: Shape) -> FieldSet:
    """Return the fields that were applied last time, are no longer, and are nobody else's."""
    if not last:
        return {}
    owned = fields
    for entry in others:
        owned = field_sets.union(owned, entry.get("fieldsV1") or {})
    return field_sets.difference(
        field_sets.with_structs(last, shape), field_sets.with_structs(owned, shape)
    )


def _refuse_conflicts(others: list[Entry], changed: FieldSet, forgiven: FieldSet) -> None:
    conflicts: list[tuple[str, str]] = []
    owners = {}
    for entry in others:
        both = field_sets.intersection(entry.get("fieldsV1") or {}, changed)
        both = field_sets.difference(both, forgiven)
        name = entry.get("manager", "")
        found = [(name, path) for path in field_sets.paths(both)]
        if found:
            conflicts += found
            owners[name] = _shown_owner(entry)
    if conflicts:
        raise ApplyConflict(conflicts, owners)


def _shown_owner(entry: Entry) -> str:
    text = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    if entry.get("operation") == UPDATE:
        text += f" using {entry.get('apiVersion')}"
        if entry.get("time"):
            text += f" at {entry['time']}"
    return text


def _forgiven(before: Document, manager: str, shape: Shape) -> FieldSet:
    """Return the fields that kubectl may take without force, since it applied them itself.

    Client-side apply left what it applied in an annotation; where the live object still agrees
    with that, the owner is kubectl under its other name (`lastappliedmanager.go`).
    """
    text = (before["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if manager != KUBECTL or not text:
        return {}
    try:
        last = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    if not isinstance(last, dict):
        return {}
    last = _without_nulls(last)
    own = field_sets.of_object(last, shape)
    merged = field_sets.merged(before, last, shape)
    differing, _ = _changes(before, merged, shape)
    annotation: FieldSet = {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}}
    return field_sets.union(field_sets.difference(own, differing), annotation)
