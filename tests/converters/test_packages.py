"""OVA and OVF: disks, manifests, and packages that lie."""

import gzip
import hashlib
import io
import os
import tarfile

import disk_images
import fuzzing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import packages, pipeline, testing
from converters.errors import ConversionError, CorruptImage, Mismatch, UnsupportedImage
from converters.images import ovf
from converters.sinks.memory import MemorySink

ONE = testing.sample_disk((2 << 20) + 512, seed=1)
TWO = testing.sample_disk(1 << 20, seed=2)


class Bytes:
    """A stream from memory."""

    name = "vm.ova"

    def __init__(self, content):
        self.file = io.BytesIO(content)
        self.announced_bytes = len(content)

    def readinto(self, room):
        return self.file.readinto(room[:70_000])

    def interrupt(self):
        pass

    def close(self):
        pass


def descriptor(disks, *, extra="", root="Envelope"):
    """`disks`: (href, size in the file, capacity, compression)."""
    files = "".join(
        f'<File ovf:id="f{i}" ovf:href="{href}"'
        + (f' ovf:size="{size}"' if size is not None else "")
        + (f' ovf:compression="{packed}"' if packed else "")
        + "/>"
        for i, (href, size, _, packed) in enumerate(disks)
    )
    listed = "".join(
        f'<Disk ovf:diskId="vmdisk{i}" ovf:fileRef="f{i}" ovf:capacity="{capacity // 512}" '
        'ovf:capacityAllocationUnits="byte * 2^9"/>'
        for i, (_, _, capacity, _) in enumerate(disks)
    )
    return (
        f'<?xml version="1.0"?>{extra}<{root} xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">'
        f"<References>{files}</References><DiskSection><Info/>{listed}</DiskSection></{root}>"
    ).encode()


def manifest(members, algorithm="sha256"):
    return "".join(
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, content).hexdigest()}\n"
        for name, content in members
    ).encode()


def vm(*, algorithm="sha256", at_end=False, packed=False, change=None, raw=False):
    first = testing.stream_image(ONE)
    if packed:
        first = gzip.compress(first, 1)
    second = TWO if raw else testing.stream_image(TWO, shape="qemu", cut_last_grain=True)
    name = "disk1.vmdk.gz" if packed else "disk1.vmdk"
    text = descriptor(
        [
            (name, len(first), len(ONE), "gzip" if packed else ""),
            ("disk2", len(second), len(TWO), ""),
        ]
    )
    members = [("vm.ovf", text), (name, first), ("disk2", second)]
    listed = ("vm.mf", manifest(members, algorithm))
    if change:
        members = change(members)
    return [*members, listed] if at_end else [members[0], listed, *members[1:]]


def copied(package):
    """All disks of a package, by the name of their file."""
    found = {}
    with package:
        for disk in package.disks():
            sink = MemorySink()
            pipeline.copy(disk.source, sink, pipeline.Options(workers=1))
            found[disk.file] = bytes(sink.content)
        package.finish()
    return found


def opened(way, members, folder):
    if way == "as a stream":
        return packages.read_package(Bytes(disk_images.tar(members)))
    if way == "from a file":
        (folder / "vm.ova").write_bytes(disk_images.tar(members))
        return packages.open_package(str(folder / "vm.ova"))
    for name, content in members:
        (folder / name).write_bytes(content)
    return packages.open_package(str(folder / "vm.ovf"))


ways = pytest.mark.parametrize("way", ["as a stream", "from a file", "unpacked"])


@ways
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("at_end", [False, True], ids=["manifest in front", "manifest at the end"])
def test_package_when_sound_gives_its_disks_and_checks_them(way, algorithm, at_end, tmp_path):
    package = opened(way, vm(algorithm=algorithm, at_end=at_end), tmp_path)
    assert copied(package) == {"disk1.vmdk": ONE, "disk2": TWO}
    assert set(package.checked) == {"vm.ovf", "disk1.vmdk", "disk2"}
    assert package.warnings == []


@ways
def test_package_when_members_are_compressed_unpacks_them_on_the_way(way, tmp_path):
    package = opened(way, vm(packed=True), tmp_path)
    assert copied(package) == {"disk1.vmdk.gz": ONE, "disk2": TWO}
    assert "disk1.vmdk.gz" in package.checked


