"""Initramfs images of several archives, what they may make, and the index of modules."""

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess

import disk_images
import fuzzing
import pytest
import small_guests as guests
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import CorruptGuest, UnsupportedGuest
from converters.guest import limits
from converters.guest.initramfs import archive, compression, kmod_index, modules

FIRST = {"a/one": b"1" * 3000, "two": b""}
SECOND = {"a/one": b"newer", "three": b"3" * 70_000}


def by(program):
    if shutil.which(program) is None:
        pytest.skip(f"needs the program {program}")
    options = {"lz4": ["-l"]}.get(program, [])
    return lambda data: (
        subprocess.run(
            [program, *options, "-c", "-q"], input=data, capture_output=True, check=True
        ).stdout
    )


PACKERS = {
    "none": lambda: lambda data: data,
    "gzip": lambda: gzip.compress,
    "xz": lambda: lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "bzip2": lambda: bz2.compress,
    "lzma": lambda: lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": lambda: by("zstd"),
    "lz4": lambda: by("lz4"),
}


@pytest.mark.parametrize("second", PACKERS)
@pytest.mark.parametrize("first", [one for one in PACKERS if one != "lzma"])
def test_read_when_two_archives_follow_each_other_then_the_later_file_counts(first, second):
    image = archive.append(
        PACKERS[first]()(archive.build(FIRST)), PACKERS[second]()(archive.build(SECOND))
    )
    contents = archive.read(image)
    assert contents.packed_by == (first, second)
    assert {name: bytes(data) for name, data in contents.files.items()} == {**FIRST, **SECOND}


def test_build_when_read_by_cpio_then_it_is_an_archive():
    if shutil.which("cpio") is None:
        pytest.skip("needs the program cpio")
    listed = subprocess.run(
        ["cpio", "-t", "--quiet"], input=archive.build(SECOND), capture_output=True, check=True
    )
    assert listed.stdout.decode().split() == ["a", "a/one", "three"]


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a/../../b"])
def test_build_when_a_name_leaves_the_archive_then_it_is_refused(name):
    with pytest.raises(CorruptGuest, match="leaves"):
        archive.build({name: b""})


@pytest.mark.parametrize("packer", ["gzip", "xz", "bzip2", "zstd"])
def test_read_when_a_stream_makes_too_much_then_it_is_refused(packer, monkeypatch):
    monkeypatch.setattr(limits, "MOST_UNPACKED", 1 << 20)
    bomb = PACKERS[packer]()(bytes(8 << 20))
    with pytest.raises(CorruptGuest, match="more than 1048576 bytes"):
        archive.read(bomb)


def test_read_when_there_are_too_many_files_then_it_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "MOST_MEMBERS", 10)
    with pytest.raises(CorruptGuest, match="more than 10 files"):
        archive.read(archive.build({f"f{n}": b"" for n in range(20)}))


def test_read_when_a_member_claims_more_than_there_is_then_it_is_refused():
    image = bytearray(archive.build(FIRST))
    image[54:62] = b"FFFFFFFF"
    with pytest.raises(CorruptGuest, match="damaged"):
        archive.read(bytes(image))


def test_read_when_the_packing_is_unknown_then_it_is_said():
    with pytest.raises(UnsupportedGuest, match="unknown way"):
        archive.read(b"\x89LZO\0\r\n\x1a\n" + bytes(100))


@given(
    st.sampled_from(["none", "gzip", "xz", "bzip2"]), st.integers(0, 5000), st.binary(max_size=9)
)
@fuzzing.examples(200)
def test_read_when_bytes_are_damaged_then_only_our_errors_are_raised(packer, at, junk):
    image = PACKERS[packer]()(archive.build(FIRST))
    image = image[: at % len(image)] + junk + image[at % len(image) + len(junk) :]
    with disk_images.allowed_to_fail():
        archive.read(image)


@given(st.binary(max_size=200), st.sampled_from([b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18",
                                                 b"\x04\x22\x4d\x18"]))  # fmt: skip
@fuzzing.examples(30)
def test_unpack_when_a_frame_is_junk_then_only_our_errors_are_raised(junk, magic):
    with disk_images.allowed_to_fail():
        compression.unpack(magic + junk, 1 << 20)


