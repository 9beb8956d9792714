"""NetworkMap and StorageMap read against an inventory: which source thing goes where.

A map names its sources by id, by name, or by the end of a path (`prod`, `/DC0/network/prod`).
Here each name becomes the one object of the inventory that it stands for, or an `Unresolved` that
names the field and says why. Nothing is guessed: a name that fits two objects is ambiguous.

Several entries for one source are a pool, as in Forklift: the NICs of a VM are spread over the
networks listed. Forklift drops a NIC when each network of the pool is taken; here it shares the
one that has the fewest NICs of this VM, because Multus and KubeVirt allow that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from mtv.api import forklift
from mtv.inventory.model import Datastore, Disk, Inventory, Moref, Network, Nic


class Reason(StrEnum):
    """Why a reference stands for nothing, in the words of Forklift's conditions."""

    NOT_SET = "NotSet"
    NOT_FOUND = "NotFound"
    AMBIGUOUS = "Ambiguous"
    NOT_VALID = "NotValid"


class Destination(StrEnum):
    """Where a NIC can be attached. `IGNORED` leaves it out."""

    POD = "pod"
    MULTUS = "multus"
    IGNORED = "ignored"


class Reference(Protocol):
    """What Forklift calls a Ref: an id, a name, or both (the id wins)."""

    @property
    def id(self) -> str | None:
        """The source's own identifier."""

    @property
    def name(self) -> str | None:
        """A bare name, or the end of a path."""


class Named(Protocol):
    """What can be referred to."""

    @property
    def id(self) -> Moref:
        """The source's own identifier."""

    @property
    def name(self) -> str:
        """The bare name."""

    @property
    def path(self) -> str:
        """The whole path, `/DC0/network/prod`."""


