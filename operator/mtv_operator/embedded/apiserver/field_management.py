"""Who owns which field: server-side apply and `metadata.managedFields`. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mtv_operator.embedded.apiserver import patching
from mtv_operator.embedded.apiserver.kinds import ResourceInfo


class ApplyConflict(Exception):
    """Others own fields that were applied: `conflicts` is (manager, `.spec.replicas`) pairs."""

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        super().__init__(f"Apply failed with {len(conflicts)} conflicts")
        self.conflicts = conflicts
        self.message = str(self)
        self.causes: list[dict[str, str]] = []


def apply(
    live: dict[str, Any] | None,
    applied: dict[str, Any],
    manager: str,
    force: bool,
    info: ResourceInfo,
    now: datetime,
    subresource: str = "",
) -> dict[str, Any]:
    """Return what a server-side apply makes of the live object. Raises ApplyConflict."""
    merged: dict[str, Any] = patching.merge_patch(live or {}, applied)
    return merged


def track(
    before: dict[str, Any] | None,
    after: dict[str, Any],
    manager: str,
    operation: str,
    info: ResourceInfo,
    now: datetime,
    subresource: str = "",
) -> dict[str, Any]:
    """Return `after` with `metadata.managedFields` saying who changed what."""
    return after
