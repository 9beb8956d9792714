"""Disks over HTTP: the suite of sources, and what servers and networks do to them."""

import socket
import threading
import time

import disk_servers
import pytest

from converters import pipeline, testing
from converters.errors import (
    Cancelled,
    SourceBroken,
    SourceChanged,
    SourceRefused,
    SourceUnauthorized,
)
from converters.journal import Journal
from converters.sinks.memory import MemorySink
from converters.sources.http_connection import Server
from converters.sources.http_range import HttpRange, Part, Patience
from converters.sources.http_stream import HttpStream
from converters.sources.vmdk_stream import VmdkStream

MIB = 1 << 20


@pytest.fixture
def server():
    with disk_servers.serving() as running:
        yield running


def ranged(server, content, **options):
    server.files["/disk"] = content
    part = Part(offset=0, length=len(content), target="/disk")
    return HttpRange(server.address, [part], name="disk-flat.vmdk", **options)


def copied(source, **options):
    sink = MemorySink()
    try:
        sums = pipeline.copy(source, sink, **options)
    finally:
        source.close()
    return bytes(sink.content), sums


class TestHttpRange(testing.SourceTests):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def make(self, folder, content):
        return ranged(self.server, content)


class TestOneConnection(TestHttpRange):
    def make(self, folder, content):
        return ranged(self.server, content, connections=1)


class TestPartsOfFiles(TestHttpRange):
    """As twoGbMaxExtentFlat: files that begin and end anywhere, one of them zeros."""

    def make(self, folder, content):
        third = len(content) // 3 // 512 * 512
        self.server.files["/1"] = b"x" * 1024 + content[:third]
        self.server.files["/2"] = content[third:] + b"tail"
        parts = [
            Part(offset=0, length=third, target="/1", start=1024),
            Part(offset=third, length=len(content) - third, target="/2"),
        ]
        return HttpRange(
            self.server.address, [part for part in parts if part.length], name="disk", connections=3
        )


class TestNfcStream(testing.SourceTests):
    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def make(self, folder, content):
        self.server.files["/nfc"] = testing.stream_image(content)
        self.server.chunked = True
        return VmdkStream(HttpStream(self.server.address, "/nfc", name="disk-0.vmdk"))


