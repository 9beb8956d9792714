"""Each sink passes the suite that `converters.testing` publishes."""

import os
import shutil
import subprocess
import sys

import pytest

from converters import pipeline, testing
from converters.errors import TargetBroken, TargetFull, TargetTooSmall
from converters.extents import Extent
from converters.journal import Journal, State
from converters.sinks import allocation, raw_file
from converters.sinks.block_device import BlockDeviceSink
from converters.sinks.comparing import ComparingSink
from converters.sinks.memory import MemorySink
from converters.sinks.qcow2_file import Qcow2Sink
from converters.sinks.raw_file import RawFileSink
from converters.sources.memory import MemorySource
from converters.sources.raw_file import RawFile


class TestMemorySink(testing.SinkTests):
    def make(self, folder, old):
        return MemorySink(old)


class TestRawFileSink(testing.SinkTests):
    def make(self, folder, old):
        path = folder / "disk.img"
        if old:
            path.write_bytes(old)
        return RawFileSink(str(path))


class TestComparingSink(testing.SinkTests):
    def make(self, folder, old):
        sink = TestRawFileSink().make(folder, old)
        return ComparingSink(sink, sink.path)


def test_comparing_sink_writes_only_what_differs(tmp_path):
    old = testing.sample_disk(4 << 20)
    new = bytearray(old)
    new[70_000:70_002] = b"\x01\x02"
    new[2 << 20 : (2 << 20) + 4096] = bytes(4096)
    new[3 << 20 : (3 << 20) + 9000] = b"\xaa" * 9000
    (tmp_path / "disk.img").write_bytes(old)
    inner = RawFileSink(str(tmp_path / "disk.img"))
    sink = ComparingSink(inner, inner.path)
    disk = [Extent(0, 4 << 20)]
    with pipeline.Copy(MemorySource(bytes(new)), sink, delta=disk) as running:
        running.wait()
    assert (tmp_path / "disk.img").read_bytes() == new
    assert 0 < sink.different_bytes <= 3 * 65536
    assert running.sums.total == testing.disk_sum(bytes(new))


class TestQcow2Sink(testing.SinkTests):
    def make(self, folder, old):
        path = str(folder / "disk.qcow2")
        if old:  # a disk of before, with the content that a copy left there
            before = Qcow2Sink(path)
            before.prepare(len(old), ())
            before.write(0, [old])
            before.close()
        return Qcow2Sink(path)


needs_qemu = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


@needs_qemu
@pytest.mark.parametrize("size", [512, 65536, (3 << 20) + 512, (1 << 30) + 512])
def test_qcow2_when_written_is_sound_and_the_disk_for_qemu(tmp_path, size):
    content = testing.sample_disk(min(size, 3 << 20), seed=size)
    raw, path = tmp_path / "raw", tmp_path / "disk.qcow2"
    with raw.open("wb") as file:
        file.write(content)
        file.truncate(size)
    source = RawFile(str(raw))
    sink = Qcow2Sink(str(path))
    pipeline.copy(source, sink, pipeline.Options(workers=3))
    sink.zero(Extent(0, min(size, 200_000)))
    sink.flush()
    sink.close()
    with raw.open("r+b") as file:
        file.write(bytes(min(size, 200_000)))
    subprocess.run(["qemu-img", "check", str(path)], check=True, capture_output=True)
    subprocess.run(["qemu-img", "compare", str(raw), str(path)], check=True, capture_output=True)
    assert path.stat().st_size < len(content) + (1 << 20)


@needs_qemu
def test_qcow2_when_a_copy_breaks_off_goes_on_and_is_sound(tmp_path):
    content, half = testing.sample_disk(4 << 20, seed=12), 2 << 20
    path = str(tmp_path / "disk.qcow2")
    first = Qcow2Sink(path)
    first.prepare(len(content), ())
    first.write(0, [content[:half]])
    first.write(3 << 20, [b"not in the journal" * 1000])
    first.close()  # without flush, as when killed
    second = Qcow2Sink(path)
    done = State(extents=[Extent(0, half)], block_sum=testing.disk_sum(content[:half]))
    pipeline.copy(MemorySource(content), second, journal=Journal(done))
    second.close()
    (tmp_path / "raw").write_bytes(content)
    subprocess.run(["qemu-img", "check", path], check=True, capture_output=True)
    compare = ["qemu-img", "compare", str(tmp_path / "raw"), path]
    subprocess.run(compare, check=True, capture_output=True)


