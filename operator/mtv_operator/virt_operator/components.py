"""The runtime's components: made again when they are gone, and placed as the KubeVirt object says.

Who installs (`mtv install`, Helm, kubectl) writes them whole. What the KubeVirt object says of
replicas and placement is laid over that, and an annotation tells what was; an installer sets it
back to nothing, so that it is laid over again. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mtv.api import installation
from mtv_operator.installation import workloads
from mtv_operator.installation.settings import Settings

Document = dict[str, Any]

INFRA, WORKLOADS = ("virt-api", "virt-controller"), ("virt-handler",)


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """What is known of a component that is there."""

    placement: str  # the annotation


@dataclass(frozen=True, slots=True)
class Make:
    """Make a component that is gone."""

    document: Document


@dataclass(frozen=True, slots=True)
class Place:
    """Lay replicas and placement over a component."""

    document: Document


Action = Make | Place


def decide(
    spec: installation.KubeVirtSpec, settings: Settings, there: Mapping[str, There | None]
) -> tuple[Action, ...]:
    """Return what is to be made or changed."""
    actions: list[Action] = []
    for whole in workloads.runtime(settings):
        name = whole["metadata"]["name"]
        if whole["kind"] not in ("Deployment", "DaemonSet") or name not in there:
            continue
        config = spec.infra if name in INFRA else spec.workloads
        document = placed(whole, config)
        found = there[name]
        if found is None:
            actions.append(Make(document))
        elif found.placement != document["metadata"]["annotations"][workloads.PLACEMENT]:
            actions.append(Place(only_placement(document)))
    return tuple(actions)


def placed(whole: Document, config: installation.ComponentConfig | None) -> Document:
    """Return a component as the KubeVirt object wants it placed."""
    found: Document = msgspec.json.decode(msgspec.json.encode(whole))
    if config is None or config == installation.ComponentConfig():
        return found
    pod = found["spec"]["template"]["spec"]
    if config.replicas is not None and found["kind"] == "Deployment":
        found["spec"]["replicas"] = config.replicas
    placement = config.node_placement
    if placement is not None:
        pod["nodeSelector"] = {**pod.get("nodeSelector", {}), **placement.node_selector}
        wanted = msgspec.to_builtins(placement)
        pod["tolerations"] = [*pod.get("tolerations", ()), *wanted.get("tolerations", ())]
        if placement.affinity is not None:
            pod["affinity"] = {**pod.get("affinity", {}), **wanted["affinity"]}
    encoded = msgspec.json.encode(only_placement(found), order="deterministic")
    mark = hashlib.sha256(encoded).hexdigest()[:16]
    found["metadata"]["annotations"][workloads.PLACEMENT] = mark
    return found


def only_placement(whole: Document) -> Document:
    """Return the part of a component that the KubeVirt object decides on, to be applied."""
    pod = whole["spec"]["template"]["spec"]
    parts = ("nodeSelector", "tolerations", "affinity")
    spec: Document = {"template": {"spec": {key: pod[key] for key in parts if key in pod}}}
    if "replicas" in whole["spec"]:
        spec["replicas"] = whole["spec"]["replicas"]
    metadata = {key: whole["metadata"][key] for key in ("name", "namespace", "annotations")}
    return {
        "apiVersion": whole["apiVersion"],
        "kind": whole["kind"],
        "metadata": metadata,
        "spec": spec,
    }
