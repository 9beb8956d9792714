"""The suites that every source and every sink must pass, and images to try them with.

    class TestMemorySource(SourceTests):
        def make(self, folder, content):
            return MemorySource(content)

The images are built here from a disk's content, independently of the parsers: they are the oracle.
"""

from __future__ import annotations

import random
import struct
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from converters import checksum, extents, pipeline
from converters.errors import Cancelled
from converters.extents import Extent, Kind
from converters.intake import LentBuffers
from converters.journal import Journal, State
from converters.sinks.contract import Sink
from converters.sinks.memory import MemorySink
from converters.sources.contract import Batch, Source
from converters.sources.memory import MemorySource

SECTOR = 512
GRAIN = 64 * 1024


def sample_disk(size_bytes: int, *, seed: int = 1) -> bytes:
    """Return a disk with text, random bytes, written zeros and holes, mixed in pieces of 4 KiB."""
    chance = random.Random(seed)
    content = bytearray(size_bytes)
    at = 0
    while at < size_bytes:
        length = min(4096 * chance.choice([1, 3, 16, 40, 100]), size_bytes - at)
        match chance.choice("trzz"):
            case "t":
                content[at : at + length] = (b"%d lines of text, " % at * length)[:length]
            case "r":
                content[at : at + length] = chance.randbytes(length)
        at += length
    return bytes(content)


def disk_sum(content: bytes, *, block_bytes: int = checksum.BLOCK) -> int:
    """Return the checksum of a disk, worked out the plain way."""
    total = 0
    for index, at in enumerate(range(0, len(content), block_bytes)):
        block = content[at : at + block_bytes]
        if any(block):
            total += checksum.block_sum(block, index)
    return total & checksum.MASK


def header(
    capacity_sectors: int,
    *,
    grain_sectors: int = 128,
    flags: int = 0x30001,
    directory: int = 0xFFFF_FFFF_FFFF_FFFF,
    overhead: int = 128,
    redundant: int = 0,
    version: int = 3,
    compression: int = 1,
    table_entries: int = 512,
    descriptor: tuple[int, int] = (1, 20),
) -> bytes:
    """Return the header sector of a sparse extent."""
    packed = struct.pack(
        "<4sIIQQQQIQQQB4sH",
        *(b"KDMV", version, flags, capacity_sectors, grain_sectors, *descriptor, table_entries),
        *(redundant, directory, overhead, 0, b"\n \r\n", compression),
    )
    return packed.ljust(SECTOR, b"\0")


def descriptor_text(
    capacity_sectors: int, *, create_type: str, extent: str, parent: str = "ffffffff"
) -> bytes:
    """Return a descriptor."""
    return (
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\n"
        f'parentCID={parent}\ncreateType="{create_type}"\n\n# Extent description\n'
        f"{extent.format(sectors=capacity_sectors)}\n\n"
        '# The Disk Data Base\n#DDB\n\nddb.adapterType = "lsilogic"\nddb.virtualHWVersion = "19"\n'
    ).encode()


