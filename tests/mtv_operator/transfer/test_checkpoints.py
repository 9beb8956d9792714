"""Warm copies: the state of a snapshot, then deltas, while the VM writes."""

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import servers
import vcenters

from converters import extents, testing
from mtv.api import mtv as api
from mtv.inventory.model import Moref
from mtv.providers.vsphere import snapshots

pytestmark = pytest.mark.vcenter

MIB = 1 << 20
BLOCK = 64 << 10
NAMESPACE = "moved"


@pytest.fixture
def vddk(tmp_path, monkeypatch):
    """VMware's library, as the double's stand-in has it."""
    monkeypatch.setenv("NBDKIT", shutil.which("nbdkit") or pytest.skip("nbdkit is not installed"))
    (tmp_path / "nbdkit").symlink_to(vcenters.DOUBLE.parent / "fake-nbdkit")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("MTV_VDDK_LIBDIR", str(tmp_path))


class Warm:
    """A VM that runs, and the transfer of its disk."""

    def __init__(self, bench, session, name, *, device=None, **spec):
        self.device = device
        self.bench, self.session, self.name = bench, session, name
        self.vm = Moref(bench.vcenter.vm(name)["moref"])
        self.number = 0
        self.snapshot = self.before = self.wanted = None
        self.spec = spec
        self.transfer = None
        self.chance = random.Random()

    def write(self, *offsets, count=5000, content=None):
        for offset in offsets:
            data = content or self.chance.randbytes(count)
            path = f"write?vm={self.name}&disk=0&offset={offset}"
            self.bench.vcenter.control("POST", path, data)

    def take(self):
        """Take the next snapshot instead of the one there is; have its state copied."""
        if self.snapshot is not None:
            snapshots.remove(self.session, self.vm, self.snapshot)
        self.number += 1
        name = snapshots.name_of(self.name, self.number)
        self.snapshot = snapshots.create(self.session, self.vm, name, quiesce=False).id
        (disk,) = snapshots.disks_of(self.session, self.snapshot).values()
        wanted = api.Checkpoint(snapshot=self.snapshot, change_id=disk.change_id)
        self.before, self.wanted = self.wanted, wanted
        if self.transfer is None:
            self.transfer = self.bench.wanted(self.name, checkpoint=wanted, **self.spec)
        else:
            body = {
                "spec": {
                    "checkpoint": {
                        "snapshot": wanted.snapshot,
                        "changeId": wanted.change_id or None,
                    }
                }
            }
            there = self.transfer.metadata
            self.bench.client.patch(api.DiskTransfer, there.name, NAMESPACE, body)
        return wanted

    def areas(self, gap=MIB):
        """Return what changed since the state on the target, with gaps of up to `gap` bytes."""
        since = self.status.checkpoint if self.status.checkpoint != self.wanted else self.before
        return self.areas_since(since.change_id, gap)

    def areas_since(self, change_id, gap=MIB):
        (disk,) = snapshots.disks_of(self.session, self.snapshot).values()
        areas = snapshots.changed_areas(self.session, self.vm, self.snapshot, disk, change_id)
        return extents.merge(areas, gap=gap)

    def clean(self):
        if self.snapshot is not None:
            snapshots.remove(self.session, self.vm, self.snapshot)

    @property
    def frozen(self):
        """Return the content of the disk in the snapshot."""
        (file,) = self.bench.vcenter.vm(self.name)["snapshots"][self.snapshot].values()
        return Path(file).read_bytes()

    @property
    def status(self):
        return self.bench.status(self.transfer)

    @property
    def content(self):
        """Return what is on the target."""
        with open(self.device or self.bench.image, "rb") as file:
            return file.read(len(self.frozen))

    def copied(self, wanted):
        """Run the transfer, and check that the state is there; return the status."""
        assert self.bench.run(self.transfer, device=self.device) == 0, self.bench.log()
        status, frozen = self.status, self.frozen
        assert self.content == frozen, self.bench.log()
        assert (status.phase, status.checkpoint) == ("Succeeded", wanted)
        assert status.checksum == f"xxh3:{testing.disk_sum(frozen):016x}"
        assert status.pending_delta is None
        return status


