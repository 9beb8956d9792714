"""Reading documents for tables: values that may be missing or of another type. Pure."""

from __future__ import annotations

import json
from typing import Any

NONE = "<none>"
UNSET = "<unset>"


def get(document: object, *path: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the value at a path of names, None when there is none."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def items(document: object, *path: str) -> list[dict[str, Any]]:
    """Return the objects of a list at a path, none when there is no list."""
    value = get(document, *path)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def strings(document: object, *path: str) -> list[str]:
    """Return the strings of a list at a path."""
    value = get(document, *path)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def text(value: object) -> str:
    """Return a value as a cell: strings as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def labels(pairs: object) -> str:
    """Return labels or a selector as `a=b,c=d`."""
    if not isinstance(pairs, dict) or not pairs:
        return NONE
    return ",".join(f"{name}={value}" for name, value in sorted(pairs.items()))


def count(value: object) -> int:
    """Return how many entries a map or list has."""
    return len(value) if isinstance(value, dict | list) else 0


def condition(document: object, kind: str) -> dict[str, Any] | None:
    """Return the condition of a type."""
    return next(
        (one for one in items(document, "status", "conditions") if one.get("type") == kind), None
    )


def is_true(document: object, kind: str) -> bool:
    """Return whether the condition of a type holds."""
    return (condition(document, kind) or {}).get("status") == "True"
