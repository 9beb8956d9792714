"""`mtv plan cutover`: when the VMs of a warm migration are switched off and moved."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mtv import errors

if TYPE_CHECKING:
    from mtv.api.forklift import Migration
    from mtv_operator.objects import Client

NEVER = "never"
_FROM_NOW = re.compile(r"\+?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_TODAY = re.compile(r"\d{1,2}:\d{2}")
_HINT = "write now, never, 30m (from now), 22:00, or a time as 2026-01-31T22:00:00+01:00"


def parse(text: str, now: datetime) -> str | None:
    """Return the time that a user has written, as Kubernetes writes it; None for never.

    A time without an offset is that of the user's time zone. Raises BadInput.
    """
    wanted = text.strip().lower()
    if wanted == NEVER:
        return None
    if wanted in ("", "now"):
        return _stamp(now)
    spans = _FROM_NOW.fullmatch(wanted)
    if spans is not None and any(spans.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in spans.groups())
        after = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return _stamp(now + after)
    try:
        if _TODAY.fullmatch(wanted):
            return _stamp(_next(wanted, now))
        return _stamp(datetime.fromisoformat(text.strip()).astimezone())
    except ValueError:
        raise errors.BadInput(f"{text!r} is no time", field="--at", hint=_HINT) from None


def _next(clock: str, now: datetime) -> datetime:
    """Return when the user's clock shows this next."""
    hour, _, minute = clock.partition(":")
    at = now.astimezone().replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    return at if at > now else at + timedelta(days=1)


def span(text: str, field: str) -> int | None:
    """Return the seconds of what a user has written (90s, 15m, 1h); None for nothing.

    Raises BadInput.
    """
    if not text:
        return None
    spans = _FROM_NOW.fullmatch(text.strip().lower())
    days, hours, minutes, rest = (int(part or 0) for part in spans.groups()) if spans else (0,) * 4
    total = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if total <= 0:
        raise errors.BadInput(f"{text!r} is no span", field=field, hint="write 90s, 15m or 1h30m")
    return total


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def patch(migration: Migration, at: str | None, vm_ids: list[str] | None) -> dict[str, Any]:
    """Return the change of a Migration that cuts over `vm_ids` at a time; None is all VMs."""
    if vm_ids is None:
        return {"spec": {"cutover": at, "vmCutover": None}}
    others = [
        {"id": one.id, "cutover": one.cutover}
        for one in migration.spec.vm_cutover
        if one.id not in vm_ids
    ]
    own = [{"id": vm_id, "cutover": at} for vm_id in vm_ids] if at else []
    return {"spec": {"vmCutover": [*others, *own]}}


def ask(client: Client, migration: Migration, at: str | None, vm_ids: list[str] | None) -> None:
    """Write when VMs are to be cut over into a Migration."""
    from mtv.api import forklift

    client.patch(
        forklift.Migration,
        migration.metadata.name,
        migration.metadata.namespace,
        patch(migration, at, vm_ids),
    )
