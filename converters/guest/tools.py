"""Which ways this machine can go: what programs and devices it has. Asks nothing of a guest."""

from __future__ import annotations

import os
import shutil

from converters.guest.application import hives
from converters.guest.decision import Tools

_LIGHT = ("qemu-storage-daemon", "qemu-img", "debugfs", "e2fsck")
_INJECT = ("qemu-storage-daemon", "qemu-img", "ntfscp", "ntfsfix")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def here() -> Tools:
    """Return what this machine has."""
    return Tools(
        light=all(shutil.which(name, path=_PATH) for name in _LIGHT) and _can_show(),
        inject=all(shutil.which(name, path=_PATH) for name in _INJECT)
        and _can_show()
        and hives.is_here(),
        appliance=False,  # not implemented yet
        virt_v2v=False,  # not implemented yet
    )


def _can_show() -> bool:
    """Whether a part of a disk can be shown as a file: root opens /dev/fuse, others have help."""
    if os.geteuid() == 0:
        return os.access("/dev/fuse", os.R_OK | os.W_OK)
    return os.path.exists("/dev/fuse") and shutil.which("fusermount3", path=_PATH) is not None
