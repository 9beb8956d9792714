"""Disks in local files, made by other programs and by builders that other programs check."""

import os
import random
import shutil
import subprocess

import disk_images
import fuzzing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import extents, opening, pipeline, testing
from converters.errors import ConversionError, CorruptImage, SourceRefused, UnsupportedImage
from converters.extents import Extent
from converters.images.identify import Format, identify
from converters.sinks.memory import MemorySink

SECTOR = 512
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def content_of(path, **options):
    with opening.open_chain(str(path), **options) as chain:
        sink = MemorySink()
        pipeline.copy(chain.disk(), sink)
        return bytes(sink.content)


def qemu(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def by_qemu(path, kind="vmdk"):
    out = path.with_suffix(".qemu-raw")
    qemu("convert", "-f", kind, "-O", "raw", path, out)
    return out.read_bytes()


class TestMonolithicSparse(testing.SourceTests):
    def make(self, folder, content):
        path = folder / "disk.vmdk"
        path.write_bytes(testing.sparse_image(content))
        return _owned(path)


class TestMonolithicSparseOfSmallGrains(testing.SourceTests):
    def make(self, folder, content):
        path = folder / "disk.vmdk"
        path.write_bytes(testing.sparse_image(content, grain_sectors=8))
        return _owned(path)


class TestStreamOptimizedByTables(testing.SourceTests):
    def make(self, folder, content):
        path = folder / "disk.vmdk"
        path.write_bytes(testing.stream_image(content))
        return _owned(path)


class TestChainOfDeltas(testing.SourceTests):
    """Half of the disk in the base, the rest scattered over two deltas."""

    def make(self, folder, content):
        return _owned(disk_images.chain_of(folder, content))


class TestSplitFlat(testing.SourceTests):
    def make(self, folder, content):
        cut = len(content) // SECTOR // 3 * SECTOR
        lines = []
        for name, part in (("a.vmdk", content[:cut]), ("b.vmdk", content[cut:])):
            if part:
                (folder / name).write_bytes(b"x" * SECTOR + part)
                lines.append(f'RW {len(part) // SECTOR} FLAT "{name}" 1')
        text = disk_images.descriptor(create_type="twoGbMaxExtentFlat", extents=lines)
        (folder / "disk.vmdk").write_text(text)
        return _owned(folder / "disk.vmdk")


def _owned(path):
    """The disk, which closes its chain."""
    chain = opening.open_chain(str(path))
    disk = chain.disk()
    disk.close = chain.close
    return disk


@needs_qemu
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chain_when_base_and_deltas_of_esxi_is_what_qemu_reads(tmp_path, seed):
    content = testing.sample_disk((18 << 20) + 5 * SECTOR, seed=seed)
    newest = disk_images.chain_of(tmp_path, content, seed=seed)
    assert by_qemu(newest) == content
    assert content_of(newest) == content
    for older in ("web-000001.vmdk", "web.vmdk"):
        assert content_of(tmp_path / older) == by_qemu(tmp_path / older)


@needs_qemu
@pytest.mark.parametrize("grain", [1, 2, 8, 128])
def test_vmfs_sparse_when_grains_have_any_size_is_what_qemu_reads(tmp_path, grain):
    sectors = 3 * 4096 * grain + 5 if grain < 8 else 4096 * grain + 5
    chance = random.Random(grain)
    count = -(-sectors // grain)
    grains = {
        chance.randrange(count): chance.randbytes(grain * SECTOR) for _ in range(min(count, 60))
    }
    (tmp_path / "d.vmdk").write_bytes(disk_images.vmfs_sparse(sectors, grains, grain_sectors=grain))
    text = disk_images.descriptor(
        create_type="vmfsSparse", extents=[f'RW {sectors} VMFSSPARSE "d.vmdk"']
    )
    (tmp_path / "x.vmdk").write_text(text)
    assert content_of(tmp_path / "x.vmdk") == by_qemu(tmp_path / "x.vmdk")


@needs_qemu
@pytest.mark.parametrize(
    "subformat",
    ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
     "streamOptimized"],
)  # fmt: skip
def test_vmdk_when_written_by_qemu_is_read(tmp_path, subformat):
    content = testing.sample_disk((5 << 20) + 7 * SECTOR, seed=5)
    (tmp_path / "raw").write_bytes(content)
    path = tmp_path / "disk.vmdk"
    qemu("convert", "-O", "vmdk", "-o", f"subformat={subformat}", tmp_path / "raw", path)
    assert content_of(path) == content


@needs_qemu
def test_vmdk_when_split_in_two_gigabytes_is_read(tmp_path):
    content = testing.sample_disk(1 << 20, seed=6)
    with (tmp_path / "raw").open("wb") as file:
        file.truncate((4 << 30) + SECTOR)
        for at in ((2 << 30) - (1 << 19), (4 << 30) - (1 << 20) + SECTOR):
            file.seek(at)
            file.write(content)
    for subformat in ("twoGbMaxExtentSparse", "twoGbMaxExtentFlat"):
        path = tmp_path / "disk.vmdk"
        qemu("convert", "-O", "vmdk", "-o", f"subformat={subformat}", tmp_path / "raw", path)
        with opening.open_chain(str(path)) as chain:
            wanted = [
                Extent((2 << 30) - (1 << 20), 2 << 20),
                Extent((4 << 30) - (1 << 20), 1 << 20),
            ]
            for batch in testing.read(chain.disk(), wanted):
                for offset, buffer, start, end in testing.blocks(batch):
                    with (tmp_path / "raw").open("rb") as file:
                        file.seek(offset)
                        assert file.read(end - start) == buffer[start:end]
                batch.release()
            data = extents.merge(Extent(r.offset, r.length) for r in chain.disk().data_runs())
        assert extents.total(data) <= 3 << 20
        for old in tmp_path.glob("disk*"):
            old.unlink()


@needs_qemu
@pytest.mark.parametrize("kind", ["vmdk", "qcow2"])
def test_chain_when_made_by_qemu_is_read(tmp_path, kind):
    content = testing.sample_disk(4 << 20, seed=8)
    (tmp_path / "raw").write_bytes(content)
    qemu("convert", "-O", kind, tmp_path / "raw", tmp_path / "base")
    below = "base"
    for name in ("one", "two"):
        subprocess.run(
            ["qemu-img", "create", "-f", kind, "-b", below, "-F", kind, name],
            check=True, capture_output=True, cwd=tmp_path,
        )  # fmt: skip
        write = f"write -P {len(name) + ord(name[0])} {ord(name[0]) * 4096} 200k"
        subprocess.run(
            ["qemu-io", "-f", kind, "-c", write, name], check=True, capture_output=True,
            cwd=tmp_path,
        )  # fmt: skip
        below = name
    assert content_of(tmp_path / "two") == by_qemu(tmp_path / "two", kind)
    with opening.open_chain(str(tmp_path / "two")) as chain:
        assert [image.name for image in chain.images] == ["two", "one", "base"]


@needs_qemu
@pytest.mark.parametrize("packed", [[], ["-c"]], ids=["stored", "compressed"])
@pytest.mark.parametrize(
    "options",
    ["cluster_size=512", "cluster_size=64k", "cluster_size=2M", "compat=0.10", "extended_l2=on",
     "extended_l2=on,cluster_size=16k"],
)  # fmt: skip
def test_qcow2_when_written_by_qemu_is_read(tmp_path, options, packed):
    content = testing.sample_disk((3 << 20) + SECTOR, seed=9)
    (tmp_path / "raw").write_bytes(content)
    path = tmp_path / "disk.qcow2"
    qemu("convert", "-O", "qcow2", "-o", options, *packed, tmp_path / "raw", path)
    assert content_of(path) == content


def small_chain(folder, **changes):
    """Write a base and one delta; `changes` replace settings of the delta's descriptor."""
    (folder / "base-flat.vmdk").write_bytes(bytes(8 * SECTOR))
    base = disk_images.descriptor(
        create_type="vmfs", extents=['RW 8 VMFS "base-flat.vmdk"'], cid="0000000a"
    )
    (folder / "base.vmdk").write_text(base)
    (folder / "d-delta.vmdk").write_bytes(disk_images.vmfs_sparse(8, {1: b"x" * SECTOR}))
    settings = {
        "create_type": "vmfsSparse",
        "extents": ['RW 8 VMFSSPARSE "d-delta.vmdk"'],
        "cid": "0000000b",
        "parent_cid": "0000000a",
        "parent": "base.vmdk",
    }
    (folder / "d.vmdk").write_text(disk_images.descriptor(**settings | changes))
    return folder / "d.vmdk"


def test_chain_when_parent_was_written_to_is_refused_with_both_ids(tmp_path):
    path = small_chain(tmp_path, parent_cid="0000000c")
    with pytest.raises(
        CorruptImage, match="parentCID is '0000000c', expected the CID of base"
    ) as e:
        opening.open_chain(str(path))
    assert "0000000a" in str(e.value)


@pytest.mark.parametrize("parent", ["../base.vmdk", "/etc/hostname", "sub/base.vmdk", "..", "."])
def test_chain_when_parent_lies_elsewhere_is_refused(tmp_path, parent):
    with pytest.raises(UnsupportedImage, match="plain name of a file in the same folder"):
        opening.open_chain(str(small_chain(tmp_path, parent=parent)))


@pytest.mark.parametrize("file", ["../x", "/dev/sda", "/etc/passwd"])
def test_extent_when_file_lies_elsewhere_is_refused(tmp_path, file):
    with pytest.raises(UnsupportedImage, match="plain name of a file in the same folder"):
        opening.open_chain(str(small_chain(tmp_path, extents=[f'RW 8 FLAT "{file}" 0'])))


def test_extent_when_it_is_a_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(SourceRefused, match="symbolic link"):
        opening.open_chain(str(small_chain(tmp_path, extents=['RW 1 FLAT "link" 0'])))


def test_chain_when_it_is_a_circle_is_refused(tmp_path):
    path = small_chain(tmp_path, parent="d.vmdk", parent_cid="0000000b")
    with pytest.raises(CorruptImage, match="its own ancestor"):
        opening.open_chain(str(path))


def test_chain_when_parent_is_missing_names_it(tmp_path):
    with pytest.raises(SourceRefused, match=r"names 'gone.vmdk', which cannot be read: No such"):
        opening.open_chain(str(small_chain(tmp_path, parent="gone.vmdk")))


def test_delta_when_opened_without_descriptor_is_refused_with_the_way_out(tmp_path):
    small_chain(tmp_path)
    with pytest.raises(UnsupportedImage, match="delta of a snapshot") as caught:
        opening.open_chain(str(tmp_path / "d-delta.vmdk"))
    assert "descriptor" in caught.value.hint


def test_extent_when_descriptor_says_more_than_the_file_has_is_refused(tmp_path):
    path = small_chain(tmp_path, extents=['RW 16 VMFSSPARSE "d-delta.vmdk"'])
    with pytest.raises(CorruptImage, match="capacity is 4096, expected the 8192 bytes"):
        opening.open_chain(str(path))
    with pytest.raises(CorruptImage, match="has 4096 bytes, expected 8192 from byte 0 on"):
        opening.open_chain(str(small_chain(tmp_path, extents=['RW 16 VMFS "base-flat.vmdk"'])))


def test_extent_when_it_is_a_raw_device_is_refused(tmp_path):
    with pytest.raises(UnsupportedImage, match="VMFSRDM") as caught:
        opening.open_chain(str(small_chain(tmp_path, extents=['RW 8 VMFSRDM "d-rdm.vmdk"'])))
    assert "LUN" in caught.value.hint


def test_se_sparse_when_journal_is_to_be_replayed_is_refused(tmp_path):
    path = disk_images.chain_of(tmp_path, testing.sample_disk(1 << 20))
    sparse = tmp_path / "web-000002-sesparse.vmdk"
    sparse.write_bytes(disk_images.se_sparse(2048, {}, replay=1))
    with pytest.raises(UnsupportedImage, match="replay journal is 1") as caught:
        opening.open_chain(str(path))
    assert "consolidate" in caught.value.hint


def test_split_disk_when_extents_are_zero_reads_zeros(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * SECTOR)
    lines = ["RW 3 ZERO", 'RW 1 FLAT "a" 0', "RW 200 ZERO"]
    text = disk_images.descriptor(create_type="custom", extents=lines)
    (tmp_path / "d.vmdk").write_text(text)
    assert content_of(tmp_path / "d.vmdk") == bytes(1536) + b"a" * SECTOR + bytes(200 * SECTOR)


def test_raw_when_a_guest_wrote_a_header_is_read_as_told(tmp_path):
    (tmp_path / "disk").write_bytes(b"QFI\xfb".ljust(4096, b"x"))
    with pytest.raises(ConversionError):
        content_of(tmp_path / "disk")
    assert content_of(tmp_path / "disk", known=Format.RAW) == b"QFI\xfb".ljust(4096, b"x")


@pytest.mark.parametrize(
    ("start", "format_"),
    [
        (b"KDMV", "vmdk sparse"), (b"COWD", "vmdk vmfsSparse"),
        (bytes.fromhex("bebafeca00000000"), "vmdk seSparse"), (b"QFI\xfb", "qcow2"),
        (b"# Disk DescriptorFile\n", "vmdk descriptor"), (b"vhdxfile", "vhdx"), (b"", "raw"),
        (b"\x1f\x8b\x08", "gzip"), (b"<?xml version='1.0'?><Envelope", "ovf"), (b"x" * 600, "raw"),
        (bytes(257) + b"ustar", "ova"),
    ],
)  # fmt: skip
def test_identify_when_file_begins_so_is(start, format_):
    assert identify(start) == format_


@needs_qemu
@pytest.mark.parametrize("cluster", [512, 65536, 2 << 20])
def test_qcow2_when_packed_by_zstd_is_what_qemu_reads(tmp_path, cluster):
    content = testing.sample_disk((4 << 20) + 512, seed=cluster)
    raw, image = tmp_path / "raw", tmp_path / "z.qcow2"
    raw.write_bytes(content)
    options = f"compression_type=zstd,cluster_size={cluster}"
    qemu("convert", "-O", "qcow2", "-c", "-o", options, raw, image)
    assert content_of(image) == content
    whole = image.read_bytes()
    damaged = bytearray(whole)
    at = whole.rindex(b"\x28\xb5\x2f\xfd")
    damaged[at + 4 : at + 40] = bytes(36)
    image.write_bytes(damaged)
    with pytest.raises(CorruptImage, match="compressed cluster is damaged"):
        content_of(image)


@fuzzing.examples(60)
@given(
    which=st.sampled_from(["delta", "sesparse", "qcow2", "sparse", "stream"]),
    edits=st.lists(
        st.tuples(st.integers(0, 2200), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    deep=st.booleans(),
)
def test_image_when_bytes_are_changed_anywhere_ends_with_our_error_or_a_disk(
    tmp_path_factory, which, edits, deep
):
    folder = tmp_path_factory.mktemp("fuzz")
    content = testing.sample_disk(1 << 20, seed=1)
    path = disk_images.chain_of(folder, content)
    name = {"delta": "web-000001-delta.vmdk", "sesparse": "web-000002-sesparse.vmdk"}.get(which)
    if which == "sparse":
        path = folder / (name := "sparse.vmdk")
        path.write_bytes(testing.sparse_image(content))
    if which == "stream":
        path = folder / (name := "stream.vmdk")
        path.write_bytes(testing.stream_image(content, shape="qemu" if deep else "esxi"))
    if which == "qcow2":
        path = folder / (name := "x.qcow2")
        path.write_bytes(QCOW2)
    image = bytearray((folder / name).read_bytes())
    # The tables of seSparse lie behind its journal, those of the others in front.
    base = (4096 * SECTOR if which == "sesparse" else 2048) if deep else 0
    for at, new in edits:
        at = (base + at) % len(image)
        image[at : at + len(new)] = new
    (folder / name).write_bytes(image)
    with disk_images.allowed_to_fail(), opening.open_chain(str(path)) as chain:
        if chain.images[0].capacity_bytes <= 4 << 20:
            pipeline.copy(chain.disk(), MemorySink(), pipeline.Options(workers=1))


def _qcow2():
    if not shutil.which("qemu-img"):
        return b"QFI\xfb" + bytes(200)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        raw, path = os.path.join(folder, "raw"), os.path.join(folder, "q")
        with open(raw, "wb") as file:
            file.write(testing.sample_disk(1 << 20, seed=1))
        qemu("convert", "-O", "qcow2", "-o", "cluster_size=512", "-c", raw, path)
        with open(path, "rb") as file:
            return file.read()


QCOW2 = _qcow2()
