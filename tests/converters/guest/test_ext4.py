"""ext2 to ext4 made by mke2fs, read by us: layouts, journals, attributes, and damage."""

import os
import random
import subprocess

import disk_images
import pytest
import small_guests as guests

from converters.errors import CorruptGuest
from converters.guest.filesystems.contract import NodeKind
from converters.guest.filesystems.ext4 import Ext4
from converters.guest.filesystems.tree import Tree

BIG = os.urandom(300_000)
FILES = {
    "/etc/fstab": "root\n",
    "/small": b"x" * 50,
    "/big": BIG,
    **{f"/many/file-{n:04d}-with-a-long-name-to-fill-blocks": str(n) for n in range(600)},
}
LINKS = {"/short": "etc/fstab", "/long": "/" + "./" * 60 + "etc/fstab", "/loop": "loop", "/etc/up":
         "../../../etc/fstab"}  # fmt: skip


def tree_of(content):
    return Tree({"/": Ext4(guests.Bytes(content))})


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="as it is made today"),
        pytest.param(("-b", "1024"), id="blocks of 1 KiB"),
        pytest.param(("-O", "^extents,^has_journal,^64bit,^metadata_csum"), id="ext2"),
        pytest.param(("-O", "inline_data", "-I", "256"), id="small files in their inodes"),
        pytest.param(("-O", "meta_bg,^resize_inode"), id="descriptors spread over the disk"),
        pytest.param(("-O", "^filetype"), id="folders without types"),
        pytest.param(("-I", "128", "-O", "^metadata_csum"), id="small inodes"),
    ],
)
def test_read_when_the_layout_varies_then_all_files_are_the_same(tmp_path, options):
    content = guests.ext4(tmp_path, guests.Tree(files=FILES, links=LINKS), "fs", options=options)
    tree = tree_of(content)
    for path, expected in FILES.items():
        wanted = expected.encode() if isinstance(expected, str) else expected
        assert tree.read(path) == wanted
    assert len(tree.names("/many")) == 600
    assert tree.text("/short") == tree.text("/long") == tree.text("/etc/up") == "root\n"
    assert tree.link("/short") == "etc/fstab"
    assert not tree.exists("/nothing/here")
    assert tree.place("/etc/up").full == "/etc/fstab"


def test_place_when_links_loop_then_it_is_refused(tmp_path):
    content = guests.ext4(tmp_path, guests.Tree(files={"/a": ""}, links=LINKS), "fs")
    with pytest.raises(CorruptGuest, match="too many links"):
        tree_of(content).exists("/loop")


def test_free_bytes_when_the_file_system_is_empty_then_it_is_about_its_size(tmp_path):
    content = guests.ext4(tmp_path, guests.Tree(files={"/a": ""}), "fs", size=64 << 20)
    assert 40 << 20 < tree_of(content).free_bytes("/") < 64 << 20


def debugfs(image, *requests):
    subprocess.run(
        ["/sbin/debugfs", "-w", "-f", "-", str(image)], input="\n".join(requests) + "\n",
        text=True, check=True, capture_output=True,
    )  # fmt: skip


def block_of(image, path):
    found = subprocess.run(
        ["/sbin/debugfs", "-R", f"blocks {path}", str(image)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(found.stdout.split()[0])


@pytest.mark.parametrize("size", [1024, 4096])
@pytest.mark.parametrize("options", [(), ("-O", "^metadata_csum,^64bit")])
@pytest.mark.parametrize("escaped", [False, True])
def test_read_when_the_journal_is_newer_then_it_counts(tmp_path, options, size, escaped):
    """As on a disk whose guest was cut off: the file's block is only in the journal."""
    content = guests.ext4(tmp_path, guests.Tree(files={"/etc/fstab": "old\n" * 8}), "fs",
                          options=(*options, "-b", str(size)))  # fmt: skip
    image = tmp_path / "image"
    image.write_bytes(content)
    new = (b"\xc0\x3b\x39\x98" if escaped else b"") + b"new\n" * 8
    (tmp_path / "block").write_bytes(new.ljust(size, b"\0"))
    place = block_of(image, "/etc/fstab")
    debugfs(image, "jo", f"jw -b {place} {tmp_path / 'block'}", "jc")
    system = Ext4(guests.Bytes(image.read_bytes()))
    assert system.needed_recovery
    assert Tree({"/": system}).read("/etc/fstab") == new[:32]
    before = image.read_bytes()
    assert before[place * size : place * size + 4] == b"old\n"  # nothing was written


def test_read_when_a_later_transaction_revokes_a_block_then_it_does_not_count(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(guests.ext4(tmp_path, guests.Tree(files={"/etc/fstab": "old\n"}), "fs"))
    (tmp_path / "block").write_bytes(b"new\n".ljust(4096, b"\0"))
    place = block_of(image, "/etc/fstab")
    debugfs(image, "jo", f"jw -b {place} {tmp_path / 'block'}", f"jw -r {place}", "jc")
    assert tree_of(image.read_bytes()).text("/etc/fstab") == "old\n"


def test_attribute_when_selinux_labels_are_there_then_they_are_read(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(guests.ext4(tmp_path, guests.Tree(files={"/etc/fstab": "x"}), "fs"))
    (tmp_path / "label").write_bytes(b"system_u:object_r:etc_t:s0\0")
    (tmp_path / "long").write_bytes(b"v" * 500)
    debugfs(image, f"ea_set -f {tmp_path / 'label'} /etc/fstab security.selinux",
            f"ea_set -f {tmp_path / 'long'} /etc/fstab user.long")  # fmt: skip
    tree = tree_of(image.read_bytes())
    assert tree.attribute("/etc/fstab", "security.selinux") == b"system_u:object_r:etc_t:s0\0"
    assert tree.attribute("/etc/fstab", "user.long") == b"v" * 500
    assert tree.attribute("/etc", "security.selinux") is None


def test_kinds_when_there_are_devices_then_they_are_no_files(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(guests.ext4(tmp_path, guests.Tree(files={"/dev/x": ""}), "fs"))
    debugfs(image, "cd /dev", "mknod null c 1 3")
    assert tree_of(image.read_bytes()).place("/dev/null").node.kind is NodeKind.OTHER


def test_read_when_bytes_are_damaged_then_only_our_errors_are_raised(tmp_path):
    """Superblock, descriptors, inodes and folders with random bytes in them."""
    content = guests.ext4(tmp_path, guests.debian(), "fs", options=("-b", "1024"))
    chance = random.Random(8)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 40)):
            at = chance.choice([1024 + chance.randrange(400), chance.randrange(600_000)])
            damaged[at] = chance.randrange(256)
        with disk_images.allowed_to_fail():
            tree = tree_of(damaged)
            for path in ("/etc/fstab", "/boot/grub/grub.cfg", "/lib/modules", "/bin/sh"):
                with disk_images.allowed_to_fail():
                    tree.text(path)
                    tree.names(path)
                    tree.attribute(path, "security.selinux")
