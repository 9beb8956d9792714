"""The documents by which clients and the API server learn what is served here. Pure."""

from __future__ import annotations

import platform
from typing import Any

GROUP = "subresources.kubevirt.io"
VERSIONS = ("v1", "v1alpha3")
PREFERRED = "v1"

# Subresources by resource, as discovery lists them.
SUBRESOURCES: dict[str, tuple[str, ...]] = {
    "virtualmachines": (
        "addvolume",
        "evacuate/cancel",
        "expand-spec",
        "memorydump",
        "migrate",
        "objectgraph",
        "portforward",
        "removememorydump",
        "removevolume",
        "restart",
        "start",
        "stop",
    ),
    "virtualmachineinstances": (
        "addvolume",
        "console",
        "evacuate/cancel",
        "filesystemlist",
        "freeze",
        "guestosinfo",
        "pause",
        "portforward",
        "removevolume",
        "reset",
        "softreboot",
        "unfreeze",
        "unpause",
        "usbredir",
        "userlist",
        "vnc",
        "vnc/screenshot",
        "vsock",
    ),
    "": ("expand-vm-spec", "guestfs", "healthz", "version"),
}


def group() -> dict[str, Any]:
    """Return the APIGroup."""
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [{"groupVersion": f"{GROUP}/{one}", "version": one} for one in VERSIONS],
        "preferredVersion": {"groupVersion": f"{GROUP}/{PREFERRED}", "version": PREFERRED},
    }


def groups() -> dict[str, Any]:
    """Return the APIGroupList."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}


def resources(version: str) -> dict[str, Any]:
    """Return the APIResourceList of a version. As upstream without verbs: kubectl passes over."""
    names = [
        (f"{resource}/{name}" if resource else name, bool(resource) or name == "expand-vm-spec")
        for resource, subresources in SUBRESOURCES.items()
        for name in subresources
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": [
            {"name": name, "singularName": "", "namespaced": namespaced, "kind": "", "verbs": []}
            for name, namespaced in names
        ],
    }


def openapi_v2() -> dict[str, Any]:
    """Return a specification without paths: valid, and nothing to merge."""
    return {"swagger": "2.0", "info": {"title": GROUP, "version": PREFERRED}, "paths": {}}


def openapi_v3_index() -> dict[str, Any]:
    """Return where the specifications of version 3 are."""
    return {
        "paths": {
            f"apis/{GROUP}/{one}": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/{one}"}
            for one in VERSIONS
        }
    }


def openapi_v3(version: str) -> dict[str, Any]:
    """Return a specification without paths."""
    return {"openapi": "3.0.0", "info": {"title": GROUP, "version": version}, "paths": {}}


def version_info(version: str) -> dict[str, str]:
    """Return what `virtctl version` shows of the server."""
    return {
        "gitVersion": f"v{version}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{'amd64' if platform.machine() == 'x86_64' else platform.machine()}",
    }


def guestfs_info() -> dict[str, str]:
    """Return where the image of `virtctl guestfs` is: nowhere."""
    return {"registry": "", "tag": "", "digest": "", "imagePrefix": "", "gsImage": ""}
