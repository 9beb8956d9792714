"""References of maps become objects of the inventory, or errors that name the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mtv_planning import plans, source

from mtv.api import forklift
from mtv.inventory.model import Inventory, Moref, Network
from mtv.planning import mappings
from mtv.planning.mappings import Destination, Reason, Unresolved


def inventory() -> Inventory:
    extra = [
        Network(id=Moref("network-7"), name="dup", path="/DC0/network/dup"),
        Network(id=Moref("network-8"), name="dup", path="/DC1/network/dup"),
        Network(id=Moref("dvs-9"), name="switch", path="/DC0/network/switch", variant="DvSwitch"),
        Network(
            id=Moref("dvportgroup-10"),
            name="pg200",
            path="/DC0/network/pg200",
            variant="DvPortGroup",
            vlan="200",
            dv_switch=Moref("dvs-9"),
        ),
        Network(id=Moref("network-11"), name="dup-vlan", path="/DC0/network/dup-vlan", vlan="5"),
        Network(id=Moref("network-12"), name="dup-vlan", path="/DC1/network/dup-vlan", vlan="6"),
    ]
    base = source.inventory(source.vm())
    return replace(base, networks={**base.networks, **{one.id: one for one in extra}})


def one(entry: dict[str, Any]) -> mappings.Networks:
    return mappings.networks(plans.network_map(entry), inventory())


def to_pod(**reference: str) -> dict[str, Any]:
    return {"source": reference, "destination": {"type": "pod"}}


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ({"id": "network-1"}, "network-1"),
        ({"name": "VM Network"}, "network-1"),
        ({"name": "/DC0/network/VM Network"}, "network-1"),
        ({"name": "network/VM Network"}, "network-1"),
        ({"name": "DC1/network/dup"}, "network-8"),
        ({"id": "network-7", "name": "wrong"}, "network-7"),
        ({"name": "prod", "vlan": "100"}, "dvportgroup-2"),
        ({"name": "switch", "vlan": "200"}, "dvportgroup-10"),
        ({"name": "dup-vlan", "vlan": "6"}, "network-12"),
    ],
    ids=str,
)
def test_reference_finds_its_network(reference: dict[str, str], found: str) -> None:
    read = one(to_pod(**reference))
    assert not read.unresolved
    assert [pair.source.id for pair in read.pairs] == [found]


@pytest.mark.parametrize(
    ("reference", "reason", "says"),
    [
        ({}, Reason.NOT_SET, "neither id nor name"),
        ({"id": "network-99"}, Reason.NOT_FOUND, "no network has the id 'network-99'"),
        ({"name": "nope"}, Reason.NOT_FOUND, "there is no network 'nope'"),
        ({"name": "etwork/VM Network"}, Reason.NOT_FOUND, "there is no network"),
        ({"name": "dup"}, Reason.AMBIGUOUS, "/DC0/network/dup (network-7), /DC1/network/dup"),
        ({"name": "prod", "vlan": "7"}, Reason.NOT_FOUND, "has VLAN 100, not 7"),
        ({"name": "VM Network", "vlan": "7"}, Reason.NOT_FOUND, "has no VLAN, not 7"),
        ({"name": "switch", "vlan": "7"}, Reason.NOT_FOUND, "port group of switch in VLAN 7"),
        ({"vlan": "100"}, Reason.NOT_SET, "neither id nor name"),
    ],
    ids=str,
)
def test_bad_reference_names_the_field_and_the_reason(
    reference: dict[str, str], reason: Reason, says: str
) -> None:
    (unresolved,) = one(to_pod(**reference)).unresolved
    assert (unresolved.field, unresolved.reason) == ("spec.map[0].source", reason)
    assert says in unresolved.message


def test_multus_needs_a_name() -> None:
    entry = {"source": {"name": "prod"}, "destination": {"type": "multus"}}
    (unresolved,) = one(entry).unresolved
    assert unresolved.field == "spec.map[0].destination.name"


def test_nics_are_spread_over_a_pool_and_none_is_lost() -> None:
    pool = [
        {"source": {"id": "network-1"}, "destination": {"type": "multus", "name": name}}
        for name in ("a", "b")
    ]
    read = mappings.networks(plans.network_map(*pool), inventory())
    nics = [source.nic(4000 + index) for index in range(3)]
    attached = read.attach(nics, inventory())
    assert [one.pair.attachment if one.pair else "" for one in attached] == ["a", "b", "a"]
    assert [one.shared for one in attached] == [False, False, True]


def test_a_port_group_falls_back_to_its_switch() -> None:
    read = one(to_pod(name="switch"))
    (attached,) = read.attach([source.nic(network=Moref("dvportgroup-10"))], inventory())
    assert attached.pair is not None
    assert attached.pair.destination is Destination.POD


def test_unmapped_nics_have_no_pair_and_unconnected_ones_are_left_out() -> None:
    read = one(to_pod(name="prod"))
    nics = [source.nic(), source.nic(4001, network=None)]
    (attached,) = read.attach(nics, inventory())
    assert attached.pair is None


def test_storage_map_by_path_with_modes() -> None:
    entry = {
        "source": {"name": "/DC0/datastore/ds2"},
        "destination": {
            "storageClass": "fast",
            "volumeMode": "Block",
            "accessMode": "ReadWriteMany",
        },
    }
    read = mappings.storage(plans.storage_map(entry), inventory())
    pair = read.of(source.disk(datastore=Moref("datastore-2")))
    assert pair is not None
    assert (pair.storage_class, pair.volume_mode, pair.access_mode) == (
        "fast",
        "Block",
        "ReadWriteMany",
    )
    assert read.of(source.disk()) is None


def test_storage_class_must_be_given() -> None:
    entry = {"source": {"name": "ds1"}, "destination": {"storageClass": ""}}
    (unresolved,) = mappings.storage(plans.storage_map(entry), inventory()).unresolved
    assert unresolved.field == "spec.map[0].destination.storageClass"


def test_find_names_what_it_looked_for() -> None:
    found = mappings.find(
        forklift.Ref(name="web9"), inventory().vms, field="spec.vms[3]", kind="VM"
    )
    assert isinstance(found, Unresolved)
    assert str(found) == "spec.vms[3]: there is no VM 'web9'"
