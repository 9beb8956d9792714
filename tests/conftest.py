"""Fast tests first: what fails soon is heard of soon.

Tests that drive real processes, guests and networks are tried a second time when they fail: on a
machine that is busy a guest may be late. pytest prints each such RERUN; one that comes back is a
fault to be found, in the test or in what it tests.
"""

from __future__ import annotations

import fuzzing
import pytest

fuzzing.load()

# Markers by what their tests cost; unmarked ones come before them, in their own order.
COSTS = {"vcenter": 1, "netns": 2, "libvirt": 3, "cluster": 4, "e2e": 5, "guests": 6}
SLOW_FOLDERS = {"conformance": 1, "e2e": 5}
# Whose tests start programs of their own, although each takes only a moment.
PROGRAMS = ("guest", "test_nbd.py", "apiserver", "virt_api", "objects", "transfer", "node", "up")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=cost)
    for item in items:
        if cost(item) or any(name in item.path.parts for name in PROGRAMS):
            item.add_marker(pytest.mark.flaky(reruns=1))


def cost(item: pytest.Item) -> int:
    """Return the rank of a test: 0 for a pure one."""
    by_marker = [COSTS[mark.name] for mark in item.iter_markers() if mark.name in COSTS]
    by_folder = [rank for folder, rank in SLOW_FOLDERS.items() if folder in item.path.parts]
    return max([0, *by_marker, *by_folder])
