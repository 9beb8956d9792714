"""Where Prometheus finds the metrics of the runtime: names are upstream's. Pure."""

from __future__ import annotations

from typing import Any

from mtv_operator.installation.naming import MONITORED
from mtv_operator.installation.settings import RUNTIME_NAMESPACE

Document = dict[str, Any]

PORT = 8443


def service() -> Document:
    """Return the Service behind which all that are scraped stand."""
    port = {"name": "metrics", "port": 443, "targetPort": PORT, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubevirt-prometheus-metrics",
            "namespace": RUNTIME_NAMESPACE,
            "labels": MONITORED,
        },
        "spec": {"ports": [port], "selector": MONITORED},
    }


def monitor() -> Document:
    """Return what tells a Prometheus operator of it, where there is one."""
    endpoint = {
        "port": "metrics",
        "scheme": "https",
        "honorLabels": True,
        # Each pod has a certificate of its own name.
        "tlsConfig": {"insecureSkipVerify": True},
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {
            "name": "prometheus-kubevirt-rules",
            "namespace": RUNTIME_NAMESPACE,
            "labels": MONITORED,
        },
        "spec": {"selector": {"matchLabels": MONITORED}, "endpoints": [endpoint]},
    }
