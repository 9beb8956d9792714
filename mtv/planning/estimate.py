"""How much is to be copied, and how long that takes at a given rate.

The upper bound is the capacity of the disks. What a thin disk really holds is known per VM only
(`storage_used_bytes`, snapshots included), so that it gives the likely figure, never the bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from mtv.inventory.model import VM, Disk

# A cold copy of one disk over NFC on a gigabit-class vCenter path; Forklift's documentation
# measures 100 MiB/s for one VM (forklift-documentation, MTV 2.6, "Migration speed").
DEFAULT_RATE = 100 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes of some disks: at most, and likely (what the source has allocated)."""

    capacity_bytes: int = 0
    used_bytes: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            capacity_bytes=self.capacity_bytes + other.capacity_bytes,
            used_bytes=self.used_bytes + other.used_bytes,
        )

    def duration(self, rate: int = DEFAULT_RATE) -> timedelta:
        """Return the likely time to copy at `rate` bytes per second.

        Raises ValueError if the rate is not positive.
        """
        if rate <= 0:
            raise ValueError(f"a rate of {rate} bytes per second never ends")
        return timedelta(seconds=-(-self.used_bytes // rate))


NOTHING = Estimate()


def of(vm: VM, disks: Iterable[Disk]) -> Estimate:
    """Estimate the copy of `disks`, some or all of those of `vm`.

    What the VM uses is shared out by capacity; thick disks hold all of theirs.
    """
    chosen = tuple(disks)
    capacity = sum(max(disk.capacity_bytes, 0) for disk in chosen)
    thin = sum(max(disk.capacity_bytes, 0) for disk in vm.disks if disk.thin)
    thick = sum(max(disk.capacity_bytes, 0) for disk in vm.disks if not disk.thin)
    if not vm.storage_used_bytes or not thin:
        return Estimate(capacity_bytes=capacity, used_bytes=capacity)
    share = min(max(vm.storage_used_bytes - thick, 0) / thin, 1.0)
    used = sum(
        round(disk.capacity_bytes * share) if disk.thin else disk.capacity_bytes
        for disk in chosen
        if disk.capacity_bytes > 0
    )
    return Estimate(capacity_bytes=capacity, used_bytes=used)


def total(estimates: Iterable[Estimate]) -> Estimate:
    """Add up."""
    return sum(estimates, NOTHING)
