"""What a file system offers to those who look into a guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class NodeKind(Enum):
    """What a name stands for."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"  # a device, a socket, a pipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A file, folder or link of one file system. `number` is its own (an inode, a cluster)."""

    number: int
    kind: NodeKind
    size_bytes: int
    mode: int = 0o644  # permission bits only
    uid: int = 0
    gid: int = 0


class FileSystem(Protocol):
    """A file system that is read. Every method raises CorruptGuest where it makes no sense."""

    @property
    def kind(self) -> str:
        """Its name: ext4, vfat."""
        ...

    @property
    def free_bytes(self) -> int:
        """What an ordinary write may still take."""
        ...

    @property
    def root(self) -> Node:
        """The topmost folder."""
        ...

    def entries(self, folder: Node) -> Mapping[str, int]:
        """Return the names in a folder, without `.` and `..`, and their numbers."""
        ...

    def child(self, folder: Node, name: str) -> Node | None:
        """Return what a name in a folder stands for."""
        ...

    def read(self, node: Node, most: int) -> bytes:
        """Return the content of a file. Raises CorruptGuest where it has more than `most`."""
        ...

    def target(self, node: Node) -> str:
        """Return where a link points to."""
        ...

    def attribute(self, node: Node, name: str) -> bytes | None:
        """Return an extended attribute, such as `security.selinux`."""
        ...
