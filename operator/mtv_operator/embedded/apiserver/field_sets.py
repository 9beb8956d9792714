"""Sets of fields as `fieldsV1` writes them, and objects seen through them. Pure.

A set is a tree of dicts: `{"f:spec": {"f:replicas": {}}}`. An empty dict is a field of the set, and
`.` marks one that has others below. Trees are never changed once made, so parts may be shared.

After structured-merge-diff's `fieldpath` and `typed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from mtv_operator.embedded.apiserver.shapes import Shape

Json = Any
FieldSet = dict[str, Any]

SELF: Final = "."
_LEAF: Final[FieldSet] = {}


class _Missing:
    """Where there is no value, not even null."""


MISSING: Final = _Missing()


def _is_member(node: FieldSet) -> bool:
    return not node or SELF in node


def _node(children: FieldSet, *, member: bool) -> FieldSet | None:
    if not children:
        return _LEAF if member else None
    return {SELF: _LEAF, **children} if member else children


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Return the fields of both sets. At the root, the empty dict is the empty set."""
    if not one or not other:
        return one or other
    merged = dict(one)
    for name, node in other.items():
        have = merged.get(name)
        if name == SELF:
            merged[SELF] = _LEAF
        elif have is None:
            merged[name] = node
        elif have is not node:
            merged[name] = _union(have, node)
    return merged


def _union(one: FieldSet, other: FieldSet) -> FieldSet:
    if not one:
        return {SELF: _LEAF, **other} if other else one
    if not other:
        return one if SELF in one else {SELF: _LEAF, **one}
    return union(one, other)


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Return the fields of `one` that `other` lacks; `one` itself when it loses nothing."""
    kept: FieldSet | None = None
    for name, node in other.items():
        have = one.get(name)
        if have is None or name == SELF:
            continue
        left = _difference(have, node)
        if left is not have:
            kept = dict(one) if kept is None else kept
            if left is None:
                del kept[name]
            else:
                kept[name] = left
    return one if kept is None else kept


def _difference(one: FieldSet, other: FieldSet) -> FieldSet | None:
    member = _is_member(one)
    stays = member and not _is_member(other)
    children = difference(one, other) if one and other else one
    if children is one and stays == member:
        return one
    return _node({name: node for name, node in children.items() if name != SELF}, member=stays)


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Return the fields that are in both sets."""
    return {
        name: both
        for name, node in one.items()
        if name != SELF
        and (their := other.get(name)) is not None
        and (both := _intersection(node, their)) is not None
    }


