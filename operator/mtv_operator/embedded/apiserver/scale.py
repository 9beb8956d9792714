"""The scale subresource: one number of any kind that has replicas. Pure."""

from __future__ import annotations

from typing import Any

from mtv_operator.embedded.apiserver import names, status
from mtv_operator.embedded.apiserver.kinds import ResourceInfo

Document = dict[str, Any]


def view(document: Document, info: ResourceInfo) -> Document:
    """Return the Scale of an object."""
    assert info.scale is not None
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = document["metadata"]
    shown: Document = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": at(document, info.scale.spec) or 0},
        "status": {"replicas": at(document, info.scale.status) or 0},
    }
    selector = at(document, info.scale.selector) if info.scale.selector else None
    if isinstance(selector, str) and selector:
        shown["status"]["selector"] = selector
    return shown


def scaled(document: Document, wanted: Document, info: ResourceInfo) -> Document:
    """Return the object with the replicas of a Scale. Raises Refusal."""
    assert info.scale is not None
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        rule = "must be greater than or equal to 0"
        problem = names.invalid("spec.replicas", replicas, rule)
        name = document["metadata"]["name"]
        raise status.invalid("autoscaling", "Scale", name, [problem])
    inner = document
    *path, last = info.scale.spec.strip(".").split(".")
    for part in path:
        inner = inner.setdefault(part, {})
    inner[last] = replicas
    asked = (wanted.get("metadata") or {}).get("resourceVersion")
    if asked:
        document["metadata"]["resourceVersion"] = asked
    return document


def at(document: Document, path: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the value at a simple JSON path, `.spec.replicas`; None when there is none."""
    inner: Any = document
    for part in path.strip(".").split("."):
        if not isinstance(inner, dict) or part not in inner:
            return None
        inner = inner[part]
    return inner
