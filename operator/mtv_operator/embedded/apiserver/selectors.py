"""Label and field selectors of lists and watches. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LabelTest = Callable[[Mapping[str, str]], bool]
FieldTest = Callable[[dict[str, Any]], bool]


def parse_labels(text: str) -> LabelTest:
    """Return the test of a label selector. Raises BadInput."""
    return lambda labels: True


def parse_fields(text: str) -> FieldTest:
    """Return the test of a field selector. Raises BadInput."""
    return lambda document: True
