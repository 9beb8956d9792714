"""Warm runs: precopies while the source runs, the cutover, and every way in which they end.

`Simulation.check` holds at each step: the target has what the source had at power-off, no snapshot
is taken twice, none is removed between power-off and the target VM.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migration_simulation import START, Simulation, of_vms
from mtv_planning import source
from simulated_snapshots import Taken, names_of

from mtv import errors
from mtv.api import forklift
from mtv.inventory.model import Moref, PowerState
from mtv_operator.migration import actions, conditions
from mtv_operator.migration.itinerary import Phase


def at(seconds: float) -> str:
    return conditions.timestamp(START + timedelta(seconds=seconds))


def warm(*vms: Any, **more: Any) -> Simulation:
    return of_vms(*vms, **{"warm": True, "precopyIntervalSeconds": 60, **more})


def outcome(simulation: Simulation) -> str:
    (found,) = simulation.conditions() & {"Succeeded", "Failed", "Canceled"}
    return found


def record(simulation: Simulation, vm: int = 0) -> forklift.Warm:
    found = simulation.status.vms[vm].warm
    assert found is not None
    return found


def left(simulation: Simulation, vm_id: str = "vm-34") -> list[str]:
    return names_of(simulation.snapshots.of(vm_id))


def cut(simulation: Simulation, **spec: Any) -> None:
    last = simulation.migrations[-1]
    simulation.migrations[-1] = msgspec.structs.replace(
        last, spec=msgspec.structs.replace(last.spec, **spec)
    )


def busy(simulation: Simulation, seconds: int, *, every_s: int = 1) -> None:
    """Let the guest write while time passes."""
    for _ in range(seconds // every_s):
        simulation.step()
        simulation.pass_time(every_s)
        simulation.write()


def test_phases_and_steps_are_forklifts() -> None:
    simulation = warm()
    simulation.start(cutover=at(100))
    seen: list[str] = []
    for _ in range(400):
        simulation.step()
        phase = simulation.status.vms[0].phase if simulation.status.vms else ""
        if phase and (not seen or seen[-1] != phase):
            seen.append(phase)
        simulation.pass_time(0.5)
    assert outcome(simulation) == "Succeeded"
    first = ["Started", "CreateInitialSnapshot", "WaitForInitialSnapshot"]
    first += ["StoreInitialSnapshotDeltas", "CreateDataVolumes", "CopyDisks", "CopyingPaused"]
    again = ["RemovePreviousSnapshot", "WaitForPreviousSnapshotRemoval"]
    loop = [*again, "CreateSnapshot", "WaitForSnapshot", "StoreSnapshotDeltas", "AddCheckpoint"]
    loop += ["CopyDisks", "CopyingPaused"]
    last = [*again, "StorePowerState", "PowerOffSource", "WaitForPowerOff", "CreateFinalSnapshot"]
    last += ["WaitForFinalSnapshot", "AddFinalCheckpoint", "Finalize", "CreateVM"]
    last += ["RemoveFinalSnapshot", "WaitForFinalSnapshotRemoval", "Completed"]
    assert seen == [*first, *loop, *last]
    assert [step.name for step in simulation.status.vms[0].pipeline] == [
        "Initialize",
        "DiskTransfer",
        "Cutover",
        "VirtualMachineCreation",
    ]


@pytest.mark.parametrize("spec", [{"warm": True}, {"warm": None, "type": "warm"}], ids=str)
def test_a_vm_that_writes_all_the_time_is_whole_at_the_target(spec: dict[str, Any]) -> None:
    simulation = warm(**spec)
    simulation.start(cutover=at(150))
    busy(simulation, 300)
    assert outcome(simulation) == "Succeeded"
    assert simulation.vm("vm-34").power_state is PowerState.OFF
    assert left(simulation) == []
    found = record(simulation)
    assert found.successes >= 3
    assert (found.failures, found.consecutive_failures) == (0, 0)
    for precopy in found.precopies:
        assert all((precopy.start, precopy.end, precopy.removed, precopy.snapshot))
        assert precopy.create_task_id == "task-1"
    (delta,) = found.precopies[-1].deltas
    assert delta.disk == "[ds1] web1/web1.vmdk"
    assert delta.delta_id.startswith("52 aa/")
    (made,) = simulation.transfers.values()
    assert made.status is not None
    assert made.status.checkpoint == made.spec.checkpoint


def test_without_a_cutover_precopies_go_on_and_the_source_stays_on() -> None:
    simulation = warm()
    simulation.start()
    busy(simulation, 400)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    assert record(simulation).successes >= 5
    assert simulation.vms == {}
    assert simulation.count(actions.ShutDownGuest) == 0
    assert record(simulation).next_precopy_at is not None


def test_the_interval_is_an_hour_where_the_plan_says_nothing() -> None:
    simulation = warm(precopyIntervalSeconds=None)
    simulation.start()
    simulation.until(Phase.COPYING_PAUSED)
    simulation.step()
    found = record(simulation)
    end = conditions.moment(str(found.precopies[-1].end))
    assert conditions.moment(str(found.next_precopy_at)) - end == timedelta(hours=1)


def test_change_ids_are_stored_before_the_snapshot_is_removed() -> None:
    simulation = warm()
    simulation.start()
    while not simulation.count(actions.RemoveSnapshots):
        simulation.step()
        simulation.pass_time(1)
    (precopy,) = record(simulation).precopies
    assert precopy.deltas[0].delta_id


def test_a_cutover_that_comes_during_a_precopy_is_made_after_it() -> None:
    simulation = warm(precopyIntervalSeconds=5000)
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    cut(simulation, cutover=at(0))
    simulation.step()
    assert simulation.status.vms[0].phase == Phase.COPY_DISKS
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"
    assert record(simulation).successes == 2


def test_a_first_copy_that_took_long_is_followed_by_another_precopy() -> None:
    simulation = warm(precopyIntervalSeconds=5000)
    simulation.copy_s = 400
    simulation.start(cutover=at(0))
    busy(simulation, 500)
    assert outcome(simulation) == "Succeeded"
    assert record(simulation).successes == 3


def test_the_cutover_of_one_vm_counts_more_than_that_of_all() -> None:
    disk = source.disk(base_file="[ds1] w2.vmdk", file="[ds1] w2.vmdk")
    other = source.vm(id=Moref("vm-35"), name="web2", nics=(), disks=(disk,))
    simulation = warm(source.vm(), other)
    simulation.start(
        cutover=at(50), vm_cutover=(forklift.VMCutover(id="vm-35", cutover=at(100000)),)
    )
    busy(simulation, 200)
    phases = [vm.phase for vm in simulation.status.vms]
    assert phases[0] == "Completed"
    assert simulation.vm("vm-35").power_state is PowerState.ON
    cut(simulation, vm_cutover=(forklift.VMCutover(id="vm-35", cutover=at(0)),))
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"


def test_an_unreadable_cutover_switches_nothing_off() -> None:
    simulation = warm()
    simulation.start(cutover="soon")
    busy(simulation, 100)
    assert simulation.vm("vm-34").power_state is PowerState.ON


def test_vms_that_wait_for_their_cutover_keep_no_others_waiting() -> None:
    vms = [
        source.vm(id=Moref(f"vm-{number}"), name=f"web{number}", disks=(), nics=())
        for number in range(3)
    ]
    simulation = warm(*vms)
    simulation.free = 1
    simulation.start()
    busy(simulation, 60)
    assert all(vm.started for vm in simulation.status.vms)


def test_a_guest_that_ignores_the_shutdown_keeps_running_and_leaves_no_snapshot() -> None:
    simulation = warm(annotations={"mtv.dev/power-off": "graceful; timeout=20s"})
    simulation.guest_s = None
    simulation.start(cutover=at(0))
    simulation.run(300)
    assert outcome(simulation) == "Failed"
    assert simulation.vm("vm-34").power_state is PowerState.ON
    assert left(simulation) == []


def test_a_second_run_goes_on_from_what_is_on_the_target() -> None:
    simulation = warm()
    simulation.refuses["CreateVM"] = errors.BadInput("no such machine type")
    simulation.start(cutover=at(0))
    simulation.run(300)
    assert outcome(simulation) == "Failed"
    assert simulation.vm("vm-34").power_state is PowerState.ON
    assert left(simulation) == []
    (before,) = simulation.transfers.values()
    simulation.refuses.clear()
    simulation.faults.clear()
    simulation.write()
    simulation.start(cutover=at(0))
    simulation.until(Phase.COPY_DISKS)
    simulation.pass_time(5)
    simulation.step()
    (after,) = simulation.transfers.values()
    assert after.metadata.uid == before.metadata.uid
    assert after.status is not None
    assert (after.status.phase, after.status.delta_seconds) == ("Succeeded", simulation.delta_s)
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"


@pytest.mark.parametrize("phase", [one for one in Phase if one not in ("PreHook", "PostHook")])
def test_a_cancel_in_any_phase_gives_the_source_back_without_snapshots(phase: Phase) -> None:
    simulation = warm()
    simulation.start(cutover=at(100))
    for _ in range(300):
        simulation.step()
        if simulation.status.vms and simulation.status.vms[0].phase == phase:
            break
        simulation.pass_time(1)
    too_late = bool(simulation.vms)
    simulation.cancel("vm-34")
    simulation.run(300)
    simulation.pass_time(60)
    simulation.run(5)
    assert left(simulation) == []
    if too_late:
        assert outcome(simulation) == "Succeeded"
        return
    done = outcome(simulation)
    if done == "Canceled":
        assert simulation.vm("vm-34").power_state is PowerState.ON
        assert simulation.vms == {}


def test_a_canceled_delta_is_suspended_and_gone_on_from() -> None:
    simulation = warm(precopyIntervalSeconds=5)
    simulation.start()
    simulation.until(Phase.ADD_CHECKPOINT)
    simulation.until(Phase.COPY_DISKS)
    simulation.pass_time(1)
    simulation.cancel("vm-34")
    simulation.run(60)
    (kept,) = simulation.transfers.values()
    assert kept.spec.suspend
    assert left(simulation) == []
    simulation.start(cutover=at(0))
    busy(simulation, 100)
    assert outcome(simulation) == "Succeeded"
    (after,) = simulation.transfers.values()
    assert after.metadata.uid == kept.metadata.uid


def test_a_snapshot_that_cannot_be_taken_is_tried_again_and_then_told() -> None:
    simulation = warm()
    simulation.start()
    simulation.until(Phase.COPYING_PAUSED)
    simulation.snapshots.refuses["TakeSnapshot"] = errors.SourceRefused("no room on ds1")
    busy(simulation, 120)
    found = record(simulation)
    assert found.consecutive_failures >= 1
    assert simulation.status.vms[0].error is None
    simulation.snapshots.refuses.clear()
    busy(simulation, 200)
    assert record(simulation).consecutive_failures == 0
    simulation.snapshots.refuses["TakeSnapshot"] = errors.SourceRefused("no room on ds1")
    busy(simulation, 3000, every_s=10)
    assert outcome(simulation) == "Failed"
    error = simulation.status.vms[0].error
    assert error is not None
    assert error.reasons == ("no snapshot of the source could be taken: no room on ds1",)
    assert left(simulation) == []


def test_a_final_snapshot_that_cannot_be_taken_gives_the_source_back() -> None:
    simulation = warm()
    simulation.start(cutover=at(0))
    simulation.until(Phase.WAIT_FOR_POWER_OFF)
    simulation.snapshots.refuses["TakeSnapshot"] = errors.SourceRefused("no room on ds1")
    simulation.run(100)
    assert outcome(simulation) == "Failed"
    assert simulation.vm("vm-34").power_state is PowerState.ON


def test_a_lost_vcenter_is_waited_for() -> None:
    simulation = warm()
    simulation.start(cutover=at(0))
    simulation.snapshots.refuses["TakeSnapshot"] = errors.SourceUnavailable("no answer")
    busy(simulation, 300)
    assert simulation.status.vms[0].phase == Phase.WAIT_FOR_INITIAL_SNAPSHOT
    assert record(simulation).failures == 0
    simulation.snapshots.refuses.clear()
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"


def test_a_snapshot_that_is_not_removed_is_reaped_when_the_vm_has_long_moved() -> None:
    simulation = warm()
    simulation.start(cutover=at(0))
    simulation.until(Phase.FINALIZE)
    simulation.snapshots.refuses["RemoveSnapshots"] = errors.SourceRefused("the disk is locked")
    simulation.run(300)
    assert outcome(simulation) == "Succeeded"
    assert "SnapshotsLeft" in simulation.vm_conditions()
    assert len(left(simulation)) == 1
    asked = simulation.count(actions.RemoveSnapshots)
    for _ in range(100):
        simulation.step()
        simulation.pass_time(1)
    assert simulation.count(actions.RemoveSnapshots) - asked < 20, "with a growing pause"
    simulation.snapshots.refuses.clear()
    for _ in range(400):
        simulation.step()
        simulation.pass_time(1)
    assert left(simulation) == []
    assert "SnapshotsLeft" not in simulation.vm_conditions()
    assert all(one.removed for one in record(simulation).precopies)


def test_snapshots_that_cannot_be_removed_do_not_pile_up() -> None:
    simulation = warm()
    simulation.start()
    simulation.snapshots.refuses["RemoveSnapshots"] = errors.SourceRefused("the disk is locked")
    busy(simulation, 800, every_s=4)
    assert len(left(simulation)) == 2
    assert "SnapshotsLeft" in simulation.vm_conditions()
    cut(simulation, cutover=at(0))
    busy(simulation, 400)
    assert outcome(simulation) == "Succeeded"
    assert len(left(simulation)) == 3
    simulation.snapshots.refuses.clear()
    busy(simulation, 400)
    assert left(simulation) == []


def test_the_record_stays_small_however_long_a_vm_waits() -> None:
    simulation = warm(precopyIntervalSeconds=10)
    simulation.start()
    busy(simulation, 400)
    found = record(simulation)
    assert found.successes > 10
    assert len(found.precopies) <= 6
    assert [bool(one.deltas) for one in found.precopies[:-2]] == [False] * (
        len(found.precopies) - 2
    )


def test_a_plan_that_is_deleted_takes_its_snapshot_along() -> None:
    simulation = warm()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    assert len(left(simulation)) == 1
    metadata = msgspec.structs.replace(
        simulation.plan.metadata, deletion_timestamp=conditions.timestamp(simulation.now)
    )
    simulation.plan = msgspec.structs.replace(simulation.plan, metadata=metadata)
    for _ in range(60):
        simulation.step()
        simulation.pass_time(1)
        if not simulation.plan.metadata.finalizers:
            break
    assert left(simulation) == []
    assert simulation.plan.metadata.finalizers == ()
    assert (simulation.transfers, simulation.claims) == ({}, {})


def test_a_snapshot_of_somebody_else_is_not_minded() -> None:
    simulation = warm()
    simulation.start(cutover=at(0))
    simulation.until(Phase.COPY_DISKS)
    simulation.snapshots.of("vm-34").append(
        Taken(name="backup", id="snapshot-99", content=0, ready_at=simulation.now)
    )
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"
    assert left(simulation) == ["backup"]


def test_a_snapshot_that_somebody_removes_costs_a_precopy_only() -> None:
    simulation = warm(precopyIntervalSeconds=20)
    simulation.start()
    simulation.until(Phase.ADD_CHECKPOINT)
    simulation.until(Phase.COPY_DISKS)
    simulation.snapshots.of("vm-34").clear()
    busy(simulation, 100)
    assert record(simulation).failures == 1
    cut(simulation, cutover=at(0))
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"


def test_a_disk_that_is_added_between_precopies_comes_along() -> None:
    simulation = warm(precopyIntervalSeconds=20)
    simulation.start()
    simulation.until(Phase.COPYING_PAUSED)
    added = source.disk(2001)
    simulation.change("vm-34", disks=(*simulation.vm("vm-34").disks, added))
    busy(simulation, 100)
    assert len(simulation.transfers) == 2
    cut(simulation, cutover=at(0))
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"
    (step,) = [one for one in simulation.status.vms[0].pipeline if one.name == "DiskTransfer"]
    assert [task.name for task in step.tasks] == [
        "[ds1] web1/web1.vmdk",
        "[ds1] web1/web1_1.vmdk",
    ]


def test_a_disk_that_has_grown_is_copied_anew() -> None:
    simulation = warm(precopyIntervalSeconds=20)
    simulation.start()
    simulation.until(Phase.COPYING_PAUSED)
    (before,) = simulation.transfers.values()
    grown = source.disk(capacity_bytes=16 << 30)
    simulation.change("vm-34", disks=(grown,))
    busy(simulation, 100)
    (after,) = simulation.transfers.values()
    assert after.metadata.uid != before.metadata.uid
    cut(simulation, cutover=at(0))
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"


def test_disks_that_are_in_no_snapshot_are_copied_when_the_source_is_off() -> None:
    alone = source.disk(2001, mode="independent_persistent")
    simulation = warm(source.vm(disks=(source.disk(), alone)))
    simulation.start(cutover=at(60))
    simulation.until(Phase.COPYING_PAUSED)
    assert len(simulation.transfers) == 1
    simulation.run(300)
    assert outcome(simulation) == "Succeeded"
    assert [one.spec.checkpoint is None for one in simulation.transfers.values()] == [False, True]


def test_without_change_tracking_the_change_id_is_empty() -> None:
    simulation = warm(source.vm(change_tracking=False))
    simulation.start(cutover=at(60))
    busy(simulation, 200)
    assert outcome(simulation) == "Succeeded"
    (made,) = simulation.transfers.values()
    assert made.spec.checkpoint is not None
    assert made.spec.checkpoint.change_id == ""


def test_precopies_go_on_until_the_downtime_is_short_enough() -> None:
    simulation = warm(maxDowntimeSeconds=30, precopyIntervalSeconds=3600)
    simulation.start(cutover=at(0))
    simulation.delta_s = 100
    busy(simulation, 900, every_s=3)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    predicted = record(simulation).predicted_downtime_seconds
    assert predicted is not None
    assert predicted > 30
    assert record(simulation).successes >= 4
    assert "DowntimeGoalMissed" in simulation.vm_conditions()
    simulation.delta_s = 5
    busy(simulation, 300)
    assert outcome(simulation) == "Succeeded"
    found = record(simulation)
    assert found.predicted_downtime_seconds is not None
    assert found.predicted_downtime_seconds <= 30
    assert found.downtime_seconds is not None
    assert found.downtime_seconds <= 30
    assert found.shutdown_seconds in (5, 6, 7)


def test_the_prediction_is_near_to_what_then_happens() -> None:
    disk = source.disk(base_file="[ds1] w2.vmdk", file="[ds1] w2.vmdk")
    other = source.vm(id=Moref("vm-35"), name="web2", nics=(), disks=(disk,))
    simulation = warm(source.vm(), other, maxDowntimeSeconds=600)
    simulation.guest_s = 40
    simulation.delta_s = 30
    simulation.start(cutover=at(100), vm_cutover=(forklift.VMCutover(id="vm-35", cutover=at(400)),))
    busy(simulation, 700)
    assert outcome(simulation) == "Succeeded"
    found = record(simulation, 1)  # the shutdown of the first was measured
    assert found.predicted_downtime_seconds is not None
    assert found.downtime_seconds is not None
    off = abs(found.predicted_downtime_seconds - found.downtime_seconds)
    assert off <= 0.2 * found.downtime_seconds


def test_a_clock_that_jumps_back_holds_no_precopy_up() -> None:
    simulation = warm()
    simulation.start()
    simulation.until(Phase.COPYING_PAUSED)
    busy(simulation, 10)
    assert left(simulation) == []
    simulation.now -= timedelta(days=2)
    busy(simulation, 120)
    assert record(simulation).successes >= 2


def test_a_source_that_is_off_is_migrated_too() -> None:
    simulation = warm(source.vm(power_state=PowerState.OFF))
    simulation.start(cutover=at(0))
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"
    assert simulation.vms["web1"].spec.run_strategy == "Halted"
    assert record(simulation).downtime_seconds is None


def test_a_warm_run_goes_on_cold_where_the_plan_is_changed_for_the_next_run() -> None:
    simulation = warm()
    simulation.start()
    simulation.until(Phase.COPYING_PAUSED)
    simulation.cancel("vm-34")
    simulation.run(60)
    spec = msgspec.structs.replace(simulation.plan.spec, warm=False)
    simulation.plan = msgspec.structs.replace(simulation.plan, spec=spec)
    simulation.start()
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"
    (made,) = simulation.transfers.values()
    assert made.spec.checkpoint is None


events = st.lists(
    st.sampled_from(
        [
            "crash",
            "some",
            "step",
            "wait",
            "wait",
            "step",
            "write",
            "cut",
            "cancel",
            "fail",
            "refuse",
        ]
    ),
    max_size=60,
)


@settings(max_examples=25, deadline=None)
@given(story=events, force=st.booleans(), tracked=st.booleans())
def test_killed_anywhere_it_ends_whole_or_gives_the_source_back(
    story: list[str], force: bool, tracked: bool
) -> None:
    how = "force-after=5s" if force else "graceful"
    simulation = warm(
        source.vm(change_tracking=tracked),
        precopyIntervalSeconds=10,
        annotations={"mtv.dev/power-off": how},
    )
    simulation.copy_s = 6
    simulation.start()
    for event in story:
        match event:
            case "crash":
                simulation.step(crash=True)
            case "some":
                simulation.step(keep=1)
            case "cancel":
                simulation.cancel("vm-34")
            case "cut":
                cut(simulation, cutover=at(0))
            case "fail":
                simulation.fails = dict.fromkeys(simulation.claims, "broken")
            case "refuse":
                refusal = errors.SourceRefused("it is locked")
                simulation.snapshots.refuses = dict.fromkeys(
                    ("TakeSnapshot", "RemoveSnapshots"), refusal
                )
            case "write":
                simulation.write()
            case "wait":
                simulation.pass_time(3)
            case _:
                simulation.step()
    simulation.snapshots.refuses.clear()
    cut(simulation, cutover=at(0))
    simulation.run(900)
    for _ in range(30):
        simulation.pass_time(20)
        simulation.step()
    ended = outcome(simulation)
    assert simulation.secret_copy is None
    assert left(simulation) == []
    if ended == "Succeeded":
        assert list(simulation.vms) == ["web1"]
        assert simulation.vm("vm-34").power_state is PowerState.OFF
    else:
        assert simulation.vms == {}
        assert simulation.vm("vm-34").power_state is PowerState.ON


def test_what_a_target_has_written_to_is_copied_anew_after_a_rollback() -> None:
    simulation = warm()
    simulation.start(cutover=at(0))
    simulation.run(200)
    assert outcome(simulation) == "Succeeded"
    (before,) = simulation.transfers.values()
    simulation.wish(rollback=("vm-34",))
    busy(simulation, 20)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    simulation.vms.clear()  # and its claims were kept
    simulation.start(cutover=at(0))
    busy(simulation, 200)
    assert outcome(simulation) == "Succeeded"
    (after,) = simulation.transfers.values()
    assert after.metadata.uid != before.metadata.uid


def test_what_was_adapted_is_not_brought_up_to_date_but_copied_anew() -> None:
    simulation = warm(skipGuestConversion=False, runPreflightInspection=False)
    simulation.start(cutover=at(0))
    simulation.until(Phase.CREATE_GUEST_CONVERSION_POD)
    (before,) = simulation.transfers.values()
    simulation.step()
    assert simulation.status.vms[0].phase == Phase.CREATE_GUEST_CONVERSION_POD, "marked first"
    simulation.step()
    simulation.cancel("vm-34")
    simulation.run(100)
    assert outcome(simulation) == "Canceled"
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    (after,) = simulation.transfers.values()
    assert after.metadata.uid != before.metadata.uid
