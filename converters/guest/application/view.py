"""Parts of a disk image shown as files, by qemu-storage-daemon and FUSE: no root, no loop device.

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from converters.errors import ProgramFailed
from converters.guest import programs

_READY_S, _END_S = 20.0, 60.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of a disk image."""

    image: str
    format: str
    start: int
    size_bytes: int


@contextlib.contextmanager
def shown(regions: Mapping[str, Region], *, writable: bool = True) -> Iterator[dict[str, str]]:
    """Show regions as files while the block runs; yields their paths by the regions' names.

    When it ends without an error all that was written is in the images. Raises ProgramFailed.
    """
    with tempfile.TemporaryDirectory(prefix="mtv-guest-") as folder:
        paths = {name: os.path.join(folder, f"part{at}") for at, name in enumerate(regions)}
        for path in paths.values():
            with open(path, "wb"):
                pass
        errors = os.path.join(folder, "errors")
        with open(errors, "wb") as sink:
            daemon = subprocess.Popen(
                _command(regions, paths, writable=writable),
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=programs.environment(),
            )  # fmt: skip
        try:
            _wait_shown(daemon, paths, errors)
            yield paths
        finally:
            _end(daemon, errors)


def _command(
    regions: Mapping[str, Region], paths: Mapping[str, str], *, writable: bool
) -> list[str]:
    tool = programs.find("qemu-storage-daemon", "qemu-utils")
    programs.find("fusermount3", "fuse3")
    command = [tool]
    nodes: dict[str, str] = {}
    for name, region in regions.items():
        if region.image not in nodes:
            nodes[region.image] = f"disk{len(nodes)}"
            command += ["--blockdev", json.dumps(
                {
                    "driver": region.format,
                    "node-name": nodes[region.image],
                    "read-only": not writable,
                    "discard": "unmap",
                    "file": {"driver": "file", "filename": region.image},
                }
            )]  # fmt: skip
        part = f"part{len(command)}"
        command += ["--blockdev", json.dumps(
            {
                "driver": "raw",
                "node-name": part,
                "read-only": not writable,
                "offset": region.start,
                "size": region.size_bytes,
                "file": nodes[region.image],
            }
        )]  # fmt: skip
        command += ["--export", json.dumps(
            {
                "type": "fuse",
                "id": f"export-{part}",
                "node-name": part,
                "mountpoint": paths[name],
                "writable": writable,
                "allow-other": "off",
            }
        )]  # fmt: skip
    return command


def _wait_shown(daemon: subprocess.Popen[bytes], paths: Mapping[str, str], errors: str) -> None:
    deadline = time.monotonic() + _READY_S
    while not all(os.stat(path).st_size for path in paths.values()):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise ProgramFailed(
                f"qemu-storage-daemon cannot show the disk: {_words(errors)}",
                hint="it needs /dev/fuse, fusermount3, and a disk that nobody else has open",
            )
        time.sleep(_POLL_S)


def _end(daemon: subprocess.Popen[bytes], errors: str) -> None:
    daemon.terminate()
    try:
        code = daemon.wait(_END_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
        raise ProgramFailed("qemu-storage-daemon does not end") from None
    if code:
        raise ProgramFailed(f"qemu-storage-daemon ended with {code}: {_words(errors)}")


def _words(errors: str) -> str:
    with open(errors, "rb") as file:
        return programs.shown(file.read(4096)) or "it says nothing"
