"""One change of one file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from converters.errors import UnsupportedGuest

# No quotes, backslashes or control characters: what e2fsprogs and mtools cannot be told safely.
_SAFE = re.compile(r"/[^\x00-\x1f\x7f\"\\]{0,1000}$")


class Action(StrEnum):
    """What happens to a path."""

    WRITE = "write"
    LINK = "link"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path and what shall be there. `mode` None: as it was, or 0644."""

    action: Action
    path: str
    reason: str
    content: bytes = b""
    target: str = ""
    mode: int | None = None
    grows: bool = False  # its old content stays in front: undone by cutting

    def __post_init__(self) -> None:
        """Refuse names that could mean something to a program."""
        for text in (self.path, self.target or "/"):
            parts = text.split("/")
            if not _SAFE.match(text) or ".." in parts or not text.isprintable():
                raise UnsupportedGuest("a file's name is unusable", value=text)

    @property
    def sha256(self) -> str:
        """The hash of what shall be there, empty for what is removed."""
        match self.action:
            case Action.WRITE:
                return hashlib.sha256(self.content).hexdigest()
            case Action.LINK:
                return hashlib.sha256(b"link:" + self.target.encode()).hexdigest()
            case Action.REMOVE:
                return ""


def write(path: str, content: bytes, reason: str, *, mode: int | None = None) -> Change:
    """Return the change that writes a file."""
    return Change(action=Action.WRITE, path=path, content=content, reason=reason, mode=mode)


def link(path: str, target: str, reason: str) -> Change:
    """Return the change that makes a symbolic link."""
    return Change(action=Action.LINK, path=path, target=target, reason=reason)


def remove(path: str, reason: str) -> Change:
    """Return the change that takes a path away."""
    return Change(action=Action.REMOVE, path=path, reason=reason)
