"""Volumes on disk: a folder, or a sparse file for a block volume, named like its object."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv_operator.embedded.node import devices

_NAME = re.compile(r"pvc-[0-9a-f-]{36}(\.img)?")
DOOMED = ".doomed-"


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that holds all volumes of this machine."""

    folder: Path

    def path(self, name: str, *, block: bool) -> Path:
        """Return where a volume is."""
        return self.folder / (f"{name}.img" if block else name)

    def free_bytes(self) -> int:
        """Return how much may still be written."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        space = os.statvfs(self.folder)
        return space.f_bavail * space.f_frsize

    def make(self, name: str, size_bytes: int, *, block: bool) -> Path:
        """Make a volume, or find it as it is; what it holds is never touched."""
        path = self.path(name, block=block)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if block:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(descriptor).st_size < size_bytes:
                    os.ftruncate(descriptor, size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        elif not path.is_dir():
            path.mkdir()
            path.chmod(0o777)  # who may use it is decided by who may mount it
        return path

    def grow(self, path: Path, size_bytes: int) -> None:
        """Grow a block volume, and what shows it as a device; a folder has no size."""
        if path.is_file():
            if path.stat().st_size < size_bytes:
                os.truncate(path, size_bytes)
            devices.resize(path)

    def destroy(self, path: Path) -> None:
        """Remove a volume for good. Raises Bug for a path that is none of ours."""
        if path.parent != self.folder or not _NAME.fullmatch(path.name):
            raise errors.Bug(f"{path} is not a volume of {self.folder}; nothing was removed")
        doomed = self.folder / f"{DOOMED}{path.name}"
        if path.exists():
            path.rename(doomed)  # gone at once, even when the removal is interrupted
        self._remove(doomed)

    def finish(self) -> None:
        """Remove what an interrupted removal left."""
        for path in self.folder.glob(f"{DOOMED}*"):
            self._remove(path)

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
