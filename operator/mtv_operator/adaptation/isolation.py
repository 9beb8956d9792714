"""Leaves the pod's network and rights behind: a user namespace in which this process is root.

Nothing is given by it that the pod did not have: outside it is the same ordinary user. Inside it
may mount FUSE, which shows a part of a disk as a file, and it has a network without any device.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000  # <linux/sched.h>
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def enter() -> str:
    """Enter; return why that is not possible, "" where it is done. The process has one thread."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)
    if libc.unshare(flags):
        return os.strerror(ctypes.get_errno())
    if uid:
        try:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"0 {uid} 1"),
                ("gid_map", f"0 {gid} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        except OSError as fault:
            return str(fault)
    return ""
