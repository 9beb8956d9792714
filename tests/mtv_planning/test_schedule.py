"""When a schedule is due, across changes of the clock; its windows and limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv import errors
from mtv.api import meta
from mtv.api.mtv import BandwidthRange, MigrationScheduleSpec, ScheduleGroup, TimeRange
from mtv.planning import schedule

BERLIN = "Europe/Berlin"


def spec(cron: str = "30 2 * * *", **more: Any) -> MigrationScheduleSpec:
    group = ScheduleGroup(plans=(meta.ObjectReference(name="web"),))
    return MigrationScheduleSpec(**{"schedule": cron, "groups": (group,), **more})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
    ],
    ids=["half past two is left out and is due at once after it", "it comes twice and is due once"],
)
def test_due_when_the_clock_is_changed(after: str, expected: list[str]) -> None:
    wanted = spec(time_zone=BERLIN)
    first = schedule.following(wanted, at(after))
    assert [first, schedule.following(wanted, first)] == [at(one) for one in expected]


def test_due_when_runs_were_missed_is_the_newest_alone() -> None:
    found = schedule.due(spec("0 * * * *"), at("2026-01-01T00:00"), at("2026-01-01T05:10"))
    assert found == (at("2026-01-01T05:00"), 4)


def test_due_when_the_starting_deadline_has_passed_is_nothing_and_one_missed() -> None:
    wanted = spec("0 * * * *", starting_deadline_seconds=60)
    assert schedule.due(wanted, at("2026-01-01T00:00"), at("2026-01-01T01:30")) == (None, 1)
    assert schedule.due(wanted, at("2026-01-01T00:00"), at("2026-01-01T01:00:30")) == (
        at("2026-01-01T01:00"),
        0,
    )


def test_due_when_we_were_away_for_years_is_the_newest() -> None:
    now = at("2026-06-01T12:34")
    moment, _ = schedule.due(spec("*/5 * * * *"), at("2024-01-01T00:00"), now)
    assert moment == at("2026-06-01T12:30")


@given(
    last=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1)),
    gap=st.integers(0, 40 * 24 * 60),
)
def test_due_is_never_in_the_future_nor_before_the_last(last: datetime, gap: int) -> None:
    begin = last.replace(tzinfo=UTC)
    now = begin + timedelta(minutes=gap)
    moment, _ = schedule.due(spec("15 3 * * *", time_zone=BERLIN), begin, now)
    assert moment is None or begin < moment <= now


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-01-09T21:30", True),  # Friday, 22:30 in Berlin
        ("2026-01-10T03:00", True),  # the night after
        ("2026-01-10T21:30", False),  # Saturday
        ("2026-01-09T20:30", False),
    ],
)
def test_window_over_midnight_belongs_to_the_day_it_begins(moment: str, is_open: bool) -> None:
    nights = TimeRange(start="22:00", end="06:00", days=("Fri",))
    wanted = spec(time_zone=BERLIN, windows=(nights,))
    assert schedule.is_open(wanted, at(moment)) is is_open


def test_window_says_when_it_opens_and_what_changes_next() -> None:
    nights = TimeRange(start="22:00", end="06:00", days=("Fri",))
    wanted = spec(windows=(nights,))
    assert schedule.opens(wanted, at("2026-01-07T12:00")) == at("2026-01-09T22:00")
    assert schedule.changes(wanted, at("2026-01-09T23:00")) == at("2026-01-10T06:00")


def test_limit_is_the_lowest_that_holds() -> None:
    day = BandwidthRange(start="08:00", end="18:00", limit_bytes_per_second=10 << 20)
    noon = BandwidthRange(start="12:00", end="13:00", limit_bytes_per_second=50 << 20)
    wanted = spec(bandwidth=(day, noon))
    hours = ("07:00", "09:00", "12:30", "18:00")
    limits = [schedule.limit(wanted, at(f"2026-01-07T{hour}")) >> 20 for hour in hours]
    assert limits == [0, 10, 10, 0]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (spec("every day"), "spec.schedule"),
        (spec("0 0 30 2 *"), "spec.schedule"),
        (spec(time_zone="Berlin"), "spec.timeZone"),
    ],
)
def test_schedule_that_cannot_be_read_names_its_field(
    wrong: MigrationScheduleSpec, field: str
) -> None:
    with pytest.raises(errors.BadInput) as refused:
        schedule.following(wrong, at("2026-01-01T00:00"))
    assert refused.value.field == field
