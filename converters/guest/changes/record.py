"""The record that stays in the guest: every path that was changed, what it was, and the way back.

Old content of small files is kept beside the record. An initramfs only grew: it is cut again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from converters.errors import CorruptGuest
from converters.guest import limits
from converters.guest.changes.change import Change, link, remove, write
from converters.guest.filesystems.contract import NodeKind
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection.linux import RECORD

_KEPT = "/var/lib/mtv/before"
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a path was and is. A hash is empty where nothing was, or is."""

    path: str
    action: str
    reason: str
    old_sha256: str = ""
    old_size_bytes: int = 0
    old_mode: int = 0
    old_target: str = ""
    kept: str = ""  # where the old content is
    cut: bool = False
    new_sha256: str = ""


def entries(tree: Tree, changes: Sequence[Change]) -> list[Entry]:
    """Return the record of changes, before they are made."""
    first = len(document(tree)["changes"]) if tree.exists(RECORD) else 0
    return [_entry(tree, change, number) for number, change in enumerate(changes, first)]


def _entry(tree: Tree, change: Change, number: int) -> Entry:
    entry = Entry(
        path=change.path, action=change.action, reason=change.reason, new_sha256=change.sha256
    )
    target = tree.link(change.path)
    if target is not None:
        old = hashlib.sha256(b"link:" + target.encode("utf-8", "surrogateescape")).hexdigest()
        return _with(entry, old_sha256=old, old_target=target)
    node = tree.place(change.path, follow=False).node
    if node is None:
        return entry
    if node.kind is not NodeKind.FILE:
        raise CorruptGuest(f"{change.path!r} is no file")
    content = tree.read(change.path, limits.MOST_INITRAMFS)
    return _with(
        entry,
        old_sha256=hashlib.sha256(content).hexdigest(),
        old_size_bytes=len(content),
        old_mode=node.mode,
        kept="" if change.grows else f"{_KEPT}/{number:03d}",
        cut=change.grows,
    )


def _with(entry: Entry, **values: str | int | bool) -> Entry:
    return dataclasses.replace(entry, **values)  # type: ignore[arg-type]


def changes(
    tree: Tree, made: Sequence[Change], noted: Sequence[Entry], *, way: str, when: str
) -> Iterator[Change]:
    """Yield the files of the record itself."""
    reason = "what was changed, and the way back"
    for change, entry in zip(made, noted, strict=True):
        if entry.kept:
            content = tree.read(change.path, limits.MOST_INITRAMFS)
            yield write(entry.kept, content, reason, mode=0o600)
    earlier = document(tree)["changes"] if tree.exists(RECORD) else []
    text = json.dumps(
        {
            "version": _VERSION,
            "way": way,
            "when": when,
            "changes": [*earlier, *(as_json(entry) for entry in noted)],
        },
        indent=1,
    )
    yield write(RECORD, text.encode() + b"\n", reason, mode=0o600)


def as_json(entry: Entry) -> dict[str, object]:
    """Return an entry as a JSON value, without what it does not have."""
    return {key: value for key, value in dataclasses.asdict(entry).items() if value}


def document(tree: Tree) -> dict[str, list[dict[str, object]]]:
    """Return the record of a guest. Raises CorruptGuest where there is none that makes sense."""
    try:
        found = json.loads(tree.read(RECORD))
    except (ValueError, RecursionError) as fault:
        raise CorruptGuest(f"the record {RECORD} cannot be read") from fault
    right = isinstance(found, dict) and found.get("version") == _VERSION
    listed = found.get("changes") if right else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise CorruptGuest(f"the record {RECORD} makes no sense")
    return {"changes": listed}


def _entry_of(raw: dict[str, object]) -> Entry:
    """Return an entry of a record that is the guest's by now: every type is checked."""
    known = {field.name: field.type for field in dataclasses.fields(Entry)}
    values = {key: value for key, value in raw.items() if key in known}
    types = {"str": str, "int": int, "bool": bool}
    right = {"path", "action", "reason"} <= values.keys() and all(
        isinstance(value, types[str(known[key])]) for key, value in values.items()
    )
    if not right or not str(values["path"]).startswith("/"):
        raise CorruptGuest(f"the record {RECORD} makes no sense")
    return Entry(**values)  # type: ignore[arg-type]


def undo(tree: Tree) -> tuple[list[Change], list[str]]:
    """Return the changes that lead back, and what stays as it is, and why.

    A file that was changed since is left alone: its new content is somebody's work.
    """
    back: dict[str, Change] = {}
    left: dict[str, str] = {}
    before: dict[str, str] = {}  # the hash that a path has once it is as far back as was found
    for raw in reversed(document(tree)["changes"]):
        entry = _entry_of(raw)
        now = before[entry.path] if entry.path in before else hash_of(tree, entry.path)
        if entry.path in left or now != entry.new_sha256:
            left[entry.path] = f"{entry.path} was changed since"
            continue
        before[entry.path] = entry.old_sha256
        back[entry.path] = _back(tree, entry)
    kept = [f"{_KEPT}/{name}" for name in tree.names(_KEPT)]
    return [*back.values(), *(remove(path, "no longer needed") for path in [*kept, RECORD])], list(
        left.values()
    )


def _back(tree: Tree, entry: Entry) -> Change:
    reason = "as it was before the move"
    if not entry.old_sha256:
        return remove(entry.path, reason)
    if entry.old_target:
        return link(entry.path, entry.old_target, reason)
    if entry.cut:
        content = tree.read(entry.path, limits.MOST_INITRAMFS)[: entry.old_size_bytes]
    else:
        content = tree.read(entry.kept)
    if hashlib.sha256(content).hexdigest() != entry.old_sha256:
        raise CorruptGuest(f"what was kept of {entry.path} is not what it was")
    return write(entry.path, content, reason, mode=entry.old_mode)


def hash_of(tree: Tree, path: str) -> str:
    """Return the hash of what is at a path, empty where nothing is."""
    target = tree.link(path)
    if target is not None:
        return hashlib.sha256(b"link:" + target.encode("utf-8", "surrogateescape")).hexdigest()
    if not tree.is_file(path):
        return ""
    return hashlib.sha256(tree.read(path, limits.MOST_INITRAMFS)).hexdigest()
