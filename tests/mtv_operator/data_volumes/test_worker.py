"""The worker: disks of every kind into a claim, uploads over HTTP with their tokens."""

from __future__ import annotations

import gzip
import http.client
import io
import lzma
import subprocess
import threading
import time

import pytest
import servers

from converters.errors import ConversionError, SourceBroken
from mtv.api import upload_token
from mtv_operator.data_volumes import upload_server, worker, worker_pod
from mtv_operator.data_volumes.streams import FileObjectStream

DISK = b"start" + bytes(1 << 20) + b"end" + bytes(507 - 3)
KEY = b"k" * upload_token.KEY_BYTES


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("DATA", "SCRATCH"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(worker_pod, name, str(tmp_path / name))
    return tmp_path


def stream(content: bytes, announced: int | None = None) -> FileObjectStream:
    return FileObjectStream("disk", io.BytesIO(content), announced or len(content))


def qcow2(tmp_path) -> bytes:
    (tmp_path / "raw").write_bytes(DISK)
    command = ["qemu-img", "convert", "-O", "qcow2", str(tmp_path / "raw"), str(tmp_path / "q")]
    subprocess.run(command, check=True)
    return (tmp_path / "q").read_bytes()


@pytest.mark.parametrize("kind", ["raw", "gzip", "xz", "qcow2", "qcow2.gz"])
def test_a_disk_of_any_kind_becomes_the_claims(folders, kind):
    content = qcow2(folders) if kind.startswith("qcow2") else DISK
    content = gzip.compress(content) if kind in ("gzip", "qcow2.gz") else content
    content = lzma.compress(content) if kind == "xz" else content
    worker.write(stream(content), 0)
    disk = folders / "DATA/disk.img"
    size = -(-len(DISK) // 512) * 512
    assert disk.read_bytes() == DISK + bytes(size - len(DISK))
    assert not list((folders / "SCRATCH").iterdir())


def test_a_disk_that_is_larger_than_the_claim_is_refused(folders):
    with pytest.raises(ConversionError, match="room for 1000"):
        worker.write(stream(DISK), 1000)


def test_a_stream_that_breaks_off_is_no_disk(folders):
    with pytest.raises(SourceBroken):
        worker.write(stream(DISK[:-1], len(DISK)), 0)


def token(key: bytes = KEY, expires: float | None = None) -> str:
    when = int(time.time() + 60 if expires is None else expires)
    payload = upload_token.Payload(namespace="ns", claim="c", uid="u", expires=when)
    return upload_token.made(payload, key)


def test_a_token_is_good_for_its_key_and_its_time_only():
    assert upload_token.is_good(token(), KEY, time.time())
    assert not upload_token.is_good(token(b"other"), KEY, time.time())
    assert not upload_token.is_good(token(expires=1), KEY, time.time())
    for text in ("", ".", "a.b", token() + "x", "a.b.c", "\x00"):
        assert not upload_token.is_good(text, KEY, time.time())


def test_one_upload_is_taken_and_those_without_a_token_are_not(folders):
    port = servers.free_port()
    thread = threading.Thread(
        target=upload_server.serve,
        args=(port, KEY, lambda one: worker.write(one, 0)),
        kwargs={"host": "127.0.0.1"},
        daemon=True,
    )
    thread.start()

    def ask(method: str, content: bytes = b"", *, key: bytes = KEY) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Authorization": f"Bearer {token(key)}"}
        connection.request(method, "/v1beta1/upload", body=content or None, headers=headers)
        return connection.getresponse().status

    def listens() -> bool:
        try:
            return ask("HEAD") == 200
        except OSError:
            return False

    servers.until(listens, "the upload server listens", 10)
    assert ask("HEAD", key=b"other") == 401
    assert ask("POST", b"x" * 1024, key=b"other") == 401
    assert ask("POST", b"QFI\xfb broken") == 400
    assert ask("POST", DISK) == 200
    thread.join(10)
    assert not thread.is_alive()
    assert (folders / "DATA/disk.img").read_bytes().startswith(DISK)
