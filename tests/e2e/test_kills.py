"""Any process may be killed at any line: a migration goes on, and its result is the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import homes
import pytest
import servers
from e2e_machines import COMPONENTS, IMPORT, is_on, source_sums, target_sums

DEADLINE_S = 240


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
    assert len(phases) > 3, phases
    assert not is_on(vcenter, name)
    home.wait_guest(name, "moved")
    nothing_is_left_over(home, name)
    home.mtv("vm", "stop", name, "-n", "moved", "--wait")
    assert len(target_sums(home, name)) == 2
    assert target_sums(home, name)[1] == source_sums(vcenter, name)[1]


def kill_in_each_phase(home: homes.Home, name: str, component: str) -> list[str]:
    """Kill a component once in each phase that is seen; return the phases."""
    seen: list[str] = []
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        plan = home.get("plan", name, "mtv")
        moved = ((plan or {}).get("status", {}).get("migration") or {}).get("vms") or []
        phase = moved[0]["phase"] if moved else ""
        if phase and phase not in seen:
            seen.append(phase)
            kill(home, component)
        if moved and moved[0].get("error"):
            raise AssertionError(f"killed in {seen}: {moved[0]['error']}")
        if phase == "Completed":
            return seen
        time.sleep(0.05)
    raise AssertionError(f"not completed in {DEADLINE_S} s, phases {seen}")


def kill(home: homes.Home, component: str) -> None:
    if component == "transfer":
        for pid in pids_of("mtv-transfer", str(home.folder)):
            os.kill(pid, signal.SIGKILL)
        return
    names = [
        one for one in home.components() if one == component or one.startswith(f"{component}-")
    ]
    for one in names:
        home.kill(one)


def pids_of(command: str, folder: str) -> list[int]:
    """Return the processes of a command that run in containers of this home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if any(word.endswith(command.encode()) for word in words[:2]) and environment:
                found.append(int(entry.name))
    return found


def nothing_is_left_over(home: homes.Home, name: str) -> None:
    def transfer_pods() -> list[str]:
        listed = home.kubectl("get", "pods", "-n", "moved", "-o", "name").split()
        return [pod for pod in listed if "transfer" in pod and name in pod]

    servers.until(lambda: not transfer_pods(), "the transfer pods are gone", 60)
