from __future__ import annotations

from collections.abc import Iterator

import pytest
import servers

from mtv_operator.objects import Client


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ApiServer]:
    with servers.api_server(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture
def client(api: servers.ApiServer) -> Iterator[Client]:
    with Client.connect(str(api.kubeconfig)) as client:
        yield client