def test_qcow2_when_target_is_another_image_is_not_gone_on_with(tmp_path):
    (tmp_path / "disk.qcow2").write_bytes(b"precious" * 100000)
    sink = Qcow2Sink(str(tmp_path / "disk.qcow2"))
    with pytest.raises(TargetBroken, match="not an image that this copy began"):
        sink.prepare(1 << 20, [Extent(0, 4096)])
    assert (tmp_path / "disk.qcow2").read_bytes().startswith(b"precious")


@pytest.fixture
def loop_device(tmp_path):
    """A block device over a file, with the sectors of the parameter."""
    devices = []

    def make(content, sector=512):
        path = tmp_path / f"backing-{len(devices)}"
        path.write_bytes(content)
        command = ["losetup", "--find", "--show", "--sector-size", str(sector), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device: {done.stderr.strip()}")
        devices.append(done.stdout.strip())
        return devices[-1]

    yield make
    for device in devices:
        subprocess.run(["losetup", "--detach", device], check=False)


class TestBlockDeviceSink(testing.SinkTests):
    @pytest.fixture(autouse=True)
    def _devices(self, loop_device):
        self.loop_device = loop_device

    def make(self, folder, old):
        content = old or os.urandom(self.size_bytes)
        return BlockDeviceSink(self.loop_device(content + b"beyond the disk".ljust(1 << 20)))


def test_block_device_when_too_small_says_both_sizes(loop_device):
    sink = BlockDeviceSink(loop_device(bytes(1 << 20)))
    with pytest.raises(TargetTooSmall, match="is 1048576, expected at least the disk's 1048577"):
        sink.prepare((1 << 20) + 1, ())
    sink.close()


def test_block_device_when_it_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(TargetBroken, match="is not a block device"):
        BlockDeviceSink(str(tmp_path / "file"))


def test_raw_file_when_disk_has_holes_leaves_them_unallocated(tmp_path):
    content = bytearray(64 << 20)
    content[1 << 20 : (1 << 20) + 4096] = b"x" * 4096
    sink = RawFileSink(str(tmp_path / "disk.img"))
    pipeline.copy(MemorySource(content), sink)
    status = os.stat(tmp_path / "disk.img")
    assert status.st_size == 64 << 20
    assert status.st_blocks * 512 <= 64 << 10


def test_raw_file_when_it_is_a_folder_or_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetBroken, match="is not a regular file"):
        RawFileSink(str(tmp_path / "pipe"))
    with pytest.raises(TargetBroken, match="Is a directory"):
        RawFileSink(str(tmp_path))


def test_write_all_when_kernel_stops_in_the_middle_goes_on(monkeypatch, tmp_path):
    file = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, b, at: real(fd, [b"".join(b)[:7]], at))
    raw_file.write_all(file, 3, [b"abcde", b"fghij", b"", b"klmno"])
    assert os.pread(file, 100, 0) == b"\0\0\0abcdefghijklmno"


def test_translated_when_disk_is_full_names_the_way_out():
    full = pytest.raises(TargetFull, match=r"^disk.img: no space left on device$")
    with full as caught, raw_file.translated("disk.img"):
        raise OSError(28, "No space left on device")
    assert "goes on by itself" in caught.value.hint


def test_copy_when_sink_is_full_raises_target_full():
    sink = MemorySink(room_bytes=1 << 20)
    with pytest.raises(TargetFull):
        pipeline.copy(MemorySource(os.urandom(4 << 20)), sink)


def test_zero_when_file_system_has_no_holes_writes_zeros(monkeypatch, tmp_path):
    monkeypatch.setattr(allocation, "_fallocate", lambda *_: False)
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * 10000)
    sink = RawFileSink(str(path))
    sink.zero(Extent(100, 9000))
    assert path.read_bytes() == b"x" * 100 + bytes(9000) + b"x" * 900


@pytest.mark.parametrize("way", ["as it comes", "scanned"])
def test_raw_file_when_it_would_grow_too_large_says_so(tmp_path, way):
    code = (
        "import resource, signal, sys\n"
        "from converters.sinks.raw_file import RawFileSink\n"
        "from converters.errors import TargetTooSmall\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"sink = RawFileSink({str(tmp_path / 'x')!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "try:\n"
        "    content = b'x' * 65536\n"
        f"    if {way == 'scanned'}: sink.write_scanned(content, [(0, 0, 65536)], 65536, True)\n"
        "    else: sink.write(0, [content])\n"
        "except TargetTooSmall as fault: print(fault)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "x: file too large\n"
