"""Lets the launcher's uid use the devices in its pod: /dev/net/tun, /dev/kvm, block volumes.

A container has device files of its own, which simply change hands. Where the pod shares the
node's /dev, an entry for the uid is added to the file's access list, and nothing is taken away
from anybody else.
"""

from __future__ import annotations

import logging
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

DEVICES = ("dev/net/tun", "dev/kvm", "dev/vhost-net")
# POSIX access lists as the kernel stores them: linux/posix_acl_xattr.h.
_ACL = "system.posix_acl_access"
_VERSION = 2
_USER_OBJECT, _USER, _GROUP_OBJECT, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_ENTRY = struct.Struct("<HHI")
_NOBODY = 0xFFFFFFFF


def give(pid: int, uid: int) -> list[str]:
    """Let `uid` use the devices that the pod of process `pid` has; return their names."""
    given = []
    for name in DEVICES:
        path = Path(f"/proc/{pid}/root") / name
        try:
            status = path.lstat()  # what the container calls its device must not lead elsewhere
        except OSError:
            continue
        if not stat.S_ISCHR(status.st_mode):
            continue
        if status.st_uid != uid:
            _give(path, Path("/") / name, status, uid)
        given.append(name)
    return given


def give_volumes(pid: int, uid: int, names: Iterable[str]) -> None:
    """Let `uid` use the volumes that the pod of process `pid` has as block devices."""
    for name in names:
        path = Path(f"/proc/{pid}/root/dev") / name
        try:
            status = path.lstat()
            shared = status.st_dev == Path("/dev").stat().st_dev  # the node's own device file
        except OSError:
            continue
        if not stat.S_ISBLK(status.st_mode) or status.st_uid == uid:
            continue
        try:
            if shared:
                os.setxattr(path, _ACL, access_list(status.st_mode, uid, _present(path)))
            else:
                os.chown(path, uid, -1, follow_symlinks=False)
        except OSError as fault:
            log.warning("%s cannot be given to uid %d: %s", path, uid, fault)


def _give(path: Path, ours: Path, status: os.stat_result, uid: int) -> None:
    try:
        shared = ours.stat().st_dev == status.st_dev and ours.stat().st_ino == status.st_ino
    except OSError:
        shared = False
    try:
        if not shared:
            os.chown(path, uid, -1, follow_symlinks=False)
        elif status.st_mode & 0o006 != 0o006:
            os.setxattr(path, _ACL, access_list(status.st_mode, uid, _present(path)))
    except OSError as fault:
        log.warning("%s cannot be given to uid %d: %s", path, uid, fault)


def _present(path: Path) -> bytes:
    """Return the access list that the file has already; empty when it has none."""
    try:
        return os.getxattr(path, _ACL)
    except OSError:
        return b""


def access_list(mode: int, uid: int, present: bytes = b"") -> bytes:
    """Return the access list that keeps `mode` and `present` and adds one user who may use it."""
    named = [
        entry
        for entry in _ENTRY.iter_unpack(present[4:])
        if entry[0] not in (_USER_OBJECT, _GROUP_OBJECT, _MASK, _OTHER)
        and entry[::2] != (_USER, uid)
    ]
    owner, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = [
        (_USER_OBJECT, owner, _NOBODY),
        (_USER, 6, uid),
        *named,
        (_GROUP_OBJECT, group, _NOBODY),
        (_MASK, 7 if named else group | 6, _NOBODY),
        (_OTHER, other, _NOBODY),
    ]
    # The kernel wants them by kind, and users and groups by number.
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return struct.pack("<I", _VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)
