"""Firmware, disks and seeds as the guest sees them, with real libvirt, QEMU (TCG) and the guest."""

import base64
import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest import launched
from guest.launched import Launched
from guest.pod_by_hand import GUEST_DISK, UID, Pod, wait_until

from mtv import errors
from mtv_operator.virt_launcher import libvirt_errors, protocol
from mtv_operator.virt_launcher.protocol import Status

pytestmark = launched.needs_hypervisor()
ROOT_DISK = {"name": "root", "disk": {"bus": "virtio"}}
ROOT_VOLUME = {"name": "root", "persistentVolumeClaim": {"claimName": "root"}}


@contextlib.contextmanager
def pod_for(tmp_path: Path, vmi) -> Iterator[Launched]:
    with Pod(launched.folder_for(tmp_path), vmi.metadata.name, vmi.metadata.uid) as pod:
        pod.claim("root", GUEST_DISK)
        yield Launched(pod, vmi)


def test_efi_guest_boots(tmp_path):
    vmi = launched.vmi(domain={"firmware": {"bootloader": {"efi": {"secureBoot": False}}}})
    with pod_for(tmp_path, vmi) as found:
        found.start()
        found.order()
        assert "firmware=uefi" in found.wait_serial("boot=", 120)


def test_secure_boot_has_a_tpm_and_refuses_what_nobody_signed(tmp_path):
    vmi = launched.vmi(
        domain={
            "firmware": {"bootloader": {"efi": {"secureBoot": True}}},
            "features": {"smm": {"enabled": True}},
        },
        devices={"tpm": {}},
    )
    with pod_for(tmp_path, vmi) as found:
        found.start()
        assert found.order().status is Status.RUNNING
        assert found.pod.member("swtpm")
        found.wait_serial("Access Denied", 120)
        found.call(protocol.Destroy())
        assert found.wait_ended().reason == "Destroyed"
        wait_until(lambda: not _has(found, "swtpm"), "the end of the TPM", 10)


def _has(found: Launched, word: str) -> bool:
    try:
        return bool(found.pod.member(word))
    except LookupError:
        return False


def test_guest_boots_from_a_scsi_disk(tmp_path):
    disks = ({"name": "root", "disk": {"bus": "scsi"}, "serial": "disk-one"},)
    with pod_for(tmp_path, launched.vmi(disks=disks)) as found:
        found.start()
        domain = found.order()
        assert [one.target for one in domain.disks] == ["sda"]
        found.wait_serial("boot=")


