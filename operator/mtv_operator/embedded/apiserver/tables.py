"""`kubectl get` as the server prints it: meta.k8s.io/v1 Table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mtv_operator.embedded.apiserver.kinds import ResourceInfo


def table(
    info: ResourceInfo,
    objects: Sequence[dict[str, Any]],
    list_meta: dict[str, Any],
    include_object: str = "Metadata",
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return the Table of some objects of one kind."""
    rows = [{"cells": [one["metadata"]["name"]], "object": one} for one in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
        ],
        "rows": rows,
    }
