"""Changes sorted by the file system that they are on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.errors import CorruptGuest
from converters.guest.changes.change import Action, Change
from converters.guest.filesystems.tree import Tree

_SPARE = 4 << 20  # left on a file system, for the guest's own first steps


@dataclass(frozen=True, slots=True)
class Local:
    """A change and its path within one file system, all links of its folders followed."""

    path: str
    change: Change


def sort(tree: Tree, changes: Sequence[Change]) -> dict[str, list[Local]]:
    """Return the changes by mount point. A link that is changed is not followed.

    Raises CorruptGuest where a file system has no room for them.
    """
    sorted_: dict[str, list[Local]] = {}
    needed: dict[str, int] = {}
    for change in changes:
        # A file that is written through a link stays a link; one that becomes a link does not.
        place = tree.place(change.path, follow=change.action is Action.WRITE)
        sorted_.setdefault(place.mount, []).append(Local(place.path, change))
        if change.action is Action.WRITE:
            # The old content is given back only after the new one is there.
            needed[place.mount] = needed.get(place.mount, 0) + len(change.content) + 4096
    for mount, count in needed.items():
        free = tree.free_bytes(mount)
        if tree.mounts[mount].kind != "vfat" and free < count + _SPARE:
            raise CorruptGuest(
                f"{mount} has {free >> 20} MiB free",
                expected=f"at least {(count + _SPARE) >> 20} MiB for what is changed there",
                hint="make room in the guest, old kernels for instance",
            )
    return sorted_
