"""A VM as KubeVirt's users know it: run strategies, consoles, ends of every kind."""

from __future__ import annotations

import os
import signal

import pytest
import servers
from e2e_machines import IMPORT

from mtv.api import kubevirt


@pytest.fixture(scope="module")
def vm(home) -> str:
    """A VM that was imported and runs."""
    home.mtv("import", "runs", *IMPORT, "--start", "--virtio")
    home.wait_guest("runs", "moved")
    return "runs"


def uid(home, name: str) -> str:
    found = home.get("vmi", name, "moved")
    return found["metadata"]["uid"] if found else ""


def set_strategy(home, name: str, strategy: str) -> None:
    patch = f'{{"spec":{{"runStrategy":"{strategy}"}}}}'
    home.kubectl("patch", "vm", name, "-n", "moved", "--type=merge", "-p", patch)


def qemu_pid(home, name: str) -> int:
    found = home.get("vmi", name, "moved")["metadata"]["uid"]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            if b"qemu-system" in words.split(b"\0")[0] and f"moved_{name}".encode() in words:
                return int(entry)
    raise AssertionError(f"no QEMU of {name} ({found})")


def test_the_console_answers(home, vm):
    assert b"hello-42" in home.type_on_console(vm, "moved", "echo hello-$((40+2))")


def test_a_guest_that_powers_off_is_started_again_when_it_shall_always_run(home, vm):
    before = uid(home, vm)
    home.type_on_console(vm, "moved", "poweroff")

    servers.until(lambda: uid(home, vm) not in ("", before), "another instance", 90)
    home.wait_guest(vm, "moved")


def test_a_handler_that_is_killed_finds_its_vm_again(home, vm):
    before, pid = uid(home, vm), qemu_pid(home, vm)
    handler = next(name for name in home.components() if name.startswith("virt-handler"))
    home.kill(handler)
    home.wait_ready(handler)

    assert (uid(home, vm), qemu_pid(home, vm)) == (before, pid)
    home.mtv("vm", "pause", vm, "-n", "moved")
    assert any(
        one["type"] == "Paused" and one["status"] == "True"
        for one in servers.until(
            lambda: [c for c in home.instance(vm, "moved")["conditions"] if c["type"] == "Paused"],
            "the Paused condition",
        )
    )
    home.mtv("vm", "unpause", vm, "-n", "moved")
    home.wait_guest(vm, "moved")


def test_killing_qemu_fails_the_instance_and_always_starts_another(home, vm):
    before = uid(home, vm)
    os.kill(qemu_pid(home, vm), signal.SIGKILL)

    servers.until(lambda: uid(home, vm) not in ("", before), "another instance", 120)
    home.wait_guest(vm, "moved")


def test_manual_once_stopped_stays_stopped_and_shows_how_it_ended(home, vm):
    set_strategy(home, vm, "Manual")
    home.mtv("vm", "stop", vm, "-n", "moved", "--wait")
    assert home.mtv("vm", "list", "-n", "moved").count("Stopped") >= 1
    home.mtv("vm", "start", vm, "-n", "moved")
    home.wait_guest(vm, "moved")
    home.type_on_console(vm, "moved", "poweroff")
    home.wait_phase(vm, "Succeeded", namespace="moved")


def test_halted_with_force_ends_at_once(home, vm):
    set_strategy(home, vm, "Always")
    home.wait_guest(vm, "moved")
    home.mtv("vm", "stop", vm, "-n", "moved", "--grace-period", "0", "--wait")
    with home.client() as client:
        found = client.get(kubevirt.VirtualMachine, vm, "moved")
    assert found.spec.run_strategy == "Halted"
    home.kubectl("delete", "vm", vm, "-n", "moved")
    assert home.get("vm", vm, "moved") is None
    assert home.get("vmi", vm, "moved") is None
