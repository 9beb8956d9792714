"""One home and one vCenter for all stories: each story has VMs and names of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import homes
import pytest
import vcenters
from e2e_machines import machines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vcenters.VCenter]:
    folder = tmp_path_factory.mktemp("vcenter")
    with vcenters.running({"vms": machines(folder)}, folder=folder) as found:
        yield found


@pytest.fixture(scope="session")
def home(vcenter: vcenters.VCenter) -> Iterator[homes.Home]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with homes.home() as found:
        found.kubectl("create", "namespace", "moved")
        found.mtv(
            *("provider", "add", "vc", "--url", vcenter.url, "--user", vcenter.user),
            *("--password-stdin", "--insecure", "-n", "mtv"),
            stdin=vcenter.password,
        )
        yield found
