"""Disks through an NFC lease: a VM that is off is exported, each disk as a streamOptimized VMDK.

The stream has no length, no ranges, and cannot be resumed; holes are not sent. The lease holds the
VM, and ends by itself unless its holder reports progress, which a timer does here (vSphere Web
Services API 8.0, `HttpNfcLease`). Its URLs carry a ticket and name a host, perhaps `*`: the one
that is being talked to.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pyVmomi import vim

from converters.sources.http_connection import Server
from converters.sources.http_stream import HttpStream
from mtv import errors
from mtv.inventory.model import Bus, Disk, Moref
from mtv.providers.vsphere import faults, folder, properties
from mtv.providers.vsphere.endpoint import DEFAULT_PORT, Trust

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)

READY_TIMEOUT_S = 120.0
_REPORT_S = 30.0  # at least; a quarter of the lease's own timeout where that is shorter
_CONNECT_TIMEOUT_S = 10.0
_THREAD_END_S = 5.0

# `/vm-60/ParaVirtualSCSIController0:1`: class of the controller, its bus number, the unit.
_DEVICE_KEY = re.compile(r"(?P<controller>Virtual\w+?|ParaVirtual\w+?)(?P<bus>\d+):(?P<unit>\d+)$")
_BUS_OF = {"SCSI": Bus.SCSI, "Lsi": Bus.SCSI, "Bus": Bus.SCSI, "AHCI": Bus.SATA, "SATA": Bus.SATA}
_BUS_OF |= {"IDE": Bus.IDE, "NVME": Bus.NVME, "USB": Bus.USB}


class Lease:
    """An export of one VM. Leaving it with success completes it, else it is aborted.

    `percent` is asked, by the timer's thread, for what to report. With `snapshot` the VM may run:
    its disks are given as the snapshot holds them.
    """

    def __init__(
        self,
        session: Session,
        vm_id: Moref,
        percent: Callable[[], int],
        *,
        snapshot: Moref | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._session = session
        self._vm_id = vm_id
        self._percent = percent
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, name="lease", daemon=True)
        self._lease: Any = None
        self.info: Any = None

    def __enter__(self) -> Self:
        session = self._session
        if self._snapshot is not None:
            self._lease = vim.vm.Snapshot(self._snapshot, session.stub).ExportSnapshot()
        else:
            self._lease = vim.VirtualMachine(self._vm_id, session.stub).ExportVm()
        try:
            self._wait_ready()
        except BaseException:
            self._end("HttpNfcLeaseAbort")
            raise
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(_THREAD_END_S)
        self._end("HttpNfcLeaseComplete" if kind is None else "HttpNfcLeaseAbort")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        paths = ("state", "error", "info")
        while True:
            read = properties.of_objects(self._session, [self._lease], {vim.HttpNfcLease: paths})
            values = next(iter(read.values()), {})
            match str(values.get("state", "")):
                case "ready":
                    self.info = values["info"]
                    return
                case "error" | "done":
                    raise self._failed(values.get("error"))
            if time.monotonic() > deadline:
                raise errors.SourceUnavailable(
                    f"the export of {self._vm_id} was not ready after {READY_TIMEOUT_S:g} s"
                )
            time.sleep(0.1)

    def _failed(self, fault: Any) -> errors.MigrationError:
        doing = f"the export of {self._vm_id}"
        if fault is None:
            return errors.SourceUnavailable(f"{self._session.server} ended {doing}")
        return faults.translated(fault, self._session.server, doing)

    def _report(self) -> None:
        """Report progress now and then, so that the lease does not end."""
        timeout_s = float(getattr(self.info, "leaseTimeout", 0) or 4 * _REPORT_S)
        while not self._ended.wait(min(_REPORT_S, timeout_s / 4)):
            try:
                self._lease.HttpNfcLeaseProgress(max(0, min(self._percent(), 99)))
            except errors.Retryable as fault:
                _LOG.info("lease of %s: %s", self._vm_id, fault)
            except errors.MigrationError as fault:
                # The stream shows by itself whether it is still served.
                _LOG.warning("lease of %s: %s", self._vm_id, fault)
                return

    def _end(self, method: str) -> None:
        """End the lease. It ends by itself after its timeout if this fails."""
        try:
            getattr(self._lease, method)()
        except errors.MigrationError as fault:
            _LOG.info("%s of %s: %s", method, self._vm_id, fault)

    def open(self, disk: Disk, disks: Sequence[Disk]) -> HttpStream:
        """Return the stream of one of the VM's disks; `disks` are all of them, in their order."""
        device = device_of(self.info.deviceUrl or (), disk, disks)
        if device is None:
            raise errors.SourceRefused(
                f"{self._session.server} does not export {disk.file}",
                hint="physical RDMs and independent non-persistent disks are left out of exports",
            )
        server, target, is_own = self._address(device)
        login = folder.Login(self._session) if is_own else None
        return HttpStream(server, target, name=disk.base_file, authorization=login)

    def _address(self, device: Any) -> tuple[Server, str, bool]:
        """Return server and target of a device's URL, and whether it is the session's server."""
        url = urlsplit(device.url)
        target = f"{url.path}?{url.query}" if url.query else url.path
        own = folder.server_of(self._session)
        host = url.netloc.rpartition("@")[2]
        if host == "*" or host.startswith("*:"):
            return own, target, True
        name, port = url.hostname or own.host, url.port or DEFAULT_PORT
        if (name, port) == (own.host, own.port):
            return own, target, True
        trust = self._session.trust
        if not trust.insecure and device.sslThumbprint:
            # vCenter, which is trusted, vouches for its hosts.
            trust = Trust(thumbprint=device.sslThumbprint)
        context = trust.context(name, port, _CONNECT_TIMEOUT_S)
        return Server(host=name, port=port, tls=context), target, False

    def size_bytes(self, disk: Disk, disks: Sequence[Disk]) -> int | None:
        """Return how long the stream was by the server's own account, where it keeps one."""
        device = device_of(self.info.deviceUrl or (), disk, disks)
        manifest: Sequence[Any] = ()
        with contextlib.suppress(errors.MigrationError):
            manifest = self._lease.HttpNfcLeaseGetManifest() or ()
        for entry in manifest:
            if device is not None and entry.key == device.key and entry.size:
                return int(entry.size)
        return None


def device_of(devices: Sequence[Any], disk: Disk, disks: Sequence[Disk]) -> Any:
    """Return the device URL of a disk: by bus and unit where its key tells them, else by order.

    None if there is none, or if the order tells nothing because disks were left out.
    """
    exported = [device for device in devices if device.disk]
    named = {place: device for device in exported if (place := _place(device.key)) is not None}
    if len(named) == len(exported):
        return named.get((disk.bus, disk.bus_number, disk.unit_number))
    for candidates in (list(disks), [one for one in disks if not one.rdm_physical]):
        if len(exported) == len(candidates) and disk in candidates:
            return exported[candidates.index(disk)]
    return None


def _place(key: str) -> tuple[Bus, int, int] | None:
    match = _DEVICE_KEY.search(key or "")
    if match is None:
        return None
    for word, bus in _BUS_OF.items():
        if word in match["controller"]:
            return bus, int(match["bus"]), int(match["unit"])
    return None
