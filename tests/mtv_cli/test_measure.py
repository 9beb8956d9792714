"""What samples promise of a plan, and that a sample stops in time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mtv_planning import plans, source

from converters import testing
from converters.sources.memory import MemorySource
from mtv.cli import measure
from mtv.inventory.model import Moref, PowerState
from mtv.planning import measured
from mtv.planning import plan as planning
from mtv.planning.measured import Path, Sample

OFF = source.vm(id=Moref("vm-50"), name="spare", path="/DC0/vm/spare", power_state=PowerState.OFF)
INVENTORY = source.inventory(source.vm(), OFF)
CONTENT = testing.sample_disk(4 << 20, seed=3)


def planned() -> planning.PlannedPlan:
    found: planning.PlannedPlan = plans.build(INVENTORY, plans.plan({"id": "vm-34"}))
    return found


def test_path_is_sampled_with_a_disk_of_a_vm_that_is_off() -> None:
    asked: list[str] = []

    @contextmanager
    def open_disk(vm: Any, _disk: Any) -> Any:
        asked.append(vm.name)
        yield MemorySource(CONTENT), "https"

    (found,) = measure.samples(planned(), INVENTORY, open_disk, 5.0)
    assert asked == ["spare"]
    assert (found.fetched_bytes, found.problem) == (len(CONTENT), "")
    assert found.data_share is not None
    assert 0 < found.data_share <= 1


def test_path_without_a_vm_that_is_off_says_why_it_is_not_sampled() -> None:
    running = source.inventory(source.vm())
    (found,) = measure.samples(
        plans.build(running, plans.plan({"id": "vm-34"})), running, lambda *_: None, 1.0
    )  # type: ignore[arg-type,return-value]
    assert "no VM on it is off" in found.problem
    assert found.rate == 100 << 20


def test_promise_counts_the_slower_of_source_and_target() -> None:
    plan = planned()
    (path,) = measured.paths(plan, INVENTORY)
    disk = plan.vms[0].volumes[0].disk
    # Of what the disk holds a quarter came over the wire, as it does where holes are not sent.
    seen = Sample(path=path, seconds=1.0, fetched_bytes=50 << 20, settled_bytes=200 << 20,
                  data_bytes=50 << 20)  # fmt: skip
    alone = measured.promise(plan, False, [seen], INVENTORY, None)
    assert alone.likely_s == disk.capacity_bytes / (200 << 20)
    slowed = measured.promise(plan, False, [seen], INVENTORY, float(1 << 20))
    assert slowed.likely_s == slowed.space_bytes / (1 << 20)
    assert slowed.cautious_s > slowed.likely_s


def test_downtime_of_a_warm_plan_is_that_of_its_last_delta() -> None:
    plan = planned()
    sample = Sample(path=next(iter(measured.paths(plan, INVENTORY))))
    cold = measured.promise(plan, False, [sample], INVENTORY, None).downtimes_s["web1"]
    warm = measured.promise(plan, True, [sample], INVENTORY, None).downtimes_s["web1"]
    assert warm < cold


def test_text_says_what_was_seen_and_what_is_missing() -> None:
    path = Path(datastore="ds1", host="esx1")
    seen = Sample(path=path, transport="https", seconds=2.0, fetched_bytes=200 << 20,
                  settled_bytes=400 << 20, data_bytes=100 << 20)  # fmt: skip
    promise = measured.promise(planned(), False, [replace(seen)], INVENTORY, None)
    lines = measure.text([seen], promise, None, ["VApp.Export: grant it"])
    assert "  ds1 by esx1: 100.0 MiB/s by https (200.0 MiB in 2.0 s, 25% of it data)" in lines
    assert "Missing privilege: VApp.Export: grant it" in lines
