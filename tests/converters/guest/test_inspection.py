"""What is said of a guest: network files of seven kinds, kernels, boot, and what hides."""

import struct
import subprocess

import pytest
import small_guests as guests

from converters.guest.filesystems.ext4 import Ext4
from converters.guest.filesystems.tree import Tree
from converters.guest.initramfs import archive
from converters.guest.inspection import inspect, linux, network
from converters.guest.inspection.facts import System


def look(*disks):
    files = [str(disk) for disk in disks]
    with inspect.open_disks(files) as opened:
        return inspect.look(opened, files).inspection


def test_look_when_it_is_a_debian_of_vmware_then_all_that_matters_is_found(tmp_path):
    found = look(guests.debian_disk(tmp_path))
    guest = found.linux
    assert found.system is System.LINUX
    assert found.problems == ()
    assert (guest.id, guest.version, guest.architecture) == ("debian", "12", "x86_64")
    assert guest.boot.roots == ("/dev/sda1",)
    assert guest.boot.loader == "grub2"
    assert [(one.source, one.volume) for one in guest.mounts] == [("/dev/sda1", "/dev/sda1")]
    (kernel,) = guest.kernels
    assert kernel.packed_by == ("none", "gzip")
    assert kernel.in_initramfs == ()
    assert kernel.storage == ("ahci", "vmw_pvscsi")
    assert len(kernel.lacks) == 8
    assert guest.vmware_services == ("open-vm-tools.service",)
    assert (guest.network.tools, guest.network.interfaces[0].name) == (("ifupdown",), "ens192")
    assert guest.packages == "deb"
    assert guest.free_bytes["/boot"] > 1 << 20
    assert not guest.adapted


def test_look_when_the_image_is_qcow2_or_vmdk_then_the_same_is_found(tmp_path):
    raw = guests.debian_disk(tmp_path)
    for format_ in ("qcow2", "vmdk"):
        image = tmp_path / f"disk.{format_}"
        subprocess.run(["qemu-img", "convert", "-O", format_, str(raw), str(image)], check=True)
        assert look(image).linux == look(raw).linux


def test_look_when_boot_and_the_esp_are_apart_then_they_are_mounted(tmp_path):
    tree = guests.debian(root=f"UUID={guests.ROOT_UUID}")
    boot = guests.Tree(
        files={path.removeprefix("/boot"): tree.files.pop(path) for path in list(tree.files)
               if path.startswith("/boot/")}
    )  # fmt: skip
    tree.files["/etc/fstab"] = (
        f"UUID={guests.ROOT_UUID} / ext4 defaults 0 1\n/dev/sda2 /boot ext4 defaults 0 2\n"
        "/dev/sda3 /boot/efi vfat umask=0077 0 1\n"
    )
    tree.files["/boot/efi/empty"] = ""
    disk = guests.disk(
        tmp_path / "disk.raw",
        [
            guests.ext4(tmp_path, tree, "root"),
            guests.ext4(tmp_path, boot, "boot", identity=guests.BOOT_UUID),
            guests.esp(
                tmp_path, {"EFI/debian/shimx64.efi": b"shim", "EFI/debian/grubx64.efi": b"grub"}
            ),
        ],
        kinds=[0x83, 0x83, 0xEF],
    )
    guest = look(disk).linux
    assert guest.kernels[0].initramfs == f"/boot/initrd.img-{guests.KERNEL}"
    assert guest.boot.firmware == "efi"
    assert guest.boot.fallback is False
    assert set(guest.boot.loaders) == {"/EFI/debian/shimx64.efi", "/EFI/debian/grubx64.efi"}


def test_look_when_root_is_on_a_logical_volume_then_it_is_read(tmp_path):
    found = look(guests.on_lvm(tmp_path, guests.debian(root="/dev/mapper/vg-root")))
    assert found.linux.root == "/dev/mapper/vg-root"
    assert found.linux.mounts[0].volume == "/dev/mapper/vg-root"
    assert found.volume("/dev/mapper/vg-root").start == 3 << 20


def test_look_when_the_root_is_xfs_then_it_is_said_that_it_cannot_be_read(tmp_path):
    content = bytearray(1 << 20)
    content[:4] = b"XFSB"
    struct.pack_into(">H", content, 100, 5)
    found = look(guests.disk(tmp_path / "disk.raw", [bytes(content)]))
    assert found.system is System.UNKNOWN
    assert found.problems == ("/dev/sda1 (xfs) cannot be read here",)


def test_look_when_there_are_two_systems_then_none_is_chosen(tmp_path):
    two = [guests.ext4(tmp_path, guests.debian(), name) for name in ("one", "two")]
    found = look(guests.disk(tmp_path / "disk.raw", two))
    assert found.system is System.UNKNOWN
    assert "several systems: /dev/sda1, /dev/sda2" in found.problems[0]


def test_look_when_an_initramfs_cannot_be_read_then_its_kernel_says_so(tmp_path):
    tree = guests.debian()
    tree.files[f"/boot/initrd.img-{guests.KERNEL}"] = b"\x89LZO" + bytes(100)
    found = look(guests.debian_disk(tmp_path, tree))
    assert "unknown way" in found.linux.kernels[0].problem
    assert guests.KERNEL in found.problems[0]


