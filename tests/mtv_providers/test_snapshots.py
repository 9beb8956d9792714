"""Snapshots of our own, and what changed between them, as the double has it."""

import os
import shutil
from pathlib import Path

import pytest
import vcenters

from converters import pipeline
from converters.extents import Extent
from converters.sinks.memory import MemorySink
from mtv import errors
from mtv.inventory.model import Moref
from mtv.providers.vsphere import disks, snapshots, vddk

pytestmark = pytest.mark.vcenter
MIB = 1 << 20
KIB = 1 << 10


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vcenter")
    raw = vcenters.sparse_disk(folder / "raw", 8 * MIB, seed=5)
    names = ("pages", "reset", "named", "foreign", "untracked", "lost", "read", "warm")
    vms = [
        {
            "name": name,
            "poweredOn": True,
            "tools": True,
            "changeTracking": name != "untracked",
            "disks": [{"file": str(raw)}],
            "snapshots": ["theirs"] if name == "foreign" else [],
        }
        for name in names
    ]
    with vcenters.running({"vms": vms}, "-max-areas", "3", folder=folder) as found:
        yield found


@pytest.fixture
def session(double):
    double.mend()
    with double.session() as session:
        yield session
    double.mend()


def vm_of(double, name):
    return Moref(double.vm(name)["moref"])


def only_disk(session, snapshot):
    (disk,) = snapshots.disks_of(session, snapshot).values()
    return disk


def write(double, name, *offsets):
    for offset in offsets:
        double.control("POST", f"write?vm={name}&disk=0&offset={offset}", b"\x5a" * 512)


def test_changes_between_two_snapshots_come_in_pages_and_none_is_missed(double, session):
    vm = vm_of(double, "pages")
    first = snapshots.create(session, vm, snapshots.name_of("p", 1), quiesce=True)
    before = only_disk(session, first.id)
    assert before.change_id
    offsets = [at * MIB for at in range(8)]  # eight areas, three to a page
    write(double, "pages", *offsets)
    snapshots.remove(session, vm, first.id)
    second = snapshots.create(session, vm, snapshots.name_of("p", 2), quiesce=True)
    after = only_disk(session, second.id)
    found = snapshots.changed_areas(session, vm, second.id, after, before.change_id)
    assert found == [Extent(offset, 64 * KIB) for offset in offsets]
    everything = snapshots.changed_areas(session, vm, second.id, after)
    assert everything
    snapshots.remove(session, vm, second.id)


def test_snapshot_that_is_there_is_not_taken_twice_and_is_found_by_its_name(double, session):
    vm, name = vm_of(double, "named"), snapshots.name_of("run", 1)
    first = snapshots.create(session, vm, name, quiesce=False)
    again = snapshots.create(session, vm, name, quiesce=False)
    assert first.id == again.id
    assert [one.name for one in snapshots.leftovers(session, vm, "run")] == [name]
    assert snapshots.leftovers(session, vm, "other") == ()
    snapshots.remove(session, vm, first.id)
    snapshots.remove(session, vm, first.id)  # gone: fine
    assert snapshots.of_vm(session, vm) == ()


def test_snapshot_of_somebody_else_is_left_alone(double, session):
    vm = vm_of(double, "foreign")
    own = snapshots.create(session, vm, snapshots.name_of("f", 1), quiesce=False)
    assert [one.id for one in snapshots.leftovers(session, vm, "f")] == [own.id]
    snapshots.remove(session, vm, own.id)
    assert [one.name for one in snapshots.of_vm(session, vm)] == ["theirs"]


def test_tracking_that_was_reset_is_said(double, session):
    vm = vm_of(double, "reset")
    first = snapshots.create(session, vm, snapshots.name_of("r", 1), quiesce=False)
    before = only_disk(session, first.id)
    double.control("POST", "reset-tracking?vm=reset&disk=0")
    second = snapshots.create(session, vm, snapshots.name_of("r", 2), quiesce=False)
    after = only_disk(session, second.id)
    with pytest.raises(snapshots.TrackingLost):
        snapshots.changed_areas(session, vm, second.id, after, before.change_id)
    for one in (second, first):
        snapshots.remove(session, vm, one.id)


def test_disk_without_tracking_has_no_change_id_and_is_refused(double, session):
    vm = vm_of(double, "untracked")
    taken = snapshots.create(session, vm, snapshots.name_of("u", 1), quiesce=False)
    disk = only_disk(session, taken.id)
    assert disk.change_id == ""
    with pytest.raises(snapshots.TrackingLost):
        snapshots.changed_areas(session, vm, taken.id, disk)
    snapshots.remove(session, vm, taken.id)


