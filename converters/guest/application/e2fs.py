"""Changes made in an ext2, ext3 or ext4 file system by e2fsprogs, then read back and compared."""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from collections.abc import Sequence

from converters.errors import CorruptGuest, ProgramFailed
from converters.guest import limits, programs
from converters.guest.application.local import Local
from converters.guest.changes.change import Action
from converters.guest.filesystems.contract import NodeKind
from converters.guest.filesystems.ext4 import Ext4
from converters.guest.filesystems.tree import Tree
from converters.guest.volumes.device import FileDevice

_LABEL = "security.selinux"
_CHECK_S, _WRITE_S = 600, 300
_MODE = 0o644


def repair(view: str) -> None:
    """Replay the journal and mend what can be mended without a question, as at a boot.

    Raises CorruptGuest where more is wrong.
    """
    tool = programs.find("e2fsck", "e2fsprogs")
    try:
        programs.run([tool, "-p", view], accepted=(0, 1), timeout_s=_CHECK_S)
    except ProgramFailed as fault:
        raise CorruptGuest(
            f"the file system is damaged: {fault.problem}",
            hint="repair it in the source with e2fsck, then migrate again",
        ) from fault


def check(view: str) -> None:
    """Raise CorruptGuest unless a full check finds nothing. Writes nothing."""
    tool = programs.find("e2fsck", "e2fsprogs")
    try:
        programs.run([tool, "-f", "-n", view], timeout_s=_CHECK_S)
    except ProgramFailed as fault:
        raise CorruptGuest(f"the file system is damaged after the change: {fault}") from fault


def apply(view: str, changes: Sequence[Local]) -> None:
    """Make changes in a file system that is shown as a file. Raises; then the view is no good."""
    with tempfile.TemporaryDirectory(prefix="mtv-guest-") as folder:
        device = FileDevice(view)
        try:
            script = _script(Tree({"/": Ext4(device)}), changes, folder)
        finally:
            device.close()
        request = os.path.join(folder, "requests")
        with open(request, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join(script) + "\n")
        _debugfs(["-w", "-f", request, view])
    device = FileDevice(view)
    try:
        _compare(Tree({"/": Ext4(device)}), changes)
    finally:
        device.close()


def _debugfs(arguments: Sequence[str]) -> None:
    """Run debugfs, which says what fails and ends with 0 nevertheless."""
    tool = programs.find("debugfs", "e2fsprogs")
    out = programs.run([tool, *arguments], timeout_s=_WRITE_S, both=True)
    noise = re.compile(rb"debugfs:? .*|debugfs \d.*|Allocated inode: \d+|\s*")
    wrong = [line for line in out.splitlines() if not noise.fullmatch(line)]
    if wrong:
        raise ProgramFailed(f"debugfs says {programs.shown(wrong[0])}")


def quote(path: str) -> str:
    """Return a path as debugfs reads it. `Change` has no path that cannot be quoted."""
    if set(path) & set('"\\\n\r'):
        raise CorruptGuest("a file's name is unusable", value=path)
    return f'"{path}"'


def _script(tree: Tree, changes: Sequence[Local], folder: str) -> list[str]:
    script: list[str] = []
    made: set[str] = set()
    for number, local in enumerate(changes):
        parent, name = posixpath.split(local.path)
        old = tree.place(local.path, follow=False).node
        if old is not None and old.kind is NodeKind.FOLDER:
            raise CorruptGuest(f"{local.path!r} is a folder, expected a file")
        if local.change.action is Action.REMOVE:
            script += [f"rm {quote(local.path)}"] if old is not None else []
            continue
        script += _folders(tree, parent, made, folder)
        script.append(f"cd {quote(parent)}")
        if old is not None:
            script.append(f"rm {quote(name)}")
        if local.change.action is Action.LINK:
            script.append(f"symlink {quote(name)} {quote(local.change.target)}")
            continue
        source = os.path.join(folder, f"new{number}")
        with open(source, "wb") as file:
            file.write(local.change.content)
        mode = local.change.mode if local.change.mode is not None else old.mode if old else _MODE
        uid, gid = (old.uid, old.gid) if old else (0, 0)
        script += [
            f"write {source} {quote(name)}",
            f"sif {quote(name)} mode 0{0o100000 | mode:o}",
            *_owner(name, uid, gid),
        ]
        label = tree.attribute(local.path, _LABEL) or _inherited(tree, parent)
        script += _labelled(quote(name), label, os.path.join(folder, f"label{number}"))
    return script


def _owner(name: str, uid: int, gid: int) -> list[str]:
    return [f"sif {quote(name)} {field} {value}" for field, value in (("uid", uid), ("gid", gid))]


def _folders(tree: Tree, parent: str, made: set[str], folder: str) -> list[str]:
    """Return the requests that make the folders of a path that are not there."""
    script, path = [], ""
    for part in parent.split("/")[1:]:
        above, path = path, f"{path}/{part}"
        if path == "/" or path in made:
            continue
        node = tree.place(path, follow=False).node
        if node is not None and node.kind is NodeKind.FOLDER:
            continue
        if node is not None:
            raise CorruptGuest(f"{path!r} is no folder")
        made.add(path)
        script += [f"cd {quote(above or '/')}", f"mkdir {quote(part)}"]
        script.append(f"sif {quote(part)} mode 040755")
        script += _owner(part, 0, 0)
        label = _inherited(tree, above or "/")
        script += _labelled(quote(part), label, os.path.join(folder, f"folder{len(made)}"))
    return script


def _inherited(tree: Tree, folder: str) -> bytes | None:
    """Return the SELinux label of the nearest folder that has one."""
    while True:
        label = tree.attribute(folder, _LABEL)
        if label is not None or folder == "/":
            return label
        folder = posixpath.dirname(folder)


def _labelled(name: str, label: bytes | None, file: str) -> list[str]:
    if not label:
        return []
    with open(file, "wb") as sink:
        sink.write(label)
    return [f"ea_set -f {file} {name} {_LABEL}"]


def _compare(tree: Tree, changes: Sequence[Local]) -> None:
    """Raise ProgramFailed unless every change is there."""
    for local in changes:
        change = local.change
        node = tree.place(local.path, follow=False).node
        match change.action:
            case Action.REMOVE:
                right = node is None
            case Action.LINK:
                right = tree.link(local.path) == change.target
            case Action.WRITE:
                right = (
                    node is not None
                    and node.kind is NodeKind.FILE
                    and node.size_bytes == len(change.content)
                    and (change.mode is None or node.mode == change.mode)
                    and tree.read(local.path, limits.MOST_INITRAMFS) == change.content
                )
        if not right:
            raise ProgramFailed(f"{change.path} is not in the guest as it was written")
