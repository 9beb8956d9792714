"""Changes of the inventory as they happen, with WaitForUpdatesEx on a few properties.

The filter is made and drained before the inventory is pulled, so that nothing falls between the
two. Only VMs whose change keys moved are read again. A session that ends takes the filter with it:
new filter, full pull. The collector is our own, not the session's shared one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from mtv import errors
from mtv.inventory.model import VM, Inventory, Moref
from mtv.providers.vsphere import properties, pull, surroundings

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)
_COLLECTOR = vmodl.query.PropertyCollector

WAIT_S = 1  # of one call; how long a stop may take
_MAX_UPDATES = 200
_BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)

VM_KEYS = (
    "name",
    "parent",
    "config.changeVersion",
    "config.template",
    "guest.hostName",
    "guest.ipAddress",
    "guest.toolsRunningStatus",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.host",
    "runtime.powerState",
    "snapshot.currentSnapshot",
)

OnChange = Callable[[Inventory], None]
OnLost = Callable[[errors.MigrationError], None]


def watch(session: Session, on_change: OnChange, stop: threading.Event, *, on_lost: OnLost) -> None:
    """Call `on_change` with the inventory and after each change; see `Session.watch`."""
    failures = 0
    while not stop.is_set():
        try:
            with _filter(session) as collector:
                failures = 0
                _follow(session, collector, on_change, stop)
        except (errors.Retryable, errors.NotFound) as lost:  # NotFound: filter or view is gone
            _LOG.info("the watch of %s begins anew: %s", session.server, lost)
            on_lost(lost)
            stop.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)] if failures else 0)
            failures += 1


@contextlib.contextmanager
def _filter(session: Session) -> Iterator[Any]:
    """Give a property collector of our own with a filter on all watched objects."""
    paths: dict[type[Any], Sequence[str]] = {vim.VirtualMachine: VM_KEYS}
    paths.update(surroundings.WATCHED_PATHS)
    collector = session.content.propertyCollector.CreatePropertyCollector()
    try:
        with properties.view_of(session, paths) as view:
            collector.CreateFilter(properties.view_filter(view, paths), partialUpdates=False)
            yield collector
    finally:
        with contextlib.suppress(errors.MigrationError):
            collector.Destroy()


def _follow(
    session: Session,
    collector: Any,
    on_change: OnChange,
    stop: threading.Event,
) -> None:
    version, updates = _all_updates(collector, "", wait_s=0)
    entered = _entered(set(), updates)
    base = pull.read_base(session)
    vms, notes = pull.read_vms(session, base.names)
    pull.give_memory_back()
    on_change(pull.assembled(session, base, vms, notes))
    while not stop.is_set():
        version, updates = _all_updates(collector, version, wait_s=WAIT_S)
        entered = _entered(entered, updates)
        changed, left, around = _sorted(updates)
        changed |= _children(updates) - set(vms) - left
        # A VM that came and went since the last wait is in no update, but perhaps in what we read.
        changed |= set(vms) - entered
        if not changed and not left and not around:
            continue
        if around:
            base = pull.read_base(session, known=base)
        fresh, notes = pull.read_some_vms(session, changed, base.names)
        before, vms = vms, _merged(vms, fresh, left | (changed - set(fresh)))
        entered |= set(fresh)
        if around or vms != before:
            on_change(pull.assembled(session, base, vms, notes))


def _all_updates(collector: Any, version: str, wait_s: int) -> tuple[str, list[Any]]:
    """Return the next version and all updates up to it; wait for the first if there is none."""
    version, updates, drained = _updates(collector, version, wait_s)
    while not drained or not version:
        version, more, drained = _updates(collector, version, wait_s=0)
        updates += more
    return version, updates


def _entered(before: set[Moref], updates: list[Any]) -> set[Moref]:
    """Return the VMs that the collector knows after these updates."""
    known = set(before)
    for update in updates:
        if isinstance(update.obj, vim.VirtualMachine):
            id_ = Moref(update.obj._moId)
            if update.kind == "leave":
                known.discard(id_)
            else:
                known.add(id_)
    return known


def _updates(collector: Any, version: str, wait_s: int) -> tuple[str, list[Any], bool]:
    """Return the next version, the object updates, and whether these are all for now."""
    options = _COLLECTOR.WaitOptions(maxWaitSeconds=wait_s, maxObjectUpdates=_MAX_UPDATES)
    result = collector.WaitForUpdatesEx(version, options)
    if result is None:
        return version, [], True
    objects = [update for filter_ in result.filterSet or () for update in filter_.objectSet or ()]
    return result.version, objects, not result.truncated


def _sorted(updates: list[Any]) -> tuple[set[Moref], set[Moref], bool]:
    """Return the VMs that changed, those that left, and whether anything else changed."""
    changed: set[Moref] = set()
    left: set[Moref] = set()
    around = False
    for update in updates:
        if not isinstance(update.obj, vim.VirtualMachine):
            around = True
        elif update.kind == "leave":
            left.add(Moref(update.obj._moId))
            changed.discard(Moref(update.obj._moId))
        else:
            changed.add(Moref(update.obj._moId))
            left.discard(Moref(update.obj._moId))
    return changed, left, around


def _children(updates: list[Any]) -> set[Moref]:
    """Return the VMs in folders whose children changed."""
    return {
        Moref(child._moId)
        for update in updates
        if isinstance(update.obj, vim.Folder)
        for change in update.changeSet or ()
        if change.name == "childEntity"
        for child in change.val or ()
        if isinstance(child, vim.VirtualMachine)
    }


def _merged(vms: dict[Moref, VM], fresh: dict[Moref, VM], gone: set[Moref]) -> dict[Moref, VM]:
    kept = {id_: vm for id_, vm in vms.items() if id_ not in gone}
    return kept | fresh
