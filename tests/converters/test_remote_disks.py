"""Disks at a URL, as `mtv convert` finds them: chains, flat disks, streams, packages."""

import random

import disk_images
import disk_servers
import pytest

from converters import conversion, locating, pipeline, testing
from converters.errors import CorruptImage, SourceRefused
from converters.extents import Extent
from converters.journal import State
from converters.sinks.memory import MemorySink
from converters.sources.http_range import HttpRange
from converters.sources.remote_disk import RemoteDisk
from converters.sources.vmdk_stream import VmdkStream

MIB = 1 << 20
DISK = testing.sample_disk(6 * MIB + 512, seed=9)


@pytest.fixture
def server():
    with disk_servers.serving() as running:
        yield running


def url(server, name):
    return f"http://{server.address}/disks/{name}"


def publish(server, folder):
    for path in folder.iterdir():
        server.files[f"/disks/{path.name}"] = path.read_bytes()


def copied(address):
    with locating.open_disks(address) as found:
        (disk,) = found.disks()
        sink = MemorySink()
        pipeline.copy(disk.source, sink)
        found.finish()
        return bytes(sink.content), disk


class TestRemoteDisk(testing.SourceTests):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def make(self, folder, content):
        self.server.files["/disks/d.vmdk"] = testing.sparse_image(content)
        found = locating.open_disks(url(self.server, "d.vmdk"))
        (disk,) = found.disks()
        assert isinstance(disk.source, RemoteDisk)
        disk.source.close = found.stack.close
        return disk.source


def test_chain_when_at_a_url_gives_the_disk_of_all_its_images(server, tmp_path):
    newest = disk_images.chain_of(tmp_path, DISK)
    publish(server, tmp_path)
    content, disk = copied(url(server, newest.name))
    assert content == DISK
    assert isinstance(disk.source, RemoteDisk)
    assert disk.version


def test_chain_when_a_parent_is_missing_names_it(server, tmp_path):
    newest = disk_images.chain_of(tmp_path, DISK)
    publish(server, tmp_path)
    del server.files["/disks/web.vmdk"]
    with pytest.raises(SourceRefused, match=r"names 'web.vmdk', which cannot be read"):
        copied(url(server, newest.name))


def test_chain_when_parent_is_another_disk_is_refused(server, tmp_path):
    newest = disk_images.chain_of(tmp_path, DISK)
    publish(server, tmp_path)
    base = server.files["/disks/web.vmdk"]
    server.files["/disks/web.vmdk"] = base.replace(b"CID=11111111", b"CID=99999999", 1)
    with pytest.raises(CorruptImage, match="parentCID is '11111111'"):
        copied(url(server, newest.name))


def test_flat_when_at_a_url_is_read_by_ranges(server, tmp_path):
    disk_images.chain_of(tmp_path, DISK)
    publish(server, tmp_path)
    base = server.files["/disks/web-flat.vmdk"]
    content, disk = copied(url(server, "web.vmdk"))
    assert content == base
    assert isinstance(disk.source, HttpRange)
    content, disk = copied(url(server, "web-flat.vmdk"))
    assert content == base


def test_file_when_it_has_moved_is_followed_with_its_parents(server, tmp_path):
    newest = disk_images.chain_of(tmp_path, DISK)
    publish(server, tmp_path)
    server.moved["/latest"] = f"/disks/{newest.name}"
    assert copied(f"http://{server.address}/latest")[0] == DISK


def test_file_when_redirected_in_circles_is_refused(server):
    server.moved["/a"], server.moved["/b"] = "/b", "/a"
    with pytest.raises(SourceRefused, match="redirected more than 5 times"):
        copied(f"http://{server.address}/a")


def test_stream_when_server_gives_no_ranges_is_read_forwards(server):
    server.without_ranges = True
    server.files["/disks/s.vmdk"] = testing.stream_image(DISK)
    content, disk = copied(url(server, "s.vmdk"))
    assert content == DISK
    assert disk.by_tables is None


def test_user_and_password_when_in_the_url_are_sent(server):
    seen = []
    server.files["/disks/d.raw"] = DISK
    server.on_request = lambda headers: seen.append(headers.get("Authorization"))
    with locating.open_disks(f"http://me:p%40ss@{server.address}/disks/d.raw") as found:
        pipeline.copy(next(found.disks()).source, MemorySink())
    assert set(seen) == {"Basic bWU6cEBzcw=="}


@pytest.mark.parametrize("where", ["a file", "a URL"])
def test_stream_when_a_copy_was_interrupted_goes_on_by_its_tables(server, tmp_path, where):
    """A stream cannot be asked for its middle, but the image behind it can."""
    image = testing.stream_image(DISK)
    path = tmp_path / "s.vmdk"
    path.write_bytes(image)
    server.files["/disks/s.vmdk"] = image
    address = str(path) if where == "a file" else url(server, "s.vmdk")
    target = tmp_path / "out.raw"
    result = gone_on(address, target)
    assert result.continued_at == 3 * MIB
    assert target.read_bytes() == DISK
    assert result.checksum == f"xxh3-64k:{testing.disk_sum(DISK):016x}"
    if where == "a URL":
        assert server.sent < len(image) * 2


def test_stream_when_grains_are_out_of_order_begins_again(tmp_path):
    order = list(range(-(-len(DISK) // testing.GRAIN)))
    random.Random(2).shuffle(order)
    path, target = tmp_path / "s.vmdk", tmp_path / "out.raw"
    path.write_bytes(testing.stream_image(DISK, order=order))
    assert gone_on(str(path), target).continued_at == 0
    assert target.read_bytes() == DISK


def gone_on(address, target):
    """Copy as if an earlier copy had been killed behind its third MiB."""
    target.write_bytes(DISK[: 3 * MIB] + b"never written" * 1000)
    with locating.open_disks(address) as found:
        (disk,) = found.disks()
        assert isinstance(disk.source, VmdkStream)
        state = State(extents=[Extent(0, 3 * MIB)], block_sum=testing.disk_sum(DISK[: 3 * MIB]))
        conversion.note_unfinished(str(target), disk.version, state)
        return conversion.convert(
            disk.source,
            conversion.Order(target=str(target), format=conversion.TargetFormat.RAW, verify=True),
            version=disk.version,
            by_tables=disk.by_tables,
            on_stage=lambda _: None,
        )
