"""Disks read from the double by either transport are the disks that it has."""

from pathlib import Path

import pytest
import vcenters

from converters import pipeline
from converters.errors import SourceBroken
from converters.extents import Extent
from converters.sinks.memory import MemorySink
from mtv import errors
from mtv.inventory.model import Bus, Disk, PowerState
from mtv.providers.vsphere import disks, faults, nfc

pytestmark = pytest.mark.vcenter
MIB = 1 << 20


@pytest.fixture
def session(mended):
    with mended.session() as session:
        yield session


def copied(session, vcenter, name, index=0, **options):
    """Return how a disk was read, and whether it is the one that the double has."""
    vm = vcenter.vm(name)
    known = vm["disks"][index]
    sink = MemorySink()
    with disks.opened(session, vm["moref"], known["key"], disks.Options(**options)) as disk:
        pipeline.copy(disk.source, sink)
    return disk, bytes(sink.content) == Path(known["file"]).read_bytes()


CASES = {
    "plain": ("web1", 0, "https"),
    "another datastore, odd size": ("web1", 1, "https"),
    "independent": ("special", 0, "https"),
    "RDM in virtual mode": ("special", 2, "nfc"),
    "shared": ("special", 3, "https"),
    "data in three files": ("special", 5, "https"),
    "with snapshots": ("layers", 0, "nfc"),
    "odd name": ("a/b%c", 0, "https"),
    "of another VM": ("sharer", 0, "https"),
}


@pytest.mark.parametrize(("name", "index", "transport"), CASES.values(), ids=CASES)
def test_opened_chooses_what_can_read_the_disk(mended, session, name, index, transport):
    disk, is_same = copied(session, mended, name, index)
    assert disk.transport == transport
    assert is_same
    assert bool(disk.why) == (transport == "nfc")


@pytest.mark.parametrize("name", ["web1", "a/b%c"])
def test_opened_when_nfc_is_asked_for_exports(mended, session, name):
    disk, is_same = copied(session, mended, name, transport="nfc")
    assert (disk.transport, is_same) == ("nfc", True)
    assert mended.stats()["openLeases"] == 0


def test_opened_when_https_is_asked_for_and_impossible_says_why(mended, session):
    with pytest.raises(errors.SourceRefused, match="the VM has snapshots"):
        copied(session, mended, "layers", transport="https")


def test_opened_when_the_vm_runs_says_that_it_holds_the_disk(mended, session):
    with pytest.raises(disks.DiskLocked, match="runs is poweredOn"):
        copied(session, mended, "runs")


def test_opened_when_the_mapping_is_physical_says_what_to_do(mended, session):
    with pytest.raises(errors.SourceRefused, match="physical mode") as caught:
        copied(session, mended, "special", 1)
    assert "LUN" in caught.value.hint


def test_opened_when_the_disk_was_written_to_has_another_revision(mended, session):
    vm = mended.vm("web1")
    key = vm["disks"][1]["key"]

    def revision():
        with disks.opened(session, vm["moref"], key) as disk:
            return disk.revision

    first = revision()
    assert revision() == first
    mended.control("POST", "write?vm=web1&disk=1&offset=4096", b"something else")
    # Times of files have whole seconds in HTTP.
    import servers

    servers.until(
        lambda: (
            mended.control("POST", "write?vm=web1&disk=1&offset=4096", b"x") and revision() != first
        ),
        "another revision",
    )


def test_https_when_the_session_ends_in_the_middle_logs_in_again(mended, session):
    mended.fault(match="/disk-0-flat", skip=2, count=1, expireSessions=True, status=401)
    logins = session.logins
    _, is_same = copied(session, mended, "web1")
    assert is_same
    assert session.logins == logins + 1


def test_nfc_when_the_lease_times_out_without_reports_is_kept_by_the_timer(mended, session):
    """The double ends leases after 3 s; the download takes longer."""
    mended.fault(match="/nfc/", bytesPerSecond=2 * MIB)
    vm = mended.vm("web1")
    sink = MemorySink()
    with disks.opened(
        session, vm["moref"], vm["disks"][0]["key"], disks.Options(transport="nfc")
    ) as disk:
        pipeline.copy(disk.source, sink)
        assert mended.stats()["openLeases"] == 1
    assert mended.stats()["openLeases"] == 0


def test_nfc_when_the_stream_breaks_aborts_the_lease(mended, session):
    mended.fault(match="/nfc/", count=1, cutAfter=1_000_000)
    with pytest.raises(SourceBroken):
        copied(session, mended, "web1", transport="nfc")
    assert mended.stats()["openLeases"] == 0


