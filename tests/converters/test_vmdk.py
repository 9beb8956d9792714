"""VMDK parsing: what other programs write is read; what is damaged or hostile is refused."""

import os
import struct
import tracemalloc

import fuzzing
import pytest
from disk_images import allowed_to_fail
from hypothesis import given
from hypothesis import strategies as st

from converters import opening, pipeline, testing
from converters.errors import ConversionError, CorruptImage, ImageError, UnsupportedImage
from converters.images.vmdk import descriptor, header
from converters.images.vmdk.stream import StreamParser
from converters.sinks.memory import MemorySink, NullSink
from converters.sources.vmdk_stream import VmdkStream

SECTOR = 512
CONTENT = testing.sample_disk((1 << 20) + 3 * SECTOR, seed=24)  # begins with data
ESXI = testing.stream_image(CONTENT)
QEMU = testing.stream_image(CONTENT, shape="qemu", cut_last_grain=True)


class Bytes:
    """A stream from memory that gives at most `piece` bytes at once."""

    name = "disk.vmdk"
    announced_bytes = None

    def __init__(self, content, piece=1 << 20):
        self.left = memoryview(content)
        self.piece = piece

    def readinto(self, room):
        step = min(len(room), len(self.left), self.piece)
        room[:step] = self.left[:step]
        self.left = self.left[step:]
        return step

    def interrupt(self):
        pass

    def close(self):
        pass


def decoded(image, piece=1 << 20):
    source = VmdkStream(Bytes(image, piece))
    # A size that is a lie takes no memory of ours; a disk in memory would.
    sink = MemorySink() if source.capacity_bytes <= 1 << 26 else NullSink()
    pipeline.copy(source, sink, pipeline.Options(workers=1))
    return bytes(sink.content) if isinstance(sink, MemorySink) else b""


@fuzzing.examples(40)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("tr0")), min_size=1, max_size=12),
    tail=st.integers(0, 127),
    shape=st.sampled_from(["esxi", "qemu"]),
    grain=st.sampled_from([8, 16, 128, 256]),
    level=st.sampled_from([0, 1, 6]),
    skip_zeros=st.booleans(),
    cut=st.booleans(),
    read=st.sampled_from([1 << 20, 5000, 512]),
    data=st.data(),
)
def test_stream_when_any_disk_and_shape_gives_the_same_bytes(
    pieces, tail, shape, grain, level, skip_zeros, cut, read, data
):
    content = bytearray()
    for length, kind in pieces:
        size = length * 4096
        content += {"t": b"text " * size, "r": os.urandom(size), "0": bytes(size)}[kind][:size]
    content += bytes(range(256)) * 2 * tail
    if not content:
        content = bytearray(SECTOR)
    count = -(-len(content) // (grain * SECTOR))
    order = data.draw(st.permutations(range(count)))
    image = testing.stream_image(
        bytes(content),
        shape=shape,
        grain_sectors=grain,
        order=order,
        level=level,
        skip_zeros=skip_zeros,
        cut_last_grain=cut,
    )
    assert decoded(image, read) == bytes(content)


@pytest.mark.parametrize(
    "image",
    [pytest.param(ESXI, id="as ESXi writes it"), pytest.param(QEMU, id="as qemu writes it")],
)
def test_stream_when_cut_anywhere_is_refused(image):
    """At each boundary of a record, one byte before and after it, and at odd places."""
    cuts = {0, 1, 3, 4, 511, 512, 513, 10000, len(image) - 1}
    for at in range(0, len(image), SECTOR):
        cuts |= {at - 1, at, at + 1}
    # The last grain of qemu-img needs no padding; before that, any cut must be seen.
    end = len(image) if image is ESXI else len(image.rstrip(b"\0"))
    for cut in sorted(at for at in cuts if 0 <= at < end):
        with pytest.raises(CorruptImage, match=r"ends|expected a header|has neither") as caught:
            decoded(image[:cut])
        assert str(caught.value).startswith("disk.vmdk")


def test_stream_when_padding_of_last_grain_is_missing_is_whole():
    assert decoded(QEMU.rstrip(b"\0")) == CONTENT


def test_stream_when_tiny_last_grain_is_not_padded_is_whole():
    content = bytes(65536) + b"x" * 65536
    image = testing.stream_image(content, shape="qemu", level=9).rstrip(b"\0")
    assert len(image) % SECTOR < 200
    assert decoded(image) == content


FIELDS = {  # name: offset, struct format, hostile values
    "magicNumber": (0, "<I", [0, 0x564D444C]),
    "version": (4, "<I", [0, 4, 2**32 - 1]),
    "capacity": (12, "<Q", [0, 2**40, 2**63, 2**64 - 1]),
    "grainSize": (20, "<Q", [0, 1, 7, 100, 129, 4096, 2**32, 2**63, 2**64 - 1]),
    "descriptorOffset": (28, "<Q", [0, 200, 2**63, 2**64 - 1]),
    "descriptorSize": (36, "<Q", [2049, 2**32, 2**64 - 1]),
    "numGTEsPerGT": (44, "<I", [0, 513, 2**31, 2**32 - 1]),
    "gdOffset": (56, "<Q", [0]),
    "overHead": (64, "<Q", [0, 2**20, 2**40, 2**64 - 1]),
    "line ends": (73, "<I", [0x0A0D0A20, 0]),
    "compressAlgorithm": (77, "<H", [0, 2, 65535]),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, (_, _, values) in FIELDS.items() for value in values],
)
def test_header_when_a_field_is_hostile_names_file_offset_field_and_value(field, value):
    offset, layout, _ = FIELDS[field]
    image = bytearray(ESXI)
    struct.pack_into(layout, image, offset, value)
    with pytest.raises(ImageError) as caught:
        decoded(bytes(image))
    assert caught.value.file == "disk.vmdk"
    assert caught.value.field == field
    assert caught.value.offset == offset
    assert caught.value.expected


