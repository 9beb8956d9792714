"""Files written into an NTFS by ntfsprogs. A file system that was not closed cleanly is refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

from converters.errors import CorruptGuest, ProgramFailed
from converters.guest import programs
from converters.guest.filesystems.ntfs import Ntfs
from converters.guest.inspection import windows
from converters.guest.volumes.device import FileDevice

_MOST = 512 << 20


def check(view: str) -> None:
    """Raise CorruptGuest where Windows has not closed the file system, or hibernates."""
    tool = programs.find("ntfsfix", "ntfs-3g")
    try:
        programs.run([tool, "--no-action", view], both=True)
    except ProgramFailed as fault:
        raise CorruptGuest(
            f"the NTFS was not closed cleanly: {fault}",
            hint="start Windows at the source and shut it down wholly: shutdown /s /f /t 0",
        ) from fault


def apply(view: str, files: Mapping[str, bytes]) -> None:
    """Write files, each into a folder that is there, and read them back. Raises."""
    tool = programs.find("ntfscp", "ntfs-3g")
    check(view)
    with tempfile.TemporaryDirectory(prefix="mtv-guest-") as folder:
        source = os.path.join(folder, "new")
        for path, content in files.items():
            with open(source, "wb") as file:
                file.write(content)
            programs.run([tool, "--quiet", view, source, path])
    system = Ntfs(FileDevice(view))
    for path, content in files.items():
        node = windows.find(system, path)
        if node is None or system.read(node, _MOST) != content:
            raise ProgramFailed(f"{path} is not in the guest as it was written")
