"""How a running source is stopped: by its guest, and by force only where the plan allows it.

The annotation `mtv.dev/power-off` of a Plan says it:

    graceful                   the guest is asked; after 10 minutes the migration fails (default)
    graceful; timeout=30m      the same with another limit
    force-after=5m             asked first, powered off after five minutes
    force                      powered off at once (for VMs that have no tools)

A failed shutdown leaves the source as it is: on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mtv.errors import BadInput

ANNOTATION = "mtv.dev/power-off"
DEFAULT_TIMEOUT_S = 600
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_HINT = "write graceful, graceful; timeout=30m, force-after=5m, or force"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOff:
    """Ask the guest, wait `timeout_s`, then use force if `force`, else fail."""

    timeout_s: int = DEFAULT_TIMEOUT_S
    force: bool = False

    @property
    def needs_tools(self) -> bool:
        """Whether a guest without running tools cannot be stopped this way."""
        return not self.force

    @property
    def asks_first(self) -> bool:
        """Whether the guest is asked at all."""
        return self.timeout_s > 0


def parse(annotations: Mapping[str, str]) -> PowerOff:
    """Read the plan's annotation. Raises BadInput that names it."""
    text = annotations.get(ANNOTATION, "").strip().lower()
    if text in {"", "graceful"}:
        return PowerOff()
    if text == "force":
        return PowerOff(timeout_s=0, force=True)
    found = re.fullmatch(r"(force-after|graceful\s*;\s*timeout)\s*=\s*(\S+)", text)
    if found is None:
        raise BadInput(f"{text!r} is not understood", field=_field(), hint=_HINT)
    return PowerOff(timeout_s=_seconds(found[2]), force=found[1] == "force-after")


def _field() -> str:
    return f"metadata.annotations[{ANNOTATION}]"


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 0 < total <= 24 * 3600:
        raise BadInput(
            f"{text!r} is no duration of one second to one day",
            field=_field(),
            hint="write it as 90s, 5m or 1h30m",
        )
    return total
