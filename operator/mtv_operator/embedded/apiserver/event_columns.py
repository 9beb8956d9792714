"""What `kubectl get events` says of an event, of either group. Pure."""

from __future__ import annotations

from typing import Any

from mtv_operator.embedded.apiserver.cells import get

Document = dict[str, Any]


def target(event: Document) -> str:
    """Return what an event is about: `pod/web`."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    kind = str(about.get("kind") or "").lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def source(event: Document) -> str:
    """Return who reports it, and from which node."""
    told = event.get("source") or event.get("deprecatedSource") or {}
    component = (
        told.get("component")
        or event.get("reportingComponent")
        or event.get("reportingController")
        or ""
    )
    return f"{component}, {told['host']}" if told.get("host") else component


def times(event: Document) -> tuple[object, object]:
    """Return when an event was first and last seen."""
    first = (
        event.get("firstTimestamp")
        or event.get("deprecatedFirstTimestamp")
        or event.get("eventTime")
    )
    last = (
        get(event, "series", "lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("deprecatedLastTimestamp")
        or first
    )
    return first, last


def count(event: Document) -> int:
    """Return how often it was seen."""
    seen = event.get("count") or event.get("deprecatedCount") or get(event, "series", "count")
    return int(seen or 1)