def test_session_that_ends_meanwhile_leaves_one_snapshot(double, session):
    vm, name = vm_of(double, "lost"), snapshots.name_of("l", 1)
    double.fault(match="CreateSnapshot_Task", count=1, expireSessions=True)
    taken = snapshots.create(session, vm, name, quiesce=False)
    assert [one.id for one in snapshots.of_vm(session, vm)] == [taken.id]
    double.fault(match="RemoveSnapshot_Task", count=1, expireSessions=True)
    snapshots.remove(session, vm, taken.id)
    assert snapshots.of_vm(session, vm) == ()


@pytest.fixture
def fake_vddk(tmp_path, monkeypatch):
    """nbdkit's vddk plugin as the double's stand-in has it: the same command line."""
    monkeypatch.setenv("NBDKIT", shutil.which("nbdkit") or pytest.skip("nbdkit is not installed"))
    (tmp_path / "nbdkit").symlink_to(vcenters.DOUBLE.parent / "fake-nbdkit")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize("transport", ["vddk", "https", "nfc"])
def test_disk_of_a_running_vm_is_read_as_the_snapshot_holds_it(
    double, session, transport, fake_vddk, tmp_path
):
    vm = vm_of(double, "read")
    frozen = Path(double.vm("read")["disks"][0]["file"]).read_bytes()
    taken = snapshots.create(session, vm, snapshots.name_of("x", 1), quiesce=False)
    write(double, "read", 0, 3 * MIB)  # after the snapshot
    known = only_disk(session, taken.id)
    sink = MemorySink()
    options = disks.Options(transport=transport, vddk_libdir=str(tmp_path))
    with disks.opened_in_snapshot(session, vm, taken.id, known.key, options) as disk:
        pipeline.copy(disk.source, sink)
        assert disk.changed_since("*")
    assert (disk.transport, disk.revision, disk.is_running) == (transport, known.change_id, True)
    assert bytes(sink.content) == frozen
    with (
        pytest.raises(errors.NotFound),
        disks.opened_in_snapshot(session, vm, taken.id, 9999),
    ):
        pass
    snapshots.remove(session, vm, taken.id)


@pytest.mark.parametrize(("libdir", "transport"), [(True, "vddk"), (False, "https")])
def test_best_transport_that_serves_is_taken(
    double, session, libdir, transport, fake_vddk, tmp_path
):
    vm = vm_of(double, "read")
    taken = snapshots.create(session, vm, snapshots.name_of("b", 1), quiesce=False)
    key = only_disk(session, taken.id).key
    options = disks.Options(vddk_libdir=str(tmp_path) if libdir else "")
    with disks.opened_in_snapshot(session, vm, taken.id, key, options) as disk:
        assert disk.transport == transport
    if not libdir:  # the file that vCenter does not give is exported
        double.fault(match="/disk-0-flat", status=500)
        with disks.opened_in_snapshot(session, vm, taken.id, key, options) as disk:
            assert (disk.transport, bool(disk.why)) == ("nfc", True)
        double.mend()
    snapshots.remove(session, vm, taken.id)


def test_first_copy_and_a_delta_by_vddk_give_the_disk_of_the_later_snapshot(
    double, session, fake_vddk
):
    vm = vm_of(double, "warm")
    sink = MemorySink()
    first = snapshots.create(session, vm, snapshots.name_of("w", 1), quiesce=True)
    before = only_disk(session, first.id)
    with vddk.opened(session, vm, before, libdir="/vddk", snapshot=first.id) as source:
        pipeline.copy(source, sink)
    write(double, "warm", 64 * KIB, 5 * MIB + 512)
    snapshots.remove(session, vm, first.id)
    second = snapshots.create(session, vm, snapshots.name_of("w", 2), quiesce=True)
    after = only_disk(session, second.id)
    frozen = double.vm("warm")["disks"][0]["frozen"][after.file]
    expected = Path(frozen).read_bytes()
    assert bytes(sink.content) != expected
    changed = snapshots.changed_areas(session, vm, second.id, after, before.change_id)
    assert sum(area.length for area in changed) == 2 * 64 * KIB
    with (
        vddk.opened(session, vm, after, libdir="/vddk", snapshot=second.id) as source,
        pipeline.Copy(source, sink, delta=changed) as running,
    ):
        assert running.wait(30)
    assert bytes(sink.content) == expected
    snapshots.remove(session, vm, second.id)


def test_refusal_of_the_snapshot_is_raised(double, session):
    vm = vm_of(double, "lost")
    double.fault(match="CreateSnapshot_Task", soap="NoPermission")
    with pytest.raises(errors.Forbidden):
        snapshots.create(session, vm, snapshots.name_of("l", 2), quiesce=True)


@pytest.mark.parametrize(
    ("earlier", "later", "same"),
    [("52 aa/1", "52 aa/7", True), ("52 aa/1", "52 bb/1", False), ("", "", False)],
)
def test_epoch_is_the_part_before_the_slash(earlier, later, same):
    assert snapshots.is_same_epoch(earlier, later) is same
