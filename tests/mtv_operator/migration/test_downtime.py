"""What a cutover would take, told from precopies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mtv.api import forklift
from mtv.planning.power_off import PowerOff
from mtv_operator.migration import conditions, downtime

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GIB = 1 << 30


def precopy(ago_s: float, took_s: float, **more: object) -> forklift.Precopy:
    """A precopy whose snapshot was taken so long ago."""
    start = NOW - timedelta(seconds=ago_s)
    return forklift.Precopy(
        name="mtv-precopy-a-1",
        snapshot="snapshot-1",
        start=conditions.timestamp(start),
        end=conditions.timestamp(start + timedelta(seconds=took_s)),
        **{"deltas": (forklift.DiskDelta(disk="a", delta_id="52 aa/1"),), **more},
    )


def vm(*precopies: forklift.Precopy, shutdown_s: int | None = None) -> forklift.VMStatus:
    warm = forklift.Warm(precopies=precopies, shutdown_seconds=shutdown_s)
    return forklift.VMStatus(phase="CopyingPaused", id="vm-1", warm=warm)


FIRST = precopy(3700, 500)


def test_nothing_is_told_before_there_was_a_delta() -> None:
    assert downtime.predicted_s(vm(FIRST), 10, NOW) is None


def test_a_large_delta_grows_with_the_time_since_its_snapshot() -> None:
    last = precopy(100, 90, delta_bytes=36 * GIB, delta_seconds=80.0)
    # 36 GiB in an hour: 1 GiB in 100 s, copied at 0.45 GiB/s; 10 s around it; shutdown; creation.
    found = downtime.predicted_s(vm(FIRST, last), 0, NOW)
    assert found is not None
    assert 10 + 2 + 1 <= found <= 10 + 3 + 2


def test_a_small_delta_takes_as_long_as_before_whatever_the_time() -> None:
    last = precopy(5, 3, delta_bytes=65536, delta_seconds=1.0)
    soon = downtime.predicted_s(vm(precopy(10, 2), last), 20, NOW)
    assert soon == 20 + 2 + 1 + 1


def test_a_comparison_reads_everything_each_time() -> None:
    untracked = (forklift.DiskDelta(disk="a", delta_id=""),)
    last = precopy(10, 100, delta_bytes=8 * GIB, delta_seconds=90.0, deltas=untracked)
    assert downtime.predicted_s(vm(FIRST, last), 5, NOW) == 5 + 10 + 90 + 1


def test_adaptation_is_part_of_it() -> None:
    last = precopy(5, 3, delta_bytes=65536, delta_seconds=1.0)
    without = downtime.predicted_s(vm(FIRST, last), 0, NOW)
    adapted = downtime.predicted_s(vm(FIRST, last), 0, NOW, adapting_s=30)
    assert without is not None
    assert adapted == without + 30


def test_shutdown_is_as_measured_before_of_it_else_of_others_else_a_guess() -> None:
    ask, force = PowerOff(), PowerOff(timeout_s=0, force=True)

    def of(one: forklift.VMStatus, measured: tuple[int, ...], how: PowerOff, on: bool) -> float:
        return downtime.shutdown_s(one, measured, how, is_on=on, hears=True)

    assert of(vm(shutdown_s=7), (30,), ask, True) == 7
    assert of(vm(), (30, 40, 90), ask, True) == 40
    assert of(vm(), (), ask, True) == downtime.SHUTDOWN_S
    assert of(vm(), (), force, True) == downtime.SWITCH_OFF_S
    assert of(vm(), (), ask, False) == 0
    assert of(vm(), (300,), PowerOff(timeout_s=60), True) == 60