def test_nfc_when_the_lease_fails_says_why(mended, session):
    mended.fault(match="lease", count=1, soap="FileLocked")
    with pytest.raises(faults.Locked, match="FileLocked"):
        copied(session, mended, "layers")


def test_nfc_from_a_host_whose_urls_name_nobody_asks_the_same_host(tmp_path):
    content = vcenters.sparse_disk(tmp_path / "disk.raw", 4 * MIB)
    config = {"vms": [{"name": "alone", "snapshots": ["s"], "disks": [{"file": str(content)}]}]}
    with vcenters.running(config, "-esx", folder=tmp_path) as host, host.session() as session:
        disk, is_same = copied(session, host, "alone")
        assert (disk.transport, is_same) == ("nfc", True)
        host.control("POST", "vms", {"name": "flat", "disks": [{"file": str(content)}]})
        disk, is_same = copied(session, host, "flat")
        assert (disk.transport, is_same) == ("https", True)


def test_nfc_from_another_host_name_trusts_the_certificate_that_vcenter_vouches_for(tmp_path):
    content = vcenters.sparse_disk(tmp_path / "disk.raw", 4 * MIB)
    config = {"vms": [{"name": "one", "snapshots": ["s"], "disks": [{"file": str(content)}]}]}
    with vcenters.running(config, folder=tmp_path) as first:
        port = first.root.rpartition(":")[2]
        pem = first.ca_pem()
    with (
        vcenters.running(
            config,
            "-listen",
            f"127.0.0.1:{port}",
            "-nfc-host",
            f"localhost:{port}",
            folder=tmp_path,
        ) as vcenter,
        vcenter.session(ca_pem=pem) as session,
    ):
        disk, is_same = copied(session, vcenter, "one")
    assert (disk.transport, is_same) == ("nfc", True)


def disk_at(bus, number, unit, **more):
    return Disk(
        key=1,
        file="f",
        base_file="f",
        capacity_bytes=MIB,
        datastore=None,
        controller_key=1,
        controller_model="",
        bus=bus,
        bus_number=number,
        unit_number=unit,
        **more,
    )


class Url:
    def __init__(self, key, disk=True):
        self.key, self.disk = key, disk


def test_device_of_when_keys_name_controllers_goes_by_bus_and_unit():
    urls = [
        Url("/vm-60/VirtualLsiLogicController0:1"),
        Url("/vm-60/ParaVirtualSCSIController1:0"),
        Url("/vm-60/VirtualAHCIController0:0"),
        Url("/vm-60/nvram", disk=False),
    ]
    wanted = [disk_at(Bus.SCSI, 1, 0), disk_at(Bus.SATA, 0, 0), disk_at(Bus.SCSI, 0, 1)]
    found = [nfc.device_of(urls, one, wanted) for one in wanted]
    assert found == [urls[1], urls[2], urls[0]]
    assert nfc.device_of(urls, disk_at(Bus.NVME, 0, 0), wanted) is None


def test_device_of_when_keys_tell_nothing_goes_by_order_unless_one_is_missing():
    urls = [Url("/vm/VirtualDisk:0"), Url("/vm/VirtualDisk:1")]
    two = [disk_at(Bus.SCSI, 0, 0), disk_at(Bus.SCSI, 0, 1)]
    assert nfc.device_of(urls, two[1], two) is urls[1]
    three = [*two, disk_at(Bus.SCSI, 0, 2)]
    assert nfc.device_of(urls, two[1], three) is None
    without = [*two, disk_at(Bus.SCSI, 0, 2, rdm_physical=True)]
    assert nfc.device_of(urls, two[1], without) is urls[1]


def test_check_readable_when_encrypted_says_what_to_do():
    known = disks.Facts(
        vm_name="web1",
        power_state=PowerState.OFF,
        disk=disk_at(Bus.SCSI, 0, 0, encrypted=True),
        disks=(),
    )
    with pytest.raises(errors.SourceRefused, match="is encrypted"):
        disks.check_readable(known)


def test_https_reads_any_part_of_the_disk(mended, session):
    vm = mended.vm("web1")
    known = vm["disks"][0]
    content = Path(known["file"]).read_bytes()
    from converters.testing import blocks, read

    with disks.opened(session, vm["moref"], known["key"]) as disk:
        got = {}
        for batch in read(disk.source, [Extent(3 * MIB, 128 * 1024)]):
            for offset, buffer, start, end in blocks(batch):
                got[offset] = bytes(buffer[start:end])
            batch.release()
    assert got
    for offset, block in got.items():
        assert content[offset : offset + len(block)] == block
