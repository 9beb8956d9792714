"""OpenAPI documents of what is served. Pure; callers keep what they get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtv_operator.embedded.apiserver.kinds import ResourceInfo


def v2(infos: Sequence[ResourceInfo]) -> dict[str, Any]:
    """Return the body of /openapi/v2."""
    return {
        "swagger": "2.0",
        "info": {"title": "mtv", "version": "v1"},
        "paths": {},
        "definitions": {},
    }


def v3_index(infos: Sequence[ResourceInfo]) -> dict[str, Any]:
    """Return the body of /openapi/v3."""
    return {"paths": {}}


def v3(infos: Sequence[ResourceInfo], group: str, version: str) -> dict[str, Any] | None:
    """Return the body of /openapi/v3/apis/G/V (or /api/V); None when nothing is there."""
    return None
