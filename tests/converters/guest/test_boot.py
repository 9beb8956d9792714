"""Whole guests: they boot as on VMware, not on virtio before, and on virtio after, as they were."""

import os
import shutil
import subprocess

import pytest
import small_guests
import vmware_guests
from vmware_guests import MAC, Options

from converters.guest import tools
from converters.guest.application import adapt, packages, trial
from converters.guest.decision import Bus, Nic, Way, Wish

missing = [
    name for name in ("mmdebstrap", "qemu-system-x86_64", "mcopy") if shutil.which(name) is None
]
reason = (
    small_guests.can_change()
    or ("needs root to build guests" if os.geteuid() else "")
    or (f"needs {', '.join(missing)}: packages-guests.txt" if missing else "")
)
pytestmark = [
    pytest.mark.guests,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(reason), reason=reason),
]

SLOW = 4  # an emulated guest on a busy machine; the figures of a quiet one are in docs


def adapted(folder, firmware, fstab, bus):
    """Return a disk of its own, adapted, and the result."""
    disk = folder / "disk.raw"
    subprocess.run(["cp", "--sparse=always", vmware_guests.disk(firmware, fstab), disk], check=True)
    chosen = packages.read(str(vmware_guests.agent_packages()))
    wish = Wish(bus=bus, nics=(Nic(mac=MAC),), packages=tuple(chosen))
    order = adapt.Order(
        disks=(str(disk),), wish=wish, tools=tools.here(), packages=chosen, check=True
    )
    return disk, adapt.adapt(order)


def test_boot_when_the_guest_is_as_on_vmware_then_it_has_its_address():
    disk = vmware_guests.disk("bios", "device")
    found = vmware_guests.boot(disk, Options(profile="vmware", slot=192, timeout=130 * SLOW))
    assert found["ok"], found
    assert found["status"]["nics"][0]["name"] == "ens192"


def test_boot_when_the_guest_is_not_adapted_then_virtio_does_not_start_it():
    disk = vmware_guests.disk("bios", "device")
    found = vmware_guests.boot(disk, Options(profile="virtio-blk", timeout=130 * SLOW))
    assert "/dev/sda1 does not exist" in found.get("error", ""), found


@pytest.mark.parametrize(
    ("firmware", "fstab", "bus"),
    [
        pytest.param("bios", "device", Bus.VIRTIO, id="BIOS, disks by place, virtio-blk"),
        pytest.param("bios", "uuid", Bus.SCSI, id="BIOS, disks by UUID, virtio-scsi"),
        pytest.param("efi", "device", Bus.VIRTIO, id="Secure Boot, disks by place, virtio-blk"),
        pytest.param("efi", "uuid", Bus.SCSI, id="Secure Boot, disks by UUID, virtio-scsi"),
    ],
)
def test_boot_when_the_guest_is_adapted_then_it_has_its_name_address_and_agent(
    tmp_path, firmware, fstab, bus
):
    disk, result = adapted(tmp_path, firmware, fstab, bus)
    assert result.decision.way is Way.LIGHT
    profile = "virtio-blk" if bus is Bus.VIRTIO else "virtio-scsi"
    secure = firmware == "efi"
    found = vmware_guests.boot(
        disk, Options(profile=profile, secure=secure, agent=True, timeout=200 * SLOW)
    )
    assert found["ok"], found
    (nic,) = found["status"]["nics"]
    assert (nic["name"], nic["mac"], nic["driver"]) == ("ens192", MAC, "virtio_net")
    assert nic["addresses"].strip() == "192.168.77.50/24"
    assert not secure or found["status"]["secureboot"] == "1"


def test_trial_when_the_guest_was_not_adapted_for_its_bus_then_nothing_is_committed(tmp_path):
    """A guest that is told to hang on virtio-blk without a driver shows why, and stays as it is."""
    disk = tmp_path / "disk.raw"
    subprocess.run(
        ["cp", "--sparse=always", vmware_guests.disk("bios", "device"), disk], check=True
    )
    from converters.guest.application import overlay
    from converters.guest.decision import Tools, decide
    from converters.guest.inspection import inspect

    with inspect.open_disks([str(disk)]) as disks:
        found = inspect.look(disks, [str(disk)]).inspection
    decision = decide(found, Wish(bus=Bus.VIRTIO), Tools())
    overlays = overlay.create([str(disk)], ["raw"])
    with pytest.raises(trial.DidNotBoot, match="does not exist") as caught:
        trial.Boot(timeout_s=130 * SLOW)(overlays, decision, found)
    assert (tmp_path / "disk.raw.mtv-trial.ppm").stat().st_size > 10_000
    assert "nothing was committed" in caught.value.hint
