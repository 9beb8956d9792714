"""Each rule speaks when it should, and is silent about the healthy VM."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mtv_planning import source

from mtv.inventory.model import (
    VM,
    Bus,
    Cluster,
    Datastore,
    Device,
    DiskMode,
    Firmware,
    GuestDisk,
    Inventory,
    Moref,
    PowerState,
    Snapshot,
)
from mtv.planning import concerns
from mtv.planning.concerns import Category

GIB = source.GIB
TIB = 1 << 40

FORKLIFT_CRITICAL = {
    "vmware.datastore.missing",
    "vmware.disk.capacity.invalid",
    "vmware.guestDisks.freespace",
    "vmware.passthrough_device.detected",
}


def cluster(**changes: Any) -> dict[str, Any]:
    one = replace(Cluster(id=Moref("domain-c1"), name="C0"), **changes)
    return {"clusters": {one.id: one}}


def datastore(**changes: Any) -> dict[str, Any]:
    one = replace(Datastore(id=Moref("datastore-1"), name="ds1"), **changes)
    return {"datastores": {one.id: one}}


def one_disk(**changes: Any) -> VM:
    return source.vm(disks=(source.disk(**changes),))


def guest_disk(**changes: Any) -> GuestDisk:
    return replace(
        GuestDisk(path="/", capacity_bytes=8 * GIB, free_bytes=GIB, disk_key=2000), **changes
    )


WINDOWS = {"guest_id": "windows2019srv_64Guest", "guest_name": "Microsoft Windows Server 2019"}

# (id, the VM about which the rule speaks, what else the inventory holds)
SPEAKS: list[tuple[str, VM, dict[str, Any]]] = [
    ("vmware.changed_block_tracking.disabled", source.vm(change_tracking=False), {}),
    ("vmware.changed_block_tracking.disk.disabled", one_disk(change_tracking=False), {}),
    ("vmware.consolidation_needed", source.vm(consolidation_needed=True), {}),
    ("vmware.cpu_affinity.detected", source.vm(cpu_affinity=(0, 2)), {}),
    ("vmware.cpu_memory.hotplug.enabled", source.vm(cpu_hot_add=True), {}),
    ("vmware.cpu_memory.hotplug.enabled", source.vm(cpu_hot_remove=True), {}),
    ("vmware.cpu_memory.hotplug.enabled", source.vm(memory_hot_add=True), {}),
    ("vmware.datastore.missing", one_disk(datastore=None), {}),
    (
        "vmware.disk.count.exceeds.limit",
        source.vm(disks=tuple(source.disk(2000 + n) for n in range(166))),
        {},
    ),
    ("vmware.disk_mode.independent", one_disk(mode=DiskMode.INDEPENDENT_PERSISTENT), {}),
    ("vmware.disk_mode.independent", one_disk(mode=DiskMode.INDEPENDENT_NONPERSISTENT), {}),
    ("vmware.disk_serial.truncated", source.vm(disk_enable_uuid=True), {}),
    ("vmware.disk.capacity.invalid", one_disk(capacity_bytes=0), {}),
    ("vmware.dpm.enabled", source.vm(), cluster(dpm_enabled=True)),
    ("vmware.drs.enabled", source.vm(), cluster(drs_enabled=True)),
    ("vmware.fault_tolerance.enabled", source.vm(fault_tolerance=True), {}),
    (
        "vmware.guestDisks.freespace",
        source.vm(guest_disks=(guest_disk(free_bytes=100 * concerns.MIB - 1),)),
        {},
    ),
    (
        "vmware.guestDisks.key.not_found",
        source.vm(**WINDOWS, guest_disks=(guest_disk(path="C:\\", disk_key=0),)),
        {},
    ),
    (
        "vmware.host_affinity.detected",
        source.vm(),
        cluster(host_affinity_vms=(Moref("vm-34"),)),
    ),
    ("vmware.hostname.empty", source.vm(hostname=""), {}),
    ("vmware.hostname.default", source.vm(hostname="localhost.localdomain"), {}),
    ("vmware.vm_missing_ip.detected", source.vm(guest_networks=()), {}),
    ("vmware.vm.name.invalid", source.vm(name="web_1"), {}),
    ("vmware.vm.name.invalid", source.vm(name="w" * 64), {}),
    ("vmware.numa_affinity.detected", source.vm(numa_affinity="0,1"), {}),
    (
        "vmware.passthrough_device.detected",
        source.vm(devices=(Device(kind="VirtualPCIPassthrough", key=13000),)),
        {},
    ),
    ("vmware.disk.rdm.detected", one_disk(rdm=True), {}),
    ("vmware.disk.shared.detected", one_disk(shared=True), {}),
    (
        "vmware.snapshot.detected",
        source.vm(snapshots=(Snapshot(id=Moref("snapshot-1"), name="before"),)),
        {},
    ),
    (
        "vmware.device.sriov.detected",
        source.vm(devices=(Device(kind="VirtualSriovEthernetCard", key=4000),)),
        {},
    ),
    ("vmware.device.sriov.detected", source.vm(nics=(source.nic(model="sriov"),)), {}),
    ("vmware.tpm.detected", source.vm(vtpm=True), {}),
    (
        "vmware.usb_controller.detected",
        source.vm(devices=(Device(kind="VirtualUSBController", key=7000),)),
        {},
    ),
    (
        "vmware.os.unsupported",
        source.vm(guest_id="debian12_64Guest", guest_name="Debian GNU/Linux 12 (64-bit)"),
        {},
    ),
    ("vmware.os.unsupported", source.vm(guest_id="", guest_name=""), {}),
    ("mtv.vm.encrypted", source.vm(encrypted=True), {}),
    ("mtv.vm.encrypted", one_disk(encrypted=True), {}),
    ("mtv.vm.suspended", source.vm(power_state=PowerState.SUSPENDED), {}),
    ("mtv.vm.unreachable", source.vm(connection_state="orphaned"), {}),
    ("mtv.datastore.inaccessible", source.vm(), datastore(accessible=False)),
    ("mtv.disk.rdm_physical", one_disk(rdm=True, rdm_physical=True), {}),
    ("mtv.disk.multi_writer", source.vm(extra_config=(("scsi0:0.sharing", "multi-writer"),)), {}),
    ("mtv.disk.nvme", one_disk(bus=Bus.NVME), {}),
    ("mtv.disk.large_on_bios", one_disk(capacity_bytes=3 * TIB), {}),
    (
        "mtv.disk.dynamic",
        source.vm(**WINDOWS, guest_disks=(guest_disk(path="D:\\", capacity_bytes=12 * GIB),)),
        {},
    ),
    (
        "mtv.disk.dynamic",
        source.vm(
            **WINDOWS,
            guest_disks=(
                guest_disk(path="D:\\", disk_key=2000),
                guest_disk(path="D:\\", disk_key=2001),
            ),
        ),
        {},
    ),
    ("mtv.datastore.vsan", source.vm(), datastore(type="vsan")),
    ("mtv.datastore.vvol", source.vm(), datastore(type="VVOL")),
    ("mtv.guest.bitlocker", source.vm(**WINDOWS, vtpm=True), {}),
    ("mtv.guest.hibernation", source.vm(guest_id="windows9_64Guest", guest_name=""), {}),
    ("mtv.guest.hibernation", source.vm(guest_name="Microsoft Windows 11 (64-bit)"), {}),
    ("mtv.guest.no_shutdown", source.vm(tools_running=False), {}),
    ("mtv.guest.btrfs", source.vm(guest_disks=(guest_disk(filesystem="btrfs"),)), {}),
    (
        "mtv.guest.xfs_v4",
        source.vm(guest_id="centos7_64Guest", guest_disks=(guest_disk(filesystem="xfs"),)),
        {},
    ),
    ("mtv.nic.count", source.vm(nics=tuple(source.nic(4000 + n) for n in range(25))), {}),
]


def ids(vm: VM, **changes: Any) -> set[str]:
    return {concern.id for concern in concerns.evaluate(vm, source.inventory(vm, **changes))}


def test_healthy_vm_raises_no_concern() -> None:
    assert ids(source.vm()) == set()


@pytest.mark.parametrize(("rule", "vm", "changes"), SPEAKS, ids=[row[0] for row in SPEAKS])
def test_rule_speaks_when_its_case_is_met(rule: str, vm: VM, changes: dict[str, Any]) -> None:
    assert rule in ids(vm, **changes)


def test_every_rule_of_the_table_is_tested() -> None:
    assert {rule.id for rule in concerns.RULES} == {row[0] for row in SPEAKS}


def test_forklifts_29_ids_are_there_with_its_critical_ones() -> None:
    theirs = [rule for rule in concerns.RULES if rule.id.startswith("vmware.")]
    assert len(theirs) == len({rule.id for rule in theirs}) == 29
    assert {r.id for r in theirs if r.category is Category.CRITICAL} == FORKLIFT_CRITICAL


@pytest.mark.parametrize(
    ("path", "free", "speaks"),
    [
        ("/", 100 * concerns.MIB, False),
        ("/boot", 50 * concerns.MIB - 1, True),
        ("/boot", 50 * concerns.MIB, False),
        ("C:\\", 100 * concerns.MIB - 1, True),
        ("c:", 100 * concerns.MIB, False),
        ("/srv", 10 * concerns.MIB - 1, True),
        ("/srv", 10 * concerns.MIB, False),
    ],
)
def test_free_space_limit_depends_on_the_path(path: str, free: int, speaks: bool) -> None:
    vm = source.vm(guest_disks=(guest_disk(path=path, free_bytes=free),))
    assert ("vmware.guestDisks.freespace" in ids(vm)) is speaks


def test_a_snap_is_always_full_and_nobody_minds() -> None:
    vm = source.vm(guest_disks=(guest_disk(path="/snap/a", free_bytes=0, filesystem="squashfs"),))
    assert ids(vm) == set()


def test_label_and_sentence_name_the_disk() -> None:
    vm = source.vm(disks=(source.disk(), source.disk(2001, change_tracking=False)))
    (concern,) = concerns.evaluate(vm, source.inventory(vm))
    assert concern.label == "Disk - `scsi0:1` does not have CBT enabled"
    assert "scsi0:1" in concern.assessment


def test_braces_in_a_disk_name_are_shown_as_they_are() -> None:
    vm = one_disk(capacity_bytes=-1, file="[ds1] {x}/{}.vmdk")
    (concern,) = concerns.evaluate(vm, source.inventory(vm))
    assert concern.label == "Disk '[ds1] {x}/{}.vmdk' has an invalid capacity"


def test_a_disk_of_two_vms_names_the_other_one() -> None:
    first, second = source.vm(), source.vm(id=Moref("vm-35"), name="web2")
    found = concerns.evaluate(first, source.inventory(first, second))
    shared = [c.assessment for c in found if c.id == "mtv.disk.multi_writer"]
    assert [one[:22] for one in shared] == ["scsi0:0 (also of web2)"]


def test_worst_comes_first() -> None:
    vm = source.vm(change_tracking=False, vtpm=True, encrypted=True, snapshots=())
    categories = [c.category for c in concerns.evaluate(vm, source.inventory(vm))]
    assert categories[0] is Category.CRITICAL
    assert categories == sorted(categories, key=list(Category).index)


@pytest.mark.parametrize(
    "vm",
    [
        source.vm(firmware=Firmware.EFI, disks=(source.disk(capacity_bytes=3 * TIB),)),
        source.vm(power_state=PowerState.OFF, tools_running=False),
        source.vm(guest_id="windows2019srv_64Guest", guest_name="Microsoft Windows Server 2019"),
        source.vm(guest_id="windows2022srvNext_64Guest", guest_name=""),
    ],
    ids=["GPT on EFI", "already off", "Windows Server", "Windows Server 2025"],
)
def test_near_misses_are_silent(vm: VM) -> None:
    assert ids(vm) == set()


def test_an_empty_inventory_does_not_break_a_rule() -> None:
    assert concerns.evaluate(source.vm(disks=(), nics=()), Inventory()) == ()
