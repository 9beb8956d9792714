"""metav1 conditions: found, set, taken away. Pure; a time changes only when the status does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from mtv.api.meta import Condition


def timestamp(now: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((one for one in conditions if one.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Tell whether the condition of a type is there and True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def changed(
    conditions: Sequence[Condition],
    now: datetime,
    *,
    new: Iterable[Condition] = (),
    without: Iterable[str] = (),
) -> tuple[Condition, ...]:
    """Return the conditions with `new` ones in the places of their types, and without others."""
    wanted = {one.type: one for one in new}
    dropped = set(without) - wanted.keys()
    result = []
    for one in conditions:
        if one.type in dropped:
            continue
        result.append(_stamped(wanted.pop(one.type), one, now) if one.type in wanted else one)
    return (*result, *(_stamped(one, None, now) for one in wanted.values()))


def _stamped(new: Condition, old: Condition | None, now: datetime) -> Condition:
    same = old is not None and old.status == new.status
    moment = old.last_transition_time if old is not None and same else timestamp(now)
    return msgspec.structs.replace(new, last_transition_time=moment)