NamedT = TypeVar("NamedT", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """A reference that stands for nothing, or for too much."""

    field: str  # spec.map[0].source
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPair:
    """One entry of a NetworkMap, its source found."""

    field: str
    source: Network
    destination: Destination
    namespace: str = ""  # of the network attachment definition; empty: that of the VM
    name: str = ""

    @property
    def attachment(self) -> str:
        """The name that KubeVirt takes: `namespace/name`, or `name`."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePair:
    """One entry of a StorageMap, its source found."""

    field: str
    source: Datastore
    storage_class: str
    volume_mode: str = "Filesystem"
    access_mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A NIC and the entry it was given; None if the map has none for its network."""

    nic: Nic
    pair: NetworkPair | None
    shared: bool = False  # another NIC of this VM is on the same Multus network


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """A NetworkMap that has been read."""

    pairs: tuple[NetworkPair, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()

    def attach(self, nics: Iterable[Nic], inventory: Inventory) -> tuple[Attachment, ...]:
        """Return what each NIC gets, in their order; NICs without a network are left out."""
        by_source: dict[Moref, list[NetworkPair]] = {}
        for pair in self.pairs:
            by_source.setdefault(pair.source.id, []).append(pair)
        used: Counter[str] = Counter()
        return tuple(
            _attach(nic, _pairs_of(nic.network, by_source, inventory), used)
            for nic in nics
            if nic.network
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A StorageMap that has been read."""

    pairs: tuple[StoragePair, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()

    def of(self, disk: Disk) -> StoragePair | None:
        """Return the entry for the datastore of `disk`; the first if there are two."""
        return next((pair for pair in self.pairs if pair.source.id == disk.datastore), None)


def find(
    reference: Reference, objects: Mapping[Moref, NamedT], *, field: str, kind: str
) -> NamedT | Unresolved:
    """Return the one object that `reference` stands for.

    An id must fit exactly; a name without `/` is compared with bare names, one with `/` with the
    ends of paths, at component boundaries.
    """
    if reference.id:
        found = objects.get(Moref(reference.id))
        return found or _not_found(field, f"no {kind} has the id {reference.id!r}")
    if not reference.name:
        return Unresolved(
            field=field,
            reason=Reason.NOT_SET,
            message=f"neither id nor name of the {kind} is given",
        )
    return _one(
        [one for one in objects.values() if _fits(reference.name, one)],
        field=field,
        what=f"{kind} {reference.name!r}",
    )


def networks(network_map: forklift.NetworkMap, inventory: Inventory) -> Networks:
    """Read a NetworkMap against the inventory of its source provider."""
    read = [
        _network_pair(entry, inventory, field=f"spec.map[{index}]")
        for index, entry in enumerate(network_map.spec.map)
    ]
    return Networks(
        pairs=tuple(one for one in read if isinstance(one, NetworkPair)),
        unresolved=tuple(one for one in read if isinstance(one, Unresolved)),
    )


def storage(storage_map: forklift.StorageMap, inventory: Inventory) -> Storage:
    """Read a StorageMap against the inventory of its source provider."""
    read = [
        _storage_pair(entry, inventory, field=f"spec.map[{index}]")
        for index, entry in enumerate(storage_map.spec.map)
    ]
    return Storage(
        pairs=tuple(one for one in read if isinstance(one, StoragePair)),
        unresolved=tuple(one for one in read if isinstance(one, Unresolved)),
    )


def _network_pair(
    entry: forklift.NetworkPair, inventory: Inventory, *, field: str
) -> NetworkPair | Unresolved:
    source = _network(entry.source, inventory, field=f"{field}.source")
    if isinstance(source, Unresolved):
        return source
    kind = Destination(entry.destination.type)
    if kind is Destination.MULTUS and not entry.destination.name:
        return Unresolved(
            field=f"{field}.destination.name",
            reason=Reason.NOT_SET,
            message="a multus destination needs the name of a NetworkAttachmentDefinition",
        )
    return NetworkPair(
        field=field,
        source=source,
        destination=kind,
        namespace=entry.destination.namespace or "",
        name=entry.destination.name or "",
    )


def _network(
    reference: forklift.NetworkSource, inventory: Inventory, *, field: str
) -> Network | Unresolved:
    """Find a network; a VLAN narrows the choice, and a switch with a VLAN is its port group."""
    if not reference.vlan:
        return find(reference, inventory.networks, field=field, kind="network")
    in_vlan = {
        key: network
        for key, network in inventory.networks.items()
        if network.vlan == reference.vlan
    }
    switch = find(reference, inventory.networks, field=field, kind="network")
    if isinstance(switch, Network) and switch.variant == "DvSwitch":
        return _one(
            [network for network in in_vlan.values() if network.dv_switch == switch.id],
            field=field,
            what=f"port group of {switch.name} in VLAN {reference.vlan}",
        )
    if isinstance(switch, Network) and switch.vlan != reference.vlan:
        shown = f"VLAN {switch.vlan}" if switch.vlan else "no VLAN"
        return _not_found(field, f"network {switch.name!r} has {shown}, not {reference.vlan}")
    return find(reference, in_vlan, field=field, kind=f"network of VLAN {reference.vlan}")


def _storage_pair(
    entry: forklift.StoragePair, inventory: Inventory, *, field: str
) -> StoragePair | Unresolved:
    source = find(entry.source, inventory.datastores, field=f"{field}.source", kind="datastore")
    if isinstance(source, Unresolved):
        return source
    if not entry.destination.storage_class:
        return Unresolved(
            field=f"{field}.destination.storageClass",
            reason=Reason.NOT_SET,
            message="no storage class is given",
        )
    return StoragePair(
        field=field,
        source=source,
        storage_class=entry.destination.storage_class,
        volume_mode=entry.destination.volume_mode or "Filesystem",
        access_mode=entry.destination.access_mode,
    )


def _fits(name: str, one: Named) -> bool:
    if "/" not in name:
        return one.name == name
    return one.path == name or one.path.endswith("/" + name.lstrip("/"))


def _one(found: Sequence[NamedT], *, field: str, what: str) -> NamedT | Unresolved:
    if not found:
        return _not_found(field, f"there is no {what}")
    if len(found) > 1:
        paths = sorted(f"{one.path or one.name} ({one.id})" for one in found)
        return Unresolved(
            field=field,
            reason=Reason.AMBIGUOUS,
            message=f"{what} is ambiguous: it may be {', '.join(paths)}; give the id or the path",
        )
    return found[0]


def _not_found(field: str, message: str) -> Unresolved:
    return Unresolved(field=field, reason=Reason.NOT_FOUND, message=message)


def _pairs_of(
    network: Moref | None, by_source: Mapping[Moref, list[NetworkPair]], inventory: Inventory
) -> list[NetworkPair]:
    """Return the entries for a NIC's network; a port group falls back to its switch's entry."""
    if network is None:
        return []
    if network in by_source:
        return by_source[network]
    known = inventory.networks.get(network)
    return by_source.get(known.dv_switch, []) if known and known.dv_switch else []


def _attach(nic: Nic, pairs: Sequence[NetworkPair], used: Counter[str]) -> Attachment:
    for pair in pairs:
        if pair.destination is not Destination.MULTUS:
            return Attachment(nic=nic, pair=pair)
    if not pairs:
        return Attachment(nic=nic, pair=None)
    chosen = min(pairs, key=lambda pair: used[pair.attachment])
    used[chosen.attachment] += 1
    return Attachment(nic=nic, pair=chosen, shared=used[chosen.attachment] > 1)