@pytest.mark.parametrize(
    ("files", "tool", "expected"),
    [
        pytest.param(
            {"/etc/netplan/50.yaml": "network:\n  ethernets:\n    ens160:\n      addresses: "
             "[10.0.0.5/24]\n    lan:\n      match: {macaddress: '00:50:56:AA:BB:CC'}\n"
             "      set-name: lan0\n"},
            "netplan",
            [("ens160", "", ("10.0.0.5/24",)), ("lan0", "00:50:56:aa:bb:cc", ())],
            id="netplan",
        ),
        pytest.param(
            {"/etc/NetworkManager/system-connections/a.nmconnection":
             "[connection]\ntype=ethernet\ninterface-name=ens224\n[ethernet]\n"
             "mac-address=00:50:56:11:22:33\n[ipv4]\naddress1=10.0.0.6/24,10.0.0.1\n"},
            "NetworkManager",
            [("ens224", "00:50:56:11:22:33", ("10.0.0.6/24",))],
            id="a keyfile of NetworkManager",
        ),
        pytest.param(
            {"/etc/sysconfig/network-scripts/ifcfg-ens192":
             'TYPE=Ethernet\nHWADDR="00:50:56:11:22:34"\nIPADDR=10.0.0.7\n',
             "/etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\n"},
            "ifcfg",
            [("ens192", "00:50:56:11:22:34", ("10.0.0.7",))],
            id="ifcfg of Red Hat",
        ),
        pytest.param(
            {"/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='static'\nIPADDR='10.0.0.8/24'\n"},
            "wicked", [("eth0", "", ("10.0.0.8/24",))], id="ifcfg of SUSE",
        ),
        pytest.param(
            {"/etc/systemd/network/10-lan.network":
             "[Match]\nName=ens256 en*\n[Network]\nAddress=10.0.0.9/24\n"},
            "networkd", [("ens256", "", ("10.0.0.9/24",))], id="networkd",
        ),
        pytest.param(
            {"/etc/cloud/cloud.cfg.d/99-net.cfg":
             "network:\n  version: 1\n  config:\n  - type: physical\n    name: ens192\n"
             "    mac_address: 00:50:56:11:22:35\n"},
            "cloud-init", [("ens192", "00:50:56:11:22:35", ())], id="cloud-init",
        ),
    ],
)  # fmt: skip
def test_network_when_a_tool_configures_it_then_names_are_found(tmp_path, files, tool, expected):
    content = guests.ext4(tmp_path, guests.Tree(files=files), "fs")
    found = network.read(Tree({"/": Ext4(guests.Bytes(content))}), (), True)
    assert found.tools == (tool,)
    assert [(one.name, one.mac, one.addresses) for one in found.interfaces] == expected


def test_network_when_the_guest_pins_a_name_itself_then_it_is_said(tmp_path):
    files = {
        "/etc/network/interfaces": "iface lan0 inet dhcp\niface lan1 inet dhcp\n",
        "/etc/systemd/network/10.link": "[Match]\nMACAddress=00:50:56:00:00:01\n[Link]\nName=lan0",
        "/etc/udev/rules.d/70-persistent-net.rules":
        'SUBSYSTEM=="net", ATTR{address}=="00:50:56:00:00:02", NAME="lan1"\n',
    }  # fmt: skip
    content = guests.ext4(tmp_path, guests.Tree(files=files), "fs")
    found = network.read(Tree({"/": Ext4(guests.Bytes(content))}), (), True)
    assert [(one.name, one.mac, one.pinned) for one in found.interfaces] == [
        ("lan0", "00:50:56:00:00:01", True), ("lan1", "00:50:56:00:00:02", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "yaml", ["a: &a [*a]", "[" * 5000, "network: 5", "network: {ethernets: [1]}", "\0", "x: !!py 1"]
)
def test_network_when_yaml_is_hostile_then_it_is_passed_over(tmp_path, yaml):
    content = guests.ext4(tmp_path, guests.Tree(files={"/etc/netplan/a.yaml": yaml}), "fs")
    assert network.read(Tree({"/": Ext4(guests.Bytes(content))}), (), True).interfaces == ()


def test_look_when_names_and_texts_are_hostile_then_they_are_only_text(tmp_path):
    tree = guests.debian()
    tree.files["/etc/os-release"] = (
        'ID=debian\nPRETTY_NAME="$(touch /tmp/x)\x1b[2J\nVERSION_ID=`id`'
    )
    tree.files["/boot/loader/entries/a\nb.conf"] = "options root=/dev/sda1"
    tree.files["/etc/fstab"] += "/dev/sda1 /../../etc ext4 a 0 0\n/dev/sda1 ../x ext4 a 0 0\n"
    tree.links["/boot/grub2"] = "/../../../../../../etc"
    found = look(guests.debian_disk(tmp_path, tree))
    assert found.linux.version == "`id`"
    assert found.linux.id == "debian"


def test_read_when_an_initramfs_names_files_outside_then_they_are_no_modules():
    image = archive.build({"usr/lib/modules/6/kernel/a.ko": b""}).replace(
        b"6/kernel/a.ko", b"6/../../../a."
    )
    assert linux.present(archive.read(image), "6") == set()
