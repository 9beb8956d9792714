"""Changes made in a FAT file system (an EFI system partition) by mtools."""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Sequence

from converters.errors import ProgramFailed, UnsupportedGuest
from converters.guest import limits, programs
from converters.guest.application.local import Local
from converters.guest.changes.change import Action
from converters.guest.filesystems.fat import Fat
from converters.guest.filesystems.tree import Tree
from converters.guest.volumes.device import FileDevice


def apply(view: str, changes: Sequence[Local]) -> None:
    """Make changes in a file system that is shown as a file. Raises."""
    copy, folder_tool = programs.find("mcopy", "mtools"), programs.find("mmd", "mtools")
    delete = programs.find("mdel", "mtools")
    tree = _tree(view)
    with tempfile.TemporaryDirectory(prefix="mtv-guest-") as scratch:
        for number, local in enumerate(changes):
            if local.change.action is Action.LINK:
                raise UnsupportedGuest("FAT has no links", value=local.path)
            if local.change.action is Action.REMOVE:
                programs.run([delete, "-i", view, f"::{local.path}"])
                continue
            parent = ""
            for part in posixpath.dirname(local.path).split("/")[1:]:
                parent += f"/{part}"
                if part and not tree.exists(parent):
                    programs.run([folder_tool, "-i", view, "-D", "s", f"::{parent}"])
            source = os.path.join(scratch, f"new{number}")
            with open(source, "wb") as file:
                file.write(local.change.content)
            programs.run([copy, "-i", view, "-o", source, f"::{local.path}"])
    tree = _tree(view)
    for local in changes:
        there = tree.is_file(local.path)
        right = (
            not there
            if local.change.action is Action.REMOVE
            else there and tree.read(local.path, limits.MOST_INITRAMFS) == local.change.content
        )
        if not right:
            raise ProgramFailed(f"{local.path} is not in the guest as it was written")


def _tree(view: str) -> Tree:
    return Tree({"/": Fat(FileDevice(view))})
