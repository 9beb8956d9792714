"""What the cluster itself offers as a destination: the objects, in Forklift's envelope.

Read from the API server when asked, so always in sync.
"""

from __future__ import annotations

from typing import Any

from mtv import errors
from mtv_operator.objects import Client

Document = dict[str, Any]

_NADS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
PATHS = {
    "vms": "/apis/kubevirt.io/v1/virtualmachines",
    "namespaces": "/api/v1/namespaces",
    "storageclasses": "/apis/storage.k8s.io/v1/storageclasses",
    "networkattachmentdefinitions": _NADS,
    "networks": _NADS,
    "persistentvolumeclaims": "/api/v1/persistentvolumeclaims",
    "datavolumes": "/apis/cdi.kubevirt.io/v1beta1/datavolumes",
    "instancetypes": "/apis/instancetype.kubevirt.io/v1beta1/virtualmachineinstancetypes",
    "clusterinstancetypes": (
        "/apis/instancetype.kubevirt.io/v1beta1/virtualmachineclusterinstancetypes"
    ),
}
INSTANCES = "/apis/kubevirt.io/v1/virtualmachineinstances"


def read(client: Client, collection: str) -> list[Document]:
    """Return the objects of a collection; none where the cluster does not know the kind."""
    try:
        found: list[Document] = (client.raw("GET", PATHS[collection]) or {}).get("items") or []
    except errors.NotFound:
        return []
    return found


def instances(client: Client) -> dict[tuple[str, str], Document]:
    """Return the running instances by namespace and name."""
    try:
        items = (client.raw("GET", INSTANCES) or {}).get("items") or []
    except errors.NotFound:
        return {}
    return {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in items}


def document(link: str, collection: str, one: Document, detail: int) -> Document:
    """Return an object in its envelope. Pure."""
    metadata = one["metadata"]
    namespace = metadata.get("namespace", "")
    name, uid = metadata["name"], metadata.get("uid", "")
    found: Document = {
        "uid": uid,
        "version": metadata.get("resourceVersion", ""),
        "namespace": namespace,
        "name": name,
        "selfLink": f"{link}/{collection}/{uid}",
        "path": f"{namespace}/{name}" if namespace else name,
        "id": uid,
    }
    return {**found, "object": one} if detail > 0 else found
