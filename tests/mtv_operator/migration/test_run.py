"""Runs of a plan, from StorePowerState to the target VM, and every way in which they end."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migration_simulation import Simulation, of_vms
from mtv_planning import source

from mtv import errors
from mtv.inventory.model import Moref, PowerState
from mtv.planning import labels
from mtv_operator.migration import actions
from mtv_operator.migration.itinerary import Phase

OFF = source.vm(power_state=PowerState.OFF)


def state_of(simulation: Simulation, vm_id: str = "vm-34") -> PowerState:
    return simulation.vm(vm_id).power_state


def outcome(simulation: Simulation) -> str:
    (found,) = simulation.conditions() & {"Succeeded", "Failed", "Canceled"}
    return found


def test_a_plan_without_a_migration_is_ready_and_does_nothing() -> None:
    simulation = of_vms()
    simulation.run(5)
    assert simulation.conditions() == {"Ready"}
    assert simulation.done == []


def test_a_running_vm_is_shut_down_copied_and_made() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert list(simulation.vms) == ["web1"]
    assert state_of(simulation) is PowerState.OFF
    assert simulation.vms["web1"].spec.run_strategy == "Always"
    (vm,) = simulation.status.vms
    assert vm.phase == "Completed"
    assert vm.restore_power_state == "On"
    assert vm.new_name == "web1"
    assert vm.disks_copied
    assert simulation.vm_conditions() >= {"Succeeded"}


def test_steps_are_forklifts_and_progress_is_in_whole_mebibytes() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.pass_time(10)
    simulation.step()
    (vm,) = simulation.status.vms
    assert [step.name for step in vm.pipeline] == [
        "Initialize",
        "DiskTransfer",
        "VirtualMachineCreation",
    ]
    assert [step.phase for step in vm.pipeline] == ["Completed", "Running", "Pending"]
    copying = vm.pipeline[1]
    assert (copying.progress.completed, copying.progress.total) == (4096, 8192)
    (task,) = copying.tasks
    assert task.name == "[ds1] web1/web1.vmdk"
    assert task.annotations == {"unit": "MB"}
    assert msgspec.to_builtins(task.progress) == {"completed": 4096, "total": 8192}


def test_the_power_state_is_stored_before_the_guest_is_asked() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.POWER_OFF_SOURCE)
    assert simulation.status.vms[0].restore_power_state == "On"
    assert simulation.count(actions.ShutDownGuest) == 0
    simulation.step()
    assert simulation.count(actions.ShutDownGuest) == 1
    assert simulation.status.vms[0].phase == "WaitForPowerOff"


def test_a_vm_that_is_off_is_not_touched_and_its_target_is_halted() -> None:
    simulation = of_vms(OFF)
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert simulation.count(actions.ShutDownGuest) == 0
    assert simulation.vms["web1"].spec.run_strategy == "Halted"


def test_the_copy_of_the_secret_goes_when_the_run_is_over() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    assert simulation.secret_copy is not None
    assert simulation.secret_copy.metadata.namespace == "prod"
    simulation.run()
    assert simulation.secret_copy is None


def test_a_guest_that_does_not_shut_down_fails_the_vm_and_stays_on() -> None:
    simulation = of_vms(annotations={"mtv.dev/power-off": "graceful; timeout=1m"})
    simulation.guest_s = None
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Failed"
    assert state_of(simulation) is PowerState.ON
    assert simulation.count(actions.PowerOff) == 0
    error = simulation.status.vms[0].error
    assert error is not None
    assert error.phase == "WaitForPowerOff"
    assert "did not shut down within 60 s" in error.reasons[0]


def test_force_is_used_after_the_time_that_the_plan_allows() -> None:
    simulation = of_vms(annotations={"mtv.dev/power-off": "force-after=30s"})
    simulation.guest_s = None
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert (simulation.count(actions.ShutDownGuest), simulation.count(actions.PowerOff)) == (1, 1)


def test_a_guest_without_tools_is_switched_off_where_force_is_allowed() -> None:
    simulation = of_vms(
        source.vm(tools_running=False), annotations={"mtv.dev/power-off": "force-after=5m"}
    )
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert simulation.count(actions.ShutDownGuest) == 0


def test_a_guest_that_goes_down_too_late_is_switched_on_again() -> None:
    simulation = of_vms(annotations={"mtv.dev/power-off": "graceful; timeout=10s"})
    simulation.guest_s = 40
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Failed"
    simulation.pass_time(60)
    assert state_of(simulation) is PowerState.OFF
    simulation.step()
    assert state_of(simulation) is PowerState.ON


def test_a_failed_transfer_fails_the_vm_with_its_words_and_the_source_is_on_again() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    (claim,) = simulation.claims
    simulation.fails[claim] = "the volume is full; make it larger"
    simulation.run()
    assert outcome(simulation) == "Failed"
    assert state_of(simulation) is PowerState.ON
    error = simulation.status.vms[0].error
    assert error is not None
    assert error.phase == "CopyDisks"
    assert error.reasons == ("[ds1] web1/web1.vmdk: the volume is full; make it larger",)
    assert list(simulation.claims) == [claim]
    assert simulation.vms == {}


def test_the_error_is_stored_before_the_source_is_switched_on() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.fails = dict.fromkeys(simulation.claims, "broken")
    simulation.pass_time(1)
    simulation.step()
    assert simulation.status.vms[0].error is not None
    assert state_of(simulation) is PowerState.OFF


@pytest.mark.parametrize("phase", [Phase.COPY_DISKS, Phase.WAIT_FOR_POWER_OFF, Phase.CREATE_VM])
def test_a_cancel_gives_the_source_back_and_keeps_the_claims(phase: Phase) -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(phase)
    claims = set(simulation.claims)
    simulation.cancel("vm-34")
    simulation.run()
    simulation.pass_time(30)
    simulation.run(5)
    assert outcome(simulation) == "Canceled"
    assert state_of(simulation) is PowerState.ON
    assert set(simulation.claims) == claims
    assert simulation.vms == {}
    assert "Canceled" in simulation.vm_conditions()


def test_a_cancel_that_comes_when_the_target_exists_is_too_late() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.CREATE_VM)
    simulation.step(crash=True)
    assert list(simulation.vms) == ["web1"]
    simulation.cancel("vm-34")
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert state_of(simulation) is PowerState.OFF


def test_a_vm_that_waits_for_its_turn_can_be_canceled_alone() -> None:
    other = source.vm(id=Moref("vm-35"), name="web2", disks=(), nics=())
    simulation = of_vms(source.vm(), other)
    simulation.free = 1
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    assert simulation.status.vms[1].started is None
    simulation.cancel("vm-35")
    simulation.run()
    assert [sorted(simulation.vm_conditions(at) & {"Succeeded", "Canceled"}) for at in (0, 1)] == [
        ["Succeeded"],
        ["Canceled"],
    ]
    assert outcome(simulation) == "Succeeded"


def test_deleting_the_migration_cancels_it() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.migrations.clear()
    simulation.run()
    assert outcome(simulation) == "Canceled"
    assert state_of(simulation) is PowerState.ON


def test_a_second_run_uses_what_is_copied_when_the_source_did_not_run() -> None:
    simulation = of_vms(OFF)
    simulation.refuses["CreateVM"] = errors.BadInput("no such machine type")
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Failed"
    error = simulation.status.vms[0].error
    assert error is not None
    assert "no such machine type" in error.reasons[0]
    (before,) = simulation.transfers.values()
    simulation.refuses.clear()
    simulation.faults.clear()
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    (after,) = simulation.transfers.values()
    assert after.metadata.uid == before.metadata.uid
    assert len(simulation.status.history) == 2


def test_a_failed_transfer_goes_on_when_the_source_did_not_run() -> None:
    simulation = of_vms(OFF)
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.fails = dict.fromkeys(simulation.claims, "it is full")
    simulation.run()
    assert outcome(simulation) == "Failed"
    (before,) = simulation.transfers.values()
    simulation.fails.clear()
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    (after,) = simulation.transfers.values()
    assert after.metadata.uid == before.metadata.uid


def test_a_second_run_copies_again_what_ran_in_between() -> None:
    simulation = of_vms()
    simulation.refuses["CreateVM"] = errors.BadInput("no such machine type")
    simulation.start()
    simulation.run()
    assert state_of(simulation) is PowerState.ON
    (before,) = simulation.transfers.values()
    assert before.metadata.annotations[labels.STALE] == "true"
    simulation.refuses.clear()
    simulation.faults.clear()
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    (after,) = simulation.transfers.values()
    assert after.metadata.uid != before.metadata.uid


def test_a_second_run_copies_again_what_was_reconfigured() -> None:
    simulation = of_vms(OFF)
    simulation.refuses["CreateVM"] = errors.BadInput("no")
    simulation.start()
    simulation.run()
    before = {one.metadata.uid for one in simulation.transfers.values()}
    changed = replace(simulation.vm("vm-34"), revision="2026-01-02T00:00:00Z")
    simulation.inventory = source.inventory(changed)
    simulation.refuses.clear()
    simulation.faults.clear()
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert before.isdisjoint(one.metadata.uid for one in simulation.transfers.values())


def test_a_source_that_is_switched_on_during_the_copy_fails_it() -> None:
    simulation = of_vms(OFF)
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.power("vm-34", PowerState.ON)
    simulation.run()
    assert outcome(simulation) == "Failed"
    assert all(labels.STALE in one.metadata.annotations for one in simulation.transfers.values())


def test_a_snapshot_during_the_copy_starts_the_disk_again() -> None:
    simulation = of_vms(OFF)
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    (before,) = simulation.transfers.values()
    disk = replace(source.disk(), file="[ds1] web1/web1-000001.vmdk")
    simulation.inventory = source.inventory(replace(simulation.vm("vm-34"), disks=(disk,)))
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    (after,) = simulation.transfers.values()
    assert after.metadata.uid != before.metadata.uid
    assert after.spec.disk.file == "[ds1] web1/web1-000001.vmdk"


def test_a_vm_that_vanishes_from_the_source_fails() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.inventory = replace(simulation.inventory, vms={})
    simulation.run()
    assert outcome(simulation) == "Failed"


def test_power_on_that_is_refused_is_said_and_does_not_hang() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.refuses["PowerOn"] = errors.SourceRefused("no host has room for it")
    simulation.cancel("vm-34")
    simulation.run()
    error = simulation.status.vms[0].error
    assert error is not None
    assert "could not be switched on again: no host has room for it" in error.reasons[0]


def test_nothing_is_decided_about_power_while_the_source_is_not_connected() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.step()
    simulation.step()
    simulation.connected = False
    simulation.step()
    simulation.step()
    assert simulation.status.vms[0].restore_power_state is None
    simulation.connected = True
    simulation.run()
    assert outcome(simulation) == "Succeeded"


def test_at_most_so_many_vms_are_on_their_way() -> None:
    vms = [
        source.vm(id=Moref(f"vm-{number}"), name=f"web{number}", disks=(), nics=())
        for number in range(5)
    ]
    simulation = of_vms(*vms)
    simulation.free = 2
    simulation.start()
    most = 0
    for _ in range(200):
        simulation.step()
        simulation.pass_time(1)
        moving = [vm for vm in simulation.status.vms if vm.started and not vm.completed]
        most = max(most, len(moving))
    assert most == 2
    assert outcome(simulation) == "Succeeded"
    assert len(simulation.vms) == 5


def test_a_blocked_plan_does_not_begin() -> None:
    simulation = of_vms(source.vm(nics=(source.nic(network=Moref("network-9")),)))
    simulation.start()
    simulation.run(5)
    assert "VMNetworksNotMapped" in simulation.conditions()
    assert "Ready" not in simulation.conditions()
    status = simulation.migrations[0].status
    assert status is not None
    assert [one.type for one in status.conditions] == ["PlanNotReady"]
    assert status.completed is None


def test_a_plan_that_succeeded_has_nothing_left_to_do() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.run()
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert len(simulation.vms) == 1
    assert simulation.count(actions.CreateVM) == 1


def test_a_deleted_plan_gives_back_takes_away_and_keeps_the_vms() -> None:
    other = source.vm(
        id=Moref("vm-35"),
        name="web2",
        nics=(),
        power_state=PowerState.OFF,
        disks=(source.disk(base_file="[ds1] web2/web2.vmdk", file="[ds1] web2/web2.vmdk"),),
    )
    simulation = of_vms(source.vm(), other)
    simulation.start()
    simulation.until(Phase.COPY_DISKS, vm=1)
    simulation.cancel("vm-34")
    simulation.run()
    assert set(simulation.vms) == {"web2"}
    metadata = msgspec.structs.replace(
        simulation.plan.metadata, deletion_timestamp="2026-01-01T01:00:00Z"
    )
    simulation.plan = msgspec.structs.replace(simulation.plan, metadata=metadata)
    for _ in range(5):
        simulation.step()
    assert simulation.plan.metadata.finalizers == ()
    assert simulation.transfers == {}
    assert simulation.secret_copy is None
    assert set(simulation.vms) == {"web2"}
    assert len(simulation.claims) == 1


def test_a_plan_deleted_while_it_runs_switches_its_sources_on_again() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    metadata = msgspec.structs.replace(
        simulation.plan.metadata, deletion_timestamp="2026-01-01T01:00:00Z"
    )
    simulation.plan = msgspec.structs.replace(simulation.plan, metadata=metadata)
    for _ in range(8):
        simulation.step()
    assert state_of(simulation) is PowerState.ON
    assert simulation.plan.metadata.finalizers == ()
    assert (simulation.transfers, simulation.claims) == ({}, {})


def test_an_archived_plan_lets_go_of_transfers_and_secret() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.run()
    spec = msgspec.structs.replace(simulation.plan.spec, archived=True)
    simulation.plan = msgspec.structs.replace(simulation.plan, spec=spec)
    simulation.run(3)
    assert simulation.conditions() >= {"Archived", "Succeeded"}
    assert "Ready" not in simulation.conditions()
    assert simulation.transfers == {}
    assert len(simulation.vms) == 1


def test_a_shared_disk_is_copied_once_and_when_both_are_off() -> None:
    shared = source.disk(2001, shared=True, base_file="[ds1] shared.vmdk", file="[ds1] shared.vmdk")
    first = source.vm(disks=(source.disk(), shared))
    second = source.vm(
        id=Moref("vm-35"),
        name="web2",
        nics=(),
        disks=(source.disk(base_file="[ds1] w2.vmdk", file="[ds1] w2.vmdk"), shared),
    )
    simulation = of_vms(first, second)
    simulation.free = 1
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Succeeded"
    assert len(simulation.transfers) == 3


events = st.lists(
    st.sampled_from(["crash", "some", "step", "wait", "wait", "step", "cancel", "fail", "lose"]),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(story=events, running=st.booleans(), force=st.booleans())
def test_killed_anywhere_it_ends_and_source_and_target_never_run_both(
    story: list[str], running: bool, force: bool
) -> None:
    vm = source.vm() if running else OFF
    how = "force-after=5s" if force else "graceful"
    simulation = of_vms(vm, annotations={"mtv.dev/power-off": how})
    simulation.start()
    for event in story:
        match event:
            case "crash":
                simulation.step(crash=True)
            case "some":
                simulation.step(keep=1)
            case "cancel":
                simulation.cancel("vm-34")
            case "fail":
                simulation.fails = dict.fromkeys(simulation.claims, "broken")
            case "lose":
                simulation.transfers.clear()
            case "wait":
                simulation.pass_time(3)
            case _:
                simulation.step()
    simulation.run(200)
    simulation.pass_time(60)
    simulation.run(3)
    ended = outcome(simulation)
    assert simulation.secret_copy is None
    if ended == "Succeeded":
        assert list(simulation.vms) == ["web1"]
        assert state_of(simulation) is PowerState.OFF
    else:
        assert simulation.vms == {}
        assert state_of(simulation) is vm.power_state


def test_a_target_that_would_be_refused_fails_before_the_source_is_touched() -> None:
    simulation = of_vms()
    simulation.refuses["TryVM"] = errors.BadInput("no such machine type")
    simulation.start()
    simulation.run()
    assert outcome(simulation) == "Failed"
    assert state_of(simulation) is PowerState.ON
    assert simulation.count(actions.ShutDownGuest) == 0
    error = simulation.status.vms[0].error
    assert error is not None
    assert (error.phase, error.reasons) == ("Started", ("no such machine type",))


def test_a_changed_password_reaches_the_transfers() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    assert simulation.secret_copy is not None
    simulation.secret_copy = msgspec.structs.replace(simulation.secret_copy, data={"user": b"old"})
    simulation.step()
    assert simulation.secret_copy is not None
    assert simulation.secret_copy.data["password"] == b"secret"


def test_a_run_whose_provider_is_deleted_waits_and_can_be_canceled() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.until(Phase.COPY_DISKS)
    simulation.has_provider = False
    for _ in range(3):
        simulation.step()
    assert simulation.status.completed is None
    assert "SourceProviderNotValid" in simulation.conditions()
    simulation.migrations.clear()
    simulation.run(5)
    assert outcome(simulation) == "Canceled"
    simulation.has_provider = True
    simulation.step()
    assert "SourceProviderNotValid" not in simulation.conditions()


def test_each_phase_is_told_once() -> None:
    simulation = of_vms()
    simulation.start()
    simulation.run()
    told = [one.reason for one in simulation.done if isinstance(one, actions.Record)]
    assert told == [
        "StorePowerState",
        "PowerOffSource",
        "WaitForPowerOff",
        "CreateDataVolumes",
        "CopyDisks",
        "CreateVM",
        "Completed",
        "VMSucceeded",
    ]