GRAIN_AT = 128 * SECTOR


@pytest.mark.parametrize(
    ("at", "layout", "value", "field"),
    [
        pytest.param(0, "<Q", 1, "sector of a grain", id="grain between grains"),
        pytest.param(0, "<Q", 2**64 - 128, "sector of a grain", id="grain behind everything"),
        pytest.param(0, "<Q", 34 * 64, "sector of a grain", id="grain behind the disk"),
        pytest.param(8, "<I", 2**32 - 1, "compressed size of a grain", id="grain of 4 GiB"),
        pytest.param(8, "<I", 131073, "compressed size of a grain", id="grain over twice its size"),
    ],
)
def test_stream_when_a_grain_marker_lies_is_refused(at, layout, value, field):
    image = bytearray(ESXI)
    struct.pack_into(layout, image, GRAIN_AT + at, value)
    with pytest.raises(CorruptImage) as caught:
        decoded(bytes(image))
    assert (caught.value.field, caught.value.offset) == (field, GRAIN_AT + at)


@pytest.mark.parametrize(
    ("marker", "field"),
    [
        pytest.param(testing.marker(0, 9), "type of a marker", id="unknown"),
        pytest.param(testing.marker(5, 1), "size of a marker (grain table)", id="table too long"),
        pytest.param(
            testing.marker(2**60, 2), "size of a marker (grain directory)", id="huge directory"
        ),
        pytest.param(testing.marker(2, 3), "size of a marker (footer)", id="two footers"),
        pytest.param(testing.marker(1, 0), "size of a marker (end of stream)", id="end with data"),
    ],
)
def test_stream_when_another_marker_lies_is_refused(marker, field):
    image = ESXI[:GRAIN_AT] + marker + ESXI[GRAIN_AT:]
    with pytest.raises(CorruptImage) as caught:
        decoded(image)
    assert caught.value.field == field


def test_stream_when_a_grain_comes_twice_is_refused():
    first = ESXI[GRAIN_AT : GRAIN_AT + 512 * 200]
    size = (12 + struct.unpack_from("<I", first, 8)[0] + 511) & -512
    image = ESXI[:GRAIN_AT] + first[:size] + ESXI[GRAIN_AT:]
    with pytest.raises(CorruptImage, match="sector of a grain is 0, expected each grain once"):
        decoded(image)


def test_stream_when_a_grain_is_damaged_names_its_place():
    image = bytearray(ESXI)
    image[GRAIN_AT + 40] ^= 0xFF
    with pytest.raises(CorruptImage, match="the grain at sector 0 ") as caught:
        decoded(bytes(image))
    assert caught.value.offset == GRAIN_AT + 12
    assert "fetch it again" in caught.value.hint


