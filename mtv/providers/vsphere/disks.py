"""A VM's disk as a source of bytes: which transport can read it, and opening it.

    with disks.opened(session, vm_id, key) as disk:
        pipeline.copy(disk.source, sink)

`vddk` reads any part of any disk, where the user has supplied VMware's library. `https` reads
ranges of a base disk that nobody writes to: its VM is off, or writes above a snapshot; it goes on
where it broke. `nfc` exports the disk as one stream, snapshots included, and begins again when it
breaks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pyVmomi import vim

from converters.errors import SourceBroken, SourceRefused
from converters.extents import Extent
from converters.sources import http_width
from converters.sources.contract import Source
from converters.sources.http_range import Patience
from converters.sources.vmdk_stream import VmdkStream
from mtv import errors
from mtv.inventory.model import Disk, Moref, PowerState
from mtv.providers.vsphere import faults, folder, nfc, snapshots, vddk, virtual_machine

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)

CONNECTIONS = 4  # of one disk by VDDK; by https as many are open as pay, up to http_width.MOST


class Transport(StrEnum):
    """How bytes of a disk come here."""

    VDDK = "vddk"
    HTTPS = "https"
    NFC = "nfc"


class DiskLocked(faults.Locked):
    """The VM runs, and holds the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides how a disk can be read."""

    vm_name: str
    power_state: PowerState
    disk: Disk
    disks: tuple[Disk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to open. `percent` is what an export reports to vSphere as its progress."""

    transport: str = ""  # "": choose
    vddk_libdir: str = ""  # where VMware's library is; "": nowhere
    connections: int = CONNECTIONS
    patience: Patience = field(default_factory=Patience)
    percent: Callable[[], int] = field(default=lambda: 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDisk:
    """A disk that can be read. `revision` tells this state of its content from another."""

    source: Source
    transport: Transport
    facts: Facts
    revision: str = ""
    why: str = ""  # this transport and not the other
    # Tells what changed in the disk since a change id; raises TrackingLost. None without snapshot.
    changed_since: Callable[[str], list[Extent]] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the VM runs, so that this is not the last state of its disk."""
        return self.facts.power_state is not PowerState.OFF


def facts(session: Session, vm_id: Moref, key: int) -> Facts:
    """Return what is known of a disk now. Raises Gone, or NotFound when the VM lost the disk."""
    paths = ("name", "runtime.powerState", "config.hardware.device", "config.extraConfig")
    read = session.read(vm_id, vim.VirtualMachine, paths)
    extra = {item.key: str(item.value) for item in read.get("config.extraConfig") or ()}
    disks = tuple(virtual_machine.disks_of(read.get("config.hardware.device") or (), extra))
    name = virtual_machine.unescaped(read.get("name", vm_id))
    disk = next((one for one in disks if one.key == key), None)
    if disk is None:
        raise errors.NotFound(
            f"VM {name} ({vm_id}) has no disk with the key {key}",
            hint="it was removed since the VM was read: start the migration again",
        )
    return Facts(
        vm_name=name,
        power_state=PowerState(read["runtime.powerState"]),
        disk=disk,
        disks=disks,
    )


def against_https(known: Facts) -> str:
    """Return why the disk cannot be read by https, or "" if nothing speaks against it. Pure."""
    disk = known.disk
    if disk.parent_files:
        return "the VM has snapshots"
    if disk.rdm:
        return "it is a raw device mapping"
    if not disk.backing.startswith("Flat"):
        return f"its backing is {disk.backing}"
    return ""


def check_power(known: Facts) -> None:
    """Raise DiskLocked where the VM writes to the disk. Pure."""
    if known.power_state is not PowerState.OFF:
        raise DiskLocked(
            f"VM {known.vm_name} is {known.power_state}, and holds {known.disk.file}",
            hint="power the VM off until its disks are copied",
        )


def check_readable(known: Facts) -> None:
    """Raise SourceRefused where no transport can read the disk. Pure."""
    disk = known.disk
    if disk.encrypted:
        raise errors.SourceRefused(
            f"{disk.file} is encrypted", hint="decrypt the VM in vSphere before it is migrated"
        )
    if disk.rdm_physical:
        raise errors.SourceRefused(
            f"{disk.file} is a raw device mapping in physical mode",
            hint="give the LUN to the target's storage, or convert the disk to a VMDK",
        )


@contextlib.contextmanager
def opened(
    session: Session, vm_id: Moref, key: int, options: Options | None = None
) -> Iterator[OpenDisk]:
    """Give a disk of a VM that is off, opened with the transport that fits.

    Raises DiskLocked, Gone, NotFound, SourceRefused, SourceUnavailable; errors of converters where
    the bytes are the trouble.
    """
    options = options or Options()
    known = facts(session, vm_id, key)
    check_power(known)
    check_readable(known)
    with _opened(session, vm_id, known, options, None) as disk:
        yield disk


@contextlib.contextmanager
def opened_in_snapshot(
    session: Session, vm_id: Moref, snapshot: Moref, key: int, options: Options | None = None
) -> Iterator[OpenDisk]:
    """Give a disk as a snapshot holds it; the VM may run meanwhile.

    `revision` is the disk's change id in the snapshot. Raises as `opened`.
    """
    options = options or Options()
    found = snapshots.disks_of(session, snapshot)
    disk = found.get(key)
    if disk is None:
        raise errors.NotFound(
            f"the snapshot {snapshot} of {vm_id} has no disk with the key {key}",
            hint="independent disks and physical RDMs are not in snapshots",
        )
    known = dataclasses.replace(facts(session, vm_id, key), disk=disk, disks=tuple(found.values()))
    check_readable(known)

    def changed_since(change_id: str) -> list[Extent]:
        return snapshots.changed_areas(session, vm_id, snapshot, disk, change_id)

    with _opened(session, vm_id, known, options, snapshot) as opened_disk:
        yield dataclasses.replace(opened_disk, revision=disk.change_id, changed_since=changed_since)


@contextlib.contextmanager
def _opened(
    session: Session, vm_id: Moref, known: Facts, options: Options, snapshot: Moref | None
) -> Iterator[OpenDisk]:
    """Give a disk by the best transport that serves it, or by the one that was asked for."""
    disk, asked = known.disk, options.transport
    reasons: list[str] = []
    with contextlib.ExitStack() as stack:
        opened_disk = None
        for transport in _candidates(options):
            try:
                opened_disk = stack.enter_context(
                    _OPENERS[transport](session, vm_id, known, options, snapshot)
                )
                break
            except folder.NotReadable as fault:
                reasons.append(str(fault))
                if asked:
                    raise errors.SourceRefused(
                        f"{disk.file} cannot be read by {asked}: {fault}",
                        hint="leave the transport open, or set it to nfc",
                    ) from fault
        assert opened_disk is not None, "nfc opens or raises"
        why = "; ".join(reasons) or ("it was asked for" if asked else "")
        _LOG.info("%s is read by %s: %s", disk.file, opened_disk.transport, why)
        yield dataclasses.replace(opened_disk, why=why)


def _candidates(options: Options) -> list[Transport]:
    if options.transport:
        return [Transport(options.transport)]
    return [one for one in Transport if one is not Transport.VDDK or options.vddk_libdir]


@contextlib.contextmanager
def _by_vddk(
    session: Session, vm_id: Moref, known: Facts, options: Options, snapshot: Moref | None
) -> Iterator[OpenDisk]:
    if not options.vddk_libdir:
        raise folder.NotReadable("VMware's VDDK library is not here")
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(
                vddk.opened(
                    session, vm_id, known.disk, libdir=options.vddk_libdir, snapshot=snapshot,
                    connections=options.connections,
                )
            )  # fmt: skip
        except SourceRefused as fault:
            raise folder.NotReadable(str(fault)) from fault
        yield OpenDisk(source=source, transport=Transport.VDDK, facts=known)


@contextlib.contextmanager
def _by_https(
    session: Session, vm_id: Moref, known: Facts, options: Options, _snapshot: Moref | None
) -> Iterator[OpenDisk]:
    against = against_https(known)
    if against:
        raise folder.NotReadable(against)
    source, revision = folder.open_disk(
        session, known.disk, connections=http_width.MOST, patience=options.patience
    )
    with contextlib.closing(source):
        yield OpenDisk(source=source, transport=Transport.HTTPS, facts=known, revision=revision)


@contextlib.contextmanager
def _by_nfc(
    session: Session, vm_id: Moref, known: Facts, options: Options, snapshot: Moref | None
) -> Iterator[OpenDisk]:
    with nfc.Lease(session, vm_id, options.percent, snapshot=snapshot) as lease:
        stream = lease.open(known.disk, known.disks)
        with contextlib.closing(stream):
            source = VmdkStream(stream)
            yield OpenDisk(source=source, transport=Transport.NFC, facts=known)
            told = lease.size_bytes(known.disk, known.disks)
            if told is not None and told != stream.received_bytes:
                raise SourceBroken(
                    f"{stream.received_bytes} bytes came, but {session.server} says it sent {told}",
                    file=known.disk.file,
                )


# In the order in which they are tried.
_OPENERS = {Transport.VDDK: _by_vddk, Transport.HTTPS: _by_https, Transport.NFC: _by_nfc}
