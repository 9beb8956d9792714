"""`mtv import --from FILE.ova`: a Provider for the package, and maps that need not be said.

The Provider is an ordinary one of type `ova`; it is stored when the import begins, and used again
by the next.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mtv import errors

if TYPE_CHECKING:
    from mtv.api.forklift import Provider
    from mtv.cli.import_vms import Wish
    from mtv.inventory.model import VM, Inventory
    from mtv.planning.target import Target
    from mtv_operator.objects import Client

TYPE = "ova"
_DEFAULT_CLASS = (
    "storageclass.kubevirt.io/is-default-virt-class",
    "storageclass.kubernetes.io/is-default-class",
)


def is_package(text: str) -> bool:
    """Tell whether what stands after `--from` is a place of packages, and no Provider's name."""
    return "/" in text or text.lower().endswith((".ova", ".ovf"))


def provider_of(client: Client, text: str, namespace: str) -> Provider:
    """Return the Provider of a package, which is stored already or not yet. Raises BadInput."""
    from mtv.api import forklift, meta
    from mtv.cli.provider import package_url
    from mtv.planning import names
    from mtv.providers.ova import location

    url = package_url(text)
    stem = location.parse(url).name.rpartition(".")[0] or location.parse(url).name
    name = names.label(stem, otherwise="packages", limit=50)
    there = client.find(forklift.Provider, name, namespace)
    if there is not None and (there.spec.type, there.spec.url) == (TYPE, url):
        return there
    if there is not None:
        name = f"{name}-{names.digest(url)}"
        there = client.find(forklift.Provider, name, namespace)
    return there or forklift.Provider(
        metadata=meta.ObjectMeta(name=name, namespace=namespace),
        spec=forklift.ProviderSpec(type=TYPE, url=url, secret=meta.ObjectReference()),
    )


def store(client: Client, provider: Provider) -> None:
    """Store a Provider that is not stored yet."""
    if provider.metadata.uid or provider.spec.type != TYPE:
        return
    client.create(provider)
    print(f"provider.forklift.konveyor.io/{provider.metadata.name} created", flush=True)


def with_defaults(wish: Wish, inventory: Inventory, target: Target) -> Wish:
    """Return the wish with maps for what it does not map: the first network is the pod's."""
    if not wish.networks:
        wish = replace(wish, networks=_networks(wish, inventory))
    if not wish.storage and inventory.datastores:
        wish = replace(wish, storage=_storage(inventory, target))
    return wish


def _networks(wish: Wish, inventory: Inventory) -> tuple[str, ...]:
    """Map the first network to the pod network, which a VM may have once, and ignore the rest."""
    wanted = {nic.network for vm in _chosen(wish, inventory) for nic in vm.nics if nic.network}
    names = [one.name for one in inventory.networks.values() if one.id in wanted]
    found = tuple(f"{name}={'ignored' if at else 'pod'}" for at, name in enumerate(names))
    for one in found:
        print(f'note: --network "{one}" is assumed', file=sys.stderr)
    return found


def _chosen(wish: Wish, inventory: Inventory) -> list[VM]:
    words = set(wish.vms)
    return [
        vm
        for vm in inventory.vms.values()
        if words & {vm.id, vm.name} or any(vm.path.endswith(f"/{word}") for word in words)
    ]


def _storage(inventory: Inventory, target: Target) -> tuple[str, ...]:
    classes = target.storage_classes or {}
    marked = [
        name
        for mark in _DEFAULT_CLASS
        for name, one in classes.items()
        if one.metadata.annotations.get(mark) == "true"
    ]
    if not marked and len(classes) != 1:
        raise errors.BadInput(
            "it must be said which storage class the disks go to",
            field="--storage",
            hint=f"there are {', '.join(sorted(classes)) or 'none'}: "
            + f'--storage "{next(iter(inventory.datastores.values())).name}=CLASS"',
        )
    chosen = marked[0] if marked else next(iter(classes))
    print(f"note: disks go to storage class {chosen}; --storage says another", file=sys.stderr)
    return tuple(f"{one.name}={chosen}" for one in inventory.datastores.values())
