"""Events as objects: one for each thing that is said of an object, counted when said again."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from mtv.api import core, meta

MOST_MESSAGE = 1024  # the API server refuses longer ones


def timestamp(now: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def build(
    target: meta.Object,
    reason: str,
    message: str,
    *,
    type: str,  # noqa: A002 - the field's name
    component: str,
    now: datetime,
) -> core.Event:
    """Return the event; its name is made of what it says, so that the same is found again."""
    said = "\0".join((target.metadata.uid, component, type, reason, message))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    name = f"{target.metadata.name[:220].rstrip('.-')}.{digest}"
    return core.Event(
        metadata=meta.ObjectMeta(name=name, namespace=target.metadata.namespace or "default"),
        involved_object=meta.reference_to(target),
        reason=reason,
        message=message[:MOST_MESSAGE],
        type=type,
        source=core.EventSource(component=component),
        reporting_component=component,
        first_timestamp=timestamp(now),
        last_timestamp=timestamp(now),
        count=1,
    )


def again(old: core.Event, now: datetime) -> dict[str, Any]:
    """Return the patch for an event that happened once more."""
    return {"count": (old.count or 1) + 1, "lastTimestamp": timestamp(now)}
