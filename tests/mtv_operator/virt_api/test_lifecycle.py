"""Start, stop and restart for each run strategy: the patches, and the refusals."""

import pytest
from kubevirt_objects import instance, vm

from mtv.api import kubevirt
from mtv_operator.virt_api import lifecycle
from mtv_operator.virt_api.statuses import Refusal

START, STOP = {"action": "Start"}, {"action": "Stop", "uid": "vmi-uid"}
Status = kubevirt.VirtualMachineStatus


def _vm(strategy, **status):
    return vm(runStrategy=strategy, status=Status(**status))


def _queued(orders):
    return next(
        one["value"] for one in orders.status if one["path"] == "/status/stateChangeRequests"
        and one["op"] == "add"
    )  # fmt: skip


def _code(call, *arguments, **options):
    with pytest.raises(Refusal) as caught:
        call(*arguments, **options)
    return caught.value.code


def test_halted_is_switched_on_in_its_own_word():
    orders = lifecycle.start(_vm("Halted"), None, paused=False)
    assert orders.vm == [
        {"op": "test", "path": "/spec/runStrategy", "value": "Halted"},
        {"op": "replace", "path": "/spec/runStrategy", "value": "Always"},
    ]
    orders = lifecycle.start(vm(running=False), None, paused=False)
    assert orders.vm[1] == {"op": "replace", "path": "/spec/running", "value": True}


def test_paused_start_of_a_halted_vm_is_asked_for():
    orders = lifecycle.start(_vm("Halted", ready=False), None, paused=True)
    assert _queued(orders) == [{"action": "Start", "data": {"paused": "true"}}]
    assert orders.vm == []


def test_manual_start_asks_and_ends_an_ended_instance_first():
    assert _queued(lifecycle.start(_vm("Manual"), None, paused=False)) == [START]
    ended = instance("Succeeded", ran=True)
    assert _queued(lifecycle.start(_vm("Manual"), ended, paused=False)) == [STOP, START]


@pytest.mark.parametrize("strategy", ["Always", "Once"])
def test_start_is_refused_by_strategies_that_start_themselves(strategy):
    assert _code(lifecycle.start, _vm(strategy), None, paused=False) == 409


def test_start_of_what_runs_or_failed_is_refused():
    assert _code(lifecycle.start, _vm("Manual"), instance(), paused=False) == 409
    failed = instance("Failed", ran=True)
    assert _code(lifecycle.start, _vm("RerunOnFailure"), failed, paused=False) == 409


@pytest.mark.parametrize("strategy", ["Manual", "RerunOnFailure"])
def test_stop_names_the_instance(strategy):
    assert _queued(lifecycle.stop(_vm(strategy), instance(), grace_s=None)) == [STOP]


@pytest.mark.parametrize("live", [True, False], ids=["running", "between two tries"])
def test_stop_of_always_switches_off(live):
    orders = lifecycle.stop(_vm("Always"), instance() if live else None, grace_s=None)
    assert orders.vm[1]["value"] == "Halted"
    orders = lifecycle.stop(vm(running=True), instance(), grace_s=None)
    assert orders.vm[1] == {"op": "replace", "path": "/spec/running", "value": False}


def test_stop_of_once_switches_off():
    assert lifecycle.stop(_vm("Once"), instance(), grace_s=None).vm[1]["value"] == "Halted"


def test_stop_shortens_the_grace_period():
    orders = lifecycle.stop(_vm("Always"), instance(), grace_s=0)
    assert orders.instance == [
        {"op": "add", "path": "/spec/terminationGracePeriodSeconds", "value": 0}
    ]


def test_stop_of_what_does_not_run_is_refused():
    for strategy in ("Manual", "Halted", "RerunOnFailure"):
        assert _code(lifecycle.stop, _vm(strategy), None, grace_s=None) == 409
    assert _code(lifecycle.stop, _vm("Halted"), instance(), grace_s=None) == 409
    assert lifecycle.stop(_vm("Halted"), instance(), grace_s=5).instance


def test_stop_takes_back_a_start_that_is_delayed():
    waiting = _vm(
        "RerunOnFailure",
        state_change_requests=(kubevirt.VirtualMachineStateChangeRequest(action="Start"),),
    )
    assert lifecycle.stop(waiting, None, grace_s=None).status[-1] == {
        "op": "remove",
        "path": "/status/stateChangeRequests",
    }


@pytest.mark.parametrize("strategy", ["Always", "Manual", "RerunOnFailure"])
def test_restart_asks_for_both(strategy):
    orders = lifecycle.restart(_vm(strategy), instance(), grace_s=None)
    assert _queued(orders) == [STOP, START]
    assert orders.instance == []


def test_forced_restart_leaves_one_second():
    orders = lifecycle.restart(_vm("Always"), instance(), grace_s=0)
    assert orders.instance[-1]["value"] == 1
    assert _code(lifecycle.restart, _vm("Always"), instance(), grace_s=5) == 400


@pytest.mark.parametrize("strategy", ["Halted", "Once"])
def test_restart_is_refused(strategy):
    assert _code(lifecycle.restart, _vm(strategy), instance(), grace_s=None) == 409
    assert _code(lifecycle.restart, _vm("Always"), None, grace_s=None) == 409


def test_lone_stop_replaces_what_waits_and_nothing_else_may():
    waiting = _vm(
        "Manual",
        state_change_requests=(kubevirt.VirtualMachineStateChangeRequest(action="Start"),),
    )
    orders = lifecycle.stop(waiting, instance(), grace_s=None)
    assert orders.status[0] == {
        "op": "test",
        "path": "/status/stateChangeRequests",
        "value": [START],
    }
    assert _queued(orders) == [STOP]
    assert _code(lifecycle.start, waiting, None, paused=False) == 500


def test_start_by_hand_ends_the_back_off():
    failed = _vm("Manual", start_failure=kubevirt.VirtualMachineStartFailure())
    operations = lifecycle.start(failed, None, paused=False).status
    assert operations[-1] == {"op": "remove", "path": "/status/startFailure"}


def test_first_request_makes_the_status():
    (operation,) = lifecycle.start(vm(runStrategy="Manual"), None, paused=False).status
    assert operation == {
        "op": "add",
        "path": "/status",
        "value": {"stateChangeRequests": [START]},
    }
