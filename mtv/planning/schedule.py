"""When a schedule is due, and what its windows and limits say of a moment. Pure.

Cron is read as Debian's cron does: a time that a change to summer time leaves out is due at once
after it, one that comes twice is due once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import cronsim

from mtv import errors
from mtv.api.mtv import BandwidthRange, MigrationScheduleSpec, TimeRange

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MOST_MISSED = 100  # as a CronJob: more are not counted


def zone(spec: MigrationScheduleSpec) -> tzinfo:
    """Return the time zone of a schedule. Raises BadInput."""
    try:
        return ZoneInfo(spec.time_zone) if spec.time_zone else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError) as fault:
        raise errors.BadInput(
            f"there is no time zone {spec.time_zone!r}",
            field="spec.timeZone",
            hint="a name of the IANA database: Europe/Berlin, UTC",
        ) from fault


def following(spec: MigrationScheduleSpec, after: datetime) -> datetime:
    """Return the first time after `after` at which the schedule is due. Raises BadInput."""
    try:
        found = next(cronsim.CronSim(spec.schedule, after.astimezone(zone(spec))), None)
    except cronsim.CronSimError as fault:
        raise errors.BadInput(
            f"{spec.schedule!r} is no cron expression: {fault}",
            field="spec.schedule",
            hint="minute, hour, day of month, month, day of week: 0 22 * * Fri",
        ) from fault
    if found is None:
        raise errors.BadInput(f"{spec.schedule!r} is never due", field="spec.schedule")
    return found.astimezone(UTC)


def due(spec: MigrationScheduleSpec, last: datetime, now: datetime) -> tuple[datetime | None, int]:
    """Return the newest time in (last, now] that may still be started, and how many are missed.

    As a CronJob does it: only the newest counts, and none that is past its starting deadline.
    """
    earliest = last
    deadline_s = spec.starting_deadline_seconds
    if deadline_s is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline_s))
    found: datetime | None = None
    count = 0
    moment = following(spec, earliest)
    while moment <= now:
        found, count = moment, count + 1
        if count > _MOST_MISSED:  # somebody set the clock, or we were away for long
            found = max(found, _newest(spec, now))
            break
        moment = following(spec, moment)
    missed = max(count - 1, 0)
    if found is None and following(spec, last) <= now:
        missed = 1
    return found, missed


def _newest(spec: MigrationScheduleSpec, now: datetime) -> datetime:
    """Return the newest due time up to `now`, looked for in steps that grow."""
    step = timedelta(minutes=1)
    while step < timedelta(days=1500):
        moment = following(spec, now - step)
        if moment <= now:
            while (later := following(spec, moment)) <= now:
                moment = later
            return moment
        step *= 2
    return now


def is_open(spec: MigrationScheduleSpec, now: datetime) -> bool:
    """Tell whether plans may be started and cut over now."""
    local = now.astimezone(zone(spec))
    return not spec.windows or any(_holds(one, local) for one in spec.windows)


def opens(spec: MigrationScheduleSpec, now: datetime) -> datetime | None:
    """Return when the next window opens; None where there are none."""
    local = now.astimezone(zone(spec))
    moments = [
        at
        for one in spec.windows
        for day in range(9)
        if (at := _start(one, local, day)) is not None and at > now
    ]
    return min(moments, default=None)


def limit(spec: MigrationScheduleSpec, now: datetime) -> int:
    """Return how many bytes per second a disk may be copied with now; 0: as many as it can."""
    local = now.astimezone(zone(spec))
    found = [one.limit_bytes_per_second for one in spec.bandwidth if _holds(one, local)]
    return min((one for one in found if one > 0), default=0)


def changes(spec: MigrationScheduleSpec, now: datetime) -> datetime | None:
    """Return when a window opens, or a limit begins or ends, next."""
    local = now.astimezone(zone(spec))
    ranges: Sequence[TimeRange | BandwidthRange] = (*spec.windows, *spec.bandwidth)
    moments = [
        at
        for one in ranges
        for day in range(-1, 9)
        for at in (_start(one, local, day), _end(one, local, day))
        if at is not None and at > now
    ]
    return min(moments, default=None)


def _holds(one: TimeRange, local: datetime) -> bool:
    start, end = _clock(one.start), _clock(one.end)
    today, yesterday = _DAYS[local.weekday()], _DAYS[local.weekday() - 1]
    at = local.time()
    if start < end:
        return start <= at < end and _is_on(one, today)
    return (at >= start and _is_on(one, today)) or (at < end and _is_on(one, yesterday))


def _is_on(one: TimeRange, day: str) -> bool:
    return not one.days or day in one.days


def _clock(text: str) -> time:
    return time.fromisoformat(text)


def _start(one: TimeRange, local: datetime, day: int) -> datetime | None:
    date = local.date() + timedelta(days=day)
    if not _is_on(one, _DAYS[date.weekday()]):
        return None
    return datetime.combine(date, _clock(one.start), local.tzinfo).astimezone(UTC)


def _end(one: TimeRange, local: datetime, day: int) -> datetime | None:
    date = local.date() + timedelta(days=day)
    if not _is_on(one, _DAYS[date.weekday()]):
        return None
    over = timedelta(days=1 if _clock(one.end) <= _clock(one.start) else 0)
    return datetime.combine(date + over, _clock(one.end), local.tzinfo).astimezone(UTC)
