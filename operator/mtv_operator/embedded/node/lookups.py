"""What the node asks the API server for its pods' sake: values, claims, tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mtv import errors
from mtv.api.core import (
    ConfigMap,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
    ServiceAccountTokenProjection,
)
from mtv_operator.embedded.node.volumes import TOKEN_SECONDS
from mtv_operator.objects import Client

DEFINITIONS = "/apis/k8s.cni.cncf.io/v1"
RENEW_AT = 0.8  # of a token's life, as the kubelet


class Lookups:
    """The API server as `volumes.Source`. Tokens are kept until most of their life is over."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._tokens: dict[tuple[str, str, str], tuple[float, bytes]] = {}

    def values(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return what a ConfigMap or Secret holds; None when it does not exist."""
        if kind == "Secret":
            secret = self.client.find(Secret, name, namespace)
            return None if secret is None else secret.data
        found = self.client.find(ConfigMap, name, namespace)
        if found is None:
            return None
        return {**{key: text.encode() for key, text in found.data.items()}, **found.binary_data}

    def network_definition(self, namespace: str, name: str) -> str:
        """Return the CNI configuration of a NetworkAttachmentDefinition."""
        path = f"{DEFINITIONS}/namespaces/{namespace}/network-attachment-definitions/{name}"
        try:
            found = self.client.raw("GET", path)
        except errors.NotFound as fault:
            raise errors.TargetUnavailable(
                f"there is no NetworkAttachmentDefinition {namespace}/{name}",
                hint="kubectl get net-attach-def -A",
            ) from fault
        return str((found.get("spec") or {}).get("config") or "")

    def claimed(self, namespace: str, claim: str) -> PersistentVolume:
        """Return the volume that a claim is bound to."""
        found = self.client.get(PersistentVolumeClaim, claim, namespace)
        name = found.spec.volume_name if found.spec else None
        if not name or not found.status or found.status.phase != "Bound":
            raise errors.TargetUnavailable(f"claim {namespace}/{claim} is not bound yet")
        return self.client.get(PersistentVolume, name)

    def token(self, pod: Pod, wanted: ServiceAccountTokenProjection) -> bytes:
        """Return a token of the pod's service account that is bound to the pod."""
        account = (pod.spec.service_account_name if pod.spec else None) or "default"
        key = (pod.metadata.uid, wanted.audience or "", wanted.path)
        known = self._tokens.get(key)
        if known is not None and time.time() < known[0]:
            return known[1]
        path = f"/api/v1/namespaces/{pod.metadata.namespace}/serviceaccounts/{account}/token"
        answer = self.client.raw("POST", path, token_request(pod, wanted))
        token = str(answer["status"]["token"]).encode()
        self._tokens[key] = (_renew_at(answer["status"], time.time()), token)
        return token

    def forget(self, pod_uid: str) -> None:
        """Drop what was kept for a pod."""
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            self._tokens.pop(key, None)


def token_request(pod: Pod, wanted: ServiceAccountTokenProjection) -> dict[str, Any]:
    """Return the TokenRequest for a pod's projected token. Pure."""
    bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid}
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": wanted.expiration_seconds or TOKEN_SECONDS,
            "boundObjectRef": bound,
        },
    }


def _renew_at(status: Mapping[str, Any], now: float) -> float:
    try:
        text = str(status["expirationTimestamp"]).replace("Z", "+00:00")
        ends = datetime.fromisoformat(text).timestamp()
    except (KeyError, ValueError):
        ends = now + TOKEN_SECONDS
    return now + (ends - now) * RENEW_AT
