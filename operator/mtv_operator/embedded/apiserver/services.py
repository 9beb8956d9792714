"""Where a Service, as webhooks and APIServices name it, is reached: its endpoints, or its name.

There is no cluster network here, so the server looks the endpoints up itself.
"""

from __future__ import annotations

import base64
import binascii
import functools
import ssl
from pathlib import Path
from typing import Any

from mtv_operator.embedded.apiserver.http_client import Endpoint, Unreachable
from mtv_operator.embedded.apiserver.storage import Key, Store

DEFAULT_PORT = 443
SERVICE_LABEL = "kubernetes.io/service-name"


@functools.lru_cache(maxsize=64)
def trusting(
    bundle: str, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return TLS that believes a CA bundle (base64 of PEM; "": the system's).

    With a certificate, that is shown to the server. Raises Unreachable for a bad bundle.
    """
    try:
        pem = base64.b64decode(bundle).decode() if bundle else None
        context = ssl.create_default_context(cadata=pem)
    except (binascii.Error, ValueError, ssl.SSLError) as error:
        raise Unreachable(f"caBundle is no certificate: {error}") from error
    if certificate is not None and key is not None:
        context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def unchecked(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return TLS that believes anybody (`insecureSkipTLSVerify`)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None and key is not None:
        context.load_cert_chain(certificate, key)
    return context


@functools.lru_cache(maxsize=4)
def of_node(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return TLS to the servers of our own nodes, whose certificates are of our authority."""
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None and key is not None:
        context.load_cert_chain(certificate, key)
    return context


def resolve(store: Store, reference: dict[str, Any], tls: ssl.SSLContext) -> Endpoint:
    """Return an endpoint of a service reference. Raises Unreachable when there is none."""
    namespace, name = reference.get("namespace", ""), reference.get("name", "")
    port = reference.get("port") or DEFAULT_PORT
    entry = store.get(Key("services", namespace, name))
    if entry is None:
        raise Unreachable(f'service "{name}" in "{namespace}" not present')
    spec = entry.document().get("spec") or {}
    host_name = f"{name}.{namespace}.svc"
    if spec.get("type") == "ExternalName":
        return Endpoint(spec.get("externalName", ""), port, tls, host_name)
    wanted = next((one for one in spec.get("ports") or () if one.get("port") == port), None)
    if wanted is None:
        raise Unreachable(f'service "{name}" in "{namespace}" has no port {port}')
    address = _address(store, namespace, name, wanted)
    if address is None:
        raise Unreachable(f'no endpoints available for service "{name}"')
    return Endpoint(*address, tls, host_name)


def _address(
    store: Store, namespace: str, name: str, wanted: dict[str, Any]
) -> tuple[str, int] | None:
    """Return a ready address and the port behind a service's port."""
    slices = [
        entry.document()
        for entry in store.table("endpointslices.discovery.k8s.io").select(namespace)
        if (entry.meta.labels or {}).get(SERVICE_LABEL) == name
    ]
    for one in slices:
        port = _port(one.get("ports") or (), wanted)
        for endpoint in one.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready", True)
            if port and ready and endpoint.get("addresses"):
                return endpoint["addresses"][0], port
    entry = store.get(Key("endpoints", namespace, name))
    for subset in (entry.document().get("subsets") or ()) if entry else ():
        port = _port(subset.get("ports") or (), wanted)
        if port and subset.get("addresses"):
            return subset["addresses"][0]["ip"], port
    return None


def _port(offered: Any, wanted: dict[str, Any]) -> int | None:  # noqa: ANN401 - any JSON
    """Return the number of the port with the service port's name; the only one, if unnamed."""
    for one in offered:
        if (one.get("name") or "") == (wanted.get("name") or ""):
            number = one.get("port")
            return int(number) if number else None
    return None
