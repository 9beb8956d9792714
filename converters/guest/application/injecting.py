"""Drivers put into an offline Windows: its SYSTEM hive, files, a script for its first start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from converters.errors import CorruptGuest
from converters.guest.application import hives, ntfs, view
from converters.guest.application.overlay import Overlay
from converters.guest.changes import record, windows
from converters.guest.changes.record import Entry
from converters.guest.decision import Decision, Nic
from converters.guest.filesystems.ntfs import Ntfs
from converters.guest.inspection import windows as looking
from converters.guest.inspection.facts import Volume
from converters.guest.volumes.device import Device, FileDevice

_MOST_HIVE = 512 << 20
Reader = Callable[[str], bytes | None]


def reader(device: Device) -> Reader:
    """Return what reads a file of an NTFS; None for one that is not there."""
    system = Ntfs(device)

    def read(path: str) -> bytes | None:
        node = looking.find(system, path)
        return None if node is None else system.read(node, _MOST_HIVE)

    return read


def plan(
    read: Reader,
    decision: Decision,
    drivers: Mapping[str, bytes],
    nics: Sequence[Nic],
    *,
    when: str,
) -> tuple[dict[str, bytes], list[Entry]]:
    """Return the files that are written, and the record of them; nothing for a guest that has all.

    Raises CorruptGuest for a hive that makes no sense, ProgramFailed where hivex refuses it.
    """
    old = read(windows.SYSTEM)
    if old is None:
        raise CorruptGuest("Windows has no SYSTEM hive")
    wanted = {
        **windows.files(drivers, nics),
        windows.SYSTEM: hives.edited(old, windows.edits(decision.bus)),
    }
    if wanted[windows.SYSTEM] != old:
        wanted[windows.KEPT] = old
    elif read(windows.RECORD) is not None:
        # What its first start has taken away is not put back.
        wanted = {path: one for path, one in wanted.items() if not path.startswith(windows.FOLDER)}
    entries = [
        _entry(path, before, content)
        for path, content in sorted(wanted.items())
        if (before := read(path)) != content
    ]
    if not entries:
        return {}, []
    made = {(path := one.path.lstrip("/")): wanted[path] for one in entries}
    listed = [record.as_json(one) for one in entries]
    text = json.dumps(
        {"version": 1, "way": decision.way, "when": when, "changes": listed}, indent=1
    )
    return {**made, windows.RECORD: text.encode()}, entries


def _entry(path: str, before: bytes | None, content: bytes) -> Entry:
    return Entry(
        path=f"/{path}",
        action="write",
        reason="drivers of virtio-win",
        old_sha256=hashlib.sha256(before).hexdigest() if before is not None else "",
        old_size_bytes=len(before or b""),
        kept=f"/{windows.KEPT}" if path == windows.SYSTEM else "",
        new_sha256=hashlib.sha256(content).hexdigest(),
    )


def inject(
    overlays: Sequence[Overlay],
    volume: Volume,
    decision: Decision,
    drivers: Mapping[str, bytes],
    nics: Sequence[Nic],
    *,
    when: str,
) -> list[Entry]:
    """Write into the overlays; return the record. Raises; they are to be thrown away then."""
    region = view.Region(
        image=overlays[volume.disk].path,
        format="qcow2",
        start=volume.start,
        size_bytes=volume.size_bytes,
    )
    with view.shown(region) as path:
        ntfs.check(path)
        made, entries = plan(reader(FileDevice(path)), decision, drivers, nics, when=when)
        # The hive names the drivers: it is written when they are there.
        order = sorted(made, key=lambda one: (one == windows.SYSTEM, one))
        if made:
            ntfs.apply(path, {one: made[one] for one in order})
    return entries