FAULTS = {
    "cut at once": {"cut": 0},
    "cut in the middle": {"cut": 700_000},
    "status 503": {"status": 503},
    "status 503 that asks for patience": {"status": 503, "headers": {"Retry-After": "0"}},
    "status 502": {"status": 502},
    "status 429": {"status": 429},
    "status 500 once": {"status": 500},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_http_range_when_requests_fail_goes_on_at_the_missing_byte(server, fault):
    content = testing.sample_disk(32 * MIB)
    source = ranged(server, content)
    server.faults = [fault, {}, fault, {}, {}, fault]
    got, sums = copied(source)
    assert got == content
    assert sums.total == testing.disk_sum(content)
    assert server.faults == []


def test_http_range_when_cut_counts_each_byte_once_and_fetches_no_more(server):
    content = testing.sample_disk(8 * MIB)
    source = ranged(server, content, connections=1)
    server.faults = [{"cut": 1_500_000}, {"cut": 1_500_000}]
    with pipeline.Copy(source, MemorySink()) as running:
        running.wait()
        assert running.progress().read_bytes == len(content)
    source.close()
    assert server.sent <= len(content) + 2 * MIB


def test_http_range_when_the_session_ends_logs_in_again_and_goes_on(server):
    content = testing.sample_disk(48 * MIB)
    server.token = "session=1"

    class Login:
        logins = 1

        def __init__(self):
            self.lock = threading.Lock()

        def headers(self):
            return {"Cookie": f"session={self.logins}"}

        def renew(self, refused):
            with self.lock:
                if refused == self.headers():
                    self.logins += 1

    login = Login()
    source = ranged(server, content, authorization=login)
    server.faults = [{}, {}, {}, {}]

    def expire(journal):
        if journal.settled_bytes > 4 * MIB:
            server.token = "session=2"

    got, _ = copied(source, journal=Journal(on_settled=expire))
    assert got == content
    assert login.logins == 2


def test_http_range_when_credentials_stay_wrong_says_so(server):
    server.token = "session=1"
    with pytest.raises(SourceUnauthorized, match="credentials"):
        copied(ranged(server, bytes(MIB)))


REFUSALS = {
    "not found": ({"status": 404}, SourceRefused, "answers 404"),
    "forbidden": ({"status": 403}, SourceUnauthorized, "credentials"),
    "gone wrong for good": ({"status": 500}, SourceRefused, "answers 500"),
}


@pytest.mark.parametrize(("fault", "error", "text"), REFUSALS.values(), ids=REFUSALS)
def test_http_range_when_refused_for_good_says_what_the_server_said(server, fault, error, text):
    source = ranged(server, bytes(MIB), connections=1)
    server.faults = [fault] * 10
    with pytest.raises(error, match=text):
        copied(source)


def test_http_range_when_nothing_ever_comes_gives_up_after_its_patience(server):
    server.faults = [{"status": 503}] * 1000
    heard = []
    patience = Patience(limit_s=0.5, on_retry=heard.append)
    source = ranged(server, bytes(MIB), patience=patience)
    begun = time.monotonic()
    with pytest.raises(SourceBroken, match="answers 503"):
        copied(source)
    assert time.monotonic() - begun < 5
    assert heard


def test_http_range_when_nobody_listens_says_so(server):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = Server(host="127.0.0.1", port=nobody.getsockname()[1])
        part = Part(offset=0, length=MIB, target="/disk")
        source = HttpRange(address, [part], name="disk", patience=Patience(limit_s=0.0))
        with pytest.raises(SourceBroken, match="refused"):
            copied(source)


def test_http_range_when_the_server_gives_no_ranges_is_refused(server):
    server.without_ranges = True
    with pytest.raises(SourceRefused, match="does not give parts of files"):
        ranged(server, bytes(MIB)).probe()


def test_http_range_when_the_file_is_short_says_that_it_was_changed(server):
    server.files["/disk"] = bytes(MIB)
    part = Part(offset=0, length=2 * MIB, target="/disk")
    source = HttpRange(server.address, [part], name="disk")
    with pytest.raises(SourceChanged, match="the file is shorter than the disk"):
        source.probe()
    with pytest.raises(SourceChanged):
        copied(source)


def test_http_range_when_the_file_changes_while_read_stops(server):
    content = testing.sample_disk(16 * MIB)
    source = ranged(server, content, connections=2)

    def change(journal):
        server.revision = '"2"'

    with pytest.raises(SourceChanged, match="was changed while it was read"):
        copied(source, journal=Journal(on_settled=change))


def test_probe_when_the_file_is_there_tells_its_revision(server):
    server.revision = '"abc"'
    source = ranged(server, bytes(MIB))
    assert source.probe() == '"abc"'
    source.close()


def test_http_range_when_slots_are_few_lets_feeds_wait_for_each_other(server):
    """A server that serves one download at once, as a limit of vCenter would do it."""
    content = testing.sample_disk(6 * MIB)
    source = ranged(server, content, patience=Patience(limit_s=5))
    server.faults = [{"status": 503}, {"status": 503}, {"status": 503}, {}] * 3
    got, _ = copied(source)
    assert got == content


def test_http_range_when_server_falls_silent_can_be_cancelled_within_a_second(server):
    source = ranged(server, bytes(MIB))
    server.faults = [{"silent": True}] * 4
    with pipeline.Copy(source, MemorySink()) as running:
        assert not running.wait(0.1)
        begun = time.monotonic()
        running.cancel()
        with pytest.raises(Cancelled):
            running.wait(1)
    assert time.monotonic() - begun < 1
    source.close()


def test_http_range_when_a_limit_is_set_keeps_it(server):
    source = ranged(server, testing.sample_disk(2 * MIB))
    begun = time.monotonic()
    copied(source, options=pipeline.Options(limit_bytes_per_s=4 * MIB))
    assert time.monotonic() - begun > 0.3  # the rate itself: test_intake.py


def test_http_stream_when_cut_says_so(server):
    server.files["/nfc"] = testing.stream_image(testing.sample_disk(4 * MIB))
    for chunked in (False, True):
        server.chunked = chunked
        server.faults = [{"cut": 300_000}]
        with pytest.raises(SourceBroken, match="broke"):
            copied(VmdkStream(HttpStream(server.address, "/nfc", name="disk-0.vmdk")))


def test_http_stream_when_refused_names_status_and_words(server):
    server.faults = [{"status": 404}]
    with pytest.raises(SourceRefused, match="404 Not Found: not now"):
        HttpStream(server.address, "/nfc", name="disk-0.vmdk")


def test_http_stream_when_silent_can_be_cancelled_within_a_second(server):
    server.files["/nfc"] = testing.stream_image(testing.sample_disk(4 * MIB, seed=3))
    server.faults = [{"silent": True}]
    source = VmdkStream(HttpStream(server.address, "/nfc", name="disk-0.vmdk"))
    with pipeline.Copy(source, MemorySink()) as running:
        assert not running.wait(0.1)
        running.cancel()
        with pytest.raises(Cancelled):
            running.wait(1)
    source.close()
