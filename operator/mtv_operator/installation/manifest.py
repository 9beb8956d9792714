"""All objects of an installation, in the order in which they can be made. Pure."""

from __future__ import annotations

from typing import Any

from mtv.api import schema
from mtv_operator.installation import naming, rbac, workloads
from mtv_operator.installation.settings import MIGRATION_NAMESPACE, RUNTIME_NAMESPACE, Settings
from mtv_operator.virt_api import registration

Document = dict[str, Any]

RUNTIME_GROUPS = ("kubevirt.io", "instancetype.kubevirt.io", "migrations.kubevirt.io")
KEPT = {"helm.sh/resource-policy": "keep"}  # with a DataVolume its claim would go
SECURITY, MODES = "pod-security.kubernetes.io", ("enforce", "audit", "warn")


def objects(settings: Settings) -> list[Document]:
    """Return everything, definitions first.

    The first KubeVirt object and the Provider `host` are not here: `kubectl apply` cannot send
    objects of kinds that come in the same file. virt-operator and mtv-controller make them.
    """
    found = [*definitions(settings.runtime), *migration(settings)]
    if settings.runtime:
        found += runtime(settings)
    if settings.runtime and settings.data_volumes:
        found += data_volumes()
    return found


def definitions(runtime_too: bool) -> list[Document]:
    """Return the CustomResourceDefinitions; the runtime's only where it is installed."""
    return [
        one
        for one in schema.definitions()
        if runtime_too or one["spec"]["group"] not in RUNTIME_GROUPS
    ]


def migration(settings: Settings) -> list[Document]:
    """Return what brings virtual machines here."""
    return [
        namespace(MIGRATION_NAMESPACE, "restricted"),
        workloads.priority_class(workloads.MIGRATION_PRIORITY),
        *rbac.objects(rbac.MIGRATING),
        *rbac.users_of_migration(),
        *workloads.migration(settings),
    ]


def runtime(settings: Settings) -> list[Document]:
    """Return what runs virtual machines."""
    return [
        namespace(RUNTIME_NAMESPACE, "privileged"),
        workloads.priority_class(workloads.PRIORITY),
        *rbac.objects(rbac.RUNTIME),
        *rbac.users_of_vms(),
        rbac.authentication_reader(rbac.VIRT_API_ACCOUNT),
        *workloads.runtime(settings),
        *_registered(),
    ]


def data_volumes() -> list[Document]:
    """Return what DataVolumes and uploads need where CDI is absent."""
    kinds = schema.data_volume_definitions()
    return [
        *({**one, "metadata": {**one["metadata"], "annotations": KEPT}} for one in kinds),
        *rbac.data_volumes(),
        *_registered(uploads=True),
    ]


def namespace(name: str, security: str) -> Document:
    """Return a namespace with its Pod Security level."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {f"{SECURITY}/{one}": security for one in MODES}},
    }


def _registered(*, uploads: bool = False) -> list[Document]:
    """Return what the API server finds virt-api by, without the authority: virt-api adds it.

    They stand here so that whoever deletes the installation deletes them. With `uploads` only what
    comes with those.
    """
    address = f"0.0.0.0:{workloads.API_PORT}"
    selector = naming.selector("virt-api")
    found = list(registration.objects(address, b"", selector=selector))
    if uploads:
        more = registration.objects(address, b"", selector=selector, with_uploads=True)
        found = [one for one in more if one not in found]
    for one in found:
        one.get("spec", {}).pop("caBundle", None)
        for hook in one.get("webhooks", ()):
            hook["clientConfig"].pop("caBundle")
    return found
