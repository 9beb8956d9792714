"""NBD: against nbdkit and qemu-nbd, and against servers that lie."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from servers import until

from converters import extents, pipeline, testing
from converters.errors import (
    Cancelled,
    ConversionError,
    CorruptImage,
    SourceBroken,
    SourceRefused,
    UnsupportedImage,
)
from converters.extents import Extent
from converters.images import nbd
from converters.sinks.memory import MemorySink
from converters.sources import nbdkit
from converters.sources.nbd_export import NbdExport

pytestmark = pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")


class _Served(NbdExport):
    """An export that owns its server."""

    def __init__(self, server):
        self.server = server.__enter__()
        super().__init__(self.server.uri, connections=3)

    def close(self):
        super().close()
        self.server.__exit__(None, None, None)


def served(folder, content, filters=(), extra=(), holes=True):
    path = folder / "disk.raw"
    with path.open("wb") as file:
        file.truncate(len(content))
        for at in range(0, len(content), 4096):
            if any(content[at : at + 4096]) or not holes:
                file.seek(at)
                file.write(content[at : at + 4096])
    return nbdkit.serving("file", [str(path), *extra], filters)


class TestExportOfNbdkit(testing.SourceTests):
    def make(self, folder, content):
        return _Served(served(folder, content))


class TestExportWithoutMap(testing.SourceTests):
    """Without structured replies: one kind of reply, no map."""

    def make(self, folder, content):
        return _Served(served(folder, content, ["noextents"]))


class TestExportOfOneConnection(testing.SourceTests):
    def make(self, folder, content):
        return _Served(served(folder, content, ["multi-conn"], ["multi-conn-mode=disable"]))


def test_export_when_mostly_holes_reads_only_the_data(tmp_path):
    content = bytearray(64 << 20)
    content[5 << 20 : (5 << 20) + 100_000] = os.urandom(100_000)
    with served(tmp_path, content) as server:
        source, sink = NbdExport(server.uri), MemorySink()
        with pipeline.Copy(source, sink) as running:
            running.wait()
            assert running.progress().read_bytes <= 192 << 10
        source.close()
    assert bytes(sink.content) == content


def test_export_when_a_delta_is_wanted_reads_just_that(tmp_path):
    content = testing.sample_disk(16 << 20, seed=3)
    delta = [Extent(at, 65536) for at in range(0, 16 << 20, 1 << 18)]
    old = bytes(16 << 20)
    with served(tmp_path, content, holes=False) as server:
        source, sink = NbdExport(server.uri), MemorySink(old)
        with pipeline.Copy(source, sink, delta=delta) as running:
            running.wait()
            assert running.progress().read_bytes <= extents.total(delta) * 1.05
        source.close()
    expected = bytearray(old)
    for part in delta:
        expected[part.offset : part.end] = content[part.offset : part.end]
    assert bytes(sink.content) == bytes(expected)


def test_export_when_server_answers_with_an_error_names_the_place(tmp_path):
    content = os.urandom(2 << 20)
    with served(tmp_path, content, ["error"], ["error=EIO", "error-pread-rate=100%"]) as server:
        source = NbdExport(server.uri)
        with pytest.raises(SourceBroken, match="byte"):
            pipeline.copy(source, MemorySink())
        source.close()


def test_export_when_server_hangs_can_be_cancelled_within_a_second(tmp_path):
    with served(tmp_path, os.urandom(1 << 20), ["delay"], ["rdelay=30"]) as server:
        source = NbdExport(server.uri)
        with pipeline.Copy(source, MemorySink()) as running:
            assert not running.wait(0.1)
            running.cancel()
            with pytest.raises(Cancelled):
                running.wait(1)
        source.close()


def test_export_when_server_dies_says_so(tmp_path):
    server = served(tmp_path, os.urandom(1 << 20), ["delay"], ["rdelay=30"]).__enter__()
    source = NbdExport(server.uri)
    with pipeline.Copy(source, MemorySink()) as running:
        assert not running.wait(0.1)
        server._process.kill()
        with pytest.raises(SourceBroken, match=r"closed the connection|reset"):
            running.wait(5)
    source.close()
    server.__exit__()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Make a CA, and a certificate of `localhost`, as QEMU and nbdkit name the files."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-subj", "/CN=ca")
    openssl(
        "req", "-x509", *key, "-keyout", "server-key.pem", "-out", "server-cert.pem",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem",
    )  # fmt: skip
    return folder


@contextlib.contextmanager
def served_by_tls(folder, content, certificates, tls="require"):
    (folder / "disk.raw").write_bytes(content)
    path = folder / "tls"
    line = ["nbdkit", "-f", "-U", path, "-P", folder / "pid", f"--tls={tls}",
            f"--tls-certificates={certificates}", "file", folder / "disk.raw"]  # fmt: skip
    server = subprocess.Popen(line)
    try:
        until(lambda: (folder / "pid").exists(), "nbdkit", 60)
        yield f"?socket={path}"
    finally:
        server.terminate()
        server.wait()


def test_export_when_encrypted_gives_the_disk(tmp_path, certificates):
    content = testing.sample_disk(3 << 20, seed=8)
    with served_by_tls(tmp_path, content, certificates) as query:
        source = NbdExport(f"nbds+unix:///{query}&tls-certificates={certificates}", connections=2)
        sink = MemorySink()
        pipeline.copy(source, sink)
        source.close()
    assert bytes(sink.content) == content


def test_export_when_its_certificate_is_not_known_is_refused(tmp_path, certificates):
    with served_by_tls(tmp_path, bytes(1 << 20), certificates) as query:
        with pytest.raises(SourceRefused, match="is not trusted"):
            NbdExport(f"nbds+unix:///{query}")
        with pytest.raises(SourceRefused, match="is not trusted"):
            NbdExport(
                f"nbds+unix:///{query}&tls-certificates={certificates}&tls-hostname=other.example"
            )


def test_export_when_server_does_not_encrypt_is_refused_not_read_in_the_clear(tmp_path):
    with (
        served(tmp_path, bytes(1 << 20)) as server,
        pytest.raises(SourceRefused, match="the server does not encrypt"),
    ):
        NbdExport(server.uri.replace("nbd+unix", "nbds+unix"))


def test_export_when_name_is_unknown_is_refused(tmp_path):
    with nbdkit.serving("file", [f"dir={tmp_path}"]) as server, pytest.raises(SourceRefused):
        NbdExport(server.uri.replace("///", "///gone"))


def test_nbdkit_when_plugin_fails_says_its_last_words(tmp_path):
    with pytest.raises(SourceRefused, match=r"nbdkit ended: .*gone"):
        nbdkit.serving("file", [str(tmp_path / "gone")]).__enter__()


def test_vddk_when_asked_for_keeps_the_password_out_of_the_command_line():
    disk = nbdkit.VddkDisk(
        libdir="/opt/vddk", server="vc.example", user="me", password="s3cret", thumbprint="AA:BB",
        vm="moref=vm-7", file="[ds] web/web.vmdk", snapshot="snapshot-9", transports="nbdssl",
    )  # fmt: skip
    command = nbdkit.vddk(disk)
    line = nbdkit.command_line(command, folder="/run/x", password_fd=7)
    assert line[-9:] == [
        "vddk", "libdir=/opt/vddk", "server=vc.example", "user=me", "password=-7",
        "thumbprint=AA:BB", "vm=moref=vm-7", "file=[ds] web/web.vmdk", "snapshot=snapshot-9",
    ] or line[-1] == "transports=nbdssl"  # fmt: skip
    assert "--exit-with-parent" in line
    assert "s3cret" not in " ".join(line) + repr(disk) + repr(command)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("nbd://h/x", nbd.Address(export="x", host="h")),
        ("nbd://h:99", nbd.Address(export="", host="h", port=99)),
        ("nbds://h/x", nbd.Address(export="x", host="h", tls=True)),
        (
            "nbds+unix:///?socket=/s&tls-certificates=/c&tls-hostname=n",
            nbd.Address(export="", socket="/s", tls=True, tls_folder="/c", tls_name="n"),
        ),
        ("nbd+unix:///a%20b?socket=/s", nbd.Address(export="a b", socket="/s")),
    ],
)
def test_uri_when_of_a_known_kind_is_an_address(uri, address):
    assert nbd.parse_uri(uri) == address


@pytest.mark.parametrize("uri", ["nbdx://h/x", "nbd+unix:///x", "http://h", "nbd://h:x/", ""])
def test_uri_when_of_no_known_kind_is_refused(uri):
    with pytest.raises(UnsupportedImage, match="URI"):
        nbd.parse_uri(uri)


SIZE = 1 << 20


def lying_server(folder, answer):
    """Serve one connection that negotiates well, then answers each request by `answer`."""
    path = str(folder / "s")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def reply(option, kind, content=b""):
        return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(content)) + content

    def serve():
        with listening, listening.accept()[0] as peer:
            peer.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
            peer.recv(4, socket.MSG_WAITALL)
            while True:
                _, option, length = struct.unpack(">8sII", peer.recv(16, socket.MSG_WAITALL))
                peer.recv(length, socket.MSG_WAITALL)
                if option == 10:
                    peer.sendall(reply(10, 4, struct.pack(">I", 5) + b"base:allocation"))
                if option == 7:
                    peer.sendall(reply(7, 3, struct.pack(">HQH", 0, SIZE, 1)))
                peer.sendall(reply(option, 1))
                if option == 7:
                    break
            while len(head := peer.recv(28, socket.MSG_WAITALL)) == 28:
                _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", head)
                content = answer(kind, cookie, offset, length)
                if not content:
                    return
                try:
                    peer.sendall(content)
                except OSError:
                    return

    threading.Thread(target=serve, daemon=True).start()
    return f"nbd+unix:///?socket={path}"


def chunk(cookie, kind, content, flags=1, length=None):
    size = len(content) if length is None else length
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, size) + content


def data(cookie, offset, length):
    return chunk(cookie, 1, struct.pack(">Q", offset) + b"x" * length)


STATUS = struct.pack(">III", 5, SIZE, 0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda k, c, o, n: b"y" * 64, id="noise"),
        pytest.param(lambda k, c, o, n: chunk(c, 5, b"abc"), id="short status"),
        pytest.param(lambda k, c, o, n: chunk(c, 5, struct.pack(">III", 5, 0, 0)), id="no length"),
        pytest.param(lambda k, c, o, n: chunk(c, 5, b"", length=2**32 - 1), id="huge status"),
        pytest.param(lambda k, c, o, n: chunk(c, 99, b""), id="unknown chunk"),
        pytest.param(lambda k, c, o, n: chunk(c + 7, 0, b""), id="another cookie"),
        pytest.param(
            lambda k, c, o, n: chunk(c, 5, STATUS) if k == 7 else data(c, o + 1, n), id="behind"
        ),
        pytest.param(
            lambda k, c, o, n: chunk(c, 5, STATUS) if k == 7 else data(c, 0, 8), id="too little"
        ),
        pytest.param(
            lambda k, c, o, n: chunk(c, 5, STATUS) if k == 7 else data(c, 2**63, n), id="far away"
        ),
        pytest.param(
            lambda k, c, o, n: (
                chunk(c, 5, STATUS) if k == 7 else chunk(c, 2, struct.pack(">QI", o, 2**32 - 1))
            ),
            id="huge hole",
        ),
        pytest.param(
            lambda k, c, o, n: (
                chunk(c, 5, STATUS) if k == 7 else struct.pack(">IIQ", 0x67446698, 5, c)
            ),
            id="simple error",
        ),
        pytest.param(lambda k, c, o, n: b"", id="hangs up"),
    ],
)
def test_export_when_server_lies_ends_with_our_error(tmp_path, answer):
    source = NbdExport(lying_server(tmp_path, answer))
    with pytest.raises((CorruptImage, SourceBroken)):
        pipeline.copy(source, MemorySink(), pipeline.Options(workers=1))
    source.close()


def test_export_when_nobody_serves_says_so(tmp_path):
    with pytest.raises(ConversionError, match="cannot connect"):
        NbdExport(f"nbd+unix:///?socket={tmp_path}/nobody")