@pytest.fixture
def begin(bench, vcenter):
    """Give what begins a warm copy; its snapshot is removed at the end."""
    begun = []
    with vcenter.session() as session:

        def begin(name, **spec):
            begun.append(Warm(bench, session, name, **spec))
            return begun[-1]

        yield begin
        vcenter.mend()
        for warm in begun:
            warm.clean()


CHANGED = [0, 100_000, 7 * MIB, 7 * MIB + 200_000, 23 * MIB + 5, 39 * MIB]


@pytest.mark.parametrize(("transport", "gap"), [("vddk", 0), ("https", MIB)])
def test_first_copy_and_deltas_of_a_running_vm(begin, bench, vddk, transport, gap):
    warm = begin(f"warm-{transport}", verify="full", transport=transport)
    first = warm.take()
    warm.write(3 * MIB)  # after the snapshot
    status = warm.copied(first)
    assert (status.transport, status.verified, status.delta_bytes) == (transport, "full", None)
    warm.write(*CHANGED)
    warm.write(12 * MIB, content=bytes(MIB))  # zeros where there was data
    second = warm.take()
    warm.write(1 * MIB, 30 * MIB)
    status = warm.copied(second)
    assert status.delta_seconds > 0
    assert BLOCK < status.delta_bytes <= 1.05 * extents.total(warm.areas(gap))
    assert bench.condition(warm.transfer, "ReadWhole") is None


