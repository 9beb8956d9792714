"""Builders of small guests for tests, made by mke2fs and mkfs.vfat out of folders, without root.

A guest of a few MiB has all that is looked at: a partition table, fstab, a kernel's modules with
their index, an initramfs without virtio, a boot loader's configuration, network files.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from converters.errors import CorruptGuest
from converters.guest.initramfs import archive

KERNEL = "6.1.0-9-amd64"
MAC = "00:50:56:8a:12:34"
ROOT_UUID = "11111111-2222-3333-4444-555555555555"
BOOT_UUID = "66666666-7777-8888-9999-000000000000"
MIB = 1 << 20

DEPENDENCIES = """\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern_dev.ko \
kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko \
kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/scsi/scsi_mod.ko:
kernel/drivers/scsi/virtio_scsi.ko: kernel/drivers/scsi/scsi_mod.ko \
kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/failover.ko:
kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko \
kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/scsi/vmw_pvscsi.ko: kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/ata/ahci.ko:
"""
ALIASES = """\
# Aliases extracted from modules themselves.
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias virtio:d00000002v* virtio_blk
alias virtio:d00000008v* virtio_scsi
alias virtio:d00000001v* virtio_net
alias pci:v000015ADd000007C0sv*sd*bc*sc*i* vmw_pvscsi
"""
VMWARE = ("kernel/drivers/scsi/scsi_mod.ko", "kernel/drivers/scsi/vmw_pvscsi.ko",
          "kernel/drivers/ata/ahci.ko")  # fmt: skip


class Bytes:
    """A device in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = bytes(content)
        self.size_bytes = len(self.content)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes of it."""
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise CorruptGuest("outside of the device")
        return self.content[offset : offset + length]


def initramfs(modules: tuple[str, ...] = VMWARE, kernel: str = KERNEL) -> bytes:
    """Return an initramfs with modules; microcode in a first archive, as distributions do."""
    early = archive.build({"kernel/x86/microcode/GenuineIntel.bin": b"\0" * 100})
    files = {"init": b"#!/bin/sh\n"}
    files |= {f"usr/lib/modules/{kernel}/{path}": path.encode() for path in modules}
    main = archive.build(files)
    return early + bytes(-len(early) % 512) + gzip.compress(main, 1)


@dataclass(kw_only=True)
class Tree:
    """The files of a guest; tests change what they need before it is built."""

    files: dict[str, bytes | str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put the files below a folder."""
        for path, content in self.files.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
            target.chmod(self.modes.get(path, 0o644))
        for path, to in self.links.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(to)


def debian(*, root: str = "/dev/sda1") -> Tree:
    """Return a Debian that was installed under VMware; its disk is named by its place."""
    modules = f"/usr/lib/modules/{KERNEL}"
    files: dict[str, bytes | str] = {
        "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
        'VERSION_ID="12"\n',
        "/etc/fstab": f"# made by the installer\n{root} / ext4 errors=remount-ro 0 1\n",
        "/etc/hostname": "legacy\n",
        "/etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto ens192\n"
        "iface ens192 inet static\n    address 192.168.77.50/24\n    gateway 192.168.77.1\n",
        "/etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet"\nGRUB_DISABLE_LINUX_UUID=true\n',
        "/boot/grub/grub.cfg": f"menuentry 'Debian' {{\n\tset root='hd0,msdos1'\n"
        f"\tlinux\t/boot/vmlinuz-{KERNEL} root={root} ro quiet\n"
        f"\tinitrd\t/boot/initrd.img-{KERNEL}\n}}\n",
        "/boot/grub/device.map": "(hd0)\t/dev/sda\n",
        f"/boot/initrd.img-{KERNEL}": initramfs(),
        f"/boot/vmlinuz-{KERNEL}": b"kernel",
        "/etc/initramfs-tools/modules": "# names of modules\n",
        "/etc/initramfs-tools/conf.d/resume": "RESUME=/dev/sda5\n",
        "/usr/lib/systemd/system/multi-user.target": "",
        "/usr/lib/systemd/system/open-vm-tools.service": "[Service]\n",
        "/usr/lib/udev/rules.d/80-net-setup-link.rules": "",
        "/var/lib/dpkg/status": "",
        "/usr/bin/dash": b"\x7fELF" + bytes(14) + b"\x3e\0",
        f"{modules}/modules.dep": DEPENDENCIES,
        f"{modules}/modules.alias": ALIASES,
        f"{modules}/modules.softdep": "softdep virtio_blk pre: virtio_pci\n",
        f"{modules}/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
    }
    for line in DEPENDENCIES.splitlines():
        path = line.split(":")[0]
        files[f"{modules}/{path}"] = path.encode() * 20
    return Tree(
        files=files,
        links={"/lib": "usr/lib", "/bin": "usr/bin", "/usr/bin/sh": "dash"},
        modes={"/boot/grub/grub.cfg": 0o600},
    )


def ext4(folder: Path, tree: Tree, name: str, *, size: int = 24 * MIB, identity: str = ROOT_UUID,
         options: tuple[str, ...] = ()) -> bytes:  # fmt: skip
    """Return an ext4 file system with a tree in it."""
    source, image = folder / f"{name}.tree", folder / f"{name}.ext4"
    tree.write(source)
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(
        ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-U", identity, "-L", name, "-d", str(source),
         "-E", "root_owner=0:0", *options, str(image)],
        check=True,
    )  # fmt: skip
    shutil.rmtree(source)
    content = image.read_bytes()
    image.unlink()
    return content


