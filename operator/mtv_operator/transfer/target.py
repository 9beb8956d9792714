"""The claim that a disk is copied into, and whose the disk is that lies there.

On a Filesystem volume the disk is `disk.img`. What we know of it is kept with it, in extended
attributes, so that it lives and dies with the file: which transfer wrote it, how far, and, once it
is complete, how it looked when we left it. Where the file system has no such attributes a small
file beside it does the same until the copy is complete. A block device has no such place.

A disk.img that we did not write, or that somebody has written to since, is never touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from converters.errors import TargetBroken, TargetTooSmall
from converters.sinks.block_device import BlockDeviceSink
from converters.sinks.contract import Sink
from converters.sinks.raw_file import RawFileSink, translated
from mtv import errors

IMAGE = "disk.img"
SIDECAR = ".mtv-transfer"
_PREFIX = "user.mtv."
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)
_NO_ROOM = (errno.ENOSPC, errno.E2BIG, errno.ERANGE)

# What is noted.
TRANSFER = "transfer"  # uid of the DiskTransfer that writes the disk
REVISION = "revision"  # of the source's disk
JOURNAL = "journal"  # id of a boot, and what was written during it; perhaps not on the medium yet
SYNCED = "synced"  # what is on the medium
COMPLETE = "complete"  # when the complete disk was last written to, in ns


class TargetForeign(errors.TargetRefused):
    """The claim holds a disk that is not ours to write to."""


class Notes(Protocol):
    """What is kept with the disk. Never raises: what cannot be noted is not known later."""

    @property
    def lasting(self) -> bool:
        """Whether anything is kept at all."""
        ...

    def read(self) -> dict[str, str]:
        """Return what was noted."""
        ...

    def write(self, notes: Mapping[str, str]) -> None:
        """Note these values, beside what there is."""
        ...

    def clear(self, *names: str) -> None:
        """Forget these."""
        ...


@dataclass(slots=True)
class AttributeNotes:
    """Notes in extended attributes of the file."""

    path: str
    lasting: bool = True

    def read(self) -> dict[str, str]:
        """Return what was noted."""
        found: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for name in os.listxattr(self.path):
                if name.startswith(_PREFIX):
                    value = os.getxattr(self.path, name)
                    found[name.removeprefix(_PREFIX)] = value.decode("utf-8", "replace")
        return found

    def write(self, notes: Mapping[str, str]) -> None:
        """Note these values. A journal that does not fit leaves the older, shorter one."""
        for name, value in notes.items():
            try:
                os.setxattr(self.path, _PREFIX + name, value.encode())
            except OSError as fault:
                if fault.errno not in _NO_ROOM:
                    return

    def clear(self, *names: str) -> None:
        """Forget these."""
        for name in names:
            with contextlib.suppress(OSError):
                os.removexattr(self.path, _PREFIX + name)


@dataclass(slots=True)
class SidecarNotes:
    """Notes in a file beside the disk."""

    path: str
    lasting: bool = True
    _notes: dict[str, str] = field(default_factory=dict)

    def read(self) -> dict[str, str]:
        """Return what was noted."""
        with contextlib.suppress(OSError, ValueError):
            decoded = json.loads(Path(self.path).read_text())
            self._notes = {str(name): str(value) for name, value in decoded.items()}
        return dict(self._notes)

    def write(self, notes: Mapping[str, str]) -> None:
        """Note these values: the file is replaced as a whole."""
        self._notes.update(notes)
        self._store()

    def clear(self, *names: str) -> None:
        """Forget these."""
        for name in names:
            self._notes.pop(name, None)
        self._store()

    def remove(self) -> None:
        """Leave the disk alone on its volume."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _store(self) -> None:
        new = Path(f"{self.path}.new")
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(self._notes))
            new.replace(self.path)


