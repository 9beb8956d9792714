"""What `mtv import` makes of its words, and what it says to words that it cannot use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mtv_planning import plans, source

from mtv import errors
from mtv.cli import dry_run, import_vms, sources
from mtv.cli.import_vms import Wish
from mtv.inventory.model import Moref
from mtv.planning import plan as planning


def wish(*vms: str, **more: Any) -> Wish:
    return Wish(
        **{
            "vms": vms or ("web1",),
            "provider": "vc",
            "networks": ("VM Network=pod",),
            "storage": ("ds1=local",),
            "namespace": "mtv",
            "target_namespace": "prod",
            "plan": "",
            "name": "",
            "power": "auto",
            "power_off": "graceful",
            "virtio": False,
            **more,
        }
    )


INVENTORY = source.inventory(
    source.vm(),
    source.vm(id=Moref("vm-40"), name="twin", path="/DC0/vm/a/twin", disks=()),
    source.vm(id=Moref("vm-41"), name="twin", path="/DC0/vm/b/twin", disks=()),
)


def test_maps_and_plan_are_those_that_yaml_would_have() -> None:
    network_map, storage_map, plan = import_vms.build(wish(), INVENTORY)
    assert {one.metadata.name for one in (network_map, storage_map, plan)} == {"web1"}
    (pair,) = network_map.spec.map
    assert (pair.source.id, pair.source.name) == ("network-1", "VM Network")
    assert pair.destination.type == "pod"
    assert storage_map.spec.map[0].destination.storage_class == "local"
    assert [(vm.id, vm.name) for vm in plan.spec.vms] == [("vm-34", "web1")]
    assert plan.spec.provider.destination.name == "host"
    planned = planning.build(
        INVENTORY, plan, network_map, storage_map, provider=plans.provider(), target=plans.target()
    )
    assert not planned.blocked


@pytest.mark.parametrize(
    ("word", "vm_id"),
    [("vm-41", "vm-41"), ("b/twin", "vm-41"), ("/DC0/vm/a/twin", "vm-40"), ("web1", "vm-34")],
)
def test_a_vm_is_named_by_id_path_or_name(word: str, vm_id: str) -> None:
    _, _, plan = import_vms.build(wish(word), INVENTORY)
    assert plan.spec.vms[0].id == vm_id


def test_an_ambiguous_name_lists_the_candidates() -> None:
    with pytest.raises(errors.BadInput) as caught:
        import_vms.build(wish("twin"), INVENTORY)
    assert str(caught.value) == (
        "twin: VM 'twin' is ambiguous: it may be /DC0/vm/a/twin (vm-40), /DC0/vm/b/twin (vm-41); "
        "give the id or the path"
    )


def test_an_unknown_name_offers_what_is_like_it() -> None:
    with pytest.raises(errors.NotFound) as caught:
        import_vms.build(wish("wbe1"), INVENTORY)
    assert str(caught.value) == "provider vc has no VM 'wbe1'"
    assert caught.value.hint == "did you mean web1?"


@pytest.mark.parametrize(
    ("more", "kind", "message", "hint"),
    [
        (
            {"networks": ("VM Network",)},
            errors.BadInput,
            "--network: 'VM Network' is not SOURCE=TARGET",
            'for instance --network "VM Network=pod"',
        ),
        (
            {"networks": ("nix=pod",)},
            errors.NotFound,
            "--network: there is no network 'nix'",
            "there are: VM Network, prod",
        ),
        (
            {"networks": ("prod=Bad_Name",)},
            errors.BadInput,
            "--network: 'Bad_Name' is neither pod, ignored, NAME nor NAMESPACE/NAME",
            "",
        ),
        (
            {"storage": ("ds1=",)},
            errors.BadInput,
            "--storage: 'ds1=' is not SOURCE=TARGET",
            "for instance --storage LocalDS_0=local",
        ),
        (
            {"storage": ("dsx=local",)},
            errors.NotFound,
            "--storage: there is no datastore 'dsx'",
            "there are: ds1, ds2",
        ),
        (
            {"storage": ("ds1=local:Tape",)},
            errors.BadInput,
            "--storage: 'Tape' is neither Filesystem nor Block",
            "",
        ),
        ({"plan": "My Plan"}, errors.BadInput, "--plan: 'My Plan' is no DNS label", ""),
        (
            {"power_off": "softly"},
            errors.BadInput,
            "metadata.annotations[mtv.dev/power-off]: 'softly' is not understood",
            "write graceful, graceful; timeout=30m, force-after=5m, or force",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_words_that_cannot_be_used_are_named(
    more: dict[str, Any], kind: type[errors.MigrationError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        import_vms.build(wish(**more), INVENTORY)
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_networks_may_be_pod_ignored_or_attachments() -> None:
    def pair(text: str) -> tuple[Any, ...]:
        found = import_vms.network_pair(text, INVENTORY).destination
        return (found.type, found.namespace, found.name)

    assert pair("prod=pod") == ("pod", None, None)
    assert pair("prod=ignored") == ("ignored", None, None)
    assert pair("prod=vlan100") == ("multus", None, "vlan100")
    assert pair("prod=nets/vlan100") == ("multus", "nets", "vlan100")


def test_a_name_with_an_equals_sign_is_split_at_the_last() -> None:
    odd = replace(INVENTORY.networks[Moref("network-1")], name="a=b")
    inventory = replace(INVENTORY, networks={odd.id: odd})
    assert import_vms.network_pair("a=b=pod", inventory).source.name == "a=b"


def test_what_is_not_mapped_is_offered_as_options() -> None:
    network_map, storage_map, plan = import_vms.build(wish(networks=(), storage=()), INVENTORY)
    planned = planning.build(
        INVENTORY, plan, network_map, storage_map, provider=plans.provider(), target=plans.target()
    )
    assert dry_run.missing_maps(planned, INVENTORY, ["local"]) == [
        '--network "VM Network=pod"',
        '--storage "ds1=local"',
    ]


def test_the_dry_run_shows_concerns_objects_and_bytes() -> None:
    vm = source.vm(tools_running=True, cpu_hot_add=True)
    inventory = source.inventory(vm)
    network_map, storage_map, plan = import_vms.build(wish(virtio=True), inventory)
    planned = planning.build(
        inventory, plan, network_map, storage_map, provider=plans.provider(), target=plans.target()
    )
    text = "\n".join(dry_run.text(planned))
    assert "[vmware.cpu_memory.hotplug.enabled]" in text
    assert "PersistentVolumeClaim  prod/web1-web1-disk-0-" in text
    assert "DiskTransfer           prod/web1-web1-disk-0-" in text
    assert "VirtualMachine         prod/web1" in text
    assert "To copy: 8.0 GiB likely, 8.0 GiB at most." in text
    assert text.endswith("Ready: nothing stands in the way.")
    document = dry_run.document(planned)
    assert document["ready"] is True
    assert document["bytesToCopy"] == {"atMost": 8 << 30, "likely": 8 << 30}
    assert [one["kind"] for one in document["objects"]] == [
        "PersistentVolumeClaim",
        "DiskTransfer",
        "VirtualMachine",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("WEB1", ["web1"]), ("web", ["web1", "web2"]), ("/DC0/vm/wbe2", ["web2"]), ("q", [])],
)
def test_similar_names(name: str, expected: list[str]) -> None:
    found = sources.similar(name, ["web1", "web2", "db"])
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)
