"""Our snapshots at the source: begun, looked at, and what was seen remembered for `decide`.

vSphere takes its time with snapshots, above all with their removal. Nothing waits for it here: a
call begins the task, or finds the one that runs, and what it sees is a `Seen`, one for each VM of a
plan. Faults are part of it, so that the trouble of one VM stops no other. All of it is lost with
the process: a snapshot is found again by its name, a task by the VM that it works on.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from datetime import UTC, datetime

from mtv import errors
from mtv.inventory.model import Moref
from mtv.providers.vsphere import faults, snapshots, tasks
from mtv.providers.vsphere.session import Session
from mtv_operator.migration import actions
from mtv_operator.migration.inventory_cache import Inventories
from mtv_operator.migration.warm import Seen


class Ledger:
    """What was seen last, by the prefix of the names. For threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}

    def of(self, prefix: str) -> Seen | None:
        """Return what was seen last."""
        with self._lock:
            return self._seen.get(prefix)

    def note(self, prefix: str, seen: Seen) -> None:
        """Remember what was seen."""
        with self._lock:
            self._seen[prefix] = seen


def look(
    ledger: Ledger,
    inventories: Inventories,
    action: actions.TakeSnapshot | actions.RemoveSnapshots,
) -> None:
    """Do what an action says, as far as it can be done at once, and remember what was seen."""
    now = datetime.now(UTC)
    before = ledger.of(action.prefix) or Seen(at=now)
    try:
        session = inventories.session(action.provider)
        if isinstance(action, actions.TakeSnapshot):
            seen = _take(session, action, before, now)
        else:
            seen = _remove(session, action, before, now)
    except errors.MigrationError as fault:
        takes = isinstance(action, actions.TakeSnapshot)
        seen = Seen(
            at=now,
            name=action.name if isinstance(action, actions.TakeSnapshot) else "",
            left=None if takes else before.left or (),
            fault=fault,
            failures=before.failures + 1,
        )
    ledger.note(action.prefix, seen)


def _take(session: Session, action: actions.TakeSnapshot, before: Seen, now: datetime) -> Seen:
    vm_id = Moref(action.vm_id)
    own = before if before.name == action.name else Seen(at=now, name=action.name)
    if tasks.running(session, vm_id, "CreateSnapshot_Task") is not None:
        return replace(own, at=now, fault=None)  # ours, or that of a backup: one at a time
    found = snapshots.find(session, vm_id, action.name)
    if found is not None:
        disks = snapshots.disks_of(session, found).values()
        return replace(
            own,
            at=now,
            id=found,
            change_ids={disk.base_file: disk.change_id for disk in disks},
            fault=None,
            failures=0,
        )
    return _begin(session, action, own, now)


def _begin(session: Session, action: actions.TakeSnapshot, own: Seen, now: datetime) -> Seen:
    """Begin, or begin again without bringing the guest to rest, when that was refused."""
    at_rest, why_not = action.quiesce and not own.why_not, own.why_not
    if own.task:
        doing = f"taking the snapshot {action.name} of {action.vm_id}"
        try:
            if not tasks.poll(session, own.task, doing):
                return replace(own, at=now)
            if snapshots.find(session, Moref(action.vm_id), action.name) is not None:
                return replace(own, at=now)  # it was not there yet a moment ago
            raise errors.SourceUnavailable(f"{session.server}: {doing}: somebody has removed it")
        except faults.Gone:
            pass  # the server has forgotten the task, and the snapshot is not there
        except errors.SourceRefused as fault:
            if not at_rest:
                raise
            at_rest, why_not = False, str(fault)
    try:
        task = snapshots.begin_taking(session, Moref(action.vm_id), action.name, quiesce=at_rest)
    except errors.SourceRefused as fault:
        if not at_rest:
            raise
        at_rest, why_not = False, str(fault)
        task = snapshots.begin_taking(session, Moref(action.vm_id), action.name, quiesce=False)
    return replace(own, at=now, task=task, quiesced=at_rest, why_not=why_not, fault=None)


def _remove(session: Session, action: actions.RemoveSnapshots, before: Seen, now: datetime) -> Seen:
    vm_id = Moref(action.vm_id)
    own = before if before.left is not None else Seen(at=now)
    try:
        running = tasks.running(session, vm_id, "RemoveSnapshot_Task")
        ours = snapshots.of_vm(session, vm_id)
    except faults.Gone:
        return Seen(at=now, left=())  # the VM is gone, and its snapshots with it
    ours = tuple(one for one in ours if one.name.startswith(action.prefix))
    left = tuple(one.name for one in ours)
    if running is not None:  # vSphere shows a snapshot no more while it is still consolidating
        return Seen(
            at=now,
            left=left or own.left or (action.prefix,),
            task=tasks.id_of(running),
            failures=own.failures,
        )
    if not ours:
        return Seen(at=now, left=())
    if own.task and left == own.left:
        with contextlib.suppress(faults.Gone):
            if not tasks.poll(session, own.task, f"removing {left[-1]} of {action.vm_id}"):
                return replace(own, at=now)
    task = snapshots.begin_removal(session, ours[-1].id)
    return Seen(at=now, left=left, task=task, failures=own.failures)
