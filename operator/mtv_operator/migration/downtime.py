"""How long a VM will be off if it is cut over now, told from what its precopies have cost. Pure.

    downtime = shutdown + what the last precopy took besides copying + copying + adapting the guest
             + making the target

The delta grows with the time since the last snapshot, as it did before; what it has more, or less,
than the last one is copied at the rate of that, but not below `LEAST_RATE`: a small delta takes its
time for other reasons. Where changes are found by comparison, the whole disk is read each time,
whatever has changed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime

from mtv.api import forklift
from mtv.planning.power_off import PowerOff
from mtv_operator.migration import conditions, warm

SHUTDOWN_S = 10.0  # of a guest, where none has been shut down here yet
SWITCH_OFF_S = 2.0  # without asking the guest
CREATE_VM_S = 1.0
LEAST_RATE = 32 << 20  # bytes per second


def predicted_s(
    vm: forklift.VMStatus, shutdown_s: float, now: datetime, *, adapting_s: float = 0.0
) -> int | None:
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
    if tracked and gap_s > 0 and newest.delta_bytes is not None:
        since_s = conditions.seconds_since(newest.start, now) + shutdown_s
        more_bytes = newest.delta_bytes * (since_s / gap_s - 1)
        rate = max(newest.delta_bytes / copy_s if copy_s else 0.0, LEAST_RATE)
        copy_s = max(copy_s + more_bytes / rate, 0.0)
    return round(shutdown_s + around_s + copy_s + adapting_s + CREATE_VM_S)


def shutdown_s(
    vm: forklift.VMStatus,
    measured: Sequence[int],
    power_off: PowerOff,
    *,
    is_on: bool,
    hears: bool,
) -> float:
    """Return how long the source will take to go off.

    As long as it did before, else as others did (`measured`), else a guess.
    """
    if not is_on:
        return 0.0
    if not power_off.asks_first or not hears:
        return SWITCH_OFF_S
    own = warm.of(vm).shutdown_seconds
    if own is not None:
        return float(own)
    usual_s = float(statistics.median(measured)) if measured else SHUTDOWN_S
    return min(usual_s, float(power_off.timeout_s))


def measured(vms: Iterable[forklift.VMStatus]) -> tuple[int, ...]:
    """Return how long the guests of these VMs took to shut down, as far as that is known."""
    found = (vm.warm.shutdown_seconds for vm in vms if vm.warm is not None)
    return tuple(one for one in found if one is not None)


def _between_s(start: str | None, end: str | None) -> float:
    if not start or not end:
        return 0.0
    return max((conditions.moment(end) - conditions.moment(start)).total_seconds(), 0.0)
