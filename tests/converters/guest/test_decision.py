"""The way and the reasons, from facts alone."""

import dataclasses

import pytest

from converters.guest.decision import Bus, Kind, Nic, Tools, Way, Wish, decide, name_nics
from converters.guest.inspection.facts import (
    DRIVERS,
    Boot,
    Disk,
    Inspection,
    Interface,
    Kernel,
    Linux,
    Mount,
    Network,
    System,
    Volume,
)

MAC = "00:50:56:8a:12:34"
KERNEL = Kernel(
    version="6.1", modules="/usr/lib/modules/6.1", initramfs="/boot/initrd.img-6.1",
    available=DRIVERS, lacks=("kernel/drivers/block/virtio_blk.ko",), storage=("ahci",),
)  # fmt: skip
READY = dataclasses.replace(KERNEL, in_initramfs=DRIVERS, lacks=())
ENS192 = Interface(name="ens192", addresses=("10.0.0.5/24",), file="/etc/network/interfaces")
GUEST = Linux(
    name="Debian", id="debian", root="/dev/sda1", kernels=(KERNEL,),
    boot=Boot(firmware="bios", loader="grub2", roots=("/dev/sda1",)),
    mounts=(Mount(source="/dev/sda1", where="/", type="ext4", volume="/dev/sda1"),),
    network=Network(tools=("ifupdown",), interfaces=(ENS192,)), init="systemd", packages="deb",
    initramfs_tool="initramfs-tools",
)  # fmt: skip
STEADY = dataclasses.replace(
    GUEST, kernels=(READY,), boot=dataclasses.replace(GUEST.boot, roots=("UUID=a",)),
    mounts=(Mount(source="UUID=a", where="/", type="ext4", volume="/dev/sda1"),),
)  # fmt: skip
ROOT = Volume(device="/dev/sda1", disk=0, start=1, size_bytes=1, kind="ext4", uuid="a")


def found(linux=GUEST, volumes=(ROOT,), **more):
    system = System.LINUX if linux else System.UNKNOWN
    disk = Disk(file="disk.raw", size_bytes=1, table="dos")
    return Inspection(disks=(disk,), volumes=volumes, system=system, linux=linux, **more)


def kinds(decision):
    return [intent.kind for intent in decision.intents]


def test_decide_when_drivers_lack_then_the_light_way_names_every_change_and_reason():
    decision = decide(found(), Wish(nics=(Nic(mac=MAC),)), Tools())
    assert (decision.way, decision.bus, decision.nic_model) == (Way.LIGHT, Bus.SCSI, "virtio")
    assert kinds(decision) == [
        Kind.INITRAMFS, Kind.NEXT_INITRAMFS, Kind.DISK_NAMES, Kind.DISK_NAMES, Kind.INTERFACE,
    ]  # fmt: skip
    assert all(intent.reason for intent in decision.intents)
    assert decision.names == ((MAC, "ens192"),)


def test_decide_when_the_guest_is_ready_and_names_stay_then_nothing_is_changed():
    network = Network(tools=("netplan",), interfaces=(Interface(name="lan", pinned=True),))
    guest = dataclasses.replace(STEADY, network=network)
    decision = decide(found(guest), Wish(nics=(Nic(mac=MAC),)), Tools())
    assert (decision.way, decision.bus) == (Way.NOTHING, Bus.SCSI)


def test_decide_when_disks_are_named_by_place_then_scsi_keeps_them_and_virtio_does_not():
    guest = dataclasses.replace(GUEST, kernels=(READY,), network=Network())
    assert decide(found(guest), Wish(), Tools()).way is Way.NOTHING
    assert decide(found(guest), Wish(bus=Bus.VIRTIO), Tools()).way is Way.LIGHT


@pytest.mark.parametrize(
    ("volume", "tools", "way", "reason"),
    [
        pytest.param({"kind": "xfs"}, Tools(appliance=True), Way.APPLIANCE, "xfs", id="xfs"),
        pytest.param({"kind": "xfs"}, Tools(virt_v2v=True), Way.VIRT_V2V, "xfs",
                     id="xfs with virt-v2v alone"),
        pytest.param({"kind": "xfs"}, Tools(), Way.EMULATED, "libguestfs", id="xfs with nothing"),
        pytest.param({"start": -1}, Tools(appliance=True), Way.APPLIANCE, "not one piece",
                     id="a scattered volume"),
        pytest.param({}, Tools(light=False), Way.EMULATED, "/dev/fuse", id="no FUSE"),
    ],
)  # fmt: skip
def test_decide_when_the_root_cannot_be_changed_lightly_then_the_next_way_is_taken(
    volume, tools, way, reason
):
    root = dataclasses.replace(ROOT, **volume)
    decision = decide(found(volumes=(root,)), Wish(), tools)
    assert decision.way is way
    assert reason in decision.reasons[0]
    assert decision.bus is (Bus.SATA if way is Way.EMULATED else Bus.SCSI)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        pytest.param({"available": ()}, "no kernel has the drivers", id="no drivers at all"),
        pytest.param({"problem": "is damaged"}, "is damaged", id="a damaged initramfs"),
    ],
)
def test_decide_when_no_kernel_can_start_then_devices_are_emulated(kernel, reason):
    guest = dataclasses.replace(GUEST, kernels=(dataclasses.replace(KERNEL, **kernel),))
    decision = decide(found(guest), Wish(), Tools(appliance=True))
    assert (decision.way, decision.bus, decision.nic_model) == (Way.EMULATED, Bus.SATA, "e1000e")
    assert reason in decision.reasons[0]
    assert decision.intents == ()


