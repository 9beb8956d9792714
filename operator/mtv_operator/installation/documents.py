"""Where an object of an installation lives in the API. Pure."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]

# What Kubernetes' rule (lower case, then -s or -es) does not give.
_IRREGULAR = {"NetworkPolicy": "networkpolicies", "Endpoints": "endpoints"}


def plural(kind: str) -> str:
    """Return the last word of a kind's path."""
    if kind in _IRREGULAR:
        return _IRREGULAR[kind]
    return kind.lower() + ("es" if kind.endswith("s") else "s")


def path_of(document: Document) -> str:
    """Return the path of an object."""
    version, metadata = document["apiVersion"], document["metadata"]
    parts = ["/apis" if "/" in version else "/api", version]
    if metadata.get("namespace"):
        parts += ["namespaces", metadata["namespace"]]
    return "/".join([*parts, plural(document["kind"]), metadata["name"]])


def title(document: Document) -> str:
    """Return an object's kind and name, for people."""
    metadata = document["metadata"]
    home = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{document['kind']} {home}{metadata['name']}"
