"""Drivers put into an offline Windows, on a disk of ours that only looks like one."""

import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

from converters.errors import ConversionError
from converters.guest import tools
from converters.guest.application import adapt, drivers, hives, injecting
from converters.guest.changes import windows
from converters.guest.decision import Bus, Nic, Tools, Way, Wish, decide
from converters.guest.filesystems.hive import Hive
from converters.guest.inspection.facts import Inspection, System, Volume, Windows
from converters.guest.volumes.device import FileDevice

MAKER = pathlib.Path(__file__).parents[2] / "windows_hives.py"
NIC = Nic(mac="00:50:56:8a:12:34", addresses=("192.168.77.60/24",))
SYSTEM = {
    "Select": {"Current": [4, 1]},
    "DriverDatabase": {},
    "ControlSet001": {
        "Control": {"CriticalDeviceDatabase": {}},
        "Services": {"storahci": {"Start": [4, 3], "StartOverride": {"0": [4, 3]}}},
    },
}
OLD_SYSTEM = {key: value for key, value in SYSTEM.items() if key != "DriverDatabase"}
SOFTWARE = {
    "Microsoft": {
        "Windows NT": {
            "CurrentVersion": {
                "ProductName": [1, "Windows Server 2019 Standard"],
                "CurrentVersion": [1, "6.3"],
                "CurrentBuildNumber": [1, "17763"],
            }
        }
    }
}
VOLUME = Volume(device="/dev/sda1", disk=0, start=1 << 20, size_bytes=1 << 30, kind="ntfs")
ALL = ("vioscsi/vioscsi.sys", "netkvm/netkvm.sys")

needs_hivex = pytest.mark.skipif(not hives.is_here(), reason="needs python3-hivex")
needs_ntfs = pytest.mark.skipif(
    not tools.here().inject or os.geteuid() != 0 or shutil.which("ntfs-3g") is None,
    reason="needs ntfs-3g, python3-hivex, /dev/fuse, and root to fill an NTFS",
)


def hive(folder, tree):
    path = folder / "made"
    subprocess.run(
        ["/usr/bin/python3", "-I", str(MAKER), str(path)], input=json.dumps(tree).encode(),
        check=True, capture_output=True,
    )  # fmt: skip
    return path.read_bytes()


@pytest.fixture
def virtio_win(tmp_path):
    for driver in ("vioscsi", "viostor", "netkvm"):
        for release in ("2k19", "w10"):
            folder = tmp_path / "virtio-win" / driver / release / "amd64"
            folder.mkdir(parents=True)
            for kind in ("sys", "inf", "cat"):
                (folder / f"{driver}.{kind}").write_text(f"{driver} {release} {kind}")
    return tmp_path / "virtio-win"