def test_decide_when_one_kernel_of_two_cannot_start_then_it_is_warned_of():
    old = dataclasses.replace(KERNEL, version="2.6", available=())
    decision = decide(found(dataclasses.replace(GUEST, kernels=(old, KERNEL))), Wish(), Tools())
    assert decision.way is Way.LIGHT
    assert "kernel 2.6 will not start on virtio" in decision.warnings


def test_decide_when_emulated_disks_have_no_driver_then_it_is_warned_of():
    guest = dataclasses.replace(GUEST, kernels=(dataclasses.replace(KERNEL, storage=()),))
    decision = decide(found(guest), Wish(compatible=True), Tools())
    assert decision.way is Way.EMULATED
    assert "no AHCI driver" in decision.warnings[0]


def test_decide_when_boot_is_apart_on_xfs_then_the_way_that_reads_it_is_taken():
    kernel = dataclasses.replace(KERNEL, initramfs="", lacks=())
    boot = dataclasses.replace(ROOT, device="/dev/sda2", kind="xfs")
    mounts = (*GUEST.mounts, Mount(source="UUID=b", where="/boot", type="xfs", volume="/dev/sda2"))
    guest = dataclasses.replace(GUEST, kernels=(kernel,), mounts=mounts)
    decision = decide(found(guest, (ROOT, boot)), Wish(), Tools(appliance=True))
    assert decision.way is Way.APPLIANCE
    assert "/dev/sda2 has xfs" in decision.reasons[0]
    assert decide(found(guest, (ROOT, boot)), Wish(), Tools()).way is Way.EMULATED


def test_decide_when_no_initramfs_is_found_then_that_is_the_reason():
    guest = dataclasses.replace(GUEST, kernels=(dataclasses.replace(KERNEL, initramfs=""),))
    assert decide(found(guest), Wish(), Tools()).reasons == (
        "no initramfs was found for any kernel",
    )


def test_decide_when_the_disk_is_encrypted_then_the_reason_names_it():
    root = dataclasses.replace(ROOT, kind="crypto_LUKS")
    decision = decide(found(None, (root,)), Wish(), Tools(appliance=True))
    assert (decision.way, decision.reasons) == (
        Way.EMULATED, ("crypto_LUKS hides the guest's files",),
    )  # fmt: skip


def test_decide_when_the_plan_says_skip_then_nothing_is_asked():
    decision = decide(found(), Wish(skip=True, console=True), Tools())
    assert (decision.way, decision.bus, decision.intents) == (Way.NOTHING, Bus.SCSI, ())


def test_decide_when_packages_are_of_another_kind_then_they_are_not_used():
    decision = decide(found(), Wish(packages=("qemu-guest-agent.rpm",)), Tools())
    assert Kind.AGENT not in kinds(decision)
    assert "not for a guest of deb" in decision.warnings[-1]
    assert Kind.AGENT in kinds(decide(found(), Wish(packages=("a.deb",)), Tools()))


def test_decide_when_the_fallback_loader_lacks_then_shim_is_put_there():
    loaders = ("/EFI/debian/grubx64.efi", "/EFI/debian/shimx64.efi")
    boot = Boot(firmware="efi", loader="grub2", fallback=False, loaders=loaders)
    decision = decide(found(dataclasses.replace(STEADY, boot=boot)), Wish(), Tools())
    assert decision.of(Kind.FALLBACK_LOADER)[0].subject == "/EFI/debian/shimx64.efi"


def interfaces(*rows):
    network = Network(interfaces=tuple(Interface(**row) for row in rows))
    return dataclasses.replace(GUEST, network=network)


TWO = ({"name": "ens192", "addresses": ("10.0.0.5/24",)}, {"name": "ens224"})


@pytest.mark.parametrize(
    ("rows", "nics", "names"),
    [
        pytest.param(({"name": "ens192"},), [{"mac": "a"}], {"a": "ens192"},
                     id="the only name is the only NIC's"),
        pytest.param(TWO, [{"mac": "a", "addresses": ("10.0.0.5",)}, {"mac": "b"}],
                     {"a": "ens192", "b": "ens224"}, id="by address, then what is left"),
        pytest.param(TWO, [{"mac": "b", "slot": 224}, {"mac": "a", "slot": 192}],
                     {"a": "ens192", "b": "ens224"}, id="by slot"),
        pytest.param(TWO, [{"mac": "a"}, {"mac": "b"}], {}, id="unknown, so none"),
        pytest.param(TWO, [{"mac": "a", "name": "ens224"}, {"mac": "b", "name": "ens192"}],
                     {"a": "ens224", "b": "ens192"}, id="as given"),
        pytest.param(({"name": "ens192", "mac": "b"},), [{"mac": "a"}], {},
                     id="another NIC's MAC is in the file"),
        pytest.param(({"name": "lan", "mac": "a", "pinned": True},), [{"mac": "a"}], {},
                     id="the guest binds the name itself"),
    ],
)  # fmt: skip
def test_name_nics_when_facts_vary_then_only_what_is_sure_is_kept(rows, nics, names):
    kept, warnings = name_nics(interfaces(*rows), [Nic(**nic) for nic in nics])
    assert dict(kept) == names
    assert bool(warnings) == ((not names and not rows[0].get("pinned") and len(rows) == 2)
                              or rows[0].get("mac") == "b")  # fmt: skip
