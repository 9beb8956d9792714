"""Partition tables, LVM and signatures: numbers as Linux gives them, and tables that lie."""

import struct

import disk_images
import fuzzing
import pytest
import small_guests as guests
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import CorruptGuest
from converters.guest.inspection import volumes as naming
from converters.guest.inspection.facts import Volume
from converters.guest.volumes import lvm, partitions, signatures

LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


def test_read_when_partitions_are_logical_then_they_count_from_five():
    disk = guests.mbr([(2048, 100, 0x83), (4096, 200, 0x83), (6144, 300, 0x82)], 8 << 20, 2)
    table = partitions.read(guests.Bytes(disk))
    assert table.label == "dos"
    assert [(one.number, one.start // 512, one.type) for one in table.partitions] == [
        (1, 2048, "0x83"), (5, 4096, "0x83"), (6, 6144, "0x82"),
    ]  # fmt: skip
    assert table.partitions[0].uuid == "1234abcd-01"


def test_read_when_the_table_is_gpt_then_types_and_names_are_read():
    table = partitions.read(
        guests.Bytes(guests.gpt([(2048, 100, ESP), (4096, 10, LINUX)], 4 << 20))
    )
    assert table.label == "gpt"
    assert [one.is_esp for one in table.partitions] == [True, False]
    assert table.partitions[1].name == "part"


def test_read_when_a_chain_of_logical_partitions_loops_then_it_is_refused():
    disk = bytearray(guests.mbr([(2048, 100, 0x83), (4096, 9, 0x83), (6144, 9, 0x83)], 8 << 20, 2))
    struct.pack_into("<B3xB3xII", disk, 6143 * 512 + 446 + 16, 0, 0x05, 0, 10)
    with pytest.raises(CorruptGuest, match="loops"):
        partitions.read(guests.Bytes(disk))


def test_read_when_a_file_system_has_no_table_then_there_are_no_partitions():
    assert partitions.read(guests.Bytes(bytes(4096))).label == "none"


@given(st.binary(min_size=1024, max_size=4096), st.booleans())
@fuzzing.examples(200)
def test_read_when_the_bytes_are_any_then_only_our_errors_are_raised(content, signed):
    content = bytearray(content)
    if signed:
        content[510:512] = b"\x55\xaa"
    with disk_images.allowed_to_fail():
        partitions.read(guests.Bytes(content))
        signatures.probe(guests.Bytes(content))


METADATA = """
vg-data {
id = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg"
seqno = 3
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192  # 4 Megabytes
physical_volumes {
pv0 {
id = "PPPPPP-1234-1234-1234-1234-1234-123456"
device = "/dev/sda2"
pe_start = 2048
pe_count = 4
}
}
logical_volumes {
root {
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 2
segment1 {
start_extent = 0
extent_count = 1
type = "striped"
stripe_count = 1
stripes = ["pv0", 1]
}
segment2 {
start_extent = 1
extent_count = 1
type = "striped"
stripe_count = 1
stripes = ["pv0", 2]
}
}
split {
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 2
segment1 {
extent_count = 1
type = "striped"
stripes = ["pv0", 3]
}
segment2 {
extent_count = 1
type = "striped"
stripes = ["pv0", 0]
}
}
thin {
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 {
extent_count = 1
type = "thin-pool"
}
}
}
}
"""


def physical_volume(text=METADATA):
    content = bytearray(guests.physical_volume(text, 20 << 20))
    for extent in range(4):
        begin = (1 << 20) + extent * (4 << 20)
        content[begin : begin + 8] = f"extent {extent}".encode()
    return bytes(content)


def test_lvm_when_volumes_are_linear_then_their_bytes_are_found():
    member = guests.Bytes(physical_volume())
    identity = signatures.probe(member).uuid
    assert identity == "PPPPPP-1234-1234-1234-1234-1234-123456"
    root, split, thin = lvm.read({identity: member})
    assert root.paths == ("/dev/mapper/vg--data-root", "/dev/vg-data/root")
    assert root.device.read_at(0, 8) == b"extent 1"
    assert root.device.read_at(4 << 20, 8) == b"extent 2"
    assert root.device.read_at((4 << 20) - 2, 4) == b"\0\0ex"
    assert root.contiguous == (identity, (5 << 20), 8 << 20)
    assert split.contiguous is None
    assert split.device.read_at(4 << 20, 8) == b"extent 0"
    assert thin.device is None
    assert "thin-pool" in thin.why_not


@given(st.integers(0, len(METADATA)), st.text(max_size=5))
@fuzzing.examples(200)
def test_lvm_when_its_text_is_damaged_then_only_our_errors_are_raised(at, junk):
    text = METADATA[:at] + junk + METADATA[at + len(junk) :]
    try:
        member = guests.Bytes(physical_volume(text.encode("utf-8", "replace").decode("utf-8")))
    except struct.error:
        return
    with disk_images.allowed_to_fail():
        lvm.read({"PPPPPP-1234-1234-1234-1234-1234-123456": member})


VOLUMES = (
    Volume(device="/dev/sda1", disk=0, start=0, size_bytes=1, kind="ext4", uuid="aa-bb"),
    Volume(device="/dev/sdb5", disk=1, start=0, size_bytes=1, kind="swap", uuid="cc",
           label="Swap", partition_uuid="1234-05", partition_name="swp"),
    Volume(device="/dev/mapper/vg-root", disk=0, start=-1, size_bytes=1, kind="ext4", uuid="dd",
           names=("/dev/vg/root",)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("source", "device"),
    [
        pytest.param("/dev/sda1", "/dev/sda1", id="by place"),
        pytest.param("/dev/vdb5", "/dev/sdb5", id="by another controller's place"),
        pytest.param("UUID=AA-BB", "/dev/sda1", id="by uuid"),
        pytest.param('LABEL="Swap"', "/dev/sdb5", id="by label"),
        pytest.param("PARTUUID=1234-05", "/dev/sdb5", id="by the partition's uuid"),
        pytest.param("/dev/disk/by-partlabel/swp", "/dev/sdb5", id="by the partition's name"),
        pytest.param("/dev/vg/root", "/dev/mapper/vg-root", id="by LVM's second name"),
        pytest.param("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part5", "/dev/sdb5",
                     id="by the place on VMware's controller"),
        pytest.param("/dev/sda12", None, id="a partition that is not there"),
        pytest.param("tmpfs", None, id="no device"),
    ],
)  # fmt: skip
def test_meant_when_a_name_is_given_then_it_is_that_volume(source, device):
    found = naming.meant(source, VOLUMES)
    assert (found.device if found else None) == device


def test_disk_name_when_there_are_many_then_it_goes_on_behind_z():
    assert [naming.disk_name(index) for index in (0, 25, 26, 27, 702)] == [
        "sda", "sdz", "sdaa", "sdab", "sdaaa",
    ]  # fmt: skip
