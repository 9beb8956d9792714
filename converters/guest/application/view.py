"""A part of a disk image shown as a file, by qemu-storage-daemon and FUSE: no root, no loop device.

e2fsprogs and mtools then work on a file system inside a qcow2 overlay as on a plain file. (e2fsck's
own `?offset=` cannot finish the replay of a journal: it does not find the superblock again.)
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from converters.errors import ProgramFailed
from converters.guest import programs

_READY_S, _END_S = 30.0, 120.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of a disk image."""

    image: str
    format: str
    start: int
    size_bytes: int


@contextlib.contextmanager
def shown(region: Region) -> Iterator[str]:
    """Show a region as a file while the block runs; yields the file's path.

    When the block ends all that was written is in the image. Raises ProgramFailed.
    """
    with tempfile.TemporaryDirectory(prefix="mtv-guest-") as folder:
        path, errors = os.path.join(folder, "part"), os.path.join(folder, "errors")
        with open(path, "wb"):
            pass
        with open(errors, "wb") as sink:
            daemon = subprocess.Popen(
                _command(region, path), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                env=programs.environment(),
            )  # fmt: skip
        try:
            _wait_shown(daemon, path, errors)
            yield path
        finally:
            try:
                _end(daemon, errors)
            finally:
                _unmount(path)


def _command(region: Region, path: str) -> list[str]:
    if os.geteuid():
        programs.find("fusermount3", "fuse3")  # root mounts without it
    disk = {
        "driver": region.format,
        "node-name": "disk",
        "discard": "unmap",
        "file": {"driver": "file", "filename": region.image},
    }
    part = {
        "driver": "raw",
        "node-name": "part",
        "offset": region.start,
        "size": region.size_bytes,
        "file": "disk",
    }
    export = {
        "type": "fuse",
        "id": "export",
        "node-name": "part",
        "mountpoint": path,
        "writable": True,
        "allow-other": "off",
    }
    return [
        *programs.dies_with_us(),
        programs.find("qemu-storage-daemon", "qemu-utils"),
        "--blockdev", json.dumps(disk), "--blockdev", json.dumps(part),
        "--export", json.dumps(export),
    ]  # fmt: skip


def _wait_shown(daemon: subprocess.Popen[bytes], path: str, errors: str) -> None:
    deadline = time.monotonic() + _READY_S
    while not _is_shown(path):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise ProgramFailed(
                f"qemu-storage-daemon cannot show the disk: {_words(errors)}",
                hint="it needs /dev/fuse, fusermount3, and a disk that nobody else has open",
            )
        time.sleep(_POLL_S)


def _is_shown(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:  # the daemon is about to die
        return False


def _end(daemon: subprocess.Popen[bytes], errors: str) -> None:
    if daemon.poll() is None:
        daemon.terminate()
    try:
        code = daemon.wait(_END_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
        raise ProgramFailed("qemu-storage-daemon does not end") from None
    if code:
        raise ProgramFailed(f"qemu-storage-daemon ended with {code}: {_words(errors)}")


def _unmount(path: str) -> None:
    """Take away what a daemon that died left mounted."""
    if os.path.ismount(path) or not _can_stat(path):
        tool = programs.find("fusermount3", "fuse3")
        with contextlib.suppress(ProgramFailed):
            programs.run([tool, "-u", "-z", path])


def _can_stat(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _words(errors: str) -> str:
    with open(errors, "rb") as file:
        return programs.shown(file.read(4096)) or "it says nothing"
