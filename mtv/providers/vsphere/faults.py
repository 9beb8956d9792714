"""vSphere faults into our errors; nothing of pyvmomi leaves this package as an exception."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from mtv import errors


class NotAuthenticated(errors.SourceUnavailable):
    """The vSphere session has ended; a new login is needed."""


class Gone(errors.NotFound):
    """The managed object does not exist, or belonged to a session that has ended."""


class Busy(errors.SourceUnavailable):
    """Another task holds the object; the same call succeeds when it is done."""


class Locked(errors.SourceRefused):
    """Somebody holds the file: a running VM, a backup, another migration."""


class ToolsNotRunning(errors.SourceRefused):
    """The guest cannot be asked anything: VMware Tools are missing or do not run."""


class WrongPowerState(errors.SourceRefused):
    """The call is not allowed while the VM is on, off or suspended. `existing` says which."""

    def __init__(self, message: str, *, existing: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.existing = existing


def described(fault: BaseException) -> str:
    """Return what the server said, in one line; the fault's name where it said nothing."""
    text = str(getattr(fault, "msg", "") or "").strip()
    detail = [
        str(message.message)
        for message in getattr(fault, "faultMessage", None) or []
        if getattr(message, "message", None)
    ]
    name = type(fault).__name__.rpartition(".")[2]
    said = "; ".join(dict.fromkeys(part for part in [text, *detail] if part))
    return f"{said} ({name})" if said else name


def translated(fault: BaseException, server: str, doing: str) -> errors.MigrationError:
    """Return our error for a fault of pyvmomi or of the connection below it.

    `server` names the vCenter or ESXi; `doing` the call, as in "PowerOffVM_Task on vm-34".
    """
    if isinstance(fault, errors.MigrationError):
        return fault
    if isinstance(fault, vmodl.MethodFault | vmodl.RuntimeFault):
        return _translated_fault(fault, server, doing)
    if isinstance(fault, TimeoutError):
        return errors.SourceUnavailable(
            f"{server} did not answer {doing} in time",
            hint="the server or the network is overloaded, or a firewall drops the connection",
        )
    if isinstance(fault, OSError | HTTPException):
        return errors.SourceUnavailable(f"the connection to {server} broke in {doing}: {fault!r}")
    if isinstance(fault, ExpatError):
        return errors.SourceUnavailable(f"{server} broke off its answer to {doing}: {fault}")
    return errors.Bug(
        f"the answer of {server} to {doing} cannot be understood: {fault!r}",
        hint="please report this with the version of vSphere",
    )


def _translated_fault(fault: Any, server: str, doing: str) -> errors.MigrationError:
    said = f"{server} refuses {doing}: {described(fault)}"
    match fault:
        case vim.fault.NotAuthenticated():
            return NotAuthenticated(f"{server}: the session has ended")
        case vim.fault.NoPermission():
            return errors.Forbidden(
                f"{said}: the privilege {fault.privilegeId or 'needed'} is missing",
                hint="give the user a role with this privilege on the object or above it, or use "
                "another user; `mtv doctor --provider NAME` lists what is missing",
            )
        case vim.fault.InvalidLogin():
            return errors.Forbidden(said)
        case vmodl.fault.ManagedObjectNotFound():
            return Gone(f"{said}", hint="it was deleted, or moved away, since it was read")
        case vim.fault.ToolsUnavailable():
            return ToolsNotRunning(
                said, hint="start VMware Tools in the guest, or allow the VM to be powered off"
            )
        case vim.fault.InvalidPowerState():
            return WrongPowerState(said, existing=str(fault.existingState or ""))
        case vim.fault.RestrictedVersion():
            return errors.SourceRefused(
                said, hint="the license of this ESXi forbids it (a free license is read-only)"
            )
        case vim.fault.FileLocked() | vim.fault.FileFault():
            return Locked(said, hint="a running VM, a backup or another migration holds the file")
        case vim.fault.TaskInProgress() | vim.fault.ConcurrentAccess():
            return Busy(said, hint="wait until the other task on the object is done")
        case (
            vim.fault.HostConnectFault()
            | vmodl.fault.HostCommunication()
            | vim.fault.Timedout()
            | vmodl.fault.SystemError()
            | vmodl.fault.RequestCanceled()
        ):
            return errors.SourceUnavailable(said)
    return errors.SourceRefused(said)
