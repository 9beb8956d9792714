"""What is looked at on a cluster before anything is installed there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from mtv import errors, findings
from mtv.api import core, well_known
from mtv.findings import Finding
from mtv_operator.objects import Client

OLDEST = (1, 28)
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
MANAGED_BY, OLM, HELM = "app.kubernetes.io/managed-by", "olm.managed", "Helm"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_MINOR = re.compile(r"\d+")


def foreign_runtime(client: Client) -> bool:
    """Tell whether somebody else's KubeVirt is installed. Raises MigrationError.

    Operators mark all that they make; our definitions have no such mark.
    """
    return has_owner(_definition(client, "virtualmachines.kubevirt.io"))


def foreign_data_volumes(client: Client) -> bool:
    """Tell whether CDI, or another's of its kind, fills claims here. Raises MigrationError."""
    if _definition(client, "cdis.cdi.kubevirt.io") is not None:
        return True
    return has_owner(_definition(client, "datavolumes.cdi.kubevirt.io"))


def _definition(client: Client, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.raw("GET", f"{DEFINITIONS}/{name}")
    except errors.NotFound:
        return None
    return found


def has_owner(definition: dict[str, Any] | None) -> bool:
    """Tell whether a definition has another owner than us. Pure."""
    metadata = (definition or {}).get("metadata", {})
    labels = metadata.get("labels") or {}
    owner = labels.get(MANAGED_BY, HELM)
    return owner != HELM or OLM in labels or bool(metadata.get("ownerReferences"))


def look_at(client: Client) -> Iterator[Finding]:
    """Yield what is found on the cluster. Raises MigrationError when it does not answer."""
    yield version(client.raw("GET", "/version"))
    yield rights(client)
    yield nodes(client.list(core.Node))
    yield storage(client.list(core.StorageClass))
    if foreign_runtime(client):
        yield findings.warning(
            "KubeVirt",
            "another KubeVirt runs here",
            "only migration is installed; its VMs are that KubeVirt's",
        )
    elif foreign_data_volumes(client):
        yield findings.warning(
            "CDI", "another CDI fills claims here", "DataVolumes and uploads are left to it"
        )


def version(found: dict[str, Any]) -> Finding:
    """Judge the API server's version. Pure."""
    numbers = [_MINOR.match(str(found.get(key, ""))) for key in ("major", "minor")]
    seen = tuple(int(one.group()) for one in numbers if one)
    text = str(found.get("gitVersion", "unknown"))
    if seen < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return findings.failed("Kubernetes", text, f"{wanted} is the oldest version that works")
    return findings.ok("Kubernetes", text)


def rights(client: Client) -> Finding:
    """Judge whether we may install."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}},
    }
    if client.raw("POST", REVIEWS, review)["status"].get("allowed"):
        return findings.ok("rights", "cluster-admin")
    return findings.failed(
        "rights",
        "this user is not cluster-admin",
        "roles can only be given by who has all of their rights: use an administrator's kubeconfig",
    )


def nodes(found: Sequence[core.Node]) -> Finding:
    """Judge whether VMs can run anywhere. Pure."""
    fitting = [one for one in found if _takes_pods(one)]
    if fitting:
        return findings.ok("nodes", f"{len(fitting)} of {len(found)} take pods on amd64")
    return findings.failed(
        "nodes", f"none of {len(found)} takes pods on amd64", "uncordon or add a Linux amd64 node"
    )


def _takes_pods(node: core.Node) -> bool:
    fits = node.metadata.labels.get(well_known.ARCHITECTURE, "amd64") == "amd64"
    return fits and not (node.spec and node.spec.unschedulable)


def storage(found: Sequence[core.StorageClass]) -> Finding:
    """Judge whether disks can be stored. Pure."""
    names = [one.metadata.name for one in found]
    if not names:
        return findings.warning(
            "storage", "no storage class", "VMs' disks need one: install a CSI driver"
        )
    default = [
        one.metadata.name for one in found if one.metadata.annotations.get(DEFAULT_CLASS) == "true"
    ]
    if not default:
        return findings.warning(
            "storage", f"no default among {', '.join(names)}", "name a class in each storage map"
        )
    return findings.ok("storage", f"default class {default[0]}")
