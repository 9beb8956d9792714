"""Why drivers are not put into a Windows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.guest.inspection.facts import Inspection, Windows


def of_windows(
    found: Inspection, guest: Windows, *, driver: str, given: Sequence[str] | None, able: bool
) -> Iterator[str]:
    """Yield the obstacles. `driver` is that of its disks, "" for SATA; `given` are files there."""
    if not driver:
        yield "that is asked for"
    if found.bitlocker:
        yield "BitLocker hides files of it; suspend it at the source"
    if found.dynamic_disks:
        yield "it has dynamic disks"
    if guest.hibernated:
        yield "it is hibernated (fast startup): shut it down wholly at the source"
    elif guest.dirty:
        yield "its file system was not closed cleanly"
    volume = found.volume(guest.root)
    if volume is None or volume.start < 0:
        yield "its volume is not one piece of one disk"
    if not able:
        yield "ntfs-3g, hivex or /dev/fuse is missing here"
    if given is None:
        yield "no virtio-win was given"
    elif f"{driver}/{driver}.sys" not in given:
        yield f"virtio-win has no {driver} for {guest.name or 'this Windows'} {guest.version}"
