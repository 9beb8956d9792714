"""Puts an installation on a cluster, waits until it works, and takes it away."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from mtv import errors
from mtv.api import apps, cdi, configuration, core, forklift, installation, kubevirt, meta, mtv
from mtv_operator.installation import documents, manifest
from mtv_operator.installation.settings import MIGRATION_NAMESPACE, RUNTIME_NAMESPACE, Settings
from mtv_operator.objects import Client

Document = dict[str, Any]
Say = Callable[[str], None]

MANAGER = "mtv-install"
POLL_S = 0.5
DEFINED_S = 60.0  # until a kind that was just defined is served
GONE_S = 180.0
ENDED_S = 60.0  # for migrations that run
DEPLOYED = "Deployed"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/rolebindings"
TRANSFER_ACCOUNT = "mtv-transfer"
VM_KINDS: tuple[type[meta.Object], ...] = (
    kubevirt.VirtualMachine,
    kubevirt.VirtualMachineInstance,
    kubevirt.VirtualMachineInstanceMigration,
)
# In this order: no schedule begins another, no plan goes while it runs.
MIGRATION_KINDS: tuple[type[meta.Object], ...] = (
    mtv.MigrationSchedule,
    forklift.Migration,
    forklift.Plan,
    mtv.DiskTransfer,
)
OUR_LABELS = ("kubevirt.io/schedulable",)
OUR_ANNOTATIONS = ("kubevirt.io/heartbeat", "mtv.dev/handler-port", "mtv.dev/kvm")


def apply(client: Client, wanted: Sequence[Document]) -> None:
    """Make objects as they should be. Raises MigrationError."""
    for one in wanted:
        _apply(client, one)


def _apply(client: Client, wanted: Document) -> None:
    deadline = time.monotonic() + DEFINED_S
    while True:
        try:
            client.raw(
                "PATCH",
                documents.path_of(wanted),
                wanted,
                content_type="application/apply-patch+yaml",
                query=[("fieldManager", MANAGER), ("force", "true")],
            )
            return
        except (errors.NotFound, errors.Retryable):  # its namespace or kind comes in a moment
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def wait_until_deployed(client: Client, settings: Settings, timeout_s: float, say: Say) -> None:
    """Wait until all components are ready. Raises TargetUnavailable saying which are not."""
    deadline = time.monotonic() + timeout_s
    told = ""
    while missing := _missing(client, settings):
        if missing != told:
            told = missing
            say(missing)
        if time.monotonic() > deadline:
            raise errors.TargetUnavailable(
                f"not ready after {timeout_s:.0f} s: {missing}",
                hint=f"kubectl get pods -n {RUNTIME_NAMESPACE}; kubectl get pods -n "
                f"{MIGRATION_NAMESPACE}; the same `mtv install` again goes on waiting",
            )
        time.sleep(POLL_S)


def _missing(client: Client, settings: Settings) -> str:
    """Return what is still missing, in words; empty when all is there."""
    try:
        for name in ("mtv-controller", "mtv-inventory"):
            found = client.find(apps.Deployment, name, MIGRATION_NAMESPACE)
            if missing := _of_deployment(name, found):
                return missing
        if not settings.runtime:
            return ""
        kubevirt_ = client.find(installation.KubeVirt, configuration.NAME, configuration.NAMESPACE)
    except errors.Retryable as fault:
        return str(fault)
    if kubevirt_ is None or kubevirt_.status is None:
        return "virt-operator has not begun"
    status = kubevirt_.status
    progressing = [one for one in status.conditions if one.type == "Progressing"]
    if status.phase == DEPLOYED and all(one.status == "False" for one in progressing):
        return ""
    return next((one.message or "" for one in progressing), "") or f"phase {status.phase}"


def _of_deployment(name: str, found: apps.Deployment | None) -> str:
    status = (found and found.status) or apps.DeploymentStatus()
    wanted = (found and found.spec and found.spec.replicas) or 1
    available = status.available_replicas or 0
    if (status.updated_replicas or 0) >= wanted and available >= wanted:
        return ""
    return f"{name}: {available} of {wanted} available"


def allow_emulation(client: Client, allowed: bool) -> None:
    """Have the KubeVirt object say whether VMs may be emulated. Raises MigrationError."""
    body = {"spec": {"configuration": {"developerConfiguration": {"useEmulation": allowed}}}}
    client.patch(installation.KubeVirt, configuration.NAME, configuration.NAMESPACE, body)


def remove(client: Client, settings: Settings, say: Say, *, delete_vms: bool) -> None:
    """Take an installation away, with the kinds it defined. Raises TargetRefused if VMs exist."""
    if settings.runtime:
        _check_vms(client, delete_vms=delete_vms)
    if settings.runtime and settings.data_volumes:
        _release_claims(client)
    if settings.runtime:
        _remove_vms(client, say)
    _remove_migrations(client, say)
    if settings.runtime and settings.data_volumes:
        _remove_all(client, cdi.DataVolume)
    wanted = manifest.objects(settings)
    workloads = [one for one in wanted if one["kind"] in ("Deployment", "DaemonSet")]
    say("components")
    # First who would make the others again.
    keepers = [one for one in workloads if one["metadata"]["name"] == "virt-operator"]
    for some in (keepers, workloads):
        _delete_and_wait(client, some, propagation="Foreground")
    say("what they registered, and kinds")
    _let_go(client, settings)
    _remove_bindings(client)
    found = [one for one in reversed(wanted) if one not in workloads]
    last = [one for one in found if one["kind"] == "Namespace"]
    _delete_and_wait(client, [one for one in found if one not in last])
    if settings.runtime:
        _clean_nodes(client)
    say("namespaces")
    _delete_and_wait(client, last)


def _check_vms(client: Client, *, delete_vms: bool) -> None:
    there = [one for kind in VM_KINDS for one in _list(client, kind)]
    if there and not delete_vms:
        names = sorted({f"{one.metadata.namespace}/{one.metadata.name}" for one in there})
        raise errors.TargetRefused(
            f"virtual machines are still here: {', '.join(names[:5])}"
            + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
            hint="delete them, or give --delete-vms; their volumes are kept in both cases",
        )


def _remove_vms(client: Client, say: Say) -> None:
    count = len(_list(client, kubevirt.VirtualMachine))
    if count:
        say(f"{count} virtual machines")
    for kind in VM_KINDS:
        _remove_all(client, kind)


def _remove_migrations(client: Client, say: Say) -> None:
    """Have mtv-controller end what runs, and tidy up in the source."""
    for kind in MIGRATION_KINDS:
        try:
            _remove_all(client, kind, ENDED_S)
        except errors.TargetUnavailable as fault:  # its source may not answer any more
            say(f"{fault}: left behind in the source is what it made there")


def _let_go(client: Client, settings: Settings) -> None:
    """Take the finalizers off what is left of our kinds: nobody is there who would do it."""
    for definition in manifest.definitions(settings.runtime):
        spec = definition["spec"]
        version = next(one["name"] for one in spec["versions"] if one["storage"])
        base, plural = f"/apis/{spec['group']}/{version}", spec["names"]["plural"]
        try:
            found = client.raw("GET", f"{base}/{plural}")["items"]
        except errors.NotFound:
            continue
        for one in found:
            metadata = one["metadata"]
            if not metadata.get("finalizers"):
                continue
            home = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
            with contextlib.suppress(errors.NotFound):
                client.raw(
                    "PATCH",
                    f"{base}{home}/{plural}/{metadata['name']}",
                    {"metadata": {"finalizers": None}},
                    content_type="application/merge-patch+json",
                )


def _release_claims(client: Client) -> None:
    """Have the claims of DataVolumes stay when those go."""
    for one in _list(client, core.PersistentVolumeClaim):
        owners = one.metadata.owner_references
        kept = [each for each in owners if each.kind != cdi.DataVolume.kind_name()]
        if len(kept) == len(owners):
            continue
        body = {"metadata": {"ownerReferences": msgspec.to_builtins(kept)}}
        client.patch(core.PersistentVolumeClaim, one.metadata.name, one.metadata.namespace, body)


def _list(client: Client, kind: type[meta.Object]) -> Sequence[meta.Object]:
    try:
        return client.list(kind)
    except errors.NotFound:  # the kind itself is gone
        return ()


def _remove_all(client: Client, kind: type[meta.Object], within_s: float = GONE_S) -> None:
    """Delete all objects of a kind, and wait: their controllers must still run for that."""
    for one in _list(client, kind):
        client.delete(kind, one.metadata.name, one.metadata.namespace)
    _wait(lambda: not _list(client, kind), f"{kind.kind_name()}s", within_s)


def _remove_bindings(client: Client) -> None:
    """Take away what mtv-controller made in the namespaces into which disks were copied."""
    for one in client.raw("GET", BINDINGS)["items"]:
        if one["metadata"]["name"] != TRANSFER_ACCOUNT:
            continue
        namespace = one["metadata"]["namespace"]
        binding = {**one, "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}
        _delete(client, binding, "Background")
        client.delete(core.ServiceAccount, TRANSFER_ACCOUNT, namespace)


def _clean_nodes(client: Client) -> None:
    for node in client.list(core.Node):
        body = {
            "metadata": {
                "labels": dict.fromkeys(OUR_LABELS),
                "annotations": dict.fromkeys(OUR_ANNOTATIONS),
            }
        }
        client.patch(core.Node, node.metadata.name, "", body)


def _delete_and_wait(
    client: Client, found: Iterable[Document], *, propagation: str = "Background"
) -> None:
    listed = list(found)
    for one in listed:
        _delete(client, one, propagation)
    for one in listed:
        _wait(functools.partial(_is_gone, client, one), documents.title(one))


def _delete(client: Client, one: Document, propagation: str) -> None:
    try:
        client.raw("DELETE", documents.path_of(one), query=[("propagationPolicy", propagation)])
    except errors.NotFound:
        return


def _is_gone(client: Client, one: Document) -> bool:
    try:
        client.raw("GET", documents.path_of(one))
    except errors.NotFound:
        return True
    return False


def _wait(gone: Callable[[], bool], what: str, within_s: float = GONE_S) -> None:
    deadline = time.monotonic() + within_s
    while not gone():
        if time.monotonic() > deadline:
            raise errors.TargetUnavailable(
                f"{what}: still there after {within_s:.0f} s",
                hint="a finalizer may wait for somebody; the same `mtv uninstall` again goes on",
            )
        time.sleep(POLL_S)
