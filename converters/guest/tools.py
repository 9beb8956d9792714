"""Which ways this machine can go: what programs and devices it has. Asks nothing of a guest."""

from __future__ import annotations

import os
import shutil

from converters.guest.decision import Tools

_LIGHT = ("qemu-storage-daemon", "qemu-img", "fusermount3", "debugfs", "e2fsck")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def here() -> Tools:
    """Return what this machine has."""
    return Tools(
        light=all(shutil.which(name, path=_PATH) for name in _LIGHT)
        and os.path.exists("/dev/fuse"),
        appliance=False,  # not implemented yet
        virt_v2v=False,  # not implemented yet
    )
