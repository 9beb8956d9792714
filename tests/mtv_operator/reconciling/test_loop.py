"""The loop: each key by one worker at a time, failures again later, nothing forgotten."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

import pytest
import servers

from mtv import errors
from mtv_operator.objects import Key
from mtv_operator.reconciling import Decision, Loop, back_off

KEY = Key("default", "one")


@dataclass
class Counter:
    """A controller that raises its number until it is 3."""

    name: str = "counter"
    value: int = 0
    faults: list[Exception] = field(default_factory=list)
    working: set[Key] = field(default_factory=set)
    overlapped: bool = False
    statuses: list[int] = field(default_factory=list)

    def observe(self, key: Key) -> int | None:
        self.overlapped |= key in self.working
        self.working.add(key)
        return self.value

    def decide(self, observed: int, now: datetime) -> Decision[str, int]:
        assert now.tzinfo is not None
        if observed >= 3:
            return Decision(status=observed)
        return Decision(actions=("raise",), status=observed, requeue_after_s=0.0)

    def perform(self, observed: int, action: str) -> None:
        if self.faults:
            self.working.clear()
            raise self.faults.pop()
        self.value = observed + 1

    def write_status(self, observed: int, status: int) -> None:
        self.statuses.append(status)
        self.working.clear()


@pytest.fixture
def stop():
    event = threading.Event()
    yield event
    event.set()


def run(controller: Counter, stop: threading.Event) -> tuple[Loop, threading.Thread]:
    loop = Loop([controller], workers=3, stop=stop)
    thread = threading.Thread(target=loop.run)
    thread.start()
    return loop, thread


def test_a_key_is_worked_on_until_nothing_is_left_to_do(stop):
    controller = Counter()
    loop, thread = run(controller, stop)
    for _ in range(20):
        loop.enqueue("counter", KEY)

    servers.until(lambda: controller.statuses[-1:] == [3], "the number is 3")
    stop.set()
    thread.join(5)
    assert controller.value == 3
    assert not controller.overlapped


@pytest.mark.parametrize(
    "fault",
    [errors.Conflict("newer"), errors.SourceUnavailable("away"), ValueError("ours")],
    ids=lambda fault: type(fault).__name__,
)
def test_a_failed_key_is_tried_again_and_its_status_not_written_before(stop, fault):
    controller = Counter(faults=[fault])
    loop, thread = run(controller, stop)
    loop.enqueue("counter", KEY)

    servers.until(lambda: controller.statuses[-1:] == [3], "the number is 3")
    stop.set()
    thread.join(5)
    assert controller.statuses[0] == 0


def test_a_later_date_does_not_put_off_an_earlier_one(stop):
    controller = Counter(value=3)
    loop, thread = run(controller, stop)
    began = time.monotonic()
    loop.enqueue("counter", KEY, after_s=0.05)
    loop.enqueue("counter", KEY, after_s=60)

    servers.until(lambda: controller.statuses, "it was worked on")
    assert time.monotonic() - began < 10
    stop.set()
    thread.join(5)


def test_pauses_double_and_end_at_the_longest():
    pauses = [back_off.delay_s(number) for number in range(1, 12)]

    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses[-1] == back_off.LONGEST_S
    assert back_off.delay_s(4, needs_operator=True) == back_off.OPERATOR_S
