"""What `mtv doctor --provider` looks at: the way to a vCenter and its hosts, and what may be done.

Each check does what a migration would do, and says what it saw; what stops everything after it (no
such host, no login) is the last finding. Nothing is changed at the source: a disk that can only be
exported is exported for one block and the export aborted.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pyVmomi import vim

from converters.errors import ConversionError
from converters.extents import Extent
from converters.intake import LentBuffers
from mtv import errors
from mtv.findings import Finding, failed, ok, warning
from mtv.inventory.model import VM, Host, Inventory, PowerState
from mtv.providers.vsphere import disks, pull
from mtv.providers.vsphere.endpoint import CertificateRejected

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

CONNECT_TIMEOUT_S = 5.0
NFC_PORT, HTTPS_PORT = 902, 443
MOST_NAMED = 20  # VMs or hosts in one finding
_BLOCK = 64 * 1024

# vSphere Web Services API 8.0, "Privileges Reference": without the first group nothing is migrated.
NEEDED = (
    "System.View",
    "System.Read",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "Datastore.Browse",
    "Datastore.FileManagement",  # "Low level file operations": /folder/
    "VApp.Export",  # NFC leases
)
USEFUL = {
    "VirtualMachine.State.CreateSnapshot": "warm migration",
    "VirtualMachine.State.RemoveSnapshot": "warm migration",
    "VirtualMachine.Config.ChangeTracking": "warm migration",
    "VirtualMachine.Provisioning.DiskRandomRead": "warm migration",
}


class _Enough(Exception):
    """One block was read; the rest is not wanted."""


def look_at(session: Session, *, vm_name: str = "", disk: int = 0) -> Iterator[Finding]:
    """Yield findings about the source of a session that is not open yet; closes it at the end.

    `vm_name` and `disk` (by number, from 0) say of which disk a block is read; else it is the first
    VM that is off. Raises nothing of `mtv.errors`.
    """
    host, port = session.endpoint.host, session.endpoint.port
    resolved = _resolution(host)
    yield resolved
    if resolved.grade == "failed":
        return
    reached = _port(f"port {port} of {host}", host, port, hint="nothing can be done without it")
    yield reached
    if reached.grade == "failed":
        return
    try:
        session.open()
    except errors.MigrationError as fault:
        yield _not_open(fault)
        return
    with contextlib.closing(session):
        yield ok("TLS and login", f"{session.user} at {session.content.about.fullName}")
        yield from _inside(session, vm_name, disk)


def _inside(session: Session, vm_name: str, disk: int) -> Iterator[Finding]:
    yield from _guarded("privileges", lambda: privileges(session))
    inventory: Inventory | None = None
    try:
        inventory = pull.inventory(session)
    except errors.MigrationError as fault:
        yield failed("inventory", str(fault), fault.hint or "see the message")
    if inventory is None:
        return
    yield _contents(inventory)
    for host in sorted(inventory.hosts.values(), key=lambda one: one.name):
        yield from _host(host, session)
    yield from _guarded("one block", lambda: _one_block(session, inventory, vm_name, disk))


def _guarded(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except errors.MigrationError as fault:
        yield failed(subject, str(fault), fault.hint or "see the message")


def _resolution(host: str) -> Finding:
    subject = f"name {host}"
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        return failed(
            subject,
            f"cannot be resolved: {fault.strerror or fault}",
            "check the spelling, and the DNS servers of this machine",
        )
    addresses = sorted({str(entry[4][0]) for entry in found})
    return ok(subject, ", ".join(addresses))


def _port(subject: str, host: str, port: int, *, hint: str, is_needed: bool = True) -> Finding:
    grade = failed if is_needed else warning
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT_S):
            return ok(subject, "accepts connections")
    except TimeoutError:
        return grade(
            subject, "does not answer", f"let TCP {port} through the firewall in between; {hint}"
        )
    except socket.gaierror:
        return grade(
            subject, f"the name {host} cannot be resolved", f"make it known to the DNS; {hint}"
        )
    except OSError as fault:
        return grade(
            subject, f"no connection: {fault.strerror or fault}", f"check host and port; {hint}"
        )


def _not_open(fault: errors.MigrationError) -> Finding:
    subject = "login" if isinstance(fault, errors.Forbidden) else "TLS"
    if not isinstance(fault, errors.Forbidden | CertificateRejected):
        subject = "TLS and login"
    return failed(subject, str(fault), fault.hint or "see the message")


def privileges(session: Session) -> Iterator[Finding]:
    """Yield what the login may do, and what it may not."""
    content = session.content
    manager, sessions = content.authorizationManager, content.sessionManager
    if manager is None or sessions is None:
        yield warning("privileges", "the server does not tell them", "use an administrator")
        return
    root = content.rootFolder
    current = pull.properties_of(session, [sessions], vim.SessionManager, ("currentSession",))
    key = next(iter(current.values()))["currentSession"].key
    answer = manager.HasPrivilegeOnEntities([root], key, [*NEEDED, *USEFUL])
    granted = {
        one.privId for entity in answer or () for one in entity.privAvailability if one.isGranted
    }
    missing = [one for one in NEEDED if one not in granted]
    if missing:
        yield failed(
            "privileges",
            f"missing on the root folder: {', '.join(missing)}",
            f"give {session.user} a role with them there, with propagation; or ignore this if the "
            "role is given on folders below",
        )
        return
    unused = [f"{one} ({use})" for one, use in USEFUL.items() if one not in granted]
    if unused:
        yield warning("privileges", f"missing: {', '.join(unused)}", "add them when it is needed")
        return
    yield ok("privileges", f"{len(granted)} of {len(NEEDED) + len(USEFUL)} granted")


def _contents(inventory: Inventory) -> Finding:
    seen = (
        f"{len(inventory.vms)} VMs, {len(inventory.hosts)} hosts, "
        f"{len(inventory.datastores)} datastores, {len(inventory.networks)} networks"
    )
    if not inventory.vms:
        return warning(
            "inventory", seen, "no VM can be seen: give the user a role on them, or there are none"
        )
    if inventory.notes:
        return warning("inventory", f"{seen}; {'; '.join(inventory.notes[:3])}", "see the message")
    return ok("inventory", seen)


def _host(host: Host, session: Session) -> Iterator[Finding]:
    address = host.management_ip or host.name
    if address in (session.endpoint.host, ""):
        return
    label = host.name if address == host.name else f"{host.name} ({address})"
    yield _port(
        f"port {HTTPS_PORT} of {label}",
        address,
        HTTPS_PORT,
        hint="disks of VMs with snapshots are exported by the host itself",
        is_needed=False,
    )
    yield _port(
        f"port {NFC_PORT} of {label}",
        address,
        NFC_PORT,
        hint="VDDK needs it; https and nfc do not",
        is_needed=False,
    )


def _one_block(
    session: Session, inventory: Inventory, vm_name: str, disk: int
) -> Iterator[Finding]:
    vm = _chosen(list(inventory.vms.values()), vm_name)
    if isinstance(vm, Finding):
        yield vm
        return
    if disk >= len(vm.disks):
        seen = f"{vm.name} has {len(vm.disks)} disks"
        yield failed("one block", seen, "choose one by its number, from 0 on")
        return
    chosen = vm.disks[disk]
    subject = f"one block of {vm.name}"
    try:
        transport = _read_block(session, vm, chosen.key)
    except disks.DiskLocked as fault:
        yield warning(subject, str(fault), "name a VM that is off: --vm NAME")
    except (errors.MigrationError, ConversionError) as fault:
        yield failed(subject, str(fault), getattr(fault, "hint", "") or "see the message")
    else:
        yield ok(subject, f"{chosen.file} by {transport}")


def _chosen(vms: Sequence[VM], name: str) -> VM | Finding:
    if name:
        found = [vm for vm in vms if name in (vm.name, vm.id, vm.path)]
        if len(found) == 1:
            return found[0]
        seen = f"{len(found)} VMs are called {name}" if found else f"there is no VM {name}"
        ids = ", ".join(vm.id for vm in found[:MOST_NAMED])
        remedy = f"name one by its id: {ids}" if found else "mtv inventory vms shows them"
        return failed("one block", seen, remedy)
    readable = [vm for vm in vms if vm.power_state is PowerState.OFF and vm.disks]
    if not readable:
        return warning("one block", "no VM with a disk is off", "name a VM that is off: --vm NAME")
    return min(readable, key=lambda vm: (bool(vm.disks[0].parent_files), vm.name))


def _read_block(session: Session, vm: VM, key: int) -> str:
    """Read the beginning of a disk; return by which transport."""
    transport = ""
    with contextlib.suppress(_Enough), disks.opened(session, vm.id, key) as disk:
        transport = disk.transport
        source = disk.source
        if source.capabilities.seekable:
            intake = LentBuffers(buffer_bytes=source.capabilities.buffer_bytes, count=1)
            wanted = [Extent(0, min(_BLOCK, source.capacity_bytes))]
            next(source.feeds(wanted, intake)[0])
        raise _Enough  # of an export the header was read; leaving it this way aborts it
    return transport
