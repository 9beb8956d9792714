"""How a value is merged: as one, field by field, or item by item. Pure.

A `Shape` is what server-side apply needs of a schema, made part by part as objects need it. What
no schema describes is merged field by field, and its lists as one (structured-merge-diff's deduced
types).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import builtin_types
from mtv_operator.embedded.apiserver.kinds import ResourceInfo

Json = Any
_encode = msgspec.json.Encoder(order="sorted").encode


class Shape:
    """How values of one schema are merged."""

    __slots__ = ("_children", "_items", "_rest", "_schemas", "atomic", "defaults", "keys", "set")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        list_type = schema.get("x-kubernetes-list-type")
        self.atomic = "atomic" in (list_type, schema.get("x-kubernetes-map-type"))
        self.set = list_type == "set"
        self.keys: tuple[str, ...] = ()
        items = schema.get("items")
        if list_type == "map":
            self.keys = tuple(sorted(schema.get("x-kubernetes-list-map-keys") or ()))
        known = (items.get("properties") or {}) if isinstance(items, dict) else {}
        self.defaults = tuple((known.get(key) or {}).get("default") for key in self.keys)
        self._schemas = schema.get("properties") or {}
        self._children: dict[str, Shape] = {}
        self._rest: Mapping[str, Any] | Shape | None = schema.get("additionalProperties")
        self._items: Mapping[str, Any] | Shape | None = items

    def declares(self, name: str) -> bool:
        """Return whether a field is one of a struct, and no key of a map."""
        return name in self._schemas

    def field(self, name: str) -> Shape:
        """Return the shape of a field."""
        child = self._children.get(name)
        if child is not None:
            return child
        schema = self._schemas.get(name)
        if schema is not None:
            made = self._children[name] = Shape(schema)
            return made
        if isinstance(self._rest, dict):
            self._rest = Shape(self._rest)
        return self._rest if isinstance(self._rest, Shape) else UNKNOWN

    def item(self) -> Shape:
        """Return the shape of a list's items."""
        if isinstance(self._items, dict):
            self._items = Shape(self._items)
        return self._items if isinstance(self._items, Shape) else UNKNOWN

    def named_items(self, items: list[Json]) -> dict[str, Json] | None:
        """Return a list's items by their names in field sets; None when it is merged as one.

        That is also so when an item lacks a key, or two have the same.
        """
        if self.atomic or not (self.keys or self.set):
            return None
        named: dict[str, Json] = {}
        for item in items:
            name = f"v:{_encode(item).decode()}" if self.set else self._key_of(item)
            if name is None or name in named:
                return None
            named[name] = item
        return named

    def _key_of(self, item: Json) -> str | None:
        if type(item) is not dict:
            return None
        key = {}
        for name, default in zip(self.keys, self.defaults, strict=True):
            value = item.get(name, default)
            if value is None:
                return None
            key[name] = value
        return f"k:{_encode(key).decode()}"


UNKNOWN = Shape({})
_METADATA = "meta.v1.ObjectMeta"
_by_info: weakref.WeakKeyDictionary[ResourceInfo, Shape] = weakref.WeakKeyDictionary()


def of(info: ResourceInfo) -> Shape:
    """Return the shape of objects of a kind."""
    shape = _by_info.get(info)
    if shape is None:
        schema = info.schema or {}
        properties = dict(schema.get("properties") or {})
        properties["metadata"] = builtin_types.inlined(_METADATA)
        shape = _by_info[info] = Shape({**schema, "properties": properties})
    return shape
