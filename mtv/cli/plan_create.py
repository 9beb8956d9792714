"""`mtv plan create`: a plan of maps that are there."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from mtv import errors

if TYPE_CHECKING:
    from mtv.api.forklift import PlanVM
    from mtv.api.meta import ObjectMeta
    from mtv_operator.objects import Client


def create(
    client: Client,
    metadata: ObjectMeta,
    source: str,
    vms: list[str],
    *,
    network_map: str,
    storage_map: str,
    target_namespace: str,
    **spec: Any,  # noqa: ANN401 - fields of the PlanSpec
) -> None:
    """Create a Plan. Raises NotFound for a provider or a map that is not there."""
    from mtv.api import forklift, meta
    from mtv.cli import sources
    from mtv.cli.provider_objects import ensure_host

    namespace = metadata.namespace
    sources.find(client, source, namespace)
    for kind, wanted in ((forklift.NetworkMap, network_map), (forklift.StorageMap, storage_map)):
        if client.find(kind, wanted, namespace) is None:
            there = ", ".join(one.metadata.name for one in client.list(kind, namespace))
            raise errors.NotFound(
                f"there is no {kind.__name__} {wanted} in namespace {namespace}",
                hint=f"there are: {there}" if there else "make one with `kubectl apply`",
            )
    ensure_host(client, namespace)
    at = partial(meta.ObjectReference, namespace=namespace)
    client.create(
        forklift.Plan(
            metadata=metadata,
            spec=forklift.PlanSpec(
                target_namespace=target_namespace,
                provider=forklift.ProviderPair(source=at(name=source), destination=at(name="host")),
                map=forklift.PlanMap(network=at(name=network_map), storage=at(name=storage_map)),
                vms=tuple(_entry(one) for one in vms),
                **spec,
            ),
        )
    )


def _entry(name: str) -> PlanVM:
    from mtv.api.forklift import PlanVM

    is_id = re.fullmatch(r"vm-\d+", name)  # as vCenter writes morefs
    return PlanVM(id=name) if is_id else PlanVM(name=name)
