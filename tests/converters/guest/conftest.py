"""Whole guests are booted only where they are asked for: minutes each."""

from __future__ import annotations

import pytest

REASON = "boots whole guests: run by `make test-guests`"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "guests" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("guests"):
            item.add_marker(pytest.mark.skip(reason=REASON))
