"""The inner loops: what Rust does is what Python does, and what Python does is right."""

import errno
import tempfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import batching, checksum, testing

GRAIN = 64 * 1024
MIB = 1 << 20

needs_native = pytest.mark.skipif(batching.NATIVE is None, reason="the native core was not built")


def native():
    assert batching.NATIVE is not None
    return batching.NATIVE


@st.composite
def pieces_of_a_buffer(draw):
    """Return a buffer with zeros and data in it, and pieces that begin at blocks of the disk."""
    block_bytes = draw(st.sampled_from([4096, 16384, GRAIN]))
    buffer, pieces, offset = bytearray(), [], 0
    for length in draw(st.lists(st.integers(1, 3 * GRAIN), min_size=1, max_size=4)):
        offset += draw(st.integers(0, 40)) * block_bytes
        content = bytearray(length)
        for at in draw(st.lists(st.integers(0, length - 1), max_size=6)):
            content[at] = draw(st.integers(1, 255))
        pieces.append((offset, len(buffer), length))
        buffer += content
        offset += -(-length // block_bytes) * block_bytes
    return buffer, pieces, block_bytes


def summed(found):
    sums = {}
    for extent, value in found:
        sums[extent] = (sums.get(extent, 0) + value) & checksum.MASK
    return sums


@needs_native
@given(pieces_of_a_buffer(), st.booleans())
def test_scan_when_native_finds_what_python_finds(case, sums):
    buffer, pieces, block_bytes = case
    runs, found = batching.scan_by_python(buffer, pieces, block_bytes, sums)
    again, found_again = native()[1](buffer, pieces, block_bytes, sums)
    assert again == runs
    assert summed(found_again) == summed(found)


@needs_native
@given(pieces_of_a_buffer(), st.booleans())
def test_scan_and_write_when_native_writes_what_python_writes(case, sums):
    buffer, pieces, block_bytes = case
    written = []
    for write in (batching.scan_and_write_by_python, native()[2]):
        with tempfile.TemporaryFile() as file:
            count, found = write(buffer, pieces, block_bytes, sums, file.fileno())
            written.append((count, summed(found), file.read()))
    assert written[0] == written[1]


@needs_native
def test_scan_and_write_when_the_file_refuses_raises_its_error(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with (tmp_path / "x").open("rb") as file, pytest.raises(OSError, match="Bad file") as caught:
        native()[2](bytearray(b"x" * 4096), [(0, 0, 4096)], 4096, True, file.fileno())
    assert caught.value.errno == errno.EBADF


@given(pieces_of_a_buffer())
def test_scan_when_python_finds_all_data_and_no_piece_of_zeros(case):
    buffer, pieces, block_bytes = case
    runs, found = batching.scan_by_python(buffer, pieces, block_bytes, True)
    seen = {}
    for offset, start, length in runs:
        for step in range(0, length, 4096):
            part = buffer[start + step : min(start + step + 4096, start + length)]
            assert any(part)
            seen[offset + step] = part
    total = 0
    for offset, start, length in pieces:
        for step in range(0, length, 4096):
            part = buffer[start + step : min(start + step + 4096, start + length)]
            assert seen.get(offset + step, bytes(len(part))) == part
        for step in range(0, length, block_bytes):
            block = buffer[start + step : min(start + step + block_bytes, start + length)]
            if any(block):
                total += checksum.block_sum(block, (offset + step) // block_bytes)
    assert sum(summed(found).values()) & checksum.MASK == total & checksum.MASK


BOTH = [
    pytest.param(batching.inflate_grains_by_python, id="python"),
    pytest.param(batching.NATIVE[0] if batching.NATIVE else None, id="native", marks=needs_native),
]


@pytest.mark.parametrize("inflate_grains", BOTH)
def test_inflate_grains_when_one_is_damaged_ends_with_it(inflate_grains):
    contents = [testing.sample_disk(GRAIN, seed=1), b"short", bytes(GRAIN)]
    packed, grains = bytearray(), []
    for number, content in enumerate([*contents, b"x" * (GRAIN + 1), b"never"]):
        stream = zlib.compress(content)
        grains.append((number * GRAIN, len(packed), len(stream)))
        packed += stream
    room = bytearray(5 * GRAIN)
    assert inflate_grains(packed, grains, room, GRAIN) == [GRAIN, 5, GRAIN, batching.BAD]
    for number, content in enumerate(contents):
        assert room[number * GRAIN : number * GRAIN + len(content)] == content
    assert len(room) == 5 * GRAIN
    packed[grains[0][1] + 30] ^= 0xFF
    assert inflate_grains(packed, grains[:1], room, GRAIN) == [batching.BAD]


@needs_native
def test_native_when_a_piece_lies_outside_of_its_buffer_refuses():
    inflate_grains, scan, _ = native()
    room = bytearray(GRAIN)
    for wrong in ((0, 0, 11), (0, 11, 1), (0, 2**63, 2**63)):
        with pytest.raises((ValueError, OverflowError)):
            scan(bytes(10), [wrong], GRAIN, True)
        with pytest.raises((ValueError, OverflowError)):
            inflate_grains(bytearray(10), [wrong], room, GRAIN)
    with pytest.raises(ValueError, match="too small"):
        inflate_grains(bytearray(10), [(0, 0, 1), (GRAIN, 1, 1)], room, GRAIN)
    with pytest.raises(ValueError, match="too small"):
        inflate_grains(bytearray(10), [(0, 0, 1)], room, 0)
    with pytest.raises(ValueError, match="multiples"):
        scan(bytes(10), [(0, 0, 10)], 0, True)