@contextlib.contextmanager
def loop_device(file: Path, name: str) -> Iterator[Path]:
    """Make the block device `/dev/<name>` over a file, for uid 107."""
    found = subprocess.run(
        ["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=True
    )
    loop, device = Path(found.stdout.strip()), Path("/dev") / name
    try:
        os.mknod(device, 0o600 | 0o060000, loop.stat().st_rdev)
        os.chown(device, UID, UID)
        yield device
    finally:
        device.unlink(missing_ok=True)
        subprocess.run(["losetup", "--detach", str(loop)], check=True)


def test_guest_sees_every_kind_of_volume(tmp_path):
    block = f"block-{os.getpid()}"
    script = "; ".join(
        [
            "for d in /sys/block/[sv]d* /sys/block/sr*; do "
            "echo SIZE ${d##*/} $(cat $d/size) $(cat $d/ro) > /dev/ttyS0; done",
            "mkdir -p /mnt/c; mount -o ro $(findfs LABEL=cfgdata) /mnt/c",
            "echo CONFIG $(cat /mnt/c/app.conf) > /dev/ttyS0",
            "echo block written by the guest | dd of=/dev/vdc bs=512 conv=sync,fsync 2>/dev/null",
            "echo DONE > /dev/ttyS0",
        ]
    )
    seed = base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode()
    disks = (
        ROOT_DISK,
        {"name": "seed", "disk": {"bus": "virtio"}},
        {"name": block, "disk": {"bus": "virtio"}},
        {"name": "blank", "disk": {"bus": "virtio"}},
        {"name": "empty", "disk": {"bus": "virtio"}},
        {"name": "config", "disk": {"bus": "virtio", "readonly": True}},
        {"name": "overlay", "disk": {"bus": "scsi"}},
    )
    volumes = (
        ROOT_VOLUME,
        {"name": "seed", "cloudInitNoCloud": {"userDataBase64": seed}},
        {"name": block, "persistentVolumeClaim": {"claimName": "b"}},
        {"name": "blank", "dataVolume": {"name": "blank"}},
        {"name": "empty", "emptyDisk": {"capacity": "8Mi"}},
        {"name": "config", "configMap": {"name": "app"}},
        {"name": "overlay", "ephemeral": {"persistentVolumeClaim": {"claimName": "overlay"}}},
    )
    device_file = tmp_path / "device"
    device_file.write_bytes(bytes(4 << 20))
    vmi = launched.vmi(disks=disks, volumes=volumes)
    with loop_device(device_file, block), pod_for(tmp_path, vmi) as found:
        found.pod.claim("blank")
        overlaid = found.pod.claim("overlay", GUEST_DISK)
        before = (overlaid / "disk.img").read_bytes()
        mounted = found.pod.emptydirs / "private/config-map/config"
        mounted.mkdir(parents=True)
        (mounted / "app.conf").write_text("color=blue\n")
        found.start()
        domain = found.order(capacities={"blank": 16 << 20})
        assert {one.name: one.target for one in domain.disks} == {
            "root": "vda",
            "seed": "vdb",
            block: "vdc",
            "blank": "vdd",
            "empty": "vde",
            "config": "vdf",
            "overlay": "sda",
        }
        serial = found.wait_serial("DONE")
        sizes = {
            name: (int(size) * 512, read_only)
            for name, size, read_only in re.findall(r"SIZE (\w+) (\d+) (\d)", serial)
        }
        assert sizes["vdc"] == (4 << 20, "0")
        assert sizes["vdd"] == (16 << 20, "0")
        assert sizes["vde"] == (8 << 20, "0")
        assert sizes["vdf"][1] == "1"
        assert sizes["sda"] == (len(before), "0")
        assert "CONFIG color=blue" in serial
        assert (found.pod.claims["blank"] / "disk.img").stat().st_size == 16 << 20
        assert (overlaid / "disk.img").read_bytes() == before
    assert device_file.read_bytes().startswith(b"block written by the guest\n")


def test_config_drive_has_openstacks_files(tmp_path):
    script = (
        "mkdir -p /mnt/d; mount -o ro $(findfs LABEL=config-2) /mnt/d; "
        "cat /mnt/d/openstack/latest/meta_data.json > /dev/ttyS0; echo > /dev/ttyS0; "
        "echo USER $(cat /mnt/d/openstack/latest/user_data) > /dev/ttyS0; echo DONE > /dev/ttyS0"
    )
    disks, volumes = launched.no_cloud(script)
    disks = (*disks, {"name": "drive", "disk": {"bus": "virtio"}})
    volumes = (*volumes, {"name": "drive", "cloudInitConfigDrive": {"userData": "hello drive"}})
    with pod_for(tmp_path, launched.vmi(disks=disks, volumes=volumes)) as found:
        found.start()
        found.order()
        serial = found.wait_serial("DONE")
    assert '"hostname":"web"' in serial
    assert "USER hello drive" in serial


def test_seed_comes_from_a_mounted_secret(tmp_path):
    volume = {"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "seed"}}}
    vmi = launched.vmi(
        disks=(ROOT_DISK, {"name": "seed", "disk": {"bus": "virtio"}}),
        volumes=(ROOT_VOLUME, volume),
    )
    with pod_for(tmp_path, vmi) as found:
        mounted = found.pod.emptydirs / "private/secret/seed-udata"
        mounted.mkdir(parents=True)
        (mounted / "userdata").write_text("#!/bin/sh\necho FROM SECRET > /dev/ttyS0\n")
        found.start()
        found.order()
        found.wait_serial("FROM SECRET")


def test_guest_starts_paused_where_that_was_asked_for(tmp_path):
    with pod_for(tmp_path, launched.vmi(startStrategy="Paused")) as found:
        found.start()
        assert found.order().status is Status.PAUSED
        found.call(protocol.Unpause())
        found.wait_serial("KVGUEST BOOT")


@pytest.mark.parametrize(
    ("content", "capacity", "kind", "words"),
    [
        pytest.param(b"QFI\xfb" + bytes(4096), 0, errors.BadInput, "is qcow2", id="qcow2"),
        pytest.param(None, 0, errors.BadInput, "has no disk.img", id="no disk and no size"),
    ],
)
def test_disk_that_is_none_is_named(content, capacity, kind, words, tmp_path):
    vmi = launched.vmi()
    with Pod(launched.folder_for(tmp_path), "web", vmi.metadata.uid) as pod:
        folder = pod.claim("root")
        if content is not None:
            (folder / "disk.img").write_bytes(content)
            os.chown(folder / "disk.img", UID, UID)
        found = Launched(pod, vmi)
        found.start()
        with pytest.raises(kind, match=words):
            found.order(capacities={"root": capacity})
        assert not found.domain().alive


def test_volume_that_uid_107_may_not_use_is_named(tmp_path):
    vmi = launched.vmi()
    with pod_for(tmp_path, vmi) as found:
        disk = found.pod.claims["root"] / "disk.img"
        os.chown(disk, 0, 0)
        disk.chmod(0o600)
        found.start()
        with pytest.raises(errors.TargetRefused, match=r"Permission denied|may not be used"):
            found.order()


def test_machine_that_qemu_does_not_have_is_named(tmp_path):
    with pod_for(tmp_path, launched.vmi(domain={"machine": {"type": "pc-q35-99.9"}})) as found:
        found.start()
        with pytest.raises(libvirt_errors.MachineTypeUnsupported, match=r"pc-q35-99\.9"):
            found.order()


def test_cpu_that_does_not_exist_is_named(tmp_path):
    with pod_for(tmp_path, launched.vmi(domain={"cpu": {"model": "Pentium-9000"}})) as found:
        found.start()
        with pytest.raises(libvirt_errors.CPUModelUnsupported, match="Pentium-9000"):
            found.order()


def test_too_much_memory_is_named(tmp_path):
    with pod_for(tmp_path, launched.vmi(domain={"memory": {"guest": "512Ti"}})) as found:
        found.start()
        with pytest.raises(errors.MigrationError) as caught:
            found.order()
        assert isinstance(caught.value, libvirt_errors.OutOfMemory), repr(caught.value)
