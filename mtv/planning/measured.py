"""What samples of the ways to a plan's disks promise: time to copy, downtime, space. Pure.

A path is a datastore as one host reaches it. Paths are copied side by side, disks of a path share
it; the target takes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtv.inventory.model import VM, Disk, Inventory, PowerState
from mtv.planning import estimate
from mtv.planning.plan import PlannedPlan

SHUTDOWN_S, CREATE_S = 10.0, 2.0  # of a guest that was never shut down here; making the VM
CAUTION = 0.6  # of the rate that a sample had: it was alone, and short
DELTA_SHARE = 0.01  # of the data, where nothing is known of how much a running guest writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A datastore, as one host reaches it."""

    datastore: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some seconds of reading. `settled` counts the disk's bytes, `data` those that are not zero.

    `problem` says why there is none.
    """

    path: Path
    disk: str = ""
    transport: str = ""
    seconds: float = 0.0
    fetched_bytes: int = 0
    settled_bytes: int = 0
    data_bytes: int = 0
    problem: str = ""

    @property
    def rate(self) -> float:
        """Bytes over the wire per second; the usual, where nothing was read."""
        if not self.seconds or not self.fetched_bytes:
            return float(estimate.DEFAULT_RATE)
        return self.fetched_bytes / self.seconds

    @property
    def data_share(self) -> float | None:
        """Which part of what was read is not zero."""
        return self.data_bytes / self.settled_bytes if self.settled_bytes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Times in seconds: likely, and with caution. Downtimes are by VM."""

    likely_s: float
    cautious_s: float
    space_bytes: int  # on the target, holes left out
    downtimes_s: Mapping[str, float]
    warm: bool


def paths(planned: PlannedPlan, inventory: Inventory) -> dict[Path, list[tuple[VM, Disk]]]:
    """Return the ways to the disks that would be copied."""
    found: dict[Path, list[tuple[VM, Disk]]] = {}
    for one in planned.vms:
        if one.vm is None:
            continue
        for volume in one.volumes:
            found.setdefault(path_of(one.vm, volume.disk, inventory), []).append(
                (one.vm, volume.disk)
            )
    return found


def path_of(vm: VM, disk: Disk, inventory: Inventory) -> Path:
    """Return the way to one disk."""
    store = inventory.datastores.get(disk.datastore) if disk.datastore else None
    host = inventory.hosts.get(vm.host) if vm.host else None
    return Path(
        datastore=disk.package or (store.name if store else disk.datastore or ""),
        host=host.name if host else "",
    )


def candidates(
    path: Path, wanted: Sequence[tuple[VM, Disk]], inventory: Inventory
) -> list[tuple[VM, Disk]]:
    """Return disks that can be read without touching anything: of VMs that are off, the plan's
    own first, the largest first."""
    own = {(vm.id, disk.key) for vm, disk in wanted}
    found = [
        (vm, disk)
        for vm in inventory.vms.values()
        for disk in vm.disks
        if vm.power_state is PowerState.OFF
        and not disk.encrypted
        and path_of(vm, disk, inventory) == path
    ]
    return sorted(
        found, key=lambda pair: ((pair[0].id, pair[1].key) not in own, -pair[1].capacity_bytes)
    )


def promise(
    plan: PlannedPlan,
    warm: bool,
    samples: Sequence[Sample],
    inventory: Inventory,
    target_rate: float | None,
) -> Promise:
    """Return what the samples promise for a plan."""
    by_path = {one.path: one for one in samples}
    on_paths: dict[Path, float] = {}
    space = 0.0
    downtimes: dict[str, float] = {}
    for one in plan.vms:
        if one.vm is None:
            continue
        copy_s = 0.0
        for volume in one.volumes:
            path = path_of(one.vm, volume.disk, inventory)
            sample = by_path.get(path) or Sample(path=path)
            data = _data_bytes(one.vm, volume.disk, sample)
            took_s = _seconds(volume.disk, data, sample)
            on_paths[path] = on_paths.get(path, 0.0) + took_s
            copy_s += max(took_s, data / target_rate if target_rate else 0.0)
            space += data
        running = one.vm.power_state is PowerState.ON
        moved_s = copy_s * DELTA_SHARE if warm and running else copy_s
        downtimes[one.name] = (SHUTDOWN_S if running else 0.0) + moved_s + CREATE_S
    slowest = max(on_paths.values(), default=0.0)
    likely = max(slowest, space / target_rate if target_rate else 0.0)
    return Promise(
        likely_s=likely,
        cautious_s=likely / CAUTION,
        space_bytes=round(space),
        downtimes_s=downtimes,
        warm=warm,
    )


def _data_bytes(vm: VM, disk: Disk, sample: Sample) -> float:
    """Return how much of a disk is data: as the source says, but not less than was seen."""
    known = estimate.of(vm, (disk,))
    if known.used_bytes == known.capacity_bytes and sample.data_share is not None:
        return known.used_bytes * sample.data_share
    seen = sample.data_bytes if sample.disk == disk.file else 0
    return float(max(known.used_bytes, seen))


def _seconds(disk: Disk, data_bytes: float, sample: Sample) -> float:
    """Return how long a disk takes: some ways send its zeros, others only what is data."""
    if not sample.settled_bytes or not sample.seconds:
        return data_bytes / sample.rate
    return disk.capacity_bytes / (sample.settled_bytes / sample.seconds)
