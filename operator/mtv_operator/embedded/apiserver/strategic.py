"""Strategic merge patches: merge patches that know how lists are merged. Pure.

After apimachinery's `pkg/util/strategicpatch`. A schema says by `x-kubernetes-patch-strategy` and
`x-kubernetes-patch-merge-key` which lists are merged and by which key; the directives `$patch`,
`$retainKeys`, `$deleteFromPrimitiveList/…` and `$setElementOrder/…` stand in the patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Any
Document = dict[str, Any]

DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
DELETE_VALUES = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"
_DIRECTIVES = (DIRECTIVE, RETAIN)


class PatchFailed(Exception):
    """A patch that does not fit the document; `message` is for the client."""

    def __init__(self, message: str, *, test_failed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.test_failed = test_failed


def merged_object(document: Document, patch: Document, schema: Mapping[str, Any]) -> Document:
    """Return an object merged; both arguments belong to this function. Raises PatchFailed."""
    if not isinstance(patch, dict):
        raise PatchFailed("a strategic merge patch is an object")
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        replaced: Document = _plain(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchFailed(f"unknown patch type found: {directive}")
    merged = _retained(document, patch)
    orders = {name[len(ORDER) :]: value for name, value in patch.items() if name.startswith(ORDER)}
    for name, value in patch.items():
        if name in _DIRECTIVES or name.startswith(ORDER):
            continue
        if name.startswith(DELETE_VALUES):
            field = name[len(DELETE_VALUES) :]
            have = merged.get(field)
            if isinstance(have, list) and isinstance(value, list):
                gone = set(map(repr, value))
                merged[field] = [one for one in have if repr(one) not in gone]
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(
                merged.get(name), value, _part(schema, name), orders.get(name), name
            )
    for name, order in orders.items():
        if name not in patch and isinstance(merged.get(name), list):
            key = _part(schema, name).get("x-kubernetes-patch-merge-key", "")
            merged[name] = _ordered(merged[name], merged[name], _identities(order, key), key)
    return merged


def _retained(document: Document, patch: Document) -> Document:
    kept = patch.get(RETAIN)
    if kept is None:
        return dict(document)
    if not isinstance(kept, list):
        raise PatchFailed("$retainKeys: a list of fields is expected")
    named = [
        name
        for name, value in patch.items()
        if not name.startswith("$") and value is not None and name not in kept
    ]
    if named:
        raise PatchFailed(f"$retainKeys does not name {named[0]}, which the patch sets")
    return {name: value for name, value in document.items() if name in kept}


def _part(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = (schema.get("properties") or {}).get(name)
    if part is None:
        part = schema.get("additionalProperties")
    return part if isinstance(part, dict) else {}


def _plain(value: Json) -> Json:
    """Return what a patch says where there is nothing yet: without nulls and directives."""
    if isinstance(value, list):
        return [
            _plain(one)
            for one in value
            if not (isinstance(one, dict) and one.get(DIRECTIVE) in ("delete", "replace"))
        ]
    if not isinstance(value, dict):
        return value
    return {
        name: _plain(one)
        for name, one in value.items()
        if one is not None and not name.startswith("$")
    }


def _strategies(schema: Mapping[str, Any]) -> list[str]:
    return str(schema.get("x-kubernetes-patch-strategy", "")).split(",")


def _merged(have: Json, patch: Json, schema: Mapping[str, Any], order: Json, name: str) -> Json:
    strategies = _strategies(schema)
    if isinstance(patch, dict) and "replace" not in strategies:
        if isinstance(have, dict):
            return merged_object(have, patch, schema)
        return _plain(patch)
    if isinstance(patch, list) and "merge" in strategies:
        if not isinstance(have, list):
            return _plain(patch)
        key = str(schema.get("x-kubernetes-patch-merge-key", ""))
        if key:
            return _merged_items(have, patch, schema, key, order, name)
        merged = list({repr(one): one for one in (*have, *patch)}.values())
        return _ordered(merged, have, _identities(order, ""), "") if order else merged
    return _plain(patch)


def _merged_items(
    have: list[Json], patch: list[Json], schema: Mapping[str, Any], key: str, order: Json, name: str
) -> list[Json]:
    if any(isinstance(one, dict) and one.get(DIRECTIVE) == "replace" for one in patch):
        return [item for item in _plain(patch) if item]
    items = schema.get("items") or {}
    places = {_identity(item, key): at for at, item in reversed(list(enumerate(have)))}
    merged: list[Json] = list(have)
    deleted = set()
    for one in patch:
        if not isinstance(one, dict):
            raise PatchFailed(f"{name}: an item of the patch is no object")
        if key not in one:
            raise PatchFailed(f"map: {_shown(one)} does not contain declared merge key: {key}")
        identity = _identity(one, key)
        at = places.get(identity)
        if one.get(DIRECTIVE) == "delete":
            deleted.add(identity)
        elif at is None:
            places[identity] = len(merged)
            merged.append(_plain(one))
        else:
            merged[at] = merged_object(merged[at], one, items)
    merged = [item for item in merged if _identity(item, key) not in deleted]
    return _ordered(merged, have, _identities(order, key), key) if order else merged


def _shown(item: Document) -> str:
    return "map[" + " ".join(f"{name}:{value}" for name, value in sorted(item.items())) + "]"


def _identity(item: Json, key: str) -> str:
    """Return by what an item is known in its list, in a form that can be looked up."""
    if not key:
        return repr(item)
    return repr(item.get(key)) if isinstance(item, dict) else ""


def _identities(order: Json, key: str) -> list[str]:
    return [_identity(one, key) for one in order] if isinstance(order, list) else []


def _ordered(merged: list[Json], before: list[Json], order: list[str], key: str) -> list[Json]:
    """Return the items in the order that the client gave; those that it does not know keep theirs.

    `before` is the list on the server.
    """
    ranks = {identity: rank for rank, identity in enumerate(order)}
    places = {_identity(item, key): at for at, item in enumerate(before)}
    known = [item for item in merged if _identity(item, key) in ranks]
    known.sort(key=lambda item: ranks[_identity(item, key)])
    others = [item for item in merged if _identity(item, key) not in ranks]
    ordered: list[Json] = []
    left = right = 0
    while left < len(others) and right < len(known):
        other = places.get(_identity(others[left], key))
        wanted = places.get(_identity(known[right], key))
        if other is not None and wanted is not None and other < wanted:
            ordered.append(others[left])
            left += 1
        else:
            ordered.append(known[right])
            right += 1
    return [*ordered, *known[right:], *others[left:]]
