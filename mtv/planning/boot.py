"""From which disk or NIC a target VM starts.

KubeVirt numbers devices by `bootOrder`, each number once. vSphere lists disks, NICs, "cdrom" and
"floppy" in the VM's boot options, mostly leaves the list empty, and then goes through the disks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mtv.errors import BadInput
from mtv.inventory.model import VM, Disk, Nic

_ROOT_DISK = re.compile(
    r"/dev/(?:(?:s|h|v|xv)d(?P<letters>[a-z]{1,2})\d*|nvme(?P<number>\d{1,3})n1(p\d+)?)"
)
_SYSTEM_PATHS = ("/boot", "/", "c:\\", "c:")


def disk_of(vm: VM, disks: Sequence[Disk], *, root_disk: str = "", field: str = "rootDisk") -> int:
    """Return the index in `disks` of the one that holds the system.

    The plan's word wins (`/dev/sdb` is the second), then the VM's own boot order, then the disk
    on which the guest's tools saw /boot, / or C:, then the first. Raises BadInput if `root_disk`
    is no device name, or names a disk that is not there.
    """
    if root_disk:
        return _named_disk(root_disk, len(disks), field)
    keys = [disk.key for disk in disks]
    for kind, key in _sequence(vm):
        if kind == "disk" and key in keys:
            return keys.index(key)
    on = {disk.path.lower(): disk.disk_key for disk in vm.guest_disks if disk.disk_key}
    for path in _SYSTEM_PATHS:
        if on.get(path) in keys:
            return keys.index(on[path])
    return 0


def positions(
    vm: VM, disks: Sequence[Disk], nics: Sequence[Nic], *, root: int, forced: bool = False
) -> dict[int, int]:
    """Return the boot order of the target by device key: 1, 2, 3 without gaps.

    `root` is the index of the system's disk; `forced` puts it before all else, because the plan
    names it. CD drives and floppies stay behind and are left out.
    """
    present = {("disk", disk.key) for disk in disks} | {("net", nic.key) for nic in nics}
    order = [entry for entry in _sequence(vm) if entry in present]
    if disks:
        system = ("disk", disks[root].key)
        if forced and system in order:
            order.remove(system)
        if system not in order:
            order.insert(0 if forced else len(order), system)
    return {key: position for position, (_, key) in enumerate(order, start=1)}


def _sequence(vm: VM) -> tuple[tuple[str, int], ...]:
    """Return the VM's boot order as (`disk` or `net`, device key), each once."""
    found: list[tuple[str, int]] = []
    for entry in vm.boot_order:
        kind, _, key = entry.partition(":")
        if kind in {"disk", "net"} and key.isdigit() and (kind, int(key)) not in found:
            found.append((kind, int(key)))
    return tuple(found)


def _named_disk(root_disk: str, count: int, field: str) -> int:
    found = _ROOT_DISK.fullmatch(root_disk.strip())
    if found is None:
        raise BadInput(
            f"{root_disk!r} is no disk",
            field=field,
            hint="name it as Linux does: /dev/sda is the first disk, /dev/sdb the second",
        )
    if found["number"]:
        index = int(found["number"])
    else:
        index = -1
        for letter in found["letters"]:
            index = (index + 1) * 26 + ord(letter) - ord("a")
    if index >= count:
        raise BadInput(
            f"{root_disk} would be disk {index + 1}, but {count} are migrated", field=field
        )
    return index
