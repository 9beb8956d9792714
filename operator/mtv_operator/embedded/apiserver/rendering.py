"""How objects leave the server: as they are, as a Table, or as metadata alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mtv_operator.embedded.apiserver import events, tables
from mtv_operator.embedded.apiserver.exchange import Exchange, encode
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import wanted_shape
from mtv_operator.embedded.apiserver.storage import Change, Entry

Document = dict[str, Any]


class Shape(Protocol):
    """Renders objects of one resource for one request."""

    def one(self, entry: Entry) -> bytes:
        """Return one object."""

    def many(self, entries: Sequence[Entry], list_meta: Document) -> bytes:
        """Return a list."""

    def event(self, kind: str, entry: Entry) -> bytes:
        """Return one line of a watch."""

    def bookmark(self, metadata: Document) -> bytes:
        """Return the line of a watch that says how far it has come."""


def choose(exchange: Exchange, served: Served, *, many: bool) -> Shape:
    """Return the shape that the client asks for. Raises Refusal (406) when there is none."""
    wanted = wanted_shape(exchange.header(b"accept"), many=many)
    if wanted == "Table":
        return TableShape(served, exchange.query.text("includeObject") or "Metadata")
    return MetadataShape(served) if wanted else Plain(served)


def shown(entry: Entry, served: Served) -> Document:
    """Return an object in the version that was asked for."""
    document = entry.document()
    return events.convert(document, served.api_version)


class Plain:
    """Objects as they are stored."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.as_stored = served.api_version == served.stored_as

    def one(self, entry: Entry) -> bytes:
        """Return one object."""
        return entry.body if self.as_stored else encode(shown(entry, self._served))

    def many(self, entries: Sequence[Entry], list_meta: Document) -> bytes:
        """Return a list."""
        head = encode(
            {
                "kind": f"{self._served.info.kind}List",
                "apiVersion": self._served.api_version,
                "metadata": list_meta,
            }
        )
        bodies = [entry.body for entry in entries] if self.as_stored else map(self.one, entries)
        return b"".join((head[:-1], b',"items":[', b",".join(bodies), b"]}"))

    def event(self, kind: str, entry: Entry) -> bytes:
        """Return one line of a watch."""
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), self.one(entry))

    def bookmark(self, metadata: Document) -> bytes:
        """Return the line of a watch that says how far it has come."""
        document = {
            "kind": self._served.info.kind,
            "apiVersion": self._served.api_version,
            "metadata": {**metadata, "creationTimestamp": None},
        }
        return _line("BOOKMARK", document)


class TableShape:
    """Rows for `kubectl get`. In a watch only the first table carries the columns."""

    def __init__(self, served: Served, include: str) -> None:
        self._served = served
        self._include = include
        self._told_columns = False

    def one(self, entry: Entry) -> bytes:
        """Return one object."""
        meta = {"resourceVersion": str(entry.revision)}
        return encode(self._table([entry], meta))

    def many(self, entries: Sequence[Entry], list_meta: Document) -> bytes:
        """Return a list."""
        return encode(self._table(entries, list_meta))

    def event(self, kind: str, entry: Entry) -> bytes:
        """Return one line of a watch."""
        table = self._table([entry], {"resourceVersion": str(entry.revision)})
        if self._told_columns:
            table["columnDefinitions"] = None
        self._told_columns = True
        return _line(kind, table)

    def bookmark(self, metadata: Document) -> bytes:
        """Return the line of a watch that says how far it has come."""
        partial = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {**metadata, "creationTimestamp": None},
        }
        table = {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "columnDefinitions": None,
            "rows": [{"cells": [], "object": partial}],
        }
        return _line("BOOKMARK", table)

    def _table(self, entries: Sequence[Entry], list_meta: Document) -> Document:
        documents = [shown(entry, self._served) for entry in entries]
        return tables.table(self._served.info, documents, list_meta, self._include)


class MetadataShape:
    """Metadata alone, for clients that keep track of everything."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def one(self, entry: Entry) -> bytes:
        """Return one object."""
        return encode(_partial(entry))

    def many(self, entries: Sequence[Entry], list_meta: Document) -> bytes:
        """Return a list."""
        return encode(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": list_meta,
                "items": [_partial(entry) for entry in entries],
            }
        )

    def event(self, kind: str, entry: Entry) -> bytes:
        """Return one line of a watch."""
        return _line(kind, _partial(entry))

    def bookmark(self, metadata: Document) -> bytes:
        """Return the line of a watch that says how far it has come."""
        return _line(
            "BOOKMARK",
            {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {**metadata, "creationTimestamp": None},
            },
        )


def _partial(entry: Entry) -> Document:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": entry.document()["metadata"],
    }


def _line(kind: str, document: Document) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), encode(document))


def error_line(document: Document) -> bytes:
    """Return the line that ends a watch with a Status."""
    return _line("ERROR", document)


def same_for_all(shape: Shape, change: Change) -> bytes:
    """Return the line of a change, made once for all watchers that take objects as stored."""
    if isinstance(shape, Plain) and shape.as_stored:
        if change.line is None:
            change.line = shape.event(change.kind, change.entry)
        return change.line
    return shape.event(change.kind, change.entry)
