from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from widgets import DEFINITIONS, definition


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ApiServer]:
    """A server with the widgets' definition, shared by the tests of one module."""
    with servers.api_server(tmp_path_factory.mktemp("apiserver")) as running:
        running.post(DEFINITIONS, definition())
        yield running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[servers.ApiServer]:
    """A server that the test may kill."""
    with servers.api_server(tmp_path) as running:
        running.post(DEFINITIONS, definition())
        yield running


@pytest.fixture
def namespace(server: servers.ApiServer, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    code, made = server.request(
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "test-"}},
    )
    assert code == 201, made
    return str(made["metadata"]["name"])


@pytest.fixture
def until() -> Callable[..., Any]:
    return servers.until
