"""Forklift's conditions: set, found, merged. Pure.

They are not metav1 conditions: `category` says how bad a condition is, `items` lists what it is
about, and a *durable* one stays until somebody takes it away, while all others are what the last
look found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from mtv.api.forklift import Condition
from mtv.planning import problems
from mtv.planning.problems import Problem


class Category(StrEnum):
    """What a condition means for Ready."""

    CRITICAL = "Critical"
    ERROR = "Error"
    WARN = "Warn"
    REQUIRED = "Required"
    ADVISORY = "Advisory"


READY = "Ready"
BLOCKING = frozenset({Category.CRITICAL, Category.ERROR})


def timestamp(now: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text: str | None, now: datetime) -> float:
    """Return how long ago a timestamp was; 0 if there is none or it lies ahead."""
    if not text:
        return 0.0
    return max((now - moment(text)).total_seconds(), 0.0)


def moment(text: str) -> datetime:
    """Return the time that a timestamp tells; without an offset it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def condition(
    kind: str,
    category: Category | str,
    message: str,
    *,
    reason: str | None = None,
    status: str = "True",
    suggestion: str | None = None,
    items: Sequence[str] = (),
    durable: bool = False,
) -> Condition:
    """Make a condition; its time is set when it is merged."""
    return Condition(
        type=kind,
        status=status,
        category=str(category),
        reason=reason,
        message=message,
        suggestion=suggestion,
        items=tuple(items),
        durable=durable or None,
        last_transition_time="",
    )


def of_problems(found: Iterable[Problem]) -> tuple[Condition, ...]:
    """Return one condition for each type of problem."""
    return tuple(
        condition(
            group.type,
            group.category,
            group.message,
            reason=group.reason or None,
            suggestion=group.suggestion or None,
            items=group.items,
        )
        for group in problems.grouped(found)
    )


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((one for one in conditions if one.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Tell whether the condition of a type is there and True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def blocking(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return the conditions that stand against Ready."""
    return tuple(one for one in conditions if one.status == "True" and one.category in BLOCKING)


def merge(
    previous: Sequence[Condition],
    found: Iterable[Condition],
    now: datetime,
    *,
    without: Iterable[str] = (),
) -> tuple[Condition, ...]:
    """Return `found`, and the durable ones of `previous`, with the times of what did not change.

    A type in `found` replaces the previous one of that type; those in `without` are taken away,
    durable or not. The order is that of `previous`, new ones last.
    """
    wanted = {one.type: one for one in found}
    removed = set(without)
    before = {one.type: one for one in previous}
    kept = [
        wanted.get(kind, one)
        for kind, one in before.items()
        if kind not in removed and (kind in wanted or one.durable)
    ]
    new = [one for kind, one in wanted.items() if kind not in before and kind not in removed]
    return tuple(_stamped(one, before.get(one.type), now) for one in (*kept, *new))


def ready(found: Sequence[Condition], message: str) -> tuple[Condition, ...]:
    """Return the Ready condition, unless something blocks it."""
    if blocking(found):
        return ()
    return (condition(READY, Category.REQUIRED, message),)


def _stamped(one: Condition, before: Condition | None, now: datetime) -> Condition:
    if before is not None and _same_state(one, before):
        return msgspec.structs.replace(one, last_transition_time=before.last_transition_time)
    if one.last_transition_time:
        return one
    return msgspec.structs.replace(one, last_transition_time=timestamp(now))


def _same_state(one: Condition, other: Condition) -> bool:
    return (one.status, one.category, one.reason) == (other.status, other.category, other.reason)