def _intersection(one: FieldSet, other: FieldSet) -> FieldSet | None:
    return _node(intersection(one, other), member=_is_member(one) and _is_member(other))


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Yield the fields of a set as messages name them: `.spec.containers[name="a"].image`."""
    for name, node in fields.items():
        if name == SELF:
            continue
        path = prefix + _shown(name)
        if _is_member(node):
            yield path
        yield from paths(node, path)


def _shown(name: str) -> str:
    kind, _, rest = name.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "v":
        return f"[={rest}]"
    if kind == "k":
        pairs = json.loads(rest).items()
        return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs) + "]"
    return f"[{rest}]"


def of_object(value: Json, shape: Shape) -> FieldSet:
    """Return the fields that an applied object sets; of maps the keys, of structs the fields."""
    found: FieldSet = {}
    for name, item in value.items():
        inner = shape.field(name)
        children = _of_value(item, inner)
        member = children is None or item == {} or item is None or not shape.declares(name)
        node = _node(children or {}, member=member)
        if node is not None:
            found[f"f:{name}"] = node
    return found


def _of_value(value: Json, shape: Shape) -> FieldSet | None:
    """Return the set below a value; None when it is one field."""
    if type(value) is dict and not shape.atomic:
        return of_object(value, shape)
    if type(value) is list:
        named = shape.named_items(value)
        if named is None:
            return None
        inner = shape.item()
        return {
            name: {SELF: _LEAF, **below} if (below := _of_value(item, inner)) else _LEAF
            for name, item in named.items()
        }
    return None


def with_structs(fields: FieldSet, shape: Shape) -> FieldSet:
    """Return the set and every struct field on the way to one of its fields."""
    made: FieldSet = {}
    for name, node in fields.items():
        if name == SELF:
            made[SELF] = _LEAF
        elif name.startswith("f:"):
            field = name[2:]
            inner = with_structs(node, shape.field(field))
            if inner and shape.declares(field):
                inner[SELF] = _LEAF
            made[name] = inner
        else:
            made[name] = with_structs(node, shape.item())
    return made


def compare(old: Json, new: Json, shape: Shape) -> tuple[FieldSet | None, FieldSet | None]:
    """Return the fields that were added or changed, and those removed; None for no field at all.

    `MISSING` stands for no value. Costs little where old and new are equal.
    """
    if old is not MISSING and new is not MISSING and old == new:
        return None, None
    if not shape.atomic and (old or new):
        kind = type(new if old is MISSING or old is None else old)
        if kind is dict:
            before, after = _as(dict, old), _as(dict, new)
            if before is not None and after is not None:
                return _together(old, new, *_compare_objects(before, after, shape))
        elif kind is list:
            before, after = _as(list, old), _as(list, new)
            if before is not None and after is not None:
                olds, news = shape.named_items(before), shape.named_items(after)
                if olds is not None and news is not None:
                    return _together(old, new, *_compare_items(olds, news, shape.item()))
    return (None, _LEAF) if new is MISSING else (_LEAF, None)


def _as(kind: type, value: Json) -> Json:
    """Return a value of this type, an empty one for none at all, None for another type."""
    if value is MISSING or value is None:
        return kind()
    return value if type(value) is kind else None


def _together(
    old: Json, new: Json, changed: FieldSet, removed: FieldSet
) -> tuple[FieldSet | None, FieldSet | None]:
    return _node(changed, member=old is MISSING), _node(removed, member=new is MISSING)


def _compare_objects(old: Json, new: Json, shape: Shape) -> tuple[FieldSet, FieldSet]:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name, value in new.items():
        have = old.get(name, MISSING)
        if have == value and have is not MISSING:
            continue
        more, less = compare(have, value, shape.field(name))
        if more is not None:
            changed[f"f:{name}"] = more
        if less is not None:
            removed[f"f:{name}"] = less
    for name, value in old.items():
        if name not in new:
            removed[f"f:{name}"] = compare(value, MISSING, shape.field(name))[1]
    return changed, removed


def _compare_items(
    old: dict[str, Json], new: dict[str, Json], shape: Shape
) -> tuple[FieldSet, FieldSet]:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name, value in new.items():
        more, less = compare(old.get(name, MISSING), value, shape)
        if more is not None:
            changed[name] = more
        if less is not None:
            removed[name] = less
    for name, value in old.items():
        if name not in new:
            removed[name] = compare(value, MISSING, shape)[1]
    return changed, removed


def merged(live: Json, applied: Json, shape: Shape) -> Json:
    """Return the live value with what is applied; lists are merged by their shape."""
    if shape.atomic:
        return applied
    if type(live) is dict and type(applied) is dict:
        result = dict(live)
        for name, value in applied.items():
            result[name] = merged(live[name], value, shape.field(name)) if name in live else value
        return result
    if type(live) is list and type(applied) is list:
        olds, news = shape.named_items(live), shape.named_items(applied)
        if olds is not None and news is not None:
            return _merged_items(olds, news, shape.item())
    return applied


def _merged_items(live: dict[str, Json], applied: dict[str, Json], shape: Shape) -> list[Json]:
    """Return both lists as one: applied items in their order, others where they stood."""
    names, wanted = list(live), list(applied)
    shared = [name for name in wanted if name in live]
    result: list[Json] = []
    done: set[str] = set()
    left = right = 0
    while left < len(names) or right < len(wanted):
        if left < len(names) and right < len(wanted) and names[left] != wanted[right]:
            name = names[left]
            if name in applied and shared and shared[0] != name:
                left += 1  # another shared item comes first
                continue
        if left < len(names):
            name = names[left]
            if name not in applied:
                result.append(live[name])
                left += 1
                continue
            if name in done or (right < len(wanted) and name == wanted[right]):
                left += 1
        if right < len(wanted):
            name = wanted[right]
            value = applied[name]
            result.append(merged(live[name], value, shape) if name in live else value)
            done.add(name)
            right += 1
            if shared and shared[0] == name:
                del shared[0]
    return result


def removed(value: Json, fields: FieldSet, shape: Shape) -> Json:
    """Return a value without the fields of a set, and what stands below them."""
    if type(value) is dict:
        return {
            name: removed(item, node, shape.field(name)) if node else item
            for name, item in value.items()
            if (node := fields.get(f"f:{name}")) is None or not _is_member(node)
        }
    if type(value) is list:
        named = shape.named_items(value)
        if named is None:
            return value
        return [
            removed(item, node, shape.item()) if node else item
            for name, item in named.items()
            if (node := fields.get(name)) is None or not _is_member(node)
        ]
    return value
