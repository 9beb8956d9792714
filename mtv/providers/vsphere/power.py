"""Power of VMs: shut down by the guest, off, on.

Each may be called again at any moment, also after a call whose answer was lost: a VM that is in the
wanted state already, or on its way there, is left alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pyVmomi import vim

from mtv import errors
from mtv.inventory.model import Moref, PowerState
from mtv.providers.vsphere import faults, tasks

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)

TASK_TIMEOUT_S = 60.0


def state(session: Session, vm_id: Moref) -> PowerState:
    """Return the power state at this moment. Raises Gone."""
    values = session.read(vm_id, vim.VirtualMachine, ("runtime.powerState",))
    return PowerState(values["runtime.powerState"])


def shut_down_guest(session: Session, vm_id: Moref) -> None:
    """Ask the guest to shut down; returns at once, `state` tells when it has.

    A VM that is off already is left alone. Raises ToolsNotRunning where nobody hears the request,
    and WrongPowerState for a suspended VM.
    """
    if state(session, vm_id) is PowerState.OFF:
        return
    try:
        vim.VirtualMachine(vm_id, session.stub).ShutdownGuest()
    except faults.WrongPowerState as fault:
        if fault.existing != PowerState.OFF:
            raise
    except errors.SourceUnavailable:
        # Asked or not: the guest may be shutting down. To ask twice harms nobody.
        if state(session, vm_id) is not PowerState.OFF:
            raise


def power_off(session: Session, vm_id: Moref, *, timeout_s: float = TASK_TIMEOUT_S) -> None:
    """Switch the VM off, as by pulling its plug; return when it is off."""
    _switch(session, vm_id, PowerState.OFF, "PowerOffVM_Task", timeout_s)


def power_on(session: Session, vm_id: Moref, *, timeout_s: float = TASK_TIMEOUT_S) -> None:
    """Switch the VM on; return when it is on. A suspended VM is resumed."""
    _switch(session, vm_id, PowerState.ON, "PowerOnVM_Task", timeout_s)


def _switch(
    session: Session, vm_id: Moref, wanted: PowerState, method: str, timeout_s: float
) -> None:
    doing = f"{'powering on' if wanted is PowerState.ON else 'powering off'} {vm_id}"
    if state(session, vm_id) is wanted:
        return
    task = tasks.running(session, vm_id, method)
    try:
        if task is None:
            task = getattr(vim.VirtualMachine(vm_id, session.stub), method)()
        tasks.wait_for(session, task, doing, timeout_s=timeout_s)
    except (errors.Retryable, faults.WrongPowerState, faults.Gone) as fault:
        # The answer was lost, somebody else was faster, or the task is forgotten: what counts is
        # how the VM is now.
        if state(session, vm_id) is wanted:
            _LOG.debug("%s: %s, but it is done", doing, fault)
            return
        _raise_question(session, vm_id, doing)
        raise


def _raise_question(session: Session, vm_id: Moref, doing: str) -> None:
    """Raise SourceRefused if vSphere waits for an administrator's answer about the VM."""
    read = session.read(vm_id, vim.VirtualMachine, ("runtime.question",))
    question = read.get("runtime.question")
    if question is not None:
        raise errors.SourceRefused(
            f"{session.server} waits with {doing} for an answer: {question.text}",
            hint="answer the question in the vSphere client",
        )
