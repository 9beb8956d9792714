"""`kubectl get` as the server prints it: meta.k8s.io/v1 Table. Pure.

Kubernetes' own kinds have their columns in `table_columns`; a custom resource those of its
definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mtv.api import meta
from mtv_operator.embedded.apiserver import ages, cells, jsonpath, table_columns
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.table_columns import AGE, NAME, Cell, Column

Document = dict[str, Any]

_METADATA_KIND = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}


def table(
    info: ResourceInfo,
    objects: Sequence[Document],
    list_meta: Document,
    include_object: str = "Metadata",
    now: datetime | None = None,
) -> Document:
    """Return the Table of some objects of one kind.

    `include_object` is None, Metadata or Object, as the request's `includeObject` says.
    """
    moment = now or datetime.now(UTC)
    columns = columns_of(info)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "columnDefinitions": [_defined(column) for column in columns],
        "rows": [row(columns, one, include_object, moment) for one in objects],
    }


def row(
    columns: Sequence[Column], document: Document, include_object: str, now: datetime
) -> Document:
    """Return the row of one object."""
    made: Document = {"cells": [column.cell(document, now) for column in columns]}
    conditions = table_columns.row_conditions(document)
    if conditions:
        made["conditions"] = conditions
    if include_object == "Object":
        made["object"] = document
    elif include_object != "None":
        made["object"] = {**_METADATA_KIND, "metadata": document.get("metadata", {})}
    return made


def columns_of(info: ResourceInfo) -> tuple[Column, ...]:
    """Return the columns of a kind."""
    if info.builtin_type:
        return table_columns.BUILTIN.get(info.builtin_type, (NAME, AGE))
    if not info.columns:
        return (NAME, AGE)
    return (NAME, *(_custom(column) for column in info.columns))


def _defined(column: Column) -> Document:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == NAME.name and not column.priority else "",
        "description": column.description,
        "priority": column.priority,
    }


def _custom(column: meta.Column) -> Column:
    def cell(document: Document, now: datetime) -> Cell:
        found = jsonpath.parse(column.path)(document)
        return _shown(found[0], column.type, now) if found else None

    return Column(
        name=column.name,
        cell=cell,
        type=column.type,
        priority=column.priority,
        description=column.description
        or f"Custom resource definition column (in JSONPath format): {column.path}",
    )


def _shown(value: object, kind: str, now: datetime) -> Cell:
    """Return a value as a cell of this type; what does not fit it is left empty."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer":
            return int(value) if number else None  # type: ignore[call-overload]
        case "number":
            return float(value) if number else None  # type: ignore[arg-type]
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return ages.since(value, now) if isinstance(value, str) else None
        case _:
            return cells.text(value)
