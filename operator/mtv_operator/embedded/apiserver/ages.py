"""Times as tables show them: `5m32s`, `3d4h`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "<unknown>"
INVALID = "<invalid>"


def parse_time(text: object) -> datetime | None:
    """Return the moment that an RFC 3339 text names; None when it names none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def since(text: object, now: datetime) -> str:
    """Return how long ago a moment was, as kubectl's AGE column has it."""
    if not text:
        return UNKNOWN
    moment = parse_time(text)
    return INVALID if moment is None else shown((now - moment).total_seconds())


def shown(duration_s: float) -> str:
    """Return a duration in at most two units (apimachinery's `duration.HumanDuration`)."""
    seconds = int(duration_s)
    if seconds < -1:
        return INVALID
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    if days < 8 * 365:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"
