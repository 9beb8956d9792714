"""The labels of components: upstream's, where upstream has the component. Pure."""

from __future__ import annotations

MONITORED = {"prometheus.kubevirt.io": "true"}
SCRAPED = ("virt-api", "virt-controller", "virt-handler")
RUNTIME_PART, MIGRATION_PART = "kubevirt", "mtv"


def labels(name: str) -> dict[str, str]:
    """Return the labels of a component and its pods."""
    if _is_ours_alone(name):
        return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": MIGRATION_PART}
    return {
        "kubevirt.io": name,
        "app.kubernetes.io/component": "kubevirt",
        "app.kubernetes.io/part-of": RUNTIME_PART,
    }


def pod_labels(name: str) -> dict[str, str]:
    """Return the labels of a component's pods."""
    return {**labels(name), **(MONITORED if name in SCRAPED else {})}


def selector(name: str) -> dict[str, str]:
    """Return what selects a component's pods."""
    return {"app.kubernetes.io/name" if _is_ours_alone(name) else "kubevirt.io": name}


def _is_ours_alone(name: str) -> bool:
    return name.startswith("mtv-")