def test_closure_when_a_driver_needs_others_then_all_are_named_once():
    dependencies = modules.parse_dependencies(guests.DEPENDENCIES)
    assert modules.closure(["virtio_blk", "virtio_scsi", "unknown"], dependencies) == [
        "kernel/drivers/block/virtio_blk.ko",
        "kernel/drivers/virtio/virtio.ko",
        "kernel/drivers/virtio/virtio_ring.ko",
        "kernel/drivers/scsi/virtio_scsi.ko",
        "kernel/drivers/scsi/scsi_mod.ko",
    ]


@pytest.mark.parametrize("path", ["../../etc/shadow.ko", "/etc/shadow.ko"])
def test_parse_dependencies_when_a_path_leaves_the_tree_then_it_is_left_out(path):
    text = f"{path}:\nkernel/a.ko: {path} kernel/b.ko\n"
    assert modules.parse_dependencies(text) == {"kernel/a.ko": ("kernel/b.ko",)}


def test_build_index_when_modprobe_reads_it_then_it_finds_every_module(tmp_path):
    """kmod's own reader is asked: dependencies by name and by alias."""
    if shutil.which("modprobe") is None:
        pytest.skip("needs kmod")
    present = [line.split(":")[0] for line in guests.DEPENDENCIES.splitlines()]
    texts = modules.Texts(
        dependencies=modules.parse_dependencies(guests.DEPENDENCIES),
        aliases=guests.ALIASES,
        soft_dependencies="",
    )
    folder = tmp_path / "lib/modules" / guests.KERNEL
    for path in present:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")
    for name, content in modules.build_index(present, texts).items():
        (folder / name).write_bytes(content)

    def loads(what):
        found = subprocess.run(
            ["modprobe", "-d", str(tmp_path), "-S", guests.KERNEL, "--show-depends", what],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [line.split("/")[-1].split(".")[0] for line in found.stdout.splitlines()]

    assert loads("virtio_net") == ["virtio_ring", "virtio", "failover", "virtio_net"]
    assert loads("virtio-scsi")[-1] == "virtio_scsi"
    assert loads("virtio:d00000008v00001AF4")[-1] == "virtio_scsi"
    assert loads("pci:v00001AF4d00001041sv0sd0bc02sc00i00")[-1] == "virtio_pci"
    assert loads("pci:v000015ADd000007C0sv0sd0bc01sc07i00")[-1] == "vmw_pvscsi"


def test_build_index_when_the_initramfs_has_unpacked_modules_then_their_own_names_count():
    texts = modules.Texts(dependencies={"kernel/a.ko.zst": ("kernel/b.ko.zst",),
                                        "kernel/b.ko.zst": ()})  # fmt: skip
    index = modules.build_index(["kernel/a.ko", "kernel/b.ko"], texts)
    assert index["modules.dep"] == b"kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n"


@given(st.dictionaries(st.text("ab-_*?[]:", min_size=1, max_size=12), st.text("xyz", min_size=1),
                       max_size=30))  # fmt: skip
@fuzzing.examples(100)
def test_kmod_index_when_read_by_its_format_then_all_entries_are_there(entries):
    index = kmod_index.build((key, value, n) for n, (key, value) in enumerate(entries.items()))
    assert dict(walk(index)) == entries


def walk(index):
    """Yield (key, value) as kmod's format says, read independently of the writer."""
    magic, version, root = struct.unpack_from(">III", index)
    assert (magic, version) == (0xB007F457, 0x00020001)
    stack = [(root, "")]
    while stack:
        offset, key = stack.pop()
        at = offset & 0x0FFFFFFF
        if offset & 0x80000000:
            end = index.index(b"\0", at)
            key += index[at:end].decode()
            at = end + 1
        if offset & 0x20000000:
            first, last = index[at], index[at + 1]
            at += 2
            for letter in range(first, last + 1):
                child = struct.unpack_from(">I", index, at)[0]
                at += 4
                if child:
                    stack.append((child, key + chr(letter)))
        if offset & 0x40000000:
            count = struct.unpack_from(">I", index, at)[0]
            at += 4
            for _ in range(count):
                end = index.index(b"\0", at + 4)
                yield key, index[at + 4 : end].decode()
                at = end + 1