@ways
def test_package_when_a_disk_is_raw_is_read(way, tmp_path):
    assert copied(opened(way, vm(raw=True), tmp_path))["disk2"] == TWO


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_package_when_tar_has_long_names_is_read(kind, tmp_path):
    image = testing.stream_image(ONE)
    name = "d" * 90 + ("é" * 60 if kind != tarfile.USTAR_FORMAT else "") + ".vmdk"
    text = descriptor([(name, len(image), len(ONE), "")])
    members = [("vm.ovf", text), (name, image)]
    (tmp_path / "vm.ova").write_bytes(disk_images.tar(members, kind=kind))
    package = packages.open_package(str(tmp_path / "vm.ova"))
    assert copied(package) == {name: ONE}
    assert package.warnings == ["has no manifest: nothing tells whether it is complete"]


@ways
@pytest.mark.parametrize("which", [1, 2])
def test_package_when_a_disk_was_changed_is_refused(way, which, tmp_path):
    def change(members):
        name, content = members[which]
        # In the descriptor in the image: nothing but the digest tells.
        content = content.replace(b"lsilogic", b"buslogic")
        return [*members[:which], (name, content), *members[which + 1 :]]

    with pytest.raises(Mismatch, match=r"sha256 of disk.* as the manifest says"):
        copied(opened(way, vm(change=change), tmp_path))


def test_package_when_manifest_follows_and_differs_is_refused_at_the_end(tmp_path):
    def change(members):
        return [members[0], (members[1][0], members[1][1].replace(b"lsilogic", b"buslogic")),
                members[2]]  # fmt: skip

    with pytest.raises(Mismatch, match=r"sha1 of disk1\.vmdk"):
        copied(opened("as a stream", vm(change=change, at_end=True, algorithm="sha1"), tmp_path))


@ways
def test_package_when_a_file_is_missing_says_which(way, tmp_path):
    with pytest.raises(CorruptImage, match="disk2"):
        copied(opened(way, vm(change=lambda members: members[:2]), tmp_path))


@pytest.mark.parametrize("href", ["../x.vmdk", "/etc/passwd", "a/b.vmdk", "file:///x", "", ".."])
def test_descriptor_when_a_file_lies_elsewhere_is_refused(href):
    with pytest.raises(UnsupportedImage, match="plain name of a file in the same folder"):
        ovf.parse(descriptor([(href, 1, 512, "")]), file="vm.ovf")


@pytest.mark.parametrize("name", ["../vm.ovf", "/vm.ovf", "a/../../b"])
def test_tar_when_a_name_leads_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(CorruptImage, match="name of a member"):
        copied(opened("as a stream", [(name, b"")], tmp_path))


def test_tar_when_a_name_comes_twice_is_refused(tmp_path):
    members = vm()
    with pytest.raises(CorruptImage, match="expected each name once"):
        copied(opened("as a stream", [*members, members[-1]], tmp_path))


def test_descriptor_when_it_has_entities_is_refused():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    with pytest.raises(CorruptImage, match="document type"):
        ovf.parse(descriptor([], extra=bomb), file="vm.ovf")


def test_descriptor_when_deep_is_refused():
    with pytest.raises(CorruptImage, match="deep"):
        ovf.parse(b"<a>" * 100_000, file="vm.ovf")


def test_descriptor_when_size_lies_is_refused(tmp_path):
    text = descriptor([("d.vmdk", 5, len(ONE), "")])
    members = [("vm.ovf", text), ("d.vmdk", testing.stream_image(ONE))]
    with pytest.raises(CorruptImage, match=r"size of d\.vmdk is .* expected the 5 bytes"):
        copied(opened("as a stream", members, tmp_path))


def test_gzip_when_it_is_a_bomb_ends_at_the_size_of_the_disk(tmp_path):
    packed = gzip.compress(bytes(200 << 20), 9)
    text = descriptor([("d.img", len(packed), 1 << 20, "gzip")])
    with pytest.raises(CorruptImage, match="more follows the 1048576 bytes"):
        copied(opened("as a stream", [("vm.ovf", text), ("d.img", packed)], tmp_path))