@pytest.mark.parametrize("size", [65535, 65537, 10 << 20], ids=["short", "long", "bomb"])
def test_stream_when_a_grain_inflates_to_another_size_is_refused(size):
    import zlib

    packed = zlib.compress(bytes(size))
    grain = struct.pack("<QI", 0, len(packed)) + packed
    image = ESXI[:GRAIN_AT] + grain + bytes(-len(grain) % SECTOR) + testing.marker(0, 0)
    tracemalloc.start()
    with pytest.raises(CorruptImage, match="the grain at sector 0 "):
        decoded(image)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("at", "layout", "value", "field"),
    [
        (12, "<Q", 4096, "capacity_sectors of the footer"),
        (20, "<Q", 256, "grain_sectors of the footer"),
        (56, "<Q", 2**64 - 1, "gdOffset of the footer"),
        (56, "<Q", 2**40, "gdOffset of the footer"),
        (0, "<I", 0, "magicNumber"),
    ],
)
def test_stream_when_the_footer_contradicts_the_header_is_refused(at, layout, value, field):
    image = bytearray(ESXI)
    struct.pack_into(layout, image, len(image) - 1024 + at, value)
    with pytest.raises(CorruptImage) as caught:
        decoded(bytes(image))
    assert caught.value.field == field
    assert caught.value.offset == len(image) - 1024 + (
        at if field.startswith(("gdOffset", "magic")) else 0
    )


def test_stream_when_disk_has_a_parent_is_refused_with_the_way_out():
    image = ESXI.replace(b"parentCID=ffffffff", b"parentCID=12345678")
    with pytest.raises(UnsupportedImage, match="is a delta") as caught:
        decoded(image)
    assert "consolidate" in caught.value.hint


@fuzzing.examples(150)
@given(
    shape=st.sampled_from(["esxi", "qemu"]),
    changes=st.lists(st.tuples(st.integers(0, len(QEMU) - 1), st.binary(min_size=1, max_size=8))),
    cut=st.integers(0, len(QEMU)),
)
def test_stream_when_bytes_are_changed_anywhere_ends_with_our_error_or_a_disk(shape, changes, cut):
    broken = bytearray(ESXI if shape == "esxi" else QEMU)
    for at, new in changes:
        broken[at : at + len(new)] = new
    with allowed_to_fail():
        decoded(bytes(broken[:cut]))


@fuzzing.examples(100)
@given(st.binary(max_size=600), st.binary(max_size=3000))
def test_stream_when_header_is_good_and_the_rest_is_noise_ends_with_our_error(front, rest):
    image = ESXI[:GRAIN_AT] + front + rest
    with pytest.raises(ConversionError):
        decoded(image)


def test_parser_when_disk_is_huge_takes_no_memory():
    tracemalloc.start()
    image = testing.header(header.MOST_CAPACITY) + bytes(127 * SECTOR)
    parser = StreamParser("disk.vmdk")
    with pytest.raises(CorruptImage, match="neither a createType nor an extent"):
        parser.parse(bytearray(image), len(image), last=False)
    text = testing.descriptor_text(
        header.MOST_CAPACITY, create_type="streamOptimized", extent='RDONLY {sectors} SPARSE "x"'
    )
    image = testing.header(header.MOST_CAPACITY) + text.ljust(127 * SECTOR, b"\0")
    StreamParser("disk.vmdk").parse(bytearray(image), len(image), last=False)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


# monolithicSparse


def sparse(tmp_path, change=None, content=CONTENT, grain=128):
    image = bytearray(testing.sparse_image(content, grain_sectors=grain))
    if change:
        change(image)
    path = tmp_path / "mono.vmdk"
    path.write_bytes(image)
    sink = MemorySink()
    with opening.open_chain(str(path)) as chain:
        pipeline.copy(chain.disk(), sink, pipeline.Options(workers=1))
    return bytes(sink.content)


def test_sparse_when_any_table_entry_points_outside_names_its_place(tmp_path):
    table = 22 * SECTOR

    def change(image):
        struct.pack_into("<I", image, table, 2**32 - 1)

    with pytest.raises(CorruptImage) as caught:
        sparse(tmp_path, change)
    assert (caught.value.field, caught.value.offset) == ("grain table entry", table)


def test_sparse_when_directory_points_outside_names_its_place(tmp_path):
    def change(image):
        struct.pack_into("<I", image, 21 * SECTOR, 2**31)

    with pytest.raises(CorruptImage) as caught:
        sparse(tmp_path, change)
    assert (caught.value.field, caught.value.offset) == ("grain directory entry", 21 * SECTOR)


