"""When a process that ended is started again. Pure."""

from __future__ import annotations

FIRST_S = 0.2
LONGEST_S = 5.0  # VMs and transfers wait for whoever is gone
HEALTHY_S = 60.0  # who ran so long had no fault at the start


def failures(before: int, ran_s: float) -> int:
    """Return how often in a row a process failed, now that it ended once more."""
    return 1 if ran_s >= HEALTHY_S else before + 1


def delay_s(failed: int) -> float:
    """Return how long to wait before the next start, doubling with each failure in a row."""
    return float(min(LONGEST_S, FIRST_S * 2.0 ** max(0, failed - 1)))
