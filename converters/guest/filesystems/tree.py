"""The guest's files as the guest sees them: several file systems mounted into one tree.

Links are followed as in the guest, never out of its tree, at most `limits.MOST_LINKS` times.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import NamedTuple

from converters.errors import ConversionError, CorruptGuest
from converters.guest import limits
from converters.guest.filesystems.contract import FileSystem, Node, NodeKind


class Place(NamedTuple):
    """Where a path lies: its mount point, the path below it, and what is there, if anything."""

    mount: str
    path: str  # within the file system, begins with a slash
    node: Node | None

    @property
    def full(self) -> str:
        """The path in the guest, all links followed."""
        return (self.mount.rstrip("/") + self.path).rstrip("/") or "/"


class Tree:
    """File systems by mount point; `/` is among them."""

    def __init__(self, mounts: Mapping[str, FileSystem]) -> None:
        self._mounts = dict(mounts)

    @property
    def mounts(self) -> Mapping[str, FileSystem]:
        """The file systems by mount point."""
        return self._mounts

    def place(self, path: str, *, follow: bool = True) -> Place:
        """Resolve a path. Its last part is not followed if `follow` is False."""
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        links = 0
        node: Node | None = self._mounts["/"].root
        while todo:
            name = todo.pop()
            if name == ".":
                continue
            if name == "..":
                done = done[:-1]
                node = self._at(done)
                continue
            here = self._step(done, node, name)
            if here is not None and here.kind is NodeKind.LINK and (todo or follow):
                links += 1
                if links > limits.MOST_LINKS:
                    raise CorruptGuest(f"too many links on the way to {path!r}")
                target = self._file_system(done).target(here)
                if len(target) + sum(map(len, todo)) > 4 * limits.MOST_NAME:
                    raise CorruptGuest(f"the links on the way to {path!r} are too long")
                if target.startswith("/"):
                    done = []
                    node = self._mounts["/"].root
                todo += [part for part in target.split("/") if part][::-1]
                continue
            done.append(name)
            node = here
        return self._placed(done, node)

    def _step(self, done: list[str], folder: Node | None, name: str) -> Node | None:
        mounted = self._mounts.get("/" + "/".join([*done, name]))
        if mounted is not None:
            return mounted.root
        if folder is None or folder.kind is not NodeKind.FOLDER:
            return None
        return self._file_system(done).child(folder, name)

    def _at(self, parts: list[str]) -> Node | None:
        node: Node | None = self._mounts["/"].root
        for index, name in enumerate(parts):
            node = self._step(parts[:index], node, name)
        return node

    def _mount(self, parts: list[str]) -> int:
        """Return how many parts of a path lead to the file system that it is on."""
        for count in range(len(parts), 0, -1):
            if "/" + "/".join(parts[:count]) in self._mounts:
                return count
        return 0

    def _file_system(self, parts: list[str]) -> FileSystem:
        return self._mounts["/" + "/".join(parts[: self._mount(parts)])]

    def _placed(self, parts: list[str], node: Node | None) -> Place:
        count = self._mount(parts)
        return Place("/" + "/".join(parts[:count]), "/" + "/".join(parts[count:]), node)

    # -- what is asked for

    def exists(self, path: str) -> bool:
        """Whether a path leads to something."""
        return self.place(path).node is not None

    def is_file(self, path: str) -> bool:
        """Whether a path leads to a file."""
        node = self.place(path).node
        return node is not None and node.kind is NodeKind.FILE

    def size(self, path: str) -> int:
        """Return the size of a file, 0 where there is none."""
        node = self.place(path).node
        return node.size_bytes if node is not None else 0

    def read(self, path: str, most: int = limits.MOST_CONFIGURATION) -> bytes:
        """Return the content of a file. Raises CorruptGuest where there is none, or too much."""
        place = self.place(path)
        if place.node is None or place.node.kind is not NodeKind.FILE:
            raise CorruptGuest(f"{path!r} is no file")
        try:
            return self._mounts[place.mount].read(place.node, most)
        except ConversionError as fault:
            fault.file = fault.file or path
            raise

    def text(self, path: str) -> str:
        """Return a text file, empty where there is none. Odd bytes survive a round trip."""
        return self.read(path).decode("utf-8", "surrogateescape") if self.is_file(path) else ""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none where there is no folder."""
        place = self.place(folder)
        if place.node is None or place.node.kind is not NodeKind.FOLDER:
            return []
        return sorted(self._mounts[place.mount].entries(place.node))

    def glob(self, folder: str, pattern: str) -> list[str]:
        """Return the paths in a folder whose last part fits a pattern, sorted."""
        return [
            f"{folder.rstrip('/')}/{name}"
            for name in self.names(folder)
            if fnmatch.fnmatchcase(name, pattern)
        ]

    def link(self, path: str) -> str | None:
        """Return where a link points to; None where there is no link."""
        place = self.place(path, follow=False)
        if place.node is None or place.node.kind is not NodeKind.LINK:
            return None
        return self._mounts[place.mount].target(place.node)

    def attribute(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of what a path leads to."""
        place = self.place(path)
        return None if place.node is None else self._mounts[place.mount].attribute(place.node, name)

    def free_bytes(self, path: str) -> int:
        """Return how much room is left on the file system that a path is on."""
        return self._mounts[self.place(path).mount].free_bytes