def stream_image(
    content: bytes,
    *,
    shape: str = "esxi",
    grain_sectors: int = 128,
    order: Sequence[int] | None = None,
    level: int = 1,
    skip_zeros: bool = True,
    cut_last_grain: bool = False,
) -> bytes:
    """Return the disk as a streamOptimized VMDK, as ESXi (`esxi`) or qemu-img (`qemu`) writes it.

    `order` is the order of the grains by index. With `cut_last_grain` the last grain has only what
    lies on the disk, as qemu-img does it; else it is padded with zeros.
    """
    size = grain_sectors * SECTOR
    sectors = -(-len(content) // SECTOR)
    count = -(-len(content) // size)
    tables = -(-count // 512)
    front = 128
    if shape == "qemu":
        directory_sectors = -(-tables * 4 // SECTOR)
        front = -(-(21 + directory_sectors + 4 * tables) // grain_sectors) * grain_sectors
    text = descriptor_text(
        sectors, create_type="streamOptimized", extent='RDONLY {sectors} SPARSE "disk.vmdk"'
    )
    body = bytearray(front * SECTOR)
    places: dict[int, int] = {}
    for index in order if order is not None else range(count):
        grain = content[index * size : (index + 1) * size]
        if skip_zeros and not any(grain):
            continue
        places[index] = len(body) // SECTOR
        packed = zlib.compress(grain if cut_last_grain else grain.ljust(size, b"\0"), level)
        body += struct.pack("<QI", index * grain_sectors, len(packed)) + packed
        body += bytes(-len(body) % SECTOR)
    entries = [places.get(index, 0) for index in range(tables * 512)]
    if shape == "qemu":
        front_tables, first = bytearray(), 21 + directory_sectors
        places_of_tables = [first + 4 * table for table in range(tables)]
        front_tables += struct.pack(f"<{tables}I", *places_of_tables).ljust(
            directory_sectors * SECTOR, b"\0"
        )
        front_tables += struct.pack(f"<{len(entries)}I", *entries)
        body[21 * SECTOR : 21 * SECTOR + len(front_tables)] = front_tables
        head = header(sectors, grain_sectors=grain_sectors, directory=21, overhead=front)
    else:
        head = header(sectors, grain_sectors=grain_sectors)
        body += _tables_at_end(entries, tables, sectors, grain_sectors, len(body) // SECTOR)
    body[: len(head)] = head
    body[SECTOR : SECTOR + len(text)] = text
    return bytes(body)


def marker(count: int, kind: int) -> bytes:
    """Return a marker that is not a grain's: 0 end, 1 table, 2 directory, 3 footer."""
    return struct.pack("<QII", count, 0, kind).ljust(SECTOR, b"\0")


def _tables_at_end(
    entries: list[int], tables: int, sectors: int, grain_sectors: int, at: int
) -> bytes:
    """Return tables, directory, footer and end marker; `at` is the sector where they begin."""
    body = bytearray()
    places = []
    for table in range(tables):
        part = entries[table * 512 : (table + 1) * 512]
        if any(part):
            body += marker(4, 1)
            places.append(at + len(body) // SECTOR)
            body += struct.pack("<512I", *part)
        else:
            places.append(0)
    directory_sectors = -(-tables * 4 // SECTOR)
    body += marker(directory_sectors, 2)
    directory = at + len(body) // SECTOR
    body += struct.pack(f"<{tables}I", *places).ljust(directory_sectors * SECTOR, b"\0")
    body += marker(1, 3)
    body += header(sectors, grain_sectors=grain_sectors, directory=directory)
    return bytes(body + marker(0, 0))


def sparse_image(content: bytes, *, grain_sectors: int = 128) -> bytes:
    """Return the disk as a monolithicSparse VMDK, its grains from the last to the first."""
    size = grain_sectors * SECTOR
    sectors = -(-len(content) // SECTOR)
    count = -(-len(content) // size)
    tables = -(-count // 512)
    directory_sectors = -(-tables * 4 // SECTOR)
    front = -(-(21 + directory_sectors + 4 * tables) // grain_sectors) * grain_sectors
    body = bytearray(front * SECTOR)
    entries = [0] * (tables * 512)
    for index in reversed(range(count)):
        grain = content[index * size : (index + 1) * size]
        if any(grain):
            entries[index] = len(body) // SECTOR
            body += grain.ljust(size, b"\0")
    places = [21 + directory_sectors + 4 * table for table in range(tables)]
    front_tables = struct.pack(f"<{tables}I", *places).ljust(directory_sectors * SECTOR, b"\0")
    front_tables += struct.pack(f"<{len(entries)}I", *entries)
    text = descriptor_text(
        sectors, create_type="monolithicSparse", extent='RW {sectors} SPARSE "disk.vmdk"'
    )
    head = header(
        sectors, grain_sectors=grain_sectors, flags=3, directory=21, overhead=front,
        compression=0, version=1,
    )  # fmt: skip
    body[: len(head)] = head
    body[SECTOR : SECTOR + len(text)] = text
    body[21 * SECTOR : 21 * SECTOR + len(front_tables)] = front_tables
    return bytes(body)


class SourceTests(ABC):
    """What every source must do. Subclass it, and say how one is made."""

    @abstractmethod
    def make(self, folder: Path, content: bytes) -> Source:
        """Return a source of this disk; its size is a multiple of 512."""

    def test_copy_when_whole_gives_the_disk_and_its_checksum(self, tmp_path: Path) -> None:
        """Odd sizes, too: the last block is shorter."""
        for size in (SECTOR, 4096, GRAIN, GRAIN + SECTOR, 5 * (1 << 20) + 7 * SECTOR):
            content = sample_disk(size, seed=size)
            source, sink = self.make(tmp_path, content), MemorySink()
            try:
                sums = pipeline.copy(source, sink)
            finally:
                source.close()
            assert bytes(sink.content) == content
            assert sums.total == disk_sum(content, block_bytes=source.block_bytes)

    def test_copy_when_disk_is_empty_writes_nothing(self, tmp_path: Path) -> None:
        """Zeros are not written."""
        source, sink = self.make(tmp_path, bytes(3 * GRAIN)), MemorySink()
        try:
            sums = pipeline.copy(source, sink)
        finally:
            source.close()
        assert bytes(sink.content) == bytes(3 * GRAIN)
        assert (sums.total, sink.written_bytes) == (0, 0)

    def test_feeds_when_read_give_aligned_blocks_and_settle_each_byte_once(
        self, tmp_path: Path
    ) -> None:
        """Blocks are as the contract says."""
        content = sample_disk(3 * (1 << 20) + SECTOR)
        source = self.make(tmp_path, content)
        try:
            settled = extents.ExtentSet()
            for batch in read(source, extents.whole(len(content))):
                for offset, buffer, start, end in blocks(batch, source.block_bytes):
                    assert offset % source.block_bytes == 0
                    assert end - start in (source.block_bytes, len(content) - offset)
                    assert buffer[start:end] == content[offset : offset + end - start]
                before = settled.total_bytes
                for extent in batch.settles:
                    settled.add(extent)
                assert settled.total_bytes == before + extents.total(batch.settles)
                batch.release()
            assert settled.extents() == extents.whole(len(content))
        finally:
            source.close()

    def test_feeds_when_parts_are_wanted_give_just_these(self, tmp_path: Path) -> None:
        """A copy goes on where it stopped; a delta is applied."""
        content = sample_disk(2 * (1 << 20))
        source = self.make(tmp_path, content)
        try:
            if not source.capabilities.seekable:
                return
            wanted = [Extent(GRAIN, GRAIN), Extent(5 * GRAIN, 17 * GRAIN)]
            got = bytearray(len(content))
            settled = extents.ExtentSet()
            for batch in read(source, wanted):
                for offset, buffer, start, end in blocks(batch, source.block_bytes):
                    got[offset : offset + end - start] = buffer[start:end]
                for extent in batch.settles:
                    settled.add(extent)
                batch.release()
            assert settled.extents() == wanted
            for extent in wanted:
                assert got[extent.offset : extent.end] == content[extent.offset : extent.end]
            for extent in extents.subtract(extents.whole(len(content)), wanted):
                assert not any(got[extent.offset : extent.end])
        finally:
            source.close()

    def test_copy_when_journal_has_a_part_reads_only_the_rest(self, tmp_path: Path) -> None:
        """The checksum is that of the whole disk."""
        content = sample_disk(2 * (1 << 20))
        source = self.make(tmp_path, content)
        try:
            if not source.capabilities.seekable:
                return
            half = 1 << 20
            done = State(
                extents=extents.whole(half),
                block_sum=disk_sum(content[:half], block_bytes=source.block_bytes),
            )
            sink = MemorySink(content[:half])
            sums = pipeline.copy(source, sink, journal=Journal(done))
            assert bytes(sink.content) == content
            assert sums.total == disk_sum(content, block_bytes=source.block_bytes)
            assert sink.written_bytes <= half
        finally:
            source.close()

    def test_feeds_when_stopped_raise_cancelled(self, tmp_path: Path) -> None:
        """A feed that waits for a buffer ends as soon as the copy shall."""
        source = self.make(tmp_path, random.Random(1).randbytes(8 * (1 << 20)))
        stopping = threading.Event()
        intake = LentBuffers(
            buffer_bytes=source.capabilities.buffer_bytes,
            count=source.capabilities.feed_buffers,
            stopping=stopping,
        )
        try:
            feed = source.feeds(extents.whole(source.capacity_bytes), intake)[0]
            next(feed)
            stopping.set()
            source.interrupt()
            try:
                for batch in feed:
                    batch.release()
            except Cancelled:
                return
            raise AssertionError("the feed went on to the end")
        finally:
            source.close()


def read(source: Source, wanted: Sequence[Extent]) -> Iterator[Batch]:
    """Yield the batches of all feeds, one feed after the other."""
    can = source.capabilities
    count = 64 if can.feeds > 1 else can.feed_buffers + 1
    intake = LentBuffers(buffer_bytes=can.buffer_bytes, count=count)
    for feed in source.feeds(wanted, intake):
        yield from feed


def blocks(
    batch: Batch, block_bytes: int = checksum.BLOCK
) -> Iterator[tuple[int, bytes | bytearray, int, int]]:
    """Yield the blocks of a batch: offset on the disk; buffer, start and end in it."""
    for buffer, pieces in batch.parts():
        for offset, start, length in pieces:
            for step in range(0, length, block_bytes):
                low = start + step
                yield offset + step, buffer, low, min(low + block_bytes, start + length)


class SinkTests(ABC):
    """What every sink must do. Subclass it, and say how one with old content is made."""

    size_bytes = 4 * (1 << 20)

    @abstractmethod
    def make(self, folder: Path, old: bytes) -> Sink:
        """Return a sink that holds `old` (it may be empty) before it is prepared."""

    def content(self, sink: Sink) -> bytes:
        """Return what its reader reads."""
        source, back = sink.reader(), MemorySink()
        try:
            pipeline.copy(source, back)
        finally:
            source.close()
        return bytes(back.content)

    def test_prepare_when_nothing_is_kept_gives_zeros(self, tmp_path: Path) -> None:
        """Old content never shows through."""
        sink = self.make(tmp_path, sample_disk(self.size_bytes))
        try:
            sink.prepare(self.size_bytes, ())
            assert self.content(sink) == bytes(self.size_bytes)
        finally:
            sink.close()

    def test_prepare_when_parts_are_kept_changes_only_the_rest(self, tmp_path: Path) -> None:
        """What the journal says is there stays there."""
        old = sample_disk(self.size_bytes, seed=2)
        keep = [Extent(GRAIN, 3 * GRAIN), Extent(1 << 20, 1 << 20)]
        sink = self.make(tmp_path, old)
        try:
            sink.prepare(self.size_bytes, keep)
            expected = bytearray(self.size_bytes)
            for extent in keep:
                expected[extent.offset : extent.end] = old[extent.offset : extent.end]
            assert self.content(sink) == bytes(expected)
        finally:
            sink.close()

    def test_write_when_many_buffers_writes_all_of_them(self, tmp_path: Path) -> None:
        """More buffers than one system call takes."""
        content = random.Random(3).randbytes(self.size_bytes)
        sink = self.make(tmp_path, b"")
        try:
            sink.prepare(self.size_bytes, ())
            view = memoryview(content)
            sink.write(0, [view[at : at + SECTOR] for at in range(0, self.size_bytes, SECTOR)])
            sink.flush()
            assert self.content(sink) == content
        finally:
            sink.close()

    def test_zero_when_there_is_data_makes_zeros(self, tmp_path: Path) -> None:
        """As a delta needs it."""
        old = random.Random(4).randbytes(self.size_bytes)
        sink = self.make(tmp_path, old)
        try:
            sink.prepare(self.size_bytes, extents.whole(self.size_bytes))
            sink.zero(Extent(GRAIN, 2 * GRAIN))
            sink.zero(Extent(1 << 20, 4096))
            expected = bytearray(old)
            expected[GRAIN : 3 * GRAIN] = bytes(2 * GRAIN)
            expected[1 << 20 : (1 << 20) + 4096] = bytes(4096)
            assert self.content(sink) == bytes(expected)
        finally:
            sink.close()

    def test_copy_when_delta_changes_only_the_extents(self, tmp_path: Path) -> None:
        """Zeros of the delta replace old data."""
        old = random.Random(5).randbytes(self.size_bytes)
        new = sample_disk(self.size_bytes, seed=6)
        delta = [Extent(GRAIN, 5 * GRAIN), Extent(2 << 20, 1 << 20)]
        holes = [Extent(2 << 20, 4 * GRAIN, Kind.ZERO)]
        content = bytearray(new)
        content[2 << 20 : (2 << 20) + 4 * GRAIN] = bytes(4 * GRAIN)
        sink = self.make(tmp_path, old)
        try:
            source = MemorySource(bytes(content), holes=holes)
            with pipeline.Copy(source, sink, delta=delta) as running:
                running.wait()
            expected = bytearray(old)
            for extent in delta:
                expected[extent.offset : extent.end] = content[extent.offset : extent.end]
            assert self.content(sink) == bytes(expected)
        finally:
            sink.close()

    def test_write_when_from_many_threads_mixes_nothing_up(self, tmp_path: Path) -> None:
        """Workers write themselves."""
        content = sample_disk(self.size_bytes, seed=7)
        sink = self.make(tmp_path, b"")
        try:
            pipeline.copy(MemorySource(content), sink, pipeline.Options(workers=4))
            assert self.content(sink) == content
        finally:
            sink.close()
