"""Block claims as devices: a loop device over each volume's file, shared by all who use it.

Which pods use a volume stands in files (`<volumes>/.attached/<volume>/<pod uid>`), seen by all
nodes of the machine: a crash can leave a device attached for a while, never take one from a pod.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from collections.abc import Container, Iterator
from pathlib import Path

from mtv import errors

CONTROL = Path("/dev/loop-control")
BLOCK = Path("/sys/block")
ATTACHED = ".attached"
# <linux/loop.h>
LOOP_CLR_FD, LOOP_SET_CAPACITY, LOOP_CONFIGURE = 0x4C01, 0x4C07, 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_READ_ONLY, LO_FLAGS_DIRECT_IO = 1, 16
_CONFIG = struct.Struct("=II 232s 64x")  # fd, block size, struct loop_info64, reserved
_FLAGS_AT = 52  # of lo_flags in struct loop_info64
_ATTEMPTS = 16  # somebody else may take the free device first


def attach(volumes: Path, file: Path, user: str, node: str) -> Path:
    """Return the loop device of a volume's file, made if there is none, and note its user.

    Raises TargetRefused when the machine has no loop devices.
    """
    with _registry(volumes, file.name) as users:
        (users / user).write_text(node)
        return find(file) or _configure(file)


def release(volumes: Path, user: str) -> None:
    """Forget a user, and detach the devices that nobody uses any more."""
    for folder in _folders(volumes):
        if (folder / user).exists():
            with _registry(volumes, folder.name) as users:
                (users / user).unlink(missing_ok=True)
                if not any(users.iterdir()):
                    _detach(volumes / folder.name)


def keep_only(volumes: Path, node: str, pods: Container[str]) -> None:
    """Forget the users on `node` that are none of these pods: what a crash left over."""
    for folder in _folders(volumes):
        for entry in list(folder.iterdir()):
            if entry.name not in pods and entry.read_text() == node:
                release(volumes, entry.name)


def in_use(volumes: Path, name: str) -> list[str]:
    """Return the pods that use a volume's device."""
    with contextlib.suppress(FileNotFoundError):
        return [entry.name for entry in (volumes / ATTACHED / name).iterdir()]
    return []


def resize(file: Path) -> None:
    """Tell a file's loop device, if it has one, that the file has grown."""
    device = find(file)
    if device is not None:
        with _opened(device, os.O_RDONLY) as descriptor:
            fcntl.ioctl(descriptor, LOOP_SET_CAPACITY, 0)


def find(file: Path) -> Path | None:
    """Return the loop device over a file."""
    wanted = str(file.resolve())
    for entry in BLOCK.glob("loop*"):
        with contextlib.suppress(OSError):
            if (entry / "loop/backing_file").read_text().rstrip("\n") == wanted:
                return _node(entry.name)
    return None


def _configure(file: Path) -> Path:
    with _opened(file, os.O_RDWR) as backing:
        for _ in range(_ATTEMPTS):
            device = _free_device()
            with _opened(device, os.O_RDWR) as descriptor:
                # Without the page cache in between: what is flushed is on disk, and once in memory.
                for flags in (LO_FLAGS_DIRECT_IO, 0):
                    info = bytearray(232)
                    struct.pack_into("=I", info, _FLAGS_AT, flags)
                    try:
                        fcntl.ioctl(descriptor, LOOP_CONFIGURE, _CONFIG.pack(backing, 0, info))
                    except BlockingIOError:  # pragma: no cover - a signal
                        continue
                    except OSError as fault:
                        if fault.errno != 22 or not flags:  # EINVAL: no direct I/O on this disk
                            break
                        continue
                    return device
    raise errors.TargetRefused(
        f"no loop device could be made for {file}",
        hint="the kernel needs the module loop: modprobe loop",
    )


def _free_device() -> Path:
    try:
        with _opened(CONTROL, os.O_RDWR) as descriptor:
            number = fcntl.ioctl(descriptor, LOOP_CTL_GET_FREE)
    except OSError as fault:
        raise errors.TargetRefused(
            f"{CONTROL}: {fault.strerror}",
            hint="claims with volumeMode Block need loop devices: modprobe loop",
        ) from fault
    return _node(f"loop{number}")


def _node(name: str) -> Path:
    """Return the device file, made where /dev does not make it by itself."""
    path = Path("/dev") / name
    if not path.exists():
        major, _, minor = (BLOCK / name / "dev").read_text().strip().partition(":")
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(int(major), int(minor)))
    return path


def _detach(file: Path) -> None:
    device = find(file)
    if device is not None:
        with _opened(device, os.O_RDONLY) as descriptor, contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, LOOP_CLR_FD, 0)  # who has it open still keeps it


def _folders(volumes: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return [entry for entry in (volumes / ATTACHED).iterdir() if entry.is_dir()]
    return []


@contextlib.contextmanager
def _registry(volumes: Path, name: str) -> Iterator[Path]:
    """Hold the list of a volume's users, against the other nodes of this machine."""
    folder = volumes / ATTACHED
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = folder / name
        users.mkdir(exist_ok=True)
        yield users
        with contextlib.suppress(OSError):
            users.rmdir()  # when it is empty


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
