"""Disks that come and go while the guest runs."""

from __future__ import annotations

import threading
import time

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import volumes
from mtv_operator.virt_launcher.domain import disks
from mtv_operator.virt_launcher.hypervisor import Hypervisor
from mtv_operator.virt_launcher.kept_state import KeptState
from mtv_operator.virt_launcher.protocol import DiskTarget
from mtv_operator.virt_launcher.volumes import Paths

DETACH_PATIENCE_S = 3.0


class PluggedDisks:
    """Plugs disks in and pulls them out, one at a time."""

    def __init__(self, hypervisor: Hypervisor, paths: Paths, state: KeptState) -> None:
        self._hypervisor, self._paths, self._state = hypervisor, paths, state
        self._lock = threading.Lock()

    def attach(self, disk: kubevirt.Disk, *, read_only: bool) -> None:
        """Plug in a disk. Raises the explained error; a disk that is there already is fine."""
        with self._lock:
            there = self._hypervisor.disks()
            if disks.alias_of(disk.name) not in there:
                image = volumes.plugged_image(self._paths, disk.name, read_only=read_only)
                taken = set(there.values())
                self._hypervisor.attach(disks.device_xml(disk, image, taken))
                there = self._hypervisor.disks()
            target = there.get(disks.alias_of(disk.name), "")
            entry = DiskTarget(name=disk.name, target=target)
            self._state.update(
                lambda domain: msgspec.structs.replace(
                    domain, disks=(*(o for o in domain.disks if o.name != disk.name), entry)
                )
            )

    def detach(self, name: str) -> None:
        """Pull a disk out. Raises Retryable while the guest has not let go of it."""
        alias = disks.alias_of(name)
        with self._lock:
            if alias in self._hypervisor.disks():
                self._hypervisor.detach(alias)
            deadline = time.monotonic() + DETACH_PATIENCE_S
            while alias in self._hypervisor.disks():
                if time.monotonic() > deadline:
                    raise errors.Retryable(f"the guest has not let go of the disk {name} yet")
                time.sleep(0.05)
            self._state.update(
                lambda domain: msgspec.structs.replace(
                    domain, disks=tuple(one for one in domain.disks if one.name != name)
                )
            )
