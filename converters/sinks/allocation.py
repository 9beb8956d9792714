"""Holes: making a part of a file or block device read as zeros, at best without writing."""

from __future__ import annotations

import ctypes
import errno
import os

from converters.extents import Extent

# linux/falloc.h
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10
_ZEROS = bytes(1 << 20)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def make_zero(file: int, extent: Extent, *, free: bool = True) -> None:
    """Make an extent of an open file or block device read as zeros. Raises OSError.

    With `free` its space is given back if that is possible. Where neither holes nor zeroed ranges
    are offered (NFS before 4.2), zeros are written.
    """
    modes = [_PUNCH_HOLE | _KEEP_SIZE] if free else []
    for mode in (*modes, _ZERO_RANGE | _KEEP_SIZE):
        if _fallocate(file, mode, extent):
            return
    offset = extent.offset
    while offset < extent.end:
        piece = memoryview(_ZEROS)[: min(len(_ZEROS), extent.end - offset)]
        offset += os.pwrite(file, piece, offset)


def _fallocate(file: int, mode: int, extent: Extent) -> bool:
    """Call fallocate(2); return False where the file system does not know this mode."""
    while _libc.fallocate(file, mode, extent.offset, extent.length):
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        # EINVAL: a block device wants extents aligned to its sectors.
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return False
        raise OSError(code, os.strerror(code))
    return True
