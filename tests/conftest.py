"""Fast tests first: what fails soon is heard of soon."""

from __future__ import annotations

import pytest

# Markers by what their tests cost; unmarked ones come before them, in their own order.
COSTS = {"vcenter": 1, "netns": 2, "libvirt": 3, "cluster": 4, "e2e": 5, "guests": 6}
SLOW_FOLDERS = {"conformance": 1, "e2e": 5}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=cost)


def cost(item: pytest.Item) -> int:
    """Return the rank of a test: 0 for a pure one."""
    by_marker = [COSTS[mark.name] for mark in item.iter_markers() if mark.name in COSTS]
    by_folder = [rank for folder, rank in SLOW_FOLDERS.items() if folder in item.path.parts]
    return max([0, *by_marker, *by_folder])
