"""Each source passes the suite that `converters.testing` publishes."""

import os
import threading

import pytest

from converters import pipeline, testing
from converters.errors import (
    Cancelled,
    CorruptImage,
    SourceBroken,
    SourceChanged,
    SourceRefused,
    UnsupportedImage,
)
from converters.extents import Extent
from converters.sinks.memory import MemorySink
from converters.sources.byte_stream import FileStream, PipeStream, open_regular
from converters.sources.memory import MemorySource
from converters.sources.raw_file import RawFile
from converters.sources.selection import Selection
from converters.sources.vmdk_stream import VmdkStream


def written(folder, content, name="disk.vmdk"):
    path = folder / name
    path.write_bytes(content)
    return str(path)


class TestMemorySource(testing.SourceTests):
    def make(self, folder, content):
        return MemorySource(content)


class TestRawFile(testing.SourceTests):
    def make(self, folder, content):
        return RawFile(written(folder, content))


class TestRawFileWithHoles(testing.SourceTests):
    def make(self, folder, content):
        path = folder / "holes.raw"
        with path.open("wb") as file:
            file.truncate(len(content))
            for at in range(0, len(content), 4096):
                if any(content[at : at + 4096]):
                    file.seek(at)
                    file.write(content[at : at + 4096])
        return RawFile(str(path))


class TestPartOfRawFile(testing.SourceTests):
    def make(self, folder, content):
        path = written(folder, b"x" * 1536 + content + b"y" * 100)
        return RawFile(path, start=1536, length=len(content))


class TestStreamFromEsxi(testing.SourceTests):
    def make(self, folder, content):
        return VmdkStream(FileStream(written(folder, testing.stream_image(content))))


class TestStreamFromQemu(testing.SourceTests):
    def make(self, folder, content):
        image = testing.stream_image(content, shape="qemu", cut_last_grain=True)
        return VmdkStream(FileStream(written(folder, image)))


class TestStreamOfSmallGrains(testing.SourceTests):
    def make(self, folder, content):
        return VmdkStream(
            FileStream(written(folder, testing.stream_image(content, grain_sectors=16)))
        )


class TestStreamOfLargeGrains(testing.SourceTests):
    def make(self, folder, content):
        return VmdkStream(
            FileStream(written(folder, testing.stream_image(content, grain_sectors=512)))
        )


class TestStreamFromPipe(testing.SourceTests):
    def make(self, folder, content):
        return VmdkStream(_Piped(testing.stream_image(content)))


class TestSelectionOfStream(testing.SourceTests):
    def make(self, folder, content):
        return Selection(TestStreamFromEsxi().make(folder, content))


def test_selection_as_a_delta_makes_zeros_where_the_stream_has_holes(tmp_path):
    content = bytearray(testing.sample_disk(4 << 20))
    content[1 << 20 : 2 << 20] = bytes(1 << 20)  # a hole in the stream
    stream = TestStreamFromEsxi().make(tmp_path, bytes(content))
    sink = MemorySink(b"\xee" * len(content))
    delta = [Extent(960 << 10, 1 << 20), Extent(3 << 20, 65536)]
    with pipeline.Copy(Selection(stream), sink, delta=delta) as running:
        running.wait()
    expected = bytearray(b"\xee" * len(content))
    for one in delta:
        expected[one.offset : one.end] = content[one.offset : one.end]
    assert sink.content == expected


def test_selection_of_a_disordered_stream_is_refused(tmp_path):
    content = b"".join(bytes([at + 1]) * 65536 for at in range(8))
    image = testing.stream_image(content, order=[0, 5, 1, 2, 3, 4, 6, 7])
    stream = VmdkStream(FileStream(written(tmp_path, image)))
    with (
        pytest.raises(UnsupportedImage),
        pipeline.Copy(Selection(stream), MemorySink(content), delta=[Extent(0, 65536)]) as running,
    ):
        running.wait()


class _Piped(PipeStream):
    """A pipe that another thread writes to."""

    def __init__(self, content):
        self.read_end, write_end = os.pipe()
        super().__init__(self.read_end)
        self.writer = threading.Thread(target=self._write, args=(write_end, content))
        self.writer.start()

    def _write(self, write_end, content):
        try:
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(content)
        except BrokenPipeError:
            pass

    def close(self):
        super().close()
        os.close(self.read_end)
        self.writer.join()


def test_copy_when_pipe_stays_silent_can_be_cancelled_within_a_second():
    image = testing.stream_image(testing.sample_disk(1 << 20))
    read_end, write_end = os.pipe()
    os.write(write_end, image[:4096])
    source = VmdkStream(PipeStream(read_end))
    with pipeline.Copy(source, MemorySink()) as running:
        assert not running.wait(0.05)
        running.cancel()
        with pytest.raises(Cancelled):
            running.wait(1)
    os.close(write_end)


def test_raw_file_when_it_shrinks_while_read_says_so(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(b"x" * (1 << 20))
    source = RawFile(str(path))
    os.truncate(path, 1000)
    with pytest.raises(SourceChanged, match="became shorter"):
        pipeline.copy(source, MemorySink())


def test_raw_file_when_part_is_not_there_names_the_sizes(tmp_path):
    path = written(tmp_path, b"x" * 1000)
    with pytest.raises(CorruptImage, match="the file has 1000 bytes, expected 600 from byte 500"):
        RawFile(path, start=500, length=600)


def test_raw_file_when_empty_is_refused(tmp_path):
    with pytest.raises(CorruptImage, match="the file has 0 bytes, expected at least one"):
        RawFile(written(tmp_path, b""))


def test_open_regular_when_it_is_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceRefused, match="neither a file nor a block device"):
        open_regular(str(tmp_path / "pipe"))


def test_open_regular_when_links_are_not_followed_refuses_one(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(SourceRefused, match="symbolic link"):
        open_regular(str(tmp_path / "link"), follow_links=False)


def test_vmdk_stream_when_shorter_than_announced_says_so(tmp_path):
    stream = FileStream(written(tmp_path, testing.stream_image(testing.sample_disk(1 << 20))))
    stream.announced_bytes += 1
    with pytest.raises(SourceBroken, match="bytes came, expected the"):
        pipeline.copy(VmdkStream(stream), MemorySink())


def test_vmdk_stream_when_grains_are_out_of_order_gives_the_disk(tmp_path):
    content = testing.sample_disk(3 << 20)
    order = list(range(48))
    order.reverse()
    image = testing.stream_image(content, order=order)
    sink = MemorySink()
    pipeline.copy(VmdkStream(FileStream(written(tmp_path, image))), sink)
    assert bytes(sink.content) == content


def test_vmdk_stream_when_grains_do_not_compress_gives_the_disk(tmp_path):
    content = os.urandom(1 << 20)
    image = testing.stream_image(content, level=0)
    sink = MemorySink()
    pipeline.copy(VmdkStream(FileStream(written(tmp_path, image))), sink)
    assert bytes(sink.content) == content


def test_vmdk_stream_when_zeros_were_written_makes_holes_of_them(tmp_path):
    image = testing.stream_image(bytes(1 << 20) + b"x" * 4096, skip_zeros=False)
    sink = MemorySink()
    pipeline.copy(VmdkStream(FileStream(written(tmp_path, image))), sink)
    assert sink.written_bytes == 4096
