"""KubeVirt's conditions: found, set, taken away. Pure.

VirtualMachine, VirtualMachineInstance and migrations have conditions of the same shape. A time
changes only when the status does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from mtv.api import kubevirt

C = TypeVar(
    "C",
    kubevirt.VirtualMachineCondition,
    kubevirt.VirtualMachineInstanceCondition,
    kubevirt.VirtualMachineInstanceMigrationCondition,
)


def timestamp(now: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: str) -> datetime:
    """Return the time that a timestamp says."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def find(conditions: Iterable[C], kind: str) -> C | None:
    """Return the condition of a type, or None."""
    return next((one for one in conditions if one.type == kind), None)


def is_true(conditions: Iterable[C], kind: str) -> bool:
    """Tell whether the condition of a type is there and True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def has_reason(conditions: Iterable[C], kind: str, status: str, reason: str) -> bool:
    """Tell whether the condition of a type has this status and this reason."""
    found = find(conditions, kind)
    return found is not None and (found.status, found.reason) == (status, reason)


def put(conditions: tuple[C, ...], new: C, now: datetime) -> tuple[C, ...]:
    """Return `conditions` with `new` in its place; the time stays while its status does."""
    old = find(conditions, new.type)
    if new.last_transition_time is None:
        kept = old.last_transition_time if old and old.status == new.status else None
        new = msgspec.structs.replace(new, last_transition_time=kept or timestamp(now))
    placed = [new if one.type == new.type else one for one in conditions]
    if old is None:
        placed.append(new)
    return tuple(placed)


def without(conditions: Iterable[C], *kinds: str) -> tuple[C, ...]:
    """Return the conditions that are not of these types."""
    return tuple(one for one in conditions if one.type not in kinds)
