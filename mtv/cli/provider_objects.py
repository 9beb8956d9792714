"""What `mtv provider` stores: a Provider and its Secret, the one owned by the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtv import errors

if TYPE_CHECKING:
    from mtv.api.core import Secret
    from mtv.api.forklift import Provider
    from mtv_operator.migration.access import Access, PackageAccess
    from mtv_operator.objects import Client


def create(client: Client, name: str, namespace: str, wanted: Access | PackageAccess) -> Provider:
    """Store Secret and Provider, the one owned by the other; both or none."""
    import msgspec

    from mtv.api import core, forklift, meta

    ensure_host(client, namespace)
    secret = client.create(_secret(name, namespace, wanted))
    try:
        provider = client.create(
            forklift.Provider(
                metadata=meta.ObjectMeta(name=name, namespace=namespace),
                spec=forklift.ProviderSpec(
                    type=_type_of(wanted),
                    url=wanted.url,
                    secret=meta.ObjectReference(
                        name=secret.metadata.name, namespace=secret.metadata.namespace
                    ),
                ),
            )
        )
        owner = msgspec.to_builtins(meta.owner_of(provider, controller=False))
        client.patch(
            core.Secret, secret.metadata.name, namespace, {"metadata": {"ownerReferences": [owner]}}
        )
    except BaseException:
        client.delete(core.Secret, secret.metadata.name, namespace)
        raise
    return provider


def _type_of(wanted: Access | PackageAccess) -> str:
    from mtv_operator.migration import access

    return access.PACKAGES if isinstance(wanted, access.PackageAccess) else "vsphere"


def _secret(name: str, namespace: str, wanted: Access | PackageAccess) -> Secret:
    from mtv.api import core, meta
    from mtv_operator.migration import access

    type_ = _type_of(wanted)
    texts = {access.USER: wanted.user, access.PASSWORD: wanted.password, access.URL: wanted.url}
    if wanted.ca_pem:
        texts[access.CA] = wanted.ca_pem
    if isinstance(wanted, access.Access) and wanted.thumbprint:
        texts[access.THUMBPRINT] = wanted.thumbprint
    texts[access.INSECURE] = "true" if wanted.insecure else "false"
    return core.Secret(
        metadata=meta.ObjectMeta(
            generate_name=f"{name}-{type_}-",
            namespace=namespace,
            labels={
                "createdForProviderType": type_,
                "createdForResourceType": "providers",
                "createdForResource": name,
            },
        ),
        type="Opaque",
        data={key: text.encode() for key, text in texts.items()},
    )


def ensure_host(client: Client, namespace: str) -> None:
    """Make the Provider `host`, which means the cluster itself, where it is missing."""
    import contextlib

    from mtv.api import forklift, meta

    if client.find(forklift.Provider, "host", namespace) is not None:
        return
    with contextlib.suppress(errors.AlreadyExists):
        client.create(
            forklift.Provider(
                metadata=meta.ObjectMeta(name="host", namespace=namespace),
                spec=forklift.ProviderSpec(type="openshift", url="", secret=meta.ObjectReference()),
            )
        )


def remove(client: Client, provider: Provider) -> None:
    """Delete a Provider and the Secret that was made for it."""
    from mtv.api import core, forklift

    metadata = provider.metadata
    client.delete(forklift.Provider, metadata.name, metadata.namespace)
    reference = provider.spec.secret
    namespace = reference.namespace or metadata.namespace
    secret = client.find(core.Secret, reference.name, namespace) if reference.name else None
    if secret and any(o.uid == metadata.uid for o in secret.metadata.owner_references):
        client.delete(core.Secret, secret.metadata.name, namespace, uid=secret.metadata.uid)
