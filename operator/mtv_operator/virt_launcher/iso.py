"""Small ISO 9660 images out of files in memory: cloud-init seeds, config maps, secrets.

`write` makes them in a process of its own: the library for it is needed once in a VM's life, and
would stay in the launcher's memory for all of it.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mtv import errors

MOST_BYTES = 64 << 20
TIMEOUT_S = 60.0
# As mkisofs: busybox finds no label on a device that is smaller than where it looks.
PADDING_BYTES = 150 * 2048
# This very interpreter, even where the launcher's uid may not walk the folders to its file.
INTERPRETER = "/proc/self/exe"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What the child process reads: where to write which files."""

    path: str
    label: str
    files: dict[str, bytes]


def write(path: Path, label: str, files: Mapping[str, bytes]) -> None:
    """Write an image with Rock Ridge and Joliet names; whole or not at all.

    `files` maps paths such as `openstack/latest/user_data` to contents. Raises BadInput for names
    and sizes that an image cannot hold.
    """
    if sum(map(len, files.values())) > MOST_BYTES:
        raise errors.BadInput(f"files of more than {MOST_BYTES >> 20} MiB", field=label)
    contents = Contents(path=str(path), label=label, files=dict(files))
    try:
        subprocess.run(
            [sys.executable, "-I", "-m", __name__],
            executable=INTERPRETER,
            input=msgspec.json.encode(contents),
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.CalledProcessError as fault:
        said = fault.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise errors.BadInput(f"the image cannot be made: {said[-1][:300]}", field=label) from fault
    except subprocess.TimeoutExpired as fault:
        raise errors.TargetUnavailable(f"the image {path.name} was not made in time") from fault


def make(contents: Contents) -> None:
    """Write an image in this process."""
    import pycdlib

    path = Path(contents.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=contents.label)
    folders = {"": ""}
    for number, (name, content) in enumerate(sorted(contents.files.items())):
        folder, _, leaf = name.rpartition("/")
        image.add_fp(
            io.BytesIO(content),
            len(content),
            iso_path=f"{_folder(image, folder, folders)}/F{number:07d}.;1",
            rr_name=leaf,
            joliet_path=f"/{name}",
        )
    image.write(str(temporary))
    image.close()
    os.truncate(temporary, temporary.stat().st_size + PADDING_BYTES)
    temporary.replace(path)


def _folder(image: Any, name: str, known: dict[str, str]) -> str:  # noqa: ANN401  (pycdlib is untyped)
    """Make a folder and those above it; return its ISO 9660 path."""
    if name not in known:
        above, _, leaf = name.rpartition("/")
        known[name] = f"{_folder(image, above, known)}/D{len(known):06d}"
        image.add_directory(iso_path=known[name], rr_name=leaf, joliet_path=f"/{name}")
    return known[name]


if __name__ == "__main__":
    make(msgspec.json.decode(sys.stdin.buffer.read(), type=Contents))