def kill_in_the_middle(bench, warm):
    """Begin the delta, and kill it when a part of it is on the target."""
    bench.vcenter.fault(match="/disk-0-flat", skip=1, bytesPerSecond=MIB)
    process = bench.start(warm.transfer, device=warm.device)
    rest = warm.status.total_bytes - extents.total(warm.areas())

    def some():
        return warm.status.pending_delta and (warm.status.done_bytes or 0) > rest + MIB

    before = warm.status.done_bytes
    servers.until(lambda: warm.status.done_bytes != before and some(), "a part of the delta", 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    bench.vcenter.mend()
    assert warm.content != warm.frozen


def test_first_copy_when_killed_goes_on_with_another_snapshot(begin, bench):
    warm = begin("warm-moved", verify="full", transport="https")
    warm.take()
    bench.vcenter.fault(match="/disk-0-flat", skip=1, bytesPerSecond=2 * MIB)
    process = bench.start(warm.transfer)
    servers.until(lambda: (warm.status.fetched_bytes or 0) > 8 * MIB, "a part of the disk", 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    bench.vcenter.mend()
    warm.write(*CHANGED, 20 * MIB)
    second = warm.take()
    before = bench.vcenter.stats()["folderBytes"]
    status = warm.copied(second)
    needed = extents.total(warm.areas_since("*"))
    # All is read a second time to verify it, zeros as well.
    assert bench.vcenter.stats()["folderBytes"] - before - status.total_bytes < needed - 2 * MIB
    assert (status.verified, bench.condition(warm.transfer, "Restarted")) == ("full", None)


def test_delta_when_killed_goes_on_and_another_checkpoint_may_follow_it(begin, bench):
    warm = begin("warm-killed", verify="sample", transport="https")
    first = warm.take()
    warm.copied(first)
    warm.write(*(at * MIB for at in range(2, 18)), count=MIB)
    second = warm.take()
    kill_in_the_middle(bench, warm)
    assert warm.status.checkpoint == first
    status = warm.copied(second)
    assert status.delta_bytes <= 1.05 * extents.total(warm.areas())
    assert status.verified == "sample"

    old = warm.frozen
    warm.write(*(at * MIB for at in range(20, 36)), count=MIB)
    warm.take()
    kill_in_the_middle(bench, warm)
    # What the half delta has written has its old content again: tracking may say nothing of it.
    warm.write(20 * MIB, content=old[20 * MIB : 35 * MIB])
    warm.write(1000)
    fourth = warm.take()
    warm.copied(fourth)


@pytest.mark.parametrize("name", ["untracked", "reset"])
def test_delta_when_nobody_knows_what_changed_is_found_by_comparison(begin, bench, name):
    warm = begin(f"warm-{name}", verify="sample")
    warm.copied(warm.take())
    if name == "reset":
        bench.vcenter.control("POST", f"reset-tracking?vm={warm.name}&disk=0")
    warm.write(*CHANGED)
    blocks = bench.image.stat().st_blocks
    second = warm.take()
    status = warm.copied(second)
    assert bench.image.stat().st_blocks <= blocks + 200
    assert status.delta_bytes > 4 * MIB
    told = bench.condition(warm.transfer, "ReadWhole")
    assert (told.reason, "40.0 MiB" in told.message) == ("ChangesUnknown", True)
    assert any(one.reason == "ChangesUnknown" for one in bench.events(warm.transfer))
    if name == "reset":  # the new tracking is good for the next
        warm.write(9 * MIB)
        assert warm.copied(warm.take()).delta_bytes <= MIB
        assert bench.condition(warm.transfer, "ReadWhole") is None


def test_last_state_when_the_target_lost_a_byte_is_refused_and_copied_anew(begin, bench):
    warm = begin("warm-flipped", verify="full")
    warm.copied(warm.take())
    found = bench.image.stat()
    with bench.image.open("r+b") as file:
        file.seek(11 * MIB)
        byte = file.read(1)
        file.seek(11 * MIB)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(bench.image, ns=(found.st_atime_ns, found.st_mtime_ns))
    warm.write(2 * MIB)
    bench.vcenter.change(warm.name, power="off")
    last = warm.take()
    assert bench.run(warm.transfer) not in (0, 75)
    assert bench.condition(warm.transfer, "VerificationFailed") is not None
    assert warm.status.checkpoint is None
    status = warm.copied(last)
    assert (status.verified, status.delta_bytes) == ("full", None)


def test_source_that_gives_other_bytes_the_second_time_is_found(bench):
    bench.vcenter.fault(match="/disk-0-flat", skip=2, count=1, corruptAt=70_000)
    transfer = bench.wanted("small", verify="full")
    assert bench.run(transfer) not in (0, 75)
    assert "the source gives other bytes" in bench.condition(transfer, "VerificationFailed").message


def test_change_tracking_that_leaves_something_out_is_found_before_the_cutover(begin, bench):
    warm = begin("warm-lies", verify="full")
    warm.copied(warm.take())
    live = bench.vcenter.vm(warm.name)["disks"][0]["file"]
    warm.take()
    frozen = bench.vcenter.vm(warm.name)["snapshots"][warm.snapshot].values()
    assert live not in frozen
    for file in frozen:  # behind the back of the tracking
        with open(file, "r+b") as changed:
            changed.seek(5 * MIB)
            changed.write(b"unseen")
    assert bench.run(warm.transfer) not in (0, 75)
    assert bench.condition(warm.transfer, "VerificationFailed") is not None


def test_block_device_gets_deltas_and_comparisons_as_well(begin, bench, tmp_path):
    with (tmp_path / "device.img").open("wb") as file:
        file.write(b"\xee" * (42 * MIB))
    command = ["losetup", "--find", "--show", str(tmp_path / "device.img")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        warm = begin("warm-device", device=device, volume_mode="Block", verify="sample")
        warm.copied(warm.take())
        warm.write(*(at * MIB for at in range(2, 34)), count=MIB)
        warm.write(36 * MIB, content=bytes(MIB))
        second = warm.take()
        kill_in_the_middle(bench, warm)
        status = warm.copied(second)
        assert status.delta_bytes <= 1.05 * extents.total(warm.areas())
        bench.vcenter.control("POST", f"reset-tracking?vm={warm.name}&disk=0")
        warm.write(*CHANGED)
        warm.copied(warm.take())
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)


def test_vm_with_a_snapshot_of_somebody_else_is_copied_all_the_same(begin, bench):
    warm = begin("warm-foreign", verify="sample")
    assert warm.copied(warm.take()).transport == "nfc"
    warm.write(*CHANGED)
    assert warm.copied(warm.take()).transport == "nfc"
    assert bench.condition(warm.transfer, "ReadWhole").reason == "NoRanges"
