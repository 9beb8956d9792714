"""The bandwidth limit, by a clock that only moves when somebody waits."""

import pytest

from converters.errors import Cancelled
from converters.intake import Meter


class Time:
    """A clock, and the event that is waited for."""

    def __init__(self):
        self.now = 100.0
        self.stopped = False

    def is_set(self):
        return self.stopped

    def wait(self, seconds):
        self.now += seconds
        return self.stopped


@pytest.mark.parametrize("limit", [10_000, 1 << 20, 250_000_000])
def test_meter_when_source_is_faster_lets_through_the_limit(limit):
    time = Time()
    meter = Meter(limit, time, clock=lambda: time.now)
    for _ in range(500):
        meter.count(meter.piece_bytes)
    assert meter.total_bytes / (time.now - 100) == pytest.approx(limit, rel=0.001)


def test_meter_when_source_is_slower_never_waits():
    time = Time()
    meter = Meter(1000, time, clock=lambda: time.now)
    for _ in range(50):
        time.now += 1.0
        before = time.now
        meter.count(900)
        assert time.now - before == pytest.approx(0.9)  # what came is paid for, nothing saved up


def test_meter_when_source_paused_does_not_catch_up():
    time = Time()
    meter = Meter(1000, time, clock=lambda: time.now)
    time.now += 3600
    begun = time.now
    for _ in range(20):
        meter.count(100)
    assert time.now - begun == pytest.approx(2.0)


def test_meter_when_there_is_no_limit_never_waits():
    time = Time()
    meter = Meter(0, time, clock=lambda: time.now)
    meter.count(1 << 40)
    assert time.now == 100.0


def test_meter_when_the_copy_stops_raises():
    time = Time()
    meter = Meter(1000, time, clock=lambda: time.now)
    time.stopped = True
    with pytest.raises(Cancelled):
        meter.count(1)
