"""NTFS made by ntfs-3g's programs: what is said of a Windows on it."""

import os
import random
import shutil
import struct
import subprocess

import disk_images
import pytest
import small_guests as guests

from converters.guest.filesystems.hive import Hive
from converters.guest.filesystems.ntfs import Ntfs
from converters.guest.inspection import inspect, windows
from converters.guest.inspection.facts import System

missing = [name for name in ("mkntfs", "ntfs-3g") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason="needs ntfs-3g: packages-guests.txt"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to fill an NTFS"),
]


def hive():
    """A SOFTWARE hive with one chain of keys, written from the format."""
    cells = bytearray()

    def cell(content):
        at = 32 + len(cells)
        size = -(-(len(content) + 4) // 8) * 8
        cells.extend(struct.pack("<i", -size) + content.ljust(size - 4, b"\0"))
        return at

    def key(name, *, subkeys=0, below=0, values=0, listed=0):
        head = struct.pack("<2sHQIIIIIIIIIIIIIIIHH", b"nk", 0x20, 0, 0, 0, subkeys, 0, below, 0,
                           values, listed, 0, 0, 0, 0, 0, 0, 0, len(name), 0)  # fmt: skip
        return cell(head + name.encode())

    def value(name, content):
        raw = content.encode("utf-16-le") + b"\0\0"
        head = struct.pack("<2sHIIIHH", b"vk", len(name), len(raw), cell(raw), 1, 1, 0)
        return cell(head + name.encode())

    rows = [("ProductName", "Windows Server 2019 Standard"), ("CurrentVersion", "6.3"),
            ("CurrentBuildNumber", "17763")]  # fmt: skip
    places = [value(*row) for row in rows]
    listed = cell(struct.pack("<3I", *places))
    inner = key("CurrentVersion", values=3, listed=listed)
    for name in ("Windows NT", "Microsoft", "root"):
        below = cell(struct.pack("<2sHII", b"lh", 1, inner, 0))
        inner = key(name, subkeys=1, below=below)
    base = bytearray(4096)
    base[:4] = b"regf"
    struct.pack_into("<I", base, 36, inner)
    return bytes(base) + b"hbin" + bytes(28) + bytes(cells)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ntfs")
    image, mounted = folder / "ntfs", folder / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkntfs", "-q", "-F", "-Q", "-s", "512", str(image)], check=True,
                   capture_output=True)  # fmt: skip
    subprocess.run(["ntfs-3g", str(image), str(mounted)], check=True)
    try:
        drivers = mounted / "Windows/System32/drivers"
        drivers.mkdir(parents=True)
        (mounted / "Windows/System32/config").mkdir()
        for number in range(300):  # enough for an index outside of the folder's record
            (drivers / f"driver{number:03d}.sys").write_bytes(b"x")
        (drivers / "PVSCSI.sys").write_bytes(b"MZ" * 5000)
        (mounted / "Windows/System32/config/SOFTWARE").write_bytes(hive())
        (mounted / "hiberfil.sys").write_bytes(b"hibr" + bytes(9000))
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    return image.read_bytes()


def test_look_when_it_is_a_windows_then_drivers_and_hibernation_are_said(tmp_path, volume):
    disk = guests.disk(tmp_path / "disk.raw", [volume], kinds=[0x07])
    with inspect.open_disks([str(disk)]) as disks:
        found = inspect.look(disks, [str(disk)]).inspection
    assert found.system is System.WINDOWS
    assert found.windows.drivers == ("pvscsi",)
    assert found.windows.hibernated
    assert found.windows.name == "Windows Server 2019 Standard"
    assert found.windows.version == "6.3.17763"
    assert not found.windows.dirty


def test_read_when_files_are_resident_or_not_then_both_are_read(volume):
    system = Ntfs(guests.Bytes(volume))
    node = windows.find(system, "windows/SYSTEM32/drivers/pvscsi.SYS")
    assert system.read(node, 1 << 20) == b"MZ" * 5000
    assert system.read(windows.find(system, "Windows/System32/drivers/driver007.sys"), 9) == b"x"
    assert len(system.entries(windows.find(system, "Windows/System32/drivers"))) == 301


def test_read_when_bytes_are_damaged_then_only_our_errors_are_raised(volume):
    chance = random.Random(8)
    for _ in range(60):
        damaged = bytearray(volume)
        for _ in range(chance.randrange(1, 200)):
            damaged[chance.choice([chance.randrange(512), chance.randrange(200_000)])] = (
                chance.randrange(256)
            )
        with disk_images.allowed_to_fail():
            system = Ntfs(guests.Bytes(damaged))
            windows.is_root(system)
            assert system.dirty in (True, False)


def test_hive_when_bytes_are_damaged_then_only_our_errors_are_raised():
    good, chance = hive(), random.Random(9)
    for _ in range(400):
        damaged = bytearray(good)
        for _ in range(chance.randrange(1, 20)):
            damaged[chance.randrange(36, len(good))] = chance.randrange(256)
        with disk_images.allowed_to_fail():
            Hive(bytes(damaged)).values(r"Microsoft\Windows NT\CurrentVersion")