def test_sparse_when_one_grain_is_named_for_the_whole_disk_is_refused(tmp_path):
    """A small file that would fill the target with the same grain again and again."""

    def change(image):
        first = min(at for at in struct.unpack_from("<512I", image, 22 * SECTOR) if at)
        struct.pack_into("<256I", image, 22 * SECTOR, *[first] * 256)
        del image[first * SECTOR + 65536 :]

    with pytest.raises(CorruptImage, match=r"share the same place|number of bytes that its tables"):
        sparse(tmp_path, change, content=b"x" * (16 << 20))


def test_sparse_when_one_table_is_named_twice_is_refused(tmp_path):
    def change(image):
        struct.pack_into("<2I", image, 21 * SECTOR, 22, 22)

    with pytest.raises(CorruptImage, match="a table of its own"):
        sparse(tmp_path, change, content=b"x" * (64 << 20))


def test_sparse_when_file_is_cut_says_so(tmp_path):
    with pytest.raises(CorruptImage, match=r"within the .* sectors of the file|ends in the middle"):
        sparse(tmp_path, lambda image: image.__delitem__(slice(len(image) - 70000, None)))


def test_sparse_when_zero_grains_are_marked_reads_zeros(tmp_path):
    def change(image):
        struct.pack_into("<I", image, 8, 7)
        struct.pack_into("<I", image, 22 * SECTOR, 1)

    assert sparse(tmp_path, change) == bytes(65536) + CONTENT[65536:]


@fuzzing.examples(100)
@given(st.lists(st.tuples(st.integers(0, 30 * SECTOR), st.binary(min_size=1, max_size=8))))
def test_sparse_when_front_is_changed_anywhere_ends_with_our_error_or_a_disk(
    tmp_path_factory, edits
):
    def change(image):
        for at, new in edits:
            image[at : at + len(new)] = new

    with allowed_to_fail():
        sparse(tmp_path_factory.mktemp("fuzz"), change)


# descriptors


def test_descriptor_when_it_is_vmwares_gives_kind_extents_and_ids():
    text = b"""# Disk DescriptorFile
version=3
encoding="windows-1252"
CID=d2b5a9b0
parentCID=ffffffff
isNativeSnapshot="no"
createType="vmfs"

# Extent description
RW 33554432 VMFS "web1-flat.vmdk"

# The Disk Data Base
#DDB
ddb.adapterType = "lsilogic"
ddb.thinProvisioned = "1"
"""
    disk = descriptor.parse(text + bytes(100), file="web1.vmdk")
    assert disk.create_type == "vmfs"
    assert disk.cid == 0xD2B5A9B0
    assert not disk.has_parent
    assert disk.capacity_bytes == 16 << 30
    assert [(line.type, line.file) for line in disk.extents] == [("VMFS", "web1-flat.vmdk")]
    assert disk.settings["ddb.thinProvisioned"] == "1"


def test_descriptor_when_flat_extent_has_an_offset_gives_it():
    disk = descriptor.parse(
        b'createType="monolithicFlat"\nRW 2048 FLAT "a b.vmdk" 63\nRW 1 ZERO\n', file="x"
    )
    assert disk.extents[0].offset_sectors == 63
    assert disk.extents[0].file == "a b.vmdk"
    assert disk.extents[1].type == "ZERO"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('RW 0 FLAT "x" 0', "size in line 1"),
        ('RW 99999999999999999999 FLAT "x" 0', "size in line 1"),
        ('RW 1 FLAT "x" 99999999999999999999', "offset in line 1"),
        ('RW many FLAT "x"', "line 1"),
        ("RW 5", "line 1"),
        ('CID=zz\nRW 1 FLAT "x"', "CID"),
    ],
)
def test_descriptor_when_a_line_is_wrong_names_it(line, field):
    with pytest.raises(CorruptImage) as caught:
        descriptor.parse(line.encode(), file="x.vmdk")
    assert caught.value.field == field


@pytest.mark.parametrize(
    "name", ["/etc/shadow", "../x.vmdk", "a/../../x", "..", "", "C:\\x.vmdk", "a\0b", "sub/x.vmdk"]
)
def test_sibling_when_name_leads_elsewhere_is_refused(name):
    with pytest.raises(UnsupportedImage, match="file of an extent"):
        descriptor.sibling(name, file="x.vmdk")


@fuzzing.examples(200)
@given(st.one_of(st.binary(max_size=2000), st.text(max_size=500).map(str.encode)))
def test_descriptor_when_it_is_noise_ends_with_our_error_or_a_descriptor(content):
    with allowed_to_fail():
        descriptor.parse(content, file="x")
