"""The first objects of an installation; a task that may be repeated.

    python -m mtv_operator.embedded.up.bootstrap --data-dir D

Each object carries a digest of what was applied: what is there already costs one request.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from mtv import errors
from mtv.api import configuration, schema
from mtv.api.core import Node
from mtv_operator.embedded.provisioner import classes
from mtv_operator.embedded.up import further_networks
from mtv_operator.embedded.up import settings as up_settings
from mtv_operator.embedded.up.settings import Settings
from mtv_operator.installation import rbac
from mtv_operator.objects import Client
from mtv_operator.virt_handler import kvm_probe

log = logging.getLogger("bootstrap")

DIGEST = "mtv.dev/applied"
MANAGER = "mtv-up"
PATIENCE_S = 120.0
RETRY_S = 0.1
NAMESPACES = ("default", "kube-system", "kube-node-lease", "kubevirt", "mtv")
PLURALS = {
    "CDIConfig": "cdiconfigs",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "CustomResourceDefinition": "customresourcedefinitions",
    "KubeVirt": "kubevirts",
    "Namespace": "namespaces",
    "Provider": "providers",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ServiceAccount": "serviceaccounts",
    "StorageClass": "storageclasses",
}


def run() -> None:
    """Apply the first objects; end with 0 when all are there."""
    parser = argparse.ArgumentParser(prog="bootstrap", description=__doc__)
    parser.add_argument("--data-dir", required=True, type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    settings = up_settings.load(arguments.data_dir)
    if settings is None:
        sys.exit(f"{arguments.data_dir} holds no mtv")
    try:
        client = Client.connect(str(settings.kubeconfig))
        wait_until_ready(client)
        applied = sum(apply(client, one) for one in objects(settings))
        forget_nodes(client, settings)
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)
    log.info("%d objects applied", applied)


def wait_until_ready(client: Client) -> None:
    """Wait until the API server answers. Raises what it last raised."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.raw("GET", "/api/v1/namespaces", query=[("limit", "1")])
            return
        except errors.Retryable:
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_S)


def objects(settings: Settings) -> list[dict[str, Any]]:
    """Return the first objects, in the order in which they can be made."""
    emulation, _ = decide_emulation(settings)
    return [
        *(namespace(name) for name in NAMESPACES),
        *schema.definitions(),
        *schema.data_volume_definitions(),
        further_networks.definition(),
        *rbac.objects(rbac.EMBEDDED),
        *rbac.users_of_migration(),
        *rbac.users_of_vms(),
        *rbac.users_of_data_volumes(),
        *(msgspec.to_builtins(one) for one in classes.built_in()),
        kubevirt(emulation),
        host_provider(),
        cdi_config(f"https://{settings.network.gateway}:{up_settings.VIRT_API_PORT}"),
    ]


def decide_emulation(settings: Settings) -> tuple[bool, str]:
    """Return whether VMs may be emulated, and why, in a sentence for people."""
    verdict = kvm_probe.cached(settings.kvm_verdict)
    return choose_emulation(settings.emulation, verdict)


def choose_emulation(wanted: up_settings.Emulation, verdict: kvm_probe.Verdict) -> tuple[bool, str]:
    """Return whether VMs may be emulated, and why. Pure."""
    found = f"KVM {'works' if verdict.usable else 'does not work'} here: {verdict.message}"
    if wanted == "never":
        end = "" if verdict.usable else "; VMs will wait, as emulation is not allowed"
        return False, f"{found}{end}"
    if verdict.usable:
        return wanted == "allow", f"{found}; VMs use it"
    why = "chosen by itself" if wanted == "auto" else "as asked for"
    return True, f"{found}; VMs are emulated, which is slow but works ({why})"


def namespace(name: str) -> dict[str, Any]:
    """Return a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def kubevirt(emulation: bool) -> dict[str, Any]:
    """Return the KubeVirt object, which says that the runtime is installed and how."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": configuration.NAME, "namespace": configuration.NAMESPACE},
        "spec": {"configuration": {"developerConfiguration": {"useEmulation": emulation}}},
    }


def cdi_config(upload_url: str) -> dict[str, Any]:
    """Return CDI's configuration, where `virtctl image-upload` looks for whom to give the disk."""
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "CDIConfig",
        "metadata": {"name": "config"},
        "status": {
            "uploadProxyURL": upload_url,
            "filesystemOverhead": {"global": "0.06"},
        },
    }


def host_provider() -> dict[str, Any]:
    """Return the Provider that stands for this installation as a target, as Forklift makes it."""
    return {
        "apiVersion": "forklift.konveyor.io/v1beta1",
        "kind": "Provider",
        "metadata": {"name": "host", "namespace": "mtv"},
        "spec": {"type": "openshift", "url": "", "secret": {}},
    }


def apply(client: Client, wanted: dict[str, Any]) -> bool:
    """Make an object as it should be; tell whether anything was sent. Raises MigrationError."""
    digest = hashlib.sha256(msgspec.json.encode(wanted, order="deterministic")).hexdigest()[:16]
    path = path_of(wanted)
    try:
        found = client.raw("GET", path)
        if found["metadata"].get("annotations", {}).get(DIGEST) == digest:
            return False
    except errors.NotFound:
        pass
    metadata = {**wanted["metadata"]}
    metadata["annotations"] = {**metadata.get("annotations", {}), DIGEST: digest}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.raw(
                "PATCH",
                path,
                {**wanted, "metadata": metadata},
                content_type="application/apply-patch+yaml",
                query=[("fieldManager", MANAGER), ("force", "true")],
            )
            return True
        except (errors.NotFound, errors.Retryable):  # its definition is served in a moment
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_S)


def forget_nodes(client: Client, settings: Settings) -> None:
    """Delete nodes of this installation that are not asked for any more."""
    for node in client.list(Node):
        ours = bool(node.spec and (node.spec.provider_id or "").startswith("mtv://"))
        if ours and node.metadata.name not in settings.node_names():
            client.delete(Node, node.metadata.name, uid=node.metadata.uid)
            log.info("node %s is not asked for any more: deleted", node.metadata.name)


def path_of(wanted: dict[str, Any]) -> str:
    """Return the path of an object of ours."""
    version, metadata = wanted["apiVersion"], wanted["metadata"]
    parts = ["/apis" if "/" in version else "/api", version]
    if metadata.get("namespace"):
        parts += ["namespaces", metadata["namespace"]]
    return "/".join([*parts, PLURALS[wanted["kind"]], metadata["name"]])


if __name__ == "__main__":
    run()
