"""How long a VM will be off if it is cut over now, told from what its precopies have cost. Pure.

    downtime = shutdown + what the last precopy took besides copying + copying + making the target

The delta grows with the time since the last snapshot, as it did before. Where changes are found by
hashes, the whole disk is read each time, whatever has changed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from datetime import datetime

from mtv.api import forklift
from mtv.planning.power_off import PowerOff
from mtv_operator.migration import conditions, warm

SHUTDOWN_S = 15.0  # of a guest, where none of the plan has been shut down yet
SWITCH_OFF_S = 2.0  # without asking the guest
CREATE_VM_S = 1.0


def predicted_s(vm: forklift.VMStatus, shutdown_s: float, now: datetime) -> int | None:
    """Return the seconds; None as long as there was no delta to tell from."""
    had = [one for one in warm.of(vm).precopies if warm.has_succeeded(one)]
    if len(had) < 2:
        return None
    before, newest = had[-2:]
    took_s = _between_s(newest.start, newest.end)
    copy_s = took_s if newest.delta_seconds is None else newest.delta_seconds
    around_s = max(took_s - copy_s, 0.0)
    gap_s = _between_s(before.start, newest.start)
    tracked = all(one.delta_id for one in newest.deltas)
    if tracked and gap_s > 0:
        since_s = conditions.seconds_since(newest.start, now) + shutdown_s
        copy_s *= since_s / gap_s
    return math.ceil(shutdown_s + around_s + copy_s + CREATE_VM_S)


def shutdown_s(
    vm: forklift.VMStatus,
    others: Iterable[forklift.VMStatus],
    power_off: PowerOff,
    *,
    is_on: bool,
    hears: bool,
) -> float:
    """Return how long the source will take to go off: as measured before, of it or of others."""
    if not is_on:
        return 0.0
    if not power_off.asks_first or not hears:
        return SWITCH_OFF_S
    own = warm.of(vm).shutdown_seconds
    if own is not None:
        return float(own)
    measured = [one.warm.shutdown_seconds for one in others if one.warm and one.id != vm.id]
    known = [float(one) for one in measured if one is not None]
    limit_s = float(power_off.timeout_s)
    return min(statistics.median(known) if known else SHUTDOWN_S, limit_s)


def _between_s(start: str | None, end: str | None) -> float:
    if not start or not end:
        return 0.0
    return max((conditions.moment(end) - conditions.moment(start)).total_seconds(), 0.0)
