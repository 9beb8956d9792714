"""`mtv plan check --measure`: reads some seconds of each way, writes some to the target.

Nothing is changed: at the source only disks of VMs that are off are read, at the target a file is
written and removed. What cannot be sampled is said, and counted at the usual rate.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters import pipeline
from converters.errors import Cancelled, ConversionError
from converters.extents import Extent
from converters.sources.contract import Source
from mtv import errors
from mtv.cli import dry_run, options
from mtv.cli.follow import size
from mtv.cli.options import Format
from mtv.cli.report_facts import duration
from mtv.planning import measured
from mtv.planning.measured import Promise, Sample

if TYPE_CHECKING:
    from mtv.api.forklift import Provider
    from mtv.inventory.model import VM, Disk, Inventory
    from mtv.planning.plan import PlannedPlan
    from mtv_operator.objects import Client

SAMPLE_S = 5.0
DATA_DIR = Path("/var/lib/mtv")
_WRITE_BYTES = 128 << 20
_MOST_TRIES = 3


class _Nowhere:
    """A sink that keeps nothing."""

    name = "nowhere"

    def prepare(self, capacity_bytes: int, keep: Sequence[Extent]) -> None:
        """Nothing is prepared."""

    def write(self, offset: int, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """Nothing is written."""

    def zero(self, extent: Extent) -> None:
        """Nothing is zeroed."""

    def flush(self) -> None:
        """Nothing is kept."""

    def reader(self) -> Source:
        """There is nothing to read."""
        raise errors.Bug("nothing was kept that could be read")

    def close(self) -> None:
        """Nothing is held."""


def sample(
    path: measured.Path, disk: str, transport: str, source: Source, seconds: float
) -> Sample:
    """Read a disk for some seconds, or to its end. Raises ConversionError."""
    started = time.monotonic()
    running = pipeline.Copy(source, _Nowhere(), pipeline.Options(sums=False))
    try:
        with running:
            if not running.wait(seconds):
                running.cancel()
                while not running.wait(1.0):
                    pass
    except Cancelled:
        pass
    seen = running.progress()
    return Sample(
        path=path,
        disk=disk,
        transport=transport,
        seconds=max(time.monotonic() - started, 0.001),
        fetched_bytes=seen.read_bytes,
        settled_bytes=seen.settled_bytes,
        data_bytes=seen.written_bytes,
    )


Opened = AbstractContextManager[tuple[Source, str]]
Open = Callable[["VM", "Disk"], Opened]


def samples(
    planned: PlannedPlan, inventory: Inventory, open_disk: Open, seconds: float
) -> Iterator[Sample]:
    """Yield a sample of each way."""
    for path, wanted in measured.paths(planned, inventory).items():
        yield _sample_of(path, measured.candidates(path, wanted, inventory), open_disk, seconds)


def _sample_of(
    path: measured.Path, found: Sequence[tuple[VM, Disk]], open_disk: Open, seconds: float
) -> Sample:
    problem = "no VM on it is off, and a disk that is in use cannot be read without a snapshot"
    for vm, disk in found[:_MOST_TRIES]:
        try:
            with open_disk(vm, disk) as (source, transport):
                return sample(path, disk.file, transport, source, seconds)
        except (ConversionError, errors.MigrationError) as fault:
            problem = str(fault)
    return Sample(path=path, problem=problem)


@contextmanager
def opener(client: Client, provider: Provider) -> Iterator[Open]:
    """Give what opens the disks of a Provider."""
    from mtv.cli import sources

    if provider.spec.type == "ova":
        yield _open_packaged
        return
    with sources.session(client, provider) as session:
        from mtv.providers.vsphere import disks

        @contextmanager
        def of_vsphere(vm: VM, disk: Disk) -> Iterator[tuple[Source, str]]:
            with disks.opened(session, vm.id, disk.key) as opened:
                yield opened.source, str(opened.transport)

        yield of_vsphere


@contextmanager
def _open_packaged(_vm: VM, disk: Disk) -> Iterator[tuple[Source, str]]:
    """Open a disk of a package; that it is read in part only is no damage of it."""
    from mtv.providers.ova import disks, inventory, location

    place = disks.Place(location=location.parse(disk.package))
    member = inventory.member_of(disk.file, disk.package)
    with disks.for_a_look(place, member) as opened:
        yield opened.source, disks.TRANSPORT


def target_rate(folder: Path = DATA_DIR) -> float | None:
    """Return how fast this machine's volumes take data; None where they are elsewhere."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return None
    block = os.urandom(4 << 20)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            started = time.monotonic()
            for _ in range(_WRITE_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
            return _WRITE_BYTES / max(time.monotonic() - started, 0.001)
    except OSError as fault:
        print(f"note: {folder} cannot be written to: {fault.strerror}", file=sys.stderr)
        return None


def missing_privileges(client: Client, provider: Provider) -> list[str]:
    """Return what the login at a vSphere may not do, in a sentence each."""
    if provider.spec.type != "vsphere":
        return []
    from mtv.cli import sources
    from mtv.providers.vsphere import doctor

    with sources.session(client, provider) as session:
        found = doctor.privileges(session)
        return [f"{one.seen}: {one.remedy}" for one in found if one.grade != "ok"]


def document(found: Sequence[Sample], promise: Promise, rate: float | None,
             missing: Sequence[str]) -> dict[str, Any]:  # fmt: skip
    """Return the measurement as JSON values."""
    return {
        "paths": [
            {
                "datastore": one.path.datastore,
                "host": one.path.host,
                "disk": one.disk,
                "transport": one.transport,
                "bytesPerSecond": round(one.rate),
                "measured": not one.problem,
                "dataShare": one.data_share,
                "problem": one.problem,
            }
            for one in found
        ],
        "targetBytesPerSecond": round(rate) if rate else None,
        "copySeconds": {"likely": promise.likely_s, "cautious": promise.cautious_s},
        "downtimeSeconds": dict(promise.downtimes_s),
        "spaceBytes": promise.space_bytes,
        "missingPrivileges": list(missing),
    }


def text(found: Sequence[Sample], promise: Promise, rate: float | None,
         missing: Sequence[str]) -> list[str]:  # fmt: skip
    """Return what people read, line by line."""
    lines = ["Measured:"]
    for one in found:
        where = f"{one.path.datastore}" + (f" by {one.path.host}" if one.path.host else "")
        if one.problem:
            lines.append(f"  {where}: not sampled: {one.problem}; {size(one.rate)}/s is assumed")
            continue
        share = f", {one.data_share:.0%} of it data" if one.data_share is not None else ""
        lines.append(
            f"  {where}: {size(one.rate)}/s by {one.transport} ({size(one.fetched_bytes)} in "
            f"{one.seconds:.1f} s{share})"
        )
    lines.append(f"  target: {size(rate)}/s" if rate else "  target: not on this machine")
    lines.append(
        f"To copy it takes {duration(promise.likely_s)} likely, {duration(promise.cautious_s)} "
        f"with caution; {size(promise.space_bytes)} on the target, zeros left out."
    )
    kind = "after its precopies" if promise.warm else "switched off while it is copied"
    for name, seconds in promise.downtimes_s.items():
        lines.append(f"Predicted downtime of {name} ({kind}): {duration(seconds)}")
    lines += [f"Missing privilege: {one}" for one in missing] or ["Privileges: none is missing."]
    return lines


def show(client: Client, look: dry_run.Look, output: Format, seconds: float = SAMPLE_S) -> None:
    """Measure, and print a plan's check with it."""
    from mtv.planning import plan_checks

    with opener(client, look.provider) as open_disk:
        found = list(samples(look.planned, look.inventory, open_disk, seconds))
    rate = target_rate()
    warm = plan_checks.is_warm(look.plan.spec)
    promise = measured.promise(look.planned, warm, found, look.inventory, rate)
    missing = missing_privileges(client, look.provider)
    if output in (Format.JSON, Format.YAML):
        measurement = document(found, promise, rate, missing)
        options.print_document({**dry_run.document(look.planned), "measured": measurement}, output)
        return
    dry_run.print_planned(look.planned, output)
    for line in ("", *text(found, promise, rate, missing)):
        print(line)