@pytest.fixture
def disk(tmp_path):
    image, mounted = tmp_path / "ntfs", tmp_path / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(24 << 20)
    subprocess.run(["mkntfs", "-q", "-F", "-Q", "-s", "512", str(image)], check=True,
                   capture_output=True)  # fmt: skip
    subprocess.run(["ntfs-3g", str(image), str(mounted)], check=True)
    try:
        for name in ("Windows/System32/config", "Windows/System32/drivers", "Windows/Temp"):
            (mounted / name).mkdir(parents=True)
        config = mounted / "Windows/System32/config"
        (config / "SYSTEM").write_bytes(hive(tmp_path, SYSTEM))
        (config / "SOFTWARE").write_bytes(hive(tmp_path, SOFTWARE))
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    whole = tmp_path / "windows.raw"
    start = 1 << 20
    table = bytearray(512)
    struct.pack_into("<B3sB3sII", table, 446, 0x80, b"", 7, b"", start // 512, (24 << 20) // 512)
    table[510:] = b"\x55\xaa"
    whole.write_bytes(bytes(table).ljust(start, b"\0") + image.read_bytes())
    return whole


def order(disk, virtio_win, **more):
    return adapt.Order(
        disks=(str(disk),), wish=Wish(bus=Bus.SCSI, nics=(NIC,)), tools=tools.here(), packages={},
        drivers=str(virtio_win), **more,
    )  # fmt: skip


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(disk, path):
    content = disk.read_bytes()[1 << 20 :]
    part = disk.with_suffix(".part")
    part.write_bytes(content)
    return injecting.reader(FileDevice(str(part)))(path)


@needs_ntfs
def test_windows_gets_its_drivers_and_a_first_start_and_a_second_run_changes_nothing(
    disk, virtio_win
):
    before = read(disk, windows.SYSTEM)
    result = adapt.adapt(order(disk, virtio_win))
    assert result.decision.way is Way.INJECT
    assert result.committed
    assert (result.decision.bus, result.decision.nic_model) == (Bus.SCSI, "virtio")
    found = Hive(read(disk, windows.SYSTEM))
    service = found.values(r"ControlSet001\Services\vioscsi")
    assert service["Start"] == bytes(4)
    assert found.values(r"ControlSet001\Services\storahci")["Start"] == bytes(4)
    assert not found.values(r"ControlSet001\Services\storahci\StartOverride")
    assert read(disk, "Windows/System32/drivers/vioscsi.sys") == b"vioscsi 2k19 sys"
    assert read(disk, windows.KEPT) == before
    script = read(disk, windows.SCRIPT).decode("utf-8-sig")
    assert "00-50-56-8A-12-34" in script
    assert "192.168.77.60" in script
    listed = json.loads(read(disk, windows.RECORD))["changes"]
    old = {one["path"]: one.get("old_sha256", "") for one in listed}
    assert old["/Windows/System32/config/SYSTEM"] == hashlib.sha256(before).hexdigest()
    after = sha256(disk)
    again = adapt.adapt(order(disk, virtio_win))
    assert not again.committed
    assert sha256(disk) == after


@needs_ntfs
def test_windows_that_was_not_shut_down_is_left_alone(disk, virtio_win, tmp_path):
    content = bytearray(disk.read_bytes())
    # $Volume is the third record of the MFT; its flags say that it is dirty.
    start = (1 << 20) + struct.unpack_from("<Q", content, (1 << 20) + 48)[0] * 4096
    record = start + 3 * 1024
    at = content.index(struct.pack("<I", 0x70), record)
    value = at + struct.unpack_from("<H", content, at + 20)[0]
    struct.pack_into("<H", content, value + 10, 1)
    disk.write_bytes(bytes(content))
    before = sha256(disk)
    result = adapt.adapt(order(disk, virtio_win))
    assert result.decision.way is Way.EMULATED
    assert "not closed cleanly" in result.decision.reasons[0]
    assert sha256(disk) == before


@needs_hivex
def test_hive_of_an_old_windows_gets_the_database_of_critical_devices(tmp_path):
    made = Hive(hives.edited(hive(tmp_path, OLD_SYSTEM), windows.edits(Bus.VIRTIO)))
    path = r"ControlSet001\Control\CriticalDeviceDatabase\PCI#VEN_1AF4&DEV_1001&REV_00"
    assert made.values(path)["Service"].decode("utf-16-le") == "viostor\0"
    assert not made.values(r"DriverDatabase\DriverInfFiles\viostor.inf")


@needs_hivex
def test_hive_that_has_everything_does_not_grow(tmp_path):
    once = hives.edited(hive(tmp_path, SYSTEM), windows.edits(Bus.SCSI))
    assert hives.edited(once, windows.edits(Bus.SCSI)) == once


@needs_hivex
@pytest.mark.parametrize("content", [b"", b"regf", b"regf" + bytes(8188), os.urandom(8192)])
def test_hive_that_is_damaged_is_refused(content):
    with pytest.raises(ConversionError):
        hives.edited(content, windows.edits(Bus.SCSI))


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        ("6.3.17763", "Windows Server 2019 Standard", "2k19"),
        ("6.3.20348", "Windows Server 2022 Datacenter", "2k22"),
        ("6.3.22631", "Windows 10 Pro", "w11"),
        ("6.3.19045", "Windows 10 Pro", "w10"),
        ("6.1.7601", "Windows Server 2008 R2 Standard", "2k8r2"),
        ("6.0.6003", "Windows Server 2008", ""),
        ("", "", ""),
    ],
)
def test_release_is_virtio_wins_folder(version, name, expected):
    assert windows.release(version, name) == expected


@pytest.mark.parametrize(
    ("changed", "wish", "why"),
    [
        ({}, {"drivers": None}, "no virtio-win was given"),
        ({}, {"drivers": ()}, "virtio-win has no vioscsi"),
        ({"bitlocker": True}, {}, "BitLocker"),
        ({"dynamic_disks": True}, {}, "dynamic disks"),
        ({"windows": Windows(root="/dev/sda1", hibernated=True)}, {}, "hibernated"),
        ({}, {"bus": Bus.SATA}, "asked for"),
    ],
    ids=str,
)
def test_windows_stays_on_sata_and_the_reason_is_said(changed, wish, why):
    fields = {"windows": Windows(root="/dev/sda1"), **changed}
    found = Inspection(disks=(), volumes=(VOLUME,), system=System.WINDOWS, **fields)
    decided = decide(found, Wish(**{"drivers": ALL, **wish}), Tools(inject=True))
    assert (decided.way, decided.bus) == (Way.EMULATED, Bus.SATA)
    assert why in decided.reasons[0]


def test_script_takes_nothing_of_the_source_that_is_no_address():
    text = windows.script((Nic(mac=NIC.mac, addresses=("1.2.3.4/24'; evil", "10.0.0.1/8")),
                           Nic(mac="'; evil"),))  # fmt: skip
    assert "evil" not in text
    assert "10.0.0.1" in text


def test_drivers_are_those_of_the_release_alone(virtio_win):
    found = drivers.read(str(virtio_win), "2k19")
    assert found["vioscsi/vioscsi.sys"] == b"vioscsi 2k19 sys"
    assert set(found) == {f"{one}/{one}.{kind}" for one in ("vioscsi", "viostor", "netkvm")
                          for kind in ("sys", "inf", "cat")}  # fmt: skip
    assert drivers.read(str(virtio_win), "2k8r2") == {}
