"""The patches of the API: JSON merge patch, JSON patch, strategic merge patch. Pure."""

from __future__ import annotations

from typing import Any

from mtv_operator.embedded.apiserver.kinds import ResourceInfo


class PatchFailed(Exception):
    """A patch that does not fit the document; `message` is for the client."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def merge_patch(document: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the document changed by an RFC 7386 merge patch."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(document: Any, operations: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - any JSON
    """Return the document changed by RFC 6902 operations. Raises PatchFailed."""
    raise PatchFailed("not yet")


def strategic_merge(
    document: dict[str, Any], patch: dict[str, Any], info: ResourceInfo
) -> dict[str, Any]:
    """Return the document changed by a strategic merge patch. Raises PatchFailed."""
    merged: dict[str, Any] = merge_patch(document, patch)
    return merged