@ways
def test_package_when_disk_is_a_format_with_tables_is_read_where_that_can_be(way, tmp_path):
    image = testing.sparse_image(ONE)
    text = descriptor([("d.vmdk", len(image), len(ONE), "")])
    members = [("vm.ovf", text), ("vm.mf", manifest([("d.vmdk", image)])), ("d.vmdk", image)]
    package = opened(way, members, tmp_path)
    if way == "as a stream":
        with pytest.raises(UnsupportedImage, match="without markers"):
            copied(package)
    else:
        assert copied(package) == {"d.vmdk": ONE}
        assert package.checked == ("d.vmdk",)


SMALL = disk_images.tar(
    [
        ("vm.ovf", descriptor([("d.vmdk", None, 65536, "")])),
        ("d.vmdk", testing.stream_image(os.urandom(65536))),
    ]
)


def chunked(content, chunk_bytes, *, drop=None, wrong=None):
    """Return the members of a package whose disk is cut into chunks."""
    names = [f"d.vmdk.{at:09}" for at in range(-(-len(content) // chunk_bytes))]
    parts = [content[at * chunk_bytes : (at + 1) * chunk_bytes] for at in range(len(names))]
    text = descriptor([("d.vmdk", len(content), len(ONE), "")]).replace(
        b' ovf:size="', b' ovf:chunkSize="%d" ovf:size="' % chunk_bytes
    )
    members = [("vm.ovf", text), *zip(names, parts, strict=True)]
    digests = manifest(members)
    if wrong is not None:
        members[wrong] = (members[wrong][0], members[wrong][1][:-1] + b"!")
    if drop is not None:
        del members[drop]
    return [members[0], ("vm.mf", digests), *members[1:]]


@pytest.mark.parametrize("where", ["a stream", "a file", "a folder"])
def test_package_when_a_disk_is_cut_into_chunks_joins_them(tmp_path, where):
    members = chunked(testing.stream_image(ONE), 100_000)
    if where == "a stream":
        package = packages.read_package(Bytes(disk_images.tar(members)))
    elif where == "a file":
        (tmp_path / "vm.ova").write_bytes(disk_images.tar(members))
        package = packages.open_package(str(tmp_path / "vm.ova"))
    else:
        for name, content in members:
            (tmp_path / name).write_bytes(content)
        package = packages.open_package(str(tmp_path / "vm.ovf"))
    assert copied(package) == {"d.vmdk": ONE}
    assert len(package.checked) == len(members) - 1


CHUNKS_GONE_WRONG = {
    "one is missing": ({"drop": 2}, CorruptImage, r"d.vmdk.000000002 of \d+ bytes comes"),
    "the last is missing": ({"drop": -1}, CorruptImage, r"d.vmdk.\d+ is missing"),
    "one was changed": ({"wrong": 1}, Mismatch, "sha256 of d.vmdk.000000000"),
}


@pytest.mark.parametrize(
    ("fault", "error", "text"), CHUNKS_GONE_WRONG.values(), ids=CHUNKS_GONE_WRONG
)
def test_package_when_chunks_are_not_whole_says_which(fault, error, text):
    members = chunked(testing.stream_image(ONE), 100_000, **fault)
    with pytest.raises(error, match=text):
        copied(packages.read_package(Bytes(disk_images.tar(members))))


@pytest.mark.parametrize("chunk", ["0", "1", "-5", "99999999999999999999", "x"])
def test_descriptor_when_chunks_are_too_many_or_no_number_is_refused(chunk):
    text = descriptor([("d.vmdk", 1 << 30, 1 << 30, "")]).replace(
        b' ovf:size="', b' ovf:chunkSize="%s" ovf:size="' % chunk.encode()
    )
    with pytest.raises(CorruptImage, match="chunkSize is"):
        ovf.parse(text, file="vm.ovf")


@fuzzing.examples(150)
@given(
    edits=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=12)), max_size=6),
    cut=st.integers(0, len(SMALL)),
)
def test_package_when_bytes_are_changed_anywhere_ends_with_our_error_or_disks(edits, cut):
    broken = bytearray(SMALL)
    for at, new in edits:
        broken[at : at + len(new)] = new
    with disk_images.allowed_to_fail():
        copied(packages.read_package(Bytes(bytes(broken[:cut]))))


@fuzzing.examples(100)
@given(st.binary(max_size=500))
def test_manifest_when_it_is_noise_ends_with_our_error_or_digests(content):
    try:
        ovf.parse_manifest(content, file="vm.mf")
    except ConversionError as error:
        assert error.file == "vm.mf"  # noqa: PT017 - either way is right
