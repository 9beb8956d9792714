"""How long a key that failed waits. Pure."""

from __future__ import annotations

CONFLICT_S = 0.02  # the cache has the newer version in a moment
FIRST_S = 0.2
LONGEST_S = 30.0
OPERATOR_S = 10.0  # a person must act first; no hurry


def delay_s(failed: int, *, needs_operator: bool = False) -> float:
    """Return the pause after so many failures in a row, doubling."""
    pause_s = min(LONGEST_S, FIRST_S * 2.0 ** min(failed - 1, 20))
    return max(pause_s, OPERATOR_S) if needs_operator and failed > 3 else pause_s
