"""What the target boots from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mtv_planning import source

from mtv.errors import BadInput
from mtv.inventory.model import GuestDisk
from mtv.planning import boot

TWO = (source.disk(2000), source.disk(2001))


@pytest.mark.parametrize(
    ("name", "index"),
    [("/dev/sda", 0), ("/dev/sda1", 0), ("/dev/sdb", 1), ("/dev/vdb2", 1), ("/dev/nvme1n1p1", 1)],
)
def test_root_disk_of_the_plan_is_counted_as_linux_does(name: str, index: int) -> None:
    assert boot.disk_of(source.vm(), TWO, root_disk=name) == index


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sda", "is no disk"),
        ("/dev/sd1", "is no disk"),
        ("/dev/sdc", "would be disk 3, but 2 are migrated"),
        ("/dev/sdaa", "would be disk 27"),
    ],
)
def test_bad_root_disk_names_its_field(name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        boot.disk_of(source.vm(), TWO, root_disk=name, field="spec.vms[0].rootDisk")
    assert caught.value.field == "spec.vms[0].rootDisk"


def test_boot_order_of_the_vm_wins_over_where_the_guest_saw_its_root() -> None:
    vm = source.vm(disks=TWO, boot_order=("cdrom", "disk:2001"))
    assert boot.disk_of(vm, TWO) == 1
    assert boot.positions(vm, TWO, vm.nics, root=1) == {2001: 1}


def test_the_disk_with_boot_on_it_is_booted() -> None:
    on = GuestDisk(path="/boot", capacity_bytes=1, free_bytes=1, disk_key=2001)
    vm = source.vm(disks=TWO, guest_disks=(on, replace(on, path="/", disk_key=2000)))
    assert boot.disk_of(vm, TWO) == 1


def test_network_first_stays_network_first() -> None:
    vm = source.vm(disks=TWO, boot_order=("net:4000", "floppy", "disk:2000", "disk:2001"))
    assert boot.positions(vm, TWO, vm.nics, root=0) == {4000: 1, 2000: 2, 2001: 3}


def test_what_the_plan_names_comes_before_all_else() -> None:
    vm = source.vm(disks=TWO, boot_order=("net:4000", "disk:2000"))
    assert boot.positions(vm, TWO, vm.nics, root=1, forced=True) == {2001: 1, 4000: 2, 2000: 3}


@given(
    st.lists(st.sampled_from(["disk:2000", "disk:2001", "disk:9", "net:4000", "cdrom", "disk:"])),
    st.integers(0, 1),
    st.booleans(),
)
def test_positions_count_from_one_without_gaps(order: list[str], root: int, forced: bool) -> None:
    vm = source.vm(disks=TWO, boot_order=tuple(order))
    found = boot.positions(vm, TWO, vm.nics, root=root, forced=forced)
    assert sorted(found.values()) == list(range(1, len(found) + 1))
    assert TWO[root].key in found
