"""Discovery documents: which groups, versions and resources are served. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtv_operator.embedded.apiserver.kinds import ResourceInfo


def api_versions(address: str) -> dict[str, Any]:
    """Return the body of /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(infos: Sequence[ResourceInfo], aggregated: Sequence[Any] = ()) -> dict[str, Any]:
    """Return the body of /apis."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}


def group(
    infos: Sequence[ResourceInfo], name: str, aggregated: Sequence[Any] = ()
) -> dict[str, Any] | None:
    """Return the body of /apis/G; None when there is no such group."""
    return None


def resource_list(infos: Sequence[ResourceInfo], group: str, version: str) -> dict[str, Any]:
    """Return the body of /api/v1 or /apis/G/V."""
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": []}


def aggregated_list(
    infos: Sequence[ResourceInfo],
    aggregated: Sequence[Any] = (),
    *,
    core: bool,
    version: str = "v2",
) -> dict[str, Any]:
    """Return /api (core) or /apis as apidiscovery.k8s.io/v2 or v2beta1."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [],
    }


def version() -> dict[str, str]:
    """Return the body of /version."""
    return {"major": "1", "minor": "34", "gitVersion": "v1.34.0+mtv"}
