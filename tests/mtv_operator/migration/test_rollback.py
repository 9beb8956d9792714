"""The way back: what is stopped, what is switched on, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migration_simulation import Simulation, of_vms
from mtv_planning import source

from mtv.inventory.model import Moref, PowerState
from mtv.planning import labels
from mtv_operator.migration import actions, plan

OFF = source.vm(power_state=PowerState.OFF)


def migrated(*vms: object) -> Simulation:
    simulation = of_vms(*vms)  # type: ignore[arg-type]
    simulation.start()
    simulation.run()
    assert "Succeeded" in simulation.conditions()
    return simulation


def settle(simulation: Simulation, seconds: int = 10) -> None:
    for _ in range(seconds):
        simulation.step()
        simulation.pass_time(1.0)
    simulation.step()


def test_target_is_stopped_before_the_source_is_switched_on() -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    simulation.step()
    assert "RollingBack" in simulation.vm_conditions()
    assert simulation.count(actions.StopTarget) == 0  # the wish is stored first
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    target = simulation.vms["web1"]
    assert target.spec.run_strategy == "Halted"
    assert target.metadata.annotations[labels.ROLLED_BACK] == "true"
    assert {"RolledBack", "Canceled"} <= simulation.vm_conditions()
    assert not {"Succeeded", "RollingBack"} & simulation.vm_conditions()
    assert simulation.count(actions.GiveBack) == 1


def test_nothing_is_deleted() -> None:
    simulation = migrated()
    claims = dict(simulation.claims)
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    assert simulation.claims == claims
    assert simulation.count(actions.DeleteClaim) == simulation.count(actions.DeleteTransfer) == 0


def test_plan_is_canceled_when_nothing_of_it_is_left() -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    assert simulation.conditions() & {"Succeeded", "Canceled"} == {"Canceled"}


def test_other_vms_of_the_plan_stay_migrated() -> None:
    other = source.vm(id=Moref("vm-35"), name="web2", disks=(), nics=())
    simulation = migrated(source.vm(), other)
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    assert simulation.vm("vm-35").power_state is PowerState.OFF
    assert "Succeeded" in simulation.conditions()
    assert "Succeeded" in simulation.vm_conditions(1)


def test_source_that_was_off_before_stays_off() -> None:
    simulation = migrated(OFF)
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.OFF
    assert "RolledBack" in simulation.vm_conditions()


def test_accepted_vm_is_not_rolled_back() -> None:
    simulation = migrated()
    simulation.wish(accept=("vm-34",))
    settle(simulation, 2)
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    assert {"Accepted", "RollbackRefused", "Succeeded"} <= simulation.vm_conditions()
    assert simulation.vm("vm-34").power_state is PowerState.OFF
    assert simulation.count(actions.StopTarget) == 0


def test_archived_plan_is_not_rolled_back() -> None:
    simulation = migrated()
    spec = msgspec.structs.replace(simulation.plan.spec, archived=True)
    simulation.plan = msgspec.structs.replace(simulation.plan, spec=spec)
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    assert simulation.count(actions.StopTarget) == simulation.count(actions.GiveBack) == 0


def test_plan_archived_on_the_way_back_still_gives_the_source_back() -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    simulation.step()
    spec = msgspec.structs.replace(simulation.plan.spec, archived=True)
    simulation.plan = msgspec.structs.replace(simulation.plan, spec=spec)
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.ON


def test_nothing_is_switched_while_the_source_is_not_connected() -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    simulation.connected = False
    settle(simulation)
    assert simulation.count(actions.GiveBack) == 0
    simulation.connected = True
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.ON


def test_new_migration_is_refused_while_the_old_target_is_there_and_runs_without_it() -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    simulation.start()
    simulation.run()
    (vm,) = simulation.status.vms
    assert "Failed" in simulation.vm_conditions()
    assert vm.error is not None
    assert "rolled back" in " ".join(vm.error.reasons)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    simulation.vms.clear()
    simulation.claims.clear()
    simulation.transfers.clear()
    simulation.start()
    simulation.run()
    assert "Succeeded" in simulation.vm_conditions()


def test_guest_that_is_shut_down_after_the_rollback_stays_off() -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    settle(simulation)
    simulation.power("vm-34", PowerState.OFF)
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.OFF


def test_vm_that_is_gone_from_the_source_is_not_rolled_back() -> None:
    simulation = migrated()
    check = simulation.inventory
    simulation.inventory = replace(check, vms={})
    simulation.wish(rollback=("vm-34",))
    for _ in range(3):
        decision = plan.decide(simulation.observe(), simulation.now)
        assert not any(isinstance(one, actions.StopTarget) for one in decision.actions)
        simulation.plan = msgspec.structs.replace(simulation.plan, status=decision.status)
    assert "RollbackRefused" in simulation.vm_conditions()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["look", "crash", "half", "wait"]), max_size=30))
def test_killed_anywhere_source_and_target_never_run_both(steps: list[str]) -> None:
    simulation = migrated()
    simulation.wish(rollback=("vm-34",))
    for step in steps:
        if step == "wait":
            simulation.pass_time(1.0)
        else:
            simulation.step(crash=step == "crash", keep=0 if step == "half" else None)
    settle(simulation)
    assert simulation.vm("vm-34").power_state is PowerState.ON
    assert "RolledBack" in simulation.vm_conditions()


@pytest.mark.parametrize("name", ["web1", "vm-34"])
def test_vm_is_named_by_name_or_id(name: str) -> None:
    simulation = migrated()
    simulation.wish(rollback=(name,))
    settle(simulation)
    assert "RolledBack" in simulation.vm_conditions()
