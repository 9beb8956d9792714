"""The kind by which a pod's further networks are described: the Network Plumbing Group's."""

from __future__ import annotations

from typing import Any

GROUP = "k8s.cni.cncf.io"
PLURAL = "network-attachment-definitions"


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition of NetworkAttachmentDefinition."""
    text = {"type": "string"}
    schema = {
        "type": "object",
        "properties": {
            "apiVersion": text,
            "kind": text,
            "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": {"config": text}},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": PLURAL,
                "singular": "network-attachment-definition",
                "kind": "NetworkAttachmentDefinition",
                "shortNames": ["net-attach-def"],
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
