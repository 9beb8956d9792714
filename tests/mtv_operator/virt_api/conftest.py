"""One runtime for all tests of this folder that need one."""

from collections.abc import Iterator

import pytest
import runtime_cluster


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runtime_cluster.Runtime]:
    with runtime_cluster.runtime(tmp_path_factory.mktemp("runtime")) as found:
        yield found
