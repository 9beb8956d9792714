"""Overlays of qcow2 over a guest's disks: written to, tried, committed or thrown away.

Nothing is written to a disk before every overlay is complete. The file `<disk>.mtv-commit` is the
point of no return: a process that dies behind it left overlays that the next one commits again,
which changes nothing that is done; one that dies before it left the disks as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from converters.errors import ProgramFailed, TargetBroken
from converters.guest import programs

_TIMEOUT_S = 3600
FORMATS = ("raw", "qcow2")


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay and the disk below it."""

    path: str
    disk: str
    format: str  # of the disk


def create(disks: Sequence[str], formats: Sequence[str], folder: str = "") -> list[Overlay]:
    """Make an empty overlay for each disk, in place of one that was left. Raises.

    They lie beside the disks, or in `folder`, where a disk is a device for instance.
    """
    tool = programs.find("qemu-img", "qemu-utils")
    made = []
    for number, (disk, format_) in enumerate(zip(disks, formats, strict=True)):
        disk = os.path.abspath(disk)
        place = os.path.join(folder, f"disk{number}") if folder else disk
        overlay = Overlay(f"{place}.mtv-overlay.qcow2", disk, format_)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(overlay.path)
        below = {"driver": format_, "file": {"driver": "file", "filename": disk}}
        backing = disk if "json:" not in disk and ":" not in disk else f"json:{json.dumps(below)}"
        programs.run(
            [tool, "create", "-q", "-f", "qcow2", "-F", format_, "-b", backing, overlay.path],
            timeout_s=60,
        )
        made.append(overlay)
    return made


def discard(overlays: Sequence[Overlay]) -> None:
    """Throw overlays away."""
    for overlay in overlays:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(overlay.path)


def commit(overlays: Sequence[Overlay], folder: str = "") -> None:
    """Write overlays into their disks, all or, after a crash, by `finish`."""
    for overlay in overlays:
        _sync(overlay.path)
    marker = _marker(overlays[0].disk, folder)
    with open(f"{marker}.new", "w", encoding="utf-8") as file:
        json.dump([[one.path, one.disk, one.format] for one in overlays], file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{marker}.new", marker)
    _sync(os.path.dirname(marker))
    finish(overlays[0].disk, folder)


def finish(disk: str, folder: str = "") -> bool:
    """Complete a commit that was begun; say whether there was one."""
    marker = _marker(disk, folder)
    try:
        with open(marker, encoding="utf-8") as file:
            overlays = [Overlay(*row) for row in json.load(file)]
    except FileNotFoundError:
        return False
    except (ValueError, TypeError) as fault:
        raise TargetBroken(f"{marker} cannot be read", hint="remove it and begin again") from fault
    tool = programs.find("qemu-img", "qemu-utils")
    for overlay in overlays:
        if os.path.exists(overlay.path):
            programs.run([tool, "commit", "-q", "-d", overlay.path], timeout_s=_TIMEOUT_S)
            _sync(overlay.disk)
    discard(overlays)
    os.unlink(marker)
    return True


def _marker(disk: str, folder: str) -> str:
    place = os.path.join(folder, "disks") if folder else os.path.abspath(disk)
    return f"{place}.mtv-commit"


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        raise TargetBroken(f"cannot be written to the medium: {fault}", file=path) from fault
    finally:
        os.close(descriptor)


def size_bytes(overlay: Overlay) -> int:
    """Return how much an overlay takes on its medium."""
    try:
        return os.stat(overlay.path).st_blocks * 512
    except FileNotFoundError as fault:
        raise ProgramFailed("the overlay is gone", file=overlay.path) from fault


def pending(disk: str, folder: str = "") -> bool:
    """Whether a commit was begun and is not complete."""
    return os.path.exists(_marker(disk, folder))
