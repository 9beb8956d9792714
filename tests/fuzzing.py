"""How long properties are tried: the same examples each time, or many random ones.

`make test` tries the same examples on each run, so that it fails for a change and never by chance.
`make fuzz` (MTV_FUZZ=20) tries that many times more, and others each time; what it finds becomes a
test of its own.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("MTV_FUZZ") or 0)
_USUAL = 100  # hypothesis's own count


def load() -> None:
    """Make these settings those of all properties. To be called before tests are imported."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large] if TIMES else []
    settings.register_profile(
        "mtv", deadline=None, derandomize=not TIMES, max_examples=_USUAL * max(TIMES, 1),
        suppress_health_check=slow,
    )  # fmt: skip
    settings.load_profile("mtv")


def examples(count: int) -> settings:
    """Return the settings of a property that is tried `count` times, or that many times more."""
    return settings(max_examples=count * max(TIMES, 1))


def chance(seed: int) -> random.Random:
    """Return what a test draws its damage from: the same each time, or printed and new."""
    if TIMES:
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}")
    return random.Random(seed)


def rounds(count: int) -> range:
    """Return as many rounds as such a test has."""
    return range(count * max(TIMES, 1))
