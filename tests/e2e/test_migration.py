"""VMs leave vCenter and boot here: the README's stories."""

from __future__ import annotations

import json

import servers
from e2e_machines import IMPORT, is_on, source_sums, target_sums


def test_a_running_vm_leaves_vcenter_and_answers_here(home, vcenter):
    planned = home.mtv("import", "story", *IMPORT, "--dry-run", "--virtio")
    assert "VirtualMachine" in planned
    assert is_on(vcenter, "story")

    home.mtv("import", "story", *IMPORT, "--start", "--virtio")

    assert not is_on(vcenter, "story")
    page = home.wait_guest("story", "moved")
    assert "boot" in page
    steps = json.loads(home.mtv("vm", "steps", "story", "-n", "moved", "-o", "json"))
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert all(step["time"] for step in steps), steps
    columns = home.kubectl("get", "vm,vmi,pods,pvc", "-n", "moved")
    assert "Running" in columns
    assert "Bound" in columns


def test_every_disk_is_the_sources_byte_for_byte_and_efi_boots(home, vcenter):
    home.mtv("import", "efi-two-disks", *IMPORT, "--no-start", "--virtio")

    assert target_sums(home, "efi-two-disks") == source_sums(vcenter, "efi-two-disks")
    vm = home.get("vm", "efi-two-disks", "moved")
    domain = vm["spec"]["template"]["spec"]["domain"]
    assert domain["firmware"]["bootloader"]["efi"] == {"secureBoot": False}
    assert domain["cpu"]["sockets"] * domain["cpu"].get("cores", 1) == 2
    home.mtv("vm", "start", "efi-two-disks", "-n", "moved")
    home.wait_guest("efi-two-disks", "moved", deadline_s=240)
    assert b"efivars" in home.type_on_console("efi-two-disks", "moved", "ls /sys/firmware/efi")
    home.mtv("vm", "stop", "efi-two-disks", "-n", "moved", "--wait")


def test_an_odd_name_is_made_a_label_and_kept(home):
    home.mtv("import", "Web Server_1 (old)", *IMPORT, "--no-start")

    vm = home.get("vm", "web-server-1-old", "moved")
    assert vm is not None
    assert "Web Server_1 (old)" in vm["metadata"]["annotations"].values()


def test_a_guest_that_does_not_shut_down_is_left_running_and_said(home, vcenter):
    message = home.mtv(
        "import", "stubborn", *IMPORT, "--power-off", "graceful;timeout=3s", expect=1
    )

    assert "shut" in message
    assert is_on(vcenter, "stubborn")
    assert home.get("vm", "stubborn", "moved") is None


def test_a_vm_is_copied_while_it_runs_and_moves_with_what_it_wrote_meanwhile(home, vcenter):
    how = ("--warm", "--cutover", "never", "--no-start", "--virtio", "--no-wait")
    home.mtv("import", "warm", *IMPORT, *how)

    def moved():
        plan = home.get("plan", "warm", "mtv") or {}
        run = plan.get("status", {}).get("migration", {})
        return (run.get("vms") or [{}])[0]

    def copied():
        return moved().get("warm", {}).get("successes")

    servers.until(copied, "a precopy", 240)
    for offset in (0, 40 << 20):
        vcenter.control("POST", f"write?vm=warm&disk=1&offset={offset}", b"written meanwhile")
    assert is_on(vcenter, "warm")
    home.mtv("plan", "cutover", "warm", "-n", "mtv")
    servers.until(lambda: moved().get("completed"), "the cutover", 240)

    assert not is_on(vcenter, "warm")
    assert target_sums(home, "warm") == source_sums(vcenter, "warm")
    assert not vcenter.vm("warm")["snapshots"]
    final = moved()["warm"]["precopies"][-1]
    assert final["deltaBytes"] < 8 << 20