class NoNotes:
    """Nothing is kept: a block device holds the disk and nothing else."""

    lasting = False

    def read(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def write(self, notes: Mapping[str, str]) -> None:
        """Do nothing."""

    def clear(self, *names: str) -> None:
        """Do nothing."""


class Target(Protocol):
    """Where the disk goes."""

    path: str  # of the file or device

    @property
    def notes(self) -> Notes:
        """What is kept with the disk."""
        ...

    @property
    def sink(self) -> Sink:
        """The sink of the copy."""
        ...

    def finish(self, capacity_bytes: int) -> None:
        """Make the whole disk last, check its size, and note that it is complete."""
        ...

    def leave(self) -> None:
        """Take away what is not the disk, once everybody knows that it is complete."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class FileTarget:
    """`disk.img` on a Filesystem volume."""

    def __init__(self, folder: str, transfer_uid: str, capacity_bytes: int) -> None:
        self.path = os.path.join(folder, IMAGE)
        self._folder = folder
        _check_room(folder, capacity_bytes)
        found = _existing(self.path)
        self.notes: Notes = self._notes(found is not None)
        if found is not None:
            _refuse_foreign(found, self.notes.read())
        sink = RawFileSink(self.path)
        _lock(sink.file)
        self.sink: Sink = sink
        if found is None:
            self.notes = self._notes(True)
        self.notes.clear(COMPLETE)
        if self.notes.read().get(TRANSFER) != transfer_uid:
            self.notes.clear(JOURNAL, SYNCED, REVISION)
        self.notes.write({TRANSFER: transfer_uid})

    def _notes(self, there: bool) -> Notes:
        sidecar = SidecarNotes(os.path.join(self._folder, SIDECAR))
        if not there:
            return sidecar
        try:
            os.getxattr(self.path, _PREFIX + TRANSFER)
        except OSError as fault:
            if fault.errno in _UNSUPPORTED:
                return sidecar
        return AttributeNotes(self.path)

    def finish(self, capacity_bytes: int) -> None:
        """Sync file and folder, check the size, note the time of the last write."""
        with translated(IMAGE):
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
                found = os.fstat(file)
            finally:
                os.close(file)
            _sync_folder(self._folder)
        if found.st_size != capacity_bytes:
            raise TargetBroken(
                file=IMAGE, field="size of the complete disk", value=found.st_size,
                expected=str(capacity_bytes),
            )  # fmt: skip
        self.notes.write({COMPLETE: str(found.st_mtime_ns)})

    def leave(self) -> None:
        """Remove a sidecar; attributes of the file stay."""
        if isinstance(self.notes, SidecarNotes):
            self.notes.remove()

    def close(self) -> None:
        """Close the file."""
        self.sink.close()


class DeviceTarget:
    """A Block volume."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.notes: Notes = NoNotes()
        self.sink: Sink = BlockDeviceSink(path)

    def finish(self, capacity_bytes: int) -> None:
        """Flush the device and check that it holds the disk."""
        self.sink.flush()
        with translated(self.path):
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.lseek(file, 0, os.SEEK_END)
            finally:
                os.close(file)
        if size < capacity_bytes:
            raise TargetTooSmall(
                file=self.path, field="size of the device", value=size,
                expected=f"at least {capacity_bytes}",
            )  # fmt: skip

    def leave(self) -> None:
        """There is nothing but the disk."""

    def close(self) -> None:
        """Close the device."""
        self.sink.close()


def _check_room(folder: str, capacity_bytes: int) -> None:
    """Raise TargetTooSmall if the disk, once its holes are filled, could not be on the volume."""
    with translated(folder):
        volume = os.statvfs(folder)
    size = volume.f_blocks * volume.f_frsize
    if size and size < capacity_bytes:
        raise TargetTooSmall(
            file=IMAGE, field="size of the volume's file system", value=size,
            expected=f"at least the disk's {capacity_bytes} bytes",
            hint="use a larger claim: the disk fits today only as long as it is not filled",
        )  # fmt: skip


def _existing(path: str) -> os.stat_result | None:
    """Return the disk that is there, if it has any content. Raises TargetForeign for a non-file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise TargetBroken(str(fault.strerror), file=IMAGE) from fault
    if not stat.S_ISREG(found.st_mode):
        raise TargetForeign(
            f"{IMAGE} in the claim is not a regular file", hint="use an empty claim"
        )
    return found if found.st_size else None


def _refuse_foreign(found: os.stat_result, notes: Mapping[str, str]) -> None:
    """Raise TargetForeign unless the disk was written by us, and by nobody else since."""
    if TRANSFER not in notes:
        raise TargetForeign(
            f"the claim holds a {IMAGE} of {found.st_size} bytes that no transfer has written",
            hint="use another claim, or delete this one if its content is of no use",
        )
    if COMPLETE in notes and notes[COMPLETE] != str(found.st_mtime_ns):
        raise TargetForeign(
            f"the {IMAGE} in the claim was written to since its transfer was complete",
            hint="a VM has run on it: use another claim, or delete this one with its content",
        )


def _lock(file: int) -> None:
    """Make sure that no other transfer writes: one that is about to end, say. Until `close`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        os.close(file)
        raise errors.TargetUnavailable(f"another process still writes to {IMAGE}") from fault
    except OSError:  # no locks on this file system
        return


def _sync_folder(folder: str) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as fault:
        if fault.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(file)


def open_target(folder: str, device: str, transfer_uid: str, capacity_bytes: int) -> Target:
    """Return the target that is mounted: the device if there is one, else the folder."""
    if os.path.exists(device):
        return DeviceTarget(device)
    if not os.path.isdir(folder):
        raise errors.TargetUnavailable(
            f"neither {folder} nor {device} is there", hint="the claim is not mounted in this pod"
        )
    return FileTarget(folder, transfer_uid, capacity_bytes)
