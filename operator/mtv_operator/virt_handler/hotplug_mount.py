"""Makes a volume of one pod visible in another that runs already, and takes it away again.

    python -I -S hotplug_mount.py plug LAUNCHER_PID ATTACHMENT_PID NAME CAPACITY UID
    python -I -S hotplug_mount.py unplug LAUNCHER_PID NAME

A program of its own with the standard library only: a process joins another mount namespace as a
whole. The file is cloned as a mount in one pod's namespace and moved into the other's, so neither
needs to propagate anything. Paths are resolved inside the pods: what their users make of them leads
nowhere else. All of it may be repeated.
"""

import ctypes
import os
import stat
import sys

CLONE_NEWNS = 0x00020000  # <linux/sched.h>
SYS_OPEN_TREE, SYS_MOVE_MOUNT = 428, 429  # asm-generic/unistd.h, the same everywhere
AT_FDCWD = -100
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MNT_DETACH = 2

SOURCE, DEVICE = "/disk/disk.img", "/dev/hotplug"
FOLDER = "/var/run/kubevirt/hotplug-disks"

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """Return a result, or raise the error that it stands for."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def join(pid: int) -> None:
    """Move this process into another's mount namespace."""
    with open(f"/proc/{pid}/ns/mnt", "rb") as namespace:
        checked(libc.setns(namespace.fileno(), CLONE_NEWNS), "setns")


def plug(launcher: int, attachment: int, name: str, capacity: int, uid: int) -> None:
    """Make a volume visible."""
    device = f"/proc/{attachment}/root{DEVICE}"
    number = os.stat(device).st_rdev if os.path.exists(device) else None
    launcher_namespace = os.open(f"/proc/{launcher}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if number is not None:
        checked(libc.setns(launcher_namespace, CLONE_NEWNS), "setns")
        target = f"{FOLDER}/{name}"
        if not os.path.lexists(target):
            os.mknod(target, stat.S_IFBLK | 0o660, number)
        os.chown(target, uid, uid, follow_symlinks=False)
        return
    join(attachment)
    if not os.path.lexists(SOURCE):
        made = os.open(SOURCE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o660)
        os.truncate(made, capacity)
        os.fchown(made, uid, uid)
        os.close(made)
    source = os.stat(SOURCE, follow_symlinks=False)
    if not stat.S_ISREG(source.st_mode):
        raise OSError(22, "disk.img of the volume is no file")
    tree = checked(
        libc.syscall(SYS_OPEN_TREE, AT_FDCWD, SOURCE.encode(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
        "open_tree",
    )
    checked(libc.setns(launcher_namespace, CLONE_NEWNS), "setns")
    target = f"{FOLDER}/{name}.img"
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    found = os.stat(target, follow_symlinks=False)
    if (found.st_dev, found.st_ino) == (source.st_dev, source.st_ino):
        return
    checked(
        libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH),
        "move_mount",
    )


def unplug(launcher: int, name: str) -> None:
    """Take a volume away."""
    join(launcher)
    image, device = f"{FOLDER}/{name}.img", f"{FOLDER}/{name}"
    while os.path.lexists(image):
        if libc.umount2(image.encode(), MNT_DETACH):
            os.unlink(image)
    if os.path.lexists(device):
        os.unlink(device)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "plug":
        plug(int(rest[0]), int(rest[1]), rest[2], int(rest[3]), int(rest[4]))
    else:
        unplug(int(rest[0]), rest[1])