def esp(folder: Path, files: dict[str, bytes], size: int = 40 * MIB) -> bytes:
    """Return an EFI system partition with files in it."""
    image = folder / "esp.fat"
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["/sbin/mkfs.vfat", "-F", "32", "-s", "1", str(image)], check=True,
                   capture_output=True)  # fmt: skip
    made: set[str] = set()
    for path, content in files.items():
        parts = path.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            parent = "/".join(parts[:count])
            if parent not in made:
                made.add(parent)
                subprocess.run(["mmd", "-i", str(image), f"::{parent}"], check=True)
        (folder / "file").write_bytes(content)
        subprocess.run(["mcopy", "-i", str(image), str(folder / "file"), f"::{path}"], check=True)
    return image.read_bytes()


def mbr(partitions: list[tuple[int, int, int]], size: int, logical: int = 0) -> bytes:
    """Return a disk's start for (start, size, type) in sectors; the last `logical` are logical."""
    primary = partitions[: len(partitions) - logical]
    disk = bytearray(size)
    entries = [(start, count, kind) for start, count, kind in primary]
    if logical:
        first = partitions[len(primary)][0] - 1
        entries.append((first, size // 512 - first, 0x05))
    _entries(disk, 0, entries)
    struct.pack_into("<I", disk, 440, 0x1234ABCD)
    rest = partitions[len(primary) :]
    for at, (start, count, kind) in enumerate(rest):
        record = [(1, count, kind)]
        if at + 1 < len(rest):
            following = rest[at + 1]
            record.append((following[0] - 1 - (rest[0][0] - 1), following[1] + 1, 0x05))
        _entries(disk, (start - 1) * 512, record)
    return bytes(disk)


def _entries(disk: bytearray, at: int, entries: list[tuple[int, int, int]]) -> None:
    for index, (start, count, kind) in enumerate(entries):
        struct.pack_into("<B3xB3xII", disk, at + 446 + 16 * index, 0, kind, start, count)
    disk[at + 510 : at + 512] = b"\x55\xaa"


def gpt(partitions: list[tuple[int, int, str]], size: int) -> bytes:
    """Return a disk with a GPT for (start, size, type GUID) in sectors; sums are left zero."""
    disk = bytearray(size)
    _entries(disk, 0, [(1, size // 512 - 1, 0xEE)])
    disk[512:520] = b"EFI PART"
    struct.pack_into("<QII", disk, 512 + 72, 2, 128, 128)
    for index, (start, count, kind) in enumerate(partitions):
        entry = uuid.UUID(kind).bytes_le + uuid.UUID(int=index + 1).bytes_le
        entry += struct.pack("<QQQ", start, start + count - 1, 0) + "part".encode("utf-16-le")
        disk[1024 + 128 * index : 1024 + 128 * index + len(entry)] = entry
    return bytes(disk)


PHYSICAL_ID = "PPPPPP-1234-1234-1234-1234-1234-123456"


def physical_volume(text: str, size: int) -> bytes:
    """Return a physical volume as LVM writes it: label, metadata at 4 KiB, data at 1 MiB."""
    content = bytearray(size)
    label = bytearray(512)
    label[:8] = b"LABELONE"
    struct.pack_into("<I", label, 20, 32)
    label[24:32] = b"LVM2 001"
    label[32:64] = PHYSICAL_ID.replace("-", "").encode()
    struct.pack_into("<Q", label, 64, size)
    struct.pack_into("<QQQQQQQQ", label, 72, MIB, 0, 0, 0, 4096, MIB - 4096, 0, 0)
    content[512:1024] = label
    content[4100:4116] = b"\x20LVM2 x[5A%r0N*>"
    struct.pack_into("<IQQQQ", content, 4116, 1, 4096, MIB - 4096, 512, len(text))
    content[4608 : 4608 + len(text)] = text.encode()
    return bytes(content)


def on_lvm(folder: Path, tree: Tree) -> Path:
    """Return a disk whose root is the second extent on of a volume group, in one piece."""
    root = ext4(folder, tree, "root")
    count = len(root) // MIB
    text = f"""vg {{
id = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg"
extent_size = 2048
physical_volumes {{
pv0 {{
id = "{PHYSICAL_ID}"
pe_start = 2048
}}
}}
logical_volumes {{
root {{
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 {{
start_extent = 0
extent_count = {count}
type = "striped"
stripes = ["pv0", 1]
}}
}}
}}
}}
"""
    volume = bytearray(physical_volume(text, len(root) + 4 * MIB))
    volume[2 * MIB : 2 * MIB + len(root)] = root
    return disk(folder / "disk.raw", [bytes(volume)], kinds=[0x8E])


def disk(path: Path, file_systems: list[bytes], *, kinds: list[int] | None = None) -> Path:
    """Write a disk with an MBR whose primary partitions are file systems, 1 MiB apart."""
    at, rows = 2048, []
    for index, content in enumerate(file_systems):
        rows.append((at, len(content) // 512, kinds[index] if kinds else 0x83))
        at += len(content) // 512 + 2048
    image = bytearray(mbr(rows, at * 512))
    for (start, _, _), content in zip(rows, file_systems, strict=True):
        image[start * 512 : start * 512 + len(content)] = content
    path.write_bytes(image)
    return path


def debian_disk(folder: Path, tree: Tree | None = None, *options: str) -> Path:
    """Return a raw disk with one partition, Debian on it."""
    return disk(folder / "disk.raw", [ext4(folder, tree or debian(), "root", options=options)])


def can_change() -> str:
    """Return why a guest cannot be changed on this machine, or nothing."""
    from converters.guest import tools

    if not tools.here().light:
        return "needs qemu-storage-daemon, e2fsprogs, fusermount3 and /dev/fuse"
    return "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "needs a right to /dev/fuse"
