"""Discovery documents: which groups, versions and resources are served. Pure.

Both forms that clients ask for: the lists of `/apis`, `/apis/G` and `/apis/G/V`, and all in one,
apidiscovery.k8s.io's APIGroupDiscoveryList. What an APIService serves elsewhere comes as
`Aggregated`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mtv_operator.embedded.apiserver.kinds import ResourceInfo

Document = dict[str, Any]

KUBERNETES = (
    "1.33.0"  # what is said: kubectl warns beyond one minor version, and 1.32 to 1.34 are met
)

_STATUS_VERBS = ("get", "patch", "update")


class Aggregated(Protocol):
    """A group version that somebody else serves, through an APIService."""

    @property
    def group(self) -> str:
        """Return the group."""

    @property
    def version(self) -> str:
        """Return the version."""

    @property
    def resources(self) -> Sequence[Document]:
        """Return the entries of its own APIResourceList; none when it did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subresource:
    verbs: tuple[str, ...]
    kind: str = ""  # "" for the kind of the resource itself
    group: str = ""
    version: str = ""


_SUBRESOURCES: Mapping[str, _Subresource] = {
    "status": _Subresource(verbs=_STATUS_VERBS),
    "scale": _Subresource(verbs=_STATUS_VERBS, kind="Scale", group="autoscaling", version="v1"),
    "binding": _Subresource(verbs=("create",), kind="Binding", version="v1"),
    "eviction": _Subresource(verbs=("create",), kind="Eviction", group="policy", version="v1"),
    "log": _Subresource(verbs=("get",)),
    "finalize": _Subresource(verbs=("update",)),
    "token": _Subresource(
        verbs=("create",), kind="TokenRequest", group="authentication.k8s.io", version="v1"
    ),
}
_OTHER = _Subresource(verbs=("get",))

_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_MATURITY = {"alpha": 0, "beta": 1, None: 2}


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Return by what versions are sorted, best last: v1alpha1, v1beta1, v1, v2."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (-1, 0, 0, version)
    return (_MATURITY[match[2]], int(match[1]), int(match[3] or 0), "")


def api_versions(address: str) -> Document:
    """Return the body of /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(infos: Sequence[ResourceInfo], aggregated: Sequence[Aggregated] = ()) -> Document:
    """Return the body of /apis."""
    versions = _versions(infos, aggregated)
    groups = [_group(name, found) for name, found in versions.items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(
    infos: Sequence[ResourceInfo], name: str, aggregated: Sequence[Aggregated] = ()
) -> Document | None:
    """Return the body of /apis/G; None when there is no such group."""
    found = _versions(infos, aggregated).get(name)
    if not name or not found:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, found)}


def resource_list(infos: Sequence[ResourceInfo], group: str, version: str) -> Document:
    """Return the body of /api/v1 or /apis/G/V; with no resources when there is none."""
    resources = []
    for info in _of_version(infos, group, version):
        resources.append(_resource(info))
        resources += [_subresource(info, name) for name in info.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources,
    }


def aggregated_list(
    infos: Sequence[ResourceInfo],
    aggregated: Sequence[Aggregated] = (),
    *,
    core: bool,
    version: str = "v2",
) -> Document:
    """Return /api (core) or /apis as an APIGroupDiscoveryList of v2 or v2beta1."""
    items = []
    for name, versions in _versions(infos, aggregated).items():
        if core != (name == ""):
            continue
        found = [_discovered_version(infos, aggregated, name, one) for one in versions]
        items.append({"metadata": {"name": name} if name else {}, "versions": found})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def version() -> dict[str, str]:
    """Return the body of /version."""
    from importlib import metadata  # costs 20 ms, and starting must not wait for it

    major, minor, _ = KUBERNETES.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{KUBERNETES}+mtv.{metadata.version('mtv')}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def _versions(
    infos: Iterable[ResourceInfo], aggregated: Iterable[Aggregated]
) -> dict[str, list[str]]:
    """Return the versions of each group, best first."""
    found: dict[str, list[str]] = {}
    served = [(one.group, one.version) for one in infos]
    served += [(one.group, one.version) for one in aggregated]
    for group, version in served:
        versions = found.setdefault(group, [])
        if version not in versions:
            versions.append(version)
    for versions in found.values():
        versions.sort(key=version_rank, reverse=True)
    return found


def _group(name: str, versions: Sequence[str]) -> Document:
    entries = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _of_version(infos: Iterable[ResourceInfo], group: str, version: str) -> list[ResourceInfo]:
    found = [info for info in infos if info.group == group and info.version == version]
    return sorted(found, key=lambda info: info.plural)


def _resource(info: ResourceInfo) -> Document:
    made: Document = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        made["shortNames"] = list(info.short_names)
    if info.categories:
        made["categories"] = list(info.categories)
    return made


def _subresource(info: ResourceInfo, name: str) -> Document:
    told = _SUBRESOURCES.get(name, _OTHER)
    made: Document = {
        "name": f"{info.plural}/{name}",
        "singularName": "",
        "namespaced": info.namespaced,
        "kind": told.kind or info.kind,
        "verbs": list(told.verbs),
    }
    if told.kind and told.group:
        made |= {"group": told.group, "version": told.version}
    return made


def _discovered_version(
    infos: Sequence[ResourceInfo], aggregated: Sequence[Aggregated], group: str, version: str
) -> Document:
    found = [_discovered(info) for info in _of_version(infos, group, version)]
    fresh = True
    for one in aggregated:
        if (one.group, one.version) == (group, version):
            found += _discovered_elsewhere(one)
            fresh = fresh and bool(one.resources)
    return {"version": version, "resources": found, "freshness": "Current" if fresh else "Stale"}


def _discovered(info: ResourceInfo) -> Document:
    made: Document = {
        "resource": info.plural,
        "responseKind": info.gvk,
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        made["shortNames"] = list(info.short_names)
    if info.categories:
        made["categories"] = list(info.categories)
    if info.subresources:
        made["subresources"] = [_discovered_subresource(info, name) for name in info.subresources]
    return made


def _discovered_subresource(info: ResourceInfo, name: str) -> Document:
    told = _SUBRESOURCES.get(name, _OTHER)
    kind = info.gvk
    if told.kind:
        kind = {"group": told.group, "version": told.version, "kind": told.kind}
    return {"subresource": name, "responseKind": kind, "verbs": list(told.verbs)}


def _discovered_elsewhere(served: Aggregated) -> list[Document]:
    """Return the resources of an APIResourceList in the aggregated form."""
    whole: dict[str, Document] = {}
    for one in served.resources:
        name, _, sub = str(one.get("name", "")).partition("/")
        kind = {
            "group": one.get("group") or served.group,
            "version": one.get("version") or served.version,
            "kind": one.get("kind", ""),
        }
        verbs = list(one.get("verbs") or ())
        scope = "Namespaced" if one.get("namespaced") else "Cluster"
        # A subresource may be announced without its resource, as subresources.kubevirt.io does.
        have = whole.setdefault(
            name, {"resource": name, "scope": scope, "singularResource": "", "verbs": []}
        )
        if sub:
            entry = {"subresource": sub, "responseKind": kind, "verbs": verbs}
            have.setdefault("subresources", []).append(entry)
            continue
        have |= {"responseKind": kind, "verbs": verbs}
        have["singularResource"] = one.get("singularName", "")
        for field in ("shortNames", "categories"):
            if one.get(field):
                have[field] = list(one[field])
    return list(whole.values())
