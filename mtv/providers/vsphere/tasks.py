"""vSphere tasks: found where they run already, and waited for.

pyvmomi's own wait fails on tasks whose method it does not know, and reads an attribute at a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from mtv import errors
from mtv.inventory.model import Moref
from mtv.providers.vsphere import faults, properties

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def wait_for(session: Session, task: object, doing: str, *, timeout_s: float) -> None:
    """Return when the task has succeeded.

    Raises its error as ours, Gone when the server no longer knows it, and SourceUnavailable when it
    still runs after `timeout_s`. `doing` is for messages: "powering off web1".
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        state, fault = _state(session, task)
        if state == "success":
            return
        if state == "error":
            raise faults.translated(fault, session.server, doing)
        if time.monotonic() >= deadline:
            raise errors.SourceUnavailable(
                f"{session.server} has not finished {doing} after {timeout_s:g} s",
                hint="look at the recent tasks in the vSphere client",
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def poll(session: Session, task_id: str, doing: str) -> bool:
    """Tell whether a task has succeeded, False while it runs. Raises as `wait_for` does."""
    state, fault = _state(session, vim.Task(task_id, session.stub))
    if state == "error":
        raise faults.translated(fault, session.server, doing)
    return state == "success"


def id_of(task: object) -> str:
    """Return the identifier of a task, by which `poll` finds it."""
    return str(getattr(task, "_moId", ""))


def _state(session: Session, task: object) -> tuple[str, Any]:
    read = properties.of_objects(session, [task], {vim.Task: ("info.state", "info.error")})
    values = next(iter(read.values()), {})
    return str(values.get("info.state", "")), values.get("info.error")


def running(session: Session, vm_id: Moref, method: str) -> object | None:
    """Return the task of a VM that this method (`PowerOffVM_Task`) started and that still runs."""
    recent = session.read(vm_id, vim.VirtualMachine, ("recentTask",)).get("recentTask") or ()
    if not recent:
        return None
    paths = ("info.state", "info.name", "info.descriptionId")
    try:
        read = properties.of_objects(session, list(recent), {vim.Task: paths})
    except faults.Gone:  # one of them ended and was forgotten meanwhile
        return None
    wanted = method.removesuffix("_Task").lower()
    for task in recent:
        values = read.get(Moref(task._moId), {})
        name = getattr(values.get("info.name"), "name", None) or values.get("info.name") or ""
        described = str(values.get("info.descriptionId", "")).rpartition(".")[2]
        names = {str(one).removesuffix("_Task").lower() for one in (name, described)}
        if values.get("info.state") in ("running", "queued") and wanted in names:
            found: object = task
            return found
    return None
