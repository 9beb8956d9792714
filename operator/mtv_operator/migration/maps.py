"""NetworkMap and StorageMap: which of their references stand for something. Two kinds, one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from mtv.api import forklift
from mtv.api.forklift import Condition
from mtv.planning import map_checks, mappings
from mtv.planning.mappings import Named
from mtv.planning.problems import Problem
from mtv.planning.target import Target
from mtv_operator.migration import conditions, inventory_cache, provider
from mtv_operator.migration.conditions import Category
from mtv_operator.reconciling import Decision

PROVIDER_TYPES = frozenset(
    f"{side}Provider{state}"
    for side in ("Source", "Destination")
    for state in ("NotValid", "NotReady")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A map, its pair of providers, and what both sides have."""

    map: forklift.NetworkMap | forklift.StorageMap
    source: forklift.Provider | None
    destination: forklift.Provider | None
    view: inventory_cache.View
    target: Target


def decide(observed: Observed, now: datetime) -> Decision[None, forklift.MapStatus]:
    """Return the conditions of a map, and what its sources stand for."""
    pair = observed.map.spec.provider
    found = tuple(of_providers(pair, observed.source, observed.destination))
    references: tuple[forklift.Ref, ...] = ()
    if observed.source is not None and observed.view.inventory is None:
        if not conditions.find(found, "SourceProviderNotReady"):
            found = (*found, _not_ready("Source", "its inventory is being loaded"))
    elif observed.view.inventory is not None:
        problems, references = _read(observed)
        found = (*found, *conditions.of_problems(problems))
    found = (*found, *conditions.ready(found, "The map is ready."))
    before = observed.map.status.conditions if observed.map.status else ()
    return Decision(
        status=forklift.MapStatus(
            conditions=conditions.merge(before, found, now),
            references=references,
            observed_generation=observed.map.metadata.generation,
        )
    )


def of_providers(
    pair: forklift.ProviderPair,
    source: forklift.Provider | None,
    destination: forklift.Provider | None,
) -> Iterator[Condition]:
    """Yield what is wrong with the providers that a map or a plan names."""
    for side, reference, found in (
        ("Source", pair.source, source),
        ("Destination", pair.destination, destination),
    ):
        if not reference.name:
            yield _not_valid(side, "NotSet", f"spec.provider.{side.lower()} is not set")
        elif found is None:
            where = f"{reference.namespace}/{reference.name}"
            yield _not_valid(side, "NotFound", f"there is no Provider {where}")
        elif side == "Destination" and not provider.is_host(found):
            yield _not_valid(
                side,
                "NotSupported",
                f"Provider {found.metadata.name} is not the cluster that mtv runs in (type "
                "openshift, no URL), the only destination there is",
            )
        elif side == "Source" and found.spec.type not in provider.FOLLOWED:
            yield _not_valid(side, "NotSupported", f"Provider {found.metadata.name} is no source")
        elif not provider.is_ready(found):
            yield _not_ready(side, _why(found))


def _read(observed: Observed) -> tuple[tuple[Problem, ...], tuple[forklift.Ref, ...]]:
    inventory = observed.view.inventory
    assert inventory is not None
    if isinstance(observed.map, forklift.NetworkMap):
        networks = mappings.networks(observed.map, inventory)
        return (
            map_checks.of_networks(networks, observed.target),
            _references(pair.source for pair in networks.pairs),
        )
    storage = mappings.storage(observed.map, inventory)
    return (
        map_checks.of_storage(storage, observed.target),
        _references(pair.source for pair in storage.pairs),
    )


def _references(sources: Iterable[Named]) -> tuple[forklift.Ref, ...]:
    return tuple(forklift.Ref(id=one.id, name=one.name) for one in sources)


def _why(found: forklift.Provider) -> str:
    known = found.status.conditions if found.status else ()
    blockers = conditions.blocking(known)
    return blockers[0].message or blockers[0].type if blockers else "it is not Ready yet"


def _not_valid(side: str, reason: str, message: str) -> Condition:
    return conditions.condition(
        f"{side}ProviderNotValid", Category.CRITICAL, message, reason=reason
    )


def _not_ready(side: str, message: str) -> Condition:
    return conditions.condition(
        f"{side}ProviderNotReady",
        Category.CRITICAL,
        f"the {side.lower()} provider is not ready: {message}",
        reason="NotValid",
    )
