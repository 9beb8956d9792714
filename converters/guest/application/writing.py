"""Changes written into overlays, one file system after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converters.errors import UnsupportedGuest
from converters.guest.application import e2fs, fat, view
from converters.guest.application.local import Local
from converters.guest.application.overlay import Overlay
from converters.guest.inspection.inspect import Guest


def write(
    guest: Guest,
    sorted_: Mapping[str, Sequence[Local]],
    overlays: Sequence[Overlay],
    *,
    check: bool = False,
) -> None:
    """Make changes in overlays. Raises; the overlays are to be thrown away then."""
    for mount, changes in sorted_.items():
        volume = guest.mounted[mount]
        if volume.start < 0:
            raise UnsupportedGuest(f"{volume.device} is not one piece of one disk")
        region = view.Region(
            image=overlays[volume.disk].path,
            format="qcow2",
            start=volume.start,
            size_bytes=volume.size_bytes,
        )
        with view.shown(region) as path:
            if volume.kind == "vfat":
                fat.apply(path, changes)
                continue
            e2fs.repair(path)
            e2fs.apply(path, changes)
            if check:
                e2fs.check(path)
