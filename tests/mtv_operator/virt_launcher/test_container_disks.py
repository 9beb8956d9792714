"""The disk in a container image, and disks that are plugged in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import images, volumes
from mtv_operator.virt_launcher.domain import disks
from mtv_operator.virt_launcher.domain.context import Image


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image/disk").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"not for guests")
    return tmp_path / "image"


def test_the_only_file_below_disk_is_the_disk(image):
    (image / "disk/fedora.qcow2").write_bytes(b"x")
    assert volumes.disk_in_image(image, "", "f").name == "fedora.qcow2"


def test_a_path_may_name_another(image):
    (image / "custom").mkdir()
    (image / "custom/a.img").write_bytes(b"x")
    assert volumes.disk_in_image(image, "/custom/a.img", "f").name == "a.img"


@pytest.mark.parametrize("path", ["", "/disk/a", "/../secret", "/none"])
def test_nothing_leads_out_of_the_image(image, path):
    (image / "disk/a").symlink_to(image.parent / "secret")
    with pytest.raises(errors.BadInput):
        volumes.disk_in_image(image, path, "f")


def test_two_files_are_no_disk_and_no_image_is_said_with_what_is_missing(image, tmp_path):
    for name in "ab":
        (image / "disk" / name).write_bytes(b"x")
    with pytest.raises(errors.BadInput, match="2 files"):
        volumes.disk_in_image(image, "", "f")
    with pytest.raises(errors.TargetRefused, match="not mounted"):
        volumes.disk_in_image(tmp_path / "none", "", "f")


def test_a_plugged_disk_gets_a_free_name_and_the_alias_of_its_volume():
    disk = kubevirt.Disk(name="data", disk=kubevirt.DiskTarget(bus="scsi"), serial="S1")
    xml = disks.device_xml(disk, Image(path="/x.img"), {"sda", "vda"})
    for part in ('dev="sdb"', 'bus="scsi"', 'name="ua-data"', "<serial>S1</serial>"):
        assert part in xml


def test_a_bus_without_plugs_is_refused():
    disk = kubevirt.Disk(name="data", disk=kubevirt.DiskTarget(bus="sata"))
    with pytest.raises(errors.BadInput, match="cannot be added"):
        disks.device_xml(disk, Image(path="/x.img"), ())


def qcow2(path: Path, *options: str) -> Path:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path)]
    subprocess.run([*command, "1M"], check=True)
    return path


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
def test_a_disk_that_refers_to_another_file_is_refused(tmp_path):
    backed = qcow2(tmp_path / "a.qcow2", "-u", "-b", "/etc/passwd", "-F", "raw")
    outside = qcow2(tmp_path / "b.qcow2", "-o", f"data_file={tmp_path / 'raw'}")
    for path in (backed, outside):
        with pytest.raises(errors.BadInput, match="refers to another file") as caught:
            images.container_disk(path)
        assert "flatten" in caught.value.hint

    plain = images.container_disk(qcow2(tmp_path / "c.qcow2"))
    overlay = images.overlay(tmp_path / "overlay.qcow2", plain)

    assert (plain.format, overlay.backing) == ("qcow2", plain)


def test_a_claims_disk_that_is_no_raw_image_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"QFI\xfb" + bytes(1 << 20))
    with pytest.raises(errors.BadInput, match="must be raw") as caught:
        images.prepare_disk(path, "root", 0)
    assert caught.value.field == "spec.volumes[root]"
