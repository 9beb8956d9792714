"""Which volumes are plugged in and pulled out, and pictures of displays."""

from __future__ import annotations

import struct
import zlib

import pytest

from mtv import errors
from mtv.api import kubevirt, meta
from mtv_operator.virt_handler import hotplug, pictures
from mtv_operator.virt_launcher.protocol import DiskTarget, Domain


def vmi(*wanted: str, attached: str = "") -> kubevirt.VirtualMachineInstance:
    source = kubevirt.PersistentVolumeClaimVolumeSource(claim_name="c", hotpluggable=True)
    plugged = kubevirt.HotplugVolumeStatus(attach_pod_name="hp", attach_pod_uid="p1")
    entries = (kubevirt.VolumeStatus(name="root", target="vda"),)
    if attached:
        one = kubevirt.VolumeStatus(name=attached, target="", hotplug_volume=plugged)
        entries += (one,)
    return kubevirt.VirtualMachineInstance(
        metadata=meta.ObjectMeta(name="vm", namespace="ns"),
        spec=kubevirt.VirtualMachineInstanceSpec(
            domain=kubevirt.DomainSpec(
                devices=kubevirt.Devices(disks=tuple(kubevirt.Disk(name=one) for one in wanted))
            ),
            volumes=tuple(
                kubevirt.Volume(name=one, persistent_volume_claim=source) for one in wanted
            ),
        ),
        status=kubevirt.VirtualMachineInstanceStatus(volume_status=entries),
    )


def domain(*names: str) -> Domain:
    return Domain(disks=tuple(DiskTarget(name=one, target="sda") for one in names))


def phases(instance: kubevirt.VirtualMachineInstance, seen: Domain) -> dict[str, str | None]:
    assert instance.status is not None
    found = hotplug.shown(instance.status, instance, seen)
    return {one.name: one.phase for one in found.volume_status}


def test_a_volume_on_the_node_is_plugged_in_once():
    instance = vmi("root", "new", attached="new")
    assert hotplug.to_plug(instance, domain("root")) == ("new",)
    assert hotplug.to_plug(instance, domain("root", "new")) == ()
    assert phases(instance, domain("root", "new"))["new"] == "Ready"


def test_a_disk_that_nobody_wants_is_pulled_out_and_then_forgotten():
    instance = vmi("root", attached="old")
    assert hotplug.to_unplug(instance, domain("root", "old")) == ("old",)
    assert phases(instance, domain("root", "old"))["old"] == "Detaching"
    assert "old" not in phases(instance, domain("root"))


def test_a_pixmap_becomes_a_png_of_the_same_pixels():
    pixels = bytes(range(18))
    picture = pictures.png(b"P6\n3 2\n255\n" + pixels)
    assert picture.startswith(pictures.SIGNATURE)
    assert struct.unpack(">II", picture[16:24]) == (3, 2)
    length = struct.unpack(">I", picture[33:37])[0]
    rows = zlib.decompress(picture[41 : 41 + length])
    assert rows == b"\0" + pixels[:9] + b"\0" + pixels[9:]


@pytest.mark.parametrize("picture", [b"", b"P6\n3 2\n255\n\0", b"P6\n0 0\n255\n", b"GIF89a"])
def test_what_is_no_picture_is_said(picture):
    with pytest.raises(errors.TargetRefused):
        pictures.png(picture)
