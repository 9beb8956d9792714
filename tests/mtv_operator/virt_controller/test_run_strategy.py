"""Every run strategy against every way an instance can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubevirt_objects import NOW, instance, vm

from mtv.api import kubevirt
from mtv_operator.virt_controller import run_strategy, start_failure
from mtv_operator.virt_controller.run_strategy import Request, RunStrategy, Wish

Status = kubevirt.VirtualMachineStatus
START = Request(action="Start")
STOP = Request(action="Stop", uid="vmi-uid")

NONE, LIVE = None, instance("Running")
SUCCEEDED, FAILED = instance("Succeeded", ran=True), instance("Failed", ran=True)
SHOWN = {None: "no instance", "Running": "running", "Succeeded": "succeeded", "Failed": "failed"}

TABLE = [
    # strategy, instance, requests, wish
    ("Always", NONE, (), Wish.START),
    ("Always", LIVE, (), Wish.NOTHING),
    ("Always", LIVE, (STOP, START), Wish.STOP),
    ("Always", SUCCEEDED, (), Wish.STOP),
    ("Always", FAILED, (), Wish.STOP),
    ("RerunOnFailure", NONE, (), Wish.NOTHING),
    ("RerunOnFailure", NONE, (START,), Wish.START),
    ("RerunOnFailure", LIVE, (), Wish.NOTHING),
    ("RerunOnFailure", LIVE, (STOP,), Wish.STOP),
    ("RerunOnFailure", SUCCEEDED, (), Wish.STOP),
    ("RerunOnFailure", FAILED, (), Wish.ASK_FOR_START),
    ("RerunOnFailure", FAILED, (START,), Wish.STOP),
    ("RerunOnFailure", FAILED, (STOP,), Wish.STOP),
    ("Manual", NONE, (), Wish.NOTHING),
    ("Manual", NONE, (START,), Wish.START),
    ("Manual", LIVE, (), Wish.NOTHING),
    ("Manual", LIVE, (STOP,), Wish.STOP),
    ("Manual", SUCCEEDED, (), Wish.NOTHING),
    ("Manual", FAILED, (), Wish.NOTHING),
    ("Manual", FAILED, (STOP, START), Wish.STOP),
    ("Halted", NONE, (), Wish.NOTHING),
    ("Halted", NONE, (START,), Wish.SWITCH_ON),
    ("Halted", LIVE, (), Wish.STOP),
    ("Halted", SUCCEEDED, (), Wish.STOP),
    ("Halted", FAILED, (), Wish.STOP),
    ("Once", NONE, (), Wish.START),
    ("Once", LIVE, (), Wish.NOTHING),
    ("Once", SUCCEEDED, (), Wish.NOTHING),
    ("Once", FAILED, (), Wish.NOTHING),
    ("WaitAsReceiver", NONE, (), Wish.NOTHING),
]


def _id(row):
    strategy, one, requests, _ = row
    phase = one.status.phase if one else None
    asked = "+".join(request.action for request in requests) or "nothing asked"
    return f"{strategy}, {SHOWN[phase]}, {asked}"


@pytest.mark.parametrize("row", TABLE, ids=_id)
def test_course_for_each_strategy_and_instance(row):
    strategy, one, requests, wish = row
    status = Status(state_change_requests=requests, run_strategy=strategy)
    assert run_strategy.course(RunStrategy(strategy), status, one, NOW).wish is wish


def test_rerun_on_failure_starts_when_just_switched_to():
    status = Status(run_strategy="Halted")
    found = run_strategy.course(RunStrategy.RERUN_ON_FAILURE, status, None, NOW)
    assert found.wish is Wish.START


@pytest.mark.parametrize("strategy", RunStrategy)
def test_instance_that_is_going_is_left_alone(strategy):
    found = run_strategy.course(strategy, Status(), instance("Running", deleted=True), NOW)
    assert found.wish is Wish.NOTHING


@pytest.mark.parametrize(
    ("requests", "one", "left"),
    [
        ((STOP, START), None, (START,)),
        ((STOP, START), instance(uid="newer"), (START,)),
        ((STOP, START), instance(), (STOP, START)),
        ((START,), instance(), ()),
        ((START,), instance("Failed"), (START,)),
        ((START,), instance(deleted=True), (START,)),
        ((START,), None, (START,)),
        ((Request(action="Stop"),), None, (Request(action="Stop"),)),
    ],
    ids=[
        "a stop whose instance is gone is done",
        "a stop of an earlier instance is done",
        "a stop of this instance is not",
        "a start with a live instance is done",
        "a start with a failed instance is not",
        "a start with an instance that is going is not",
        "a start without an instance is not",
        "a stop that names nobody stays",
    ],
)
def test_trimmed_takes_off_what_was_done(requests, one, left):
    assert run_strategy.trimmed(requests, one) == left


def test_running_true_and_false_are_always_and_halted():
    assert run_strategy.of(vm(running=True).spec) is RunStrategy.ALWAYS
    assert run_strategy.of(vm(running=False).spec) is RunStrategy.HALTED
    assert run_strategy.of(vm(runStrategy="Sometimes").spec) is None


@given(st.integers(min_value=1, max_value=1000), st.text(max_size=20))
def test_delay_grows_with_the_square_and_is_bounded(count, uid):
    found = start_failure.delay_s(count, uid)
    base = min(10 * count * count, 300)
    assert base <= found <= min(base * 1.5 + 1, 300)


def test_failed_start_is_counted_once_and_forgotten_when_the_guest_runs():
    once = start_failure.counted(None, instance("Failed"), NOW)
    assert once is not None
    assert once.consecutive_fail_count == 1
    assert start_failure.counted(once, instance("Failed"), NOW) == once
    twice = start_failure.counted(once, instance("Failed", uid="second"), NOW)
    assert twice is not None
    assert twice.consecutive_fail_count == 2
    assert start_failure.counted(twice, None, NOW) == twice
    assert start_failure.counted(twice, instance("Scheduling"), NOW) == twice
    assert start_failure.counted(twice, instance("Running"), NOW) is None
    assert start_failure.counted(twice, instance("Failed", ran=True), NOW) is None


def test_back_off_delays_the_next_start():
    failure = start_failure.counted(None, instance("Failed"), NOW)
    status = Status(start_failure=failure)
    found = run_strategy.course(RunStrategy.ALWAYS, status, None, NOW)
    assert found.wish is Wish.WAIT
    assert 10 <= found.wait_s <= 15
