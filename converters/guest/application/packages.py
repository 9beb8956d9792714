"""Packages for the first boot, from a folder that the administrator gives."""

from __future__ import annotations

import os
import re
import stat

from converters.errors import SourceRefused, UnsupportedGuest
from converters.guest import limits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.%:~_-]{0,200}\.(?:deb|rpm|apk)$")


def read(folder: str) -> dict[str, bytes]:
    """Return the packages of a folder by name; subfolders are not looked into. Raises."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        names = sorted(os.listdir(folder))
        for name in names:
            if not _NAME.match(name):
                continue
            path = os.path.join(folder, name)
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            total += os.path.getsize(path)
            if total > limits.MOST_PACKAGES:
                raise UnsupportedGuest(
                    f"the packages have more than {limits.MOST_PACKAGES >> 20} MiB", file=folder
                )
            with open(path, "rb") as file:
                found[name] = file.read(limits.MOST_PACKAGES)
    except OSError as fault:
        raise SourceRefused(f"cannot be read: {fault.strerror}", file=folder) from fault
    if not found:
        raise SourceRefused(
            "has no packages", file=folder,
            hint="put the .deb or .rpm files of qemu-guest-agent there",
        )  # fmt: skip
    kinds = {name.rsplit(".", 1)[-1] for name in found}
    if len(kinds) > 1:
        raise SourceRefused(f"has packages of {', '.join(sorted(kinds))}", file=folder,
                            hint="one folder for each distribution")  # fmt: skip
    return found
