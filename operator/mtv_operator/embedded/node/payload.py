"""Folders of small files that change as a whole: secrets, config maps, projected volumes.

As the kubelet writes them: files in a folder `..<number>`, a link `..data` to it that is replaced
in one step, and a link per file. A reader sees all of the old or all of the new.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mtv import errors

DATA = "..data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file: its contents and permission bits."""

    content: bytes
    mode: int = 0o644


def write(folder: Path, entries: Mapping[str, Entry], group: int | None = None) -> bool:
    """Make `folder` hold exactly these files; tell whether anything changed.

    Paths are relative and may have folders. With `group`, its members may read. Raises BadInput
    for a path that leads out of the folder.
    """
    for name in entries:
        check_path(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if _read(folder) == {name: (one.content, _mode(one, group)) for name, one in entries.items()}:
        return False
    fresh = folder / f"..{_next(folder)}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    fresh.chmod(0o755)
    for name, entry in entries.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content)
        path.chmod(_mode(entry, group))
        if group is not None:
            os.chown(path, -1, group)
    old = _current(folder)
    _link(folder / DATA, fresh.name)
    tops = {PurePosixPath(name).parts[0] for name in entries}
    for top in tops:
        if not (folder / top).is_symlink():
            _link(folder / top, f"{DATA}/{top}")
    for path in folder.iterdir():
        if path.is_symlink() and path.name != DATA and path.name not in tops:
            path.unlink()
    if old is not None:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


def check_path(name: str) -> None:
    """Raise BadInput for a path that is absolute, empty, or leads upwards."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise errors.BadInput(
            f"{name!r} is not a relative path below the volume", field="volumes.items.path"
        )


def _mode(entry: Entry, group: int | None) -> int:
    return entry.mode | 0o440 if group is not None else entry.mode


def _current(folder: Path) -> str | None:
    try:
        return os.readlink(folder / DATA)
    except FileNotFoundError:
        return None


def _next(folder: Path) -> int:
    current = (_current(folder) or "..0").removeprefix("..")
    return int(current) + 1 if current.isdigit() else 1


def _read(folder: Path) -> dict[str, tuple[bytes, int]] | None:
    current = _current(folder)
    if current is None or not (folder / current).is_dir():
        return None
    root = folder / current
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in root.rglob("*")
        if path.is_file()
    }


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(f"..new-{path.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
