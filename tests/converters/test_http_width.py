"""How many connections are opened, against links that are simulated by arithmetic."""

import pytest

from converters.sources.http_width import Adaptive, Width, decide


def run(rate_of, *, periods=60, most=8, first=4, busy=lambda connections: False):
    """Return the connections of each period on a link that gives `rate_of(connections)`."""
    width, seen = Width(connections=first), []
    for _ in range(periods):
        seen.append(width.connections)
        at = width.connections
        width = decide(width, rate_of(at), most=most, busy=busy(at))
    return seen


def test_decide_when_each_connection_brings_more_opens_as_many_as_allowed():
    assert run(lambda n: 20e6 * n)[-1] == 8


def test_decide_when_link_is_full_stays_near_what_fills_it():
    seen = run(lambda n: min(60e6 * n, 290e6), periods=200)
    assert sorted(set(seen)) == [4, 5, 6]
    assert seen.count(6) < 20  # a look beyond, now and then


def test_decide_when_one_connection_fills_the_link_goes_no_further():
    assert max(run(lambda n: 250e6)) == 5


def test_decide_when_server_is_busy_halves_and_waits():
    seen = run(lambda n: 10e6 * n, busy=lambda n: n > 3, periods=10)
    assert seen[:3] == [4, 2, 2]
    assert min(seen) >= 1


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_decide_when_busy_keeps_one(connections):
    after = decide(Width(connections=connections), 0.0, most=8, busy=True)
    assert after.connections == max(connections // 2, 1)


def test_adaptive_when_many_are_refused_at_once_halves_once():
    now = [0.0]
    width = Adaptive(first=8, most=8, clock=lambda: now[0])
    for _ in range(8):
        width.busy()
    assert width.connections == 4


def test_adaptive_when_bytes_come_faster_with_more_opens_more():
    now = [0.0]
    width = Adaptive(first=2, most=6, clock=lambda: now[0])
    width.begin()
    for _ in range(100):
        now[0] += 0.1
        width.came(1_000_000 * width.connections)
    assert width.connections == 6
