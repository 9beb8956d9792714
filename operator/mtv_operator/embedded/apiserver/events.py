"""Events have two faces: core/v1 and events.k8s.io/v1, with other names for the same fields. Pure.

They are stored as core/v1. After Kubernetes' `pkg/apis/events/v1/conversion.go`.
"""

from __future__ import annotations

from typing import Any

_NEW = "events.k8s.io/v1"
# core/v1 → events.k8s.io/v1
_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _NAMES.items()}


def convert(document: dict[str, Any], api_version: str) -> dict[str, Any]:
    """Return the object as another version of its kind has it; only events differ in fields."""
    present = document.get("apiVersion")
    if present == api_version:
        return document
    if document.get("kind") == "Event" and present == "v1" and api_version == _NEW:
        document = {_NAMES.get(name, name): value for name, value in document.items()}
    elif document.get("kind") == "Event" and present == _NEW and api_version == "v1":
        document = {_BACK.get(name, name): value for name, value in document.items()}
    document["apiVersion"] = api_version
    return document
