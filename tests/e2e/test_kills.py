"""Any process may be killed at any line: a migration goes on, and its result is the same."""

from __future__ import annotations

import os
import queue
import signal
import socket
from pathlib import Path

import homes
import pytest
import servers
from e2e_machines import COMPONENTS, IMPORT, is_on, source_sums, target_sums

from mtv.api import forklift
from mtv_operator.embedded.up.settings import node_name
from mtv_operator.objects import Caches, Key

DEADLINE_S = 240
NODE = node_name(socket.gethostname())


@pytest.mark.parametrize("component", COMPONENTS)
def test_killed_in_each_phase_the_migration_succeeds(home, vcenter, component):
    name = f"kill-{component}"
    vcenter.fault(match="/folder/", bytesPerSecond=12_000_000)
    home.mtv("import", name, *IMPORT, "--start", "--virtio", "--no-wait")
    try:
        phases = kill_in_each_phase(home, name, component)
    finally:
        vcenter.mend()

    assert phases[-1] == "Completed"
    assert "CopyDisks" in phases, phases
    assert not is_on(vcenter, name)
    home.wait_guest(name, "moved")
    nothing_is_left_over(home, name)
    home.mtv("vm", "stop", name, "-n", "moved", "--wait")
    assert len(target_sums(home, name)) == 2
    assert target_sums(home, name)[1] == source_sums(vcenter, name)[1]


def kill_in_each_phase(home: homes.Home, name: str, component: str) -> list[str]:
    """Kill a component once in each phase that is stored; return the phases."""
    coming: queue.SimpleQueue[forklift.VMStatus] = queue.SimpleQueue()

    def look(_key: Key, plan: forklift.Plan | None) -> None:
        moved = plan.status and plan.status.migration if plan else None
        if plan is not None and plan.metadata.name == name and moved and moved.vms:
            coming.put(moved.vms[0])

    seen: list[str] = []
    with home.client() as client, Caches(client) as caches:
        caches.watch(forklift.Plan, "mtv").on_change(look)
        caches.start()
        while "Completed" not in seen:
            vm = coming.get(timeout=DEADLINE_S)
            assert vm.error is None, f"killed in {seen}: {vm.error}"
            if vm.phase not in seen:
                seen.append(vm.phase)
                kill(home, component)
    for one in names_of(home, component):
        home.wait_ready(one)
    return seen


def kill(home: homes.Home, component: str) -> None:
    if component == "transfer":
        for pid in transfer_pids(home):
            os.kill(pid, signal.SIGKILL)
        return
    for one in names_of(home, component):
        home.kill(one)


def names_of(home: homes.Home, component: str) -> list[str]:
    """Return how `mtv status` calls a component: one per node for some."""
    return [one for one in home.components() if one in (component, f"{component}-{NODE}")]


def transfer_pids(home: homes.Home) -> list[int]:
    """Return the transfer processes that run in this home's pods."""
    port = home.kubeconfig.read_text().partition("https://127.0.0.1:")[2].split()[0]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            ours = f"KUBERNETES_SERVICE_PORT={port}".encode() in environment
            if ours and any(word.endswith(b"mtv-transfer") for word in words[:2]):
                found.append(int(entry.name))
    return found


def nothing_is_left_over(home: homes.Home, name: str) -> None:
    def transfer_pods() -> list[str]:
        listed = home.kubectl("get", "pods", "-n", "moved", "-o", "name").split()
        return [pod for pod in listed if f"/{name[:15]}" in pod and "-transfer-" in pod]

    servers.until(lambda: not transfer_pods(), "the transfer pods are gone", 60)
