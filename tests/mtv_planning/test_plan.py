"""Whole plans: which problems stand against them, and what they would make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mtv_planning import plans, source

from mtv.api import core, forklift, meta
from mtv.inventory.model import (
    VM,
    Device,
    DiskMode,
    Firmware,
    Moref,
    PowerState,
)
from mtv.planning import plan as planning
from mtv.planning import problems
from mtv.planning.problems import Category, Problem

GIB = source.GIB
CRITICAL, WARN, ADVISORY = "Critical", "Warn", "Advisory"


def other(**changes: Any) -> VM:
    """A second VM, with disk and MAC of its own."""
    return source.vm(
        **{
            "id": Moref("vm-35"),
            "name": "web2",
            "disks": (source.disk(base_file="[ds1] web2/web2.vmdk"),),
            "nics": (source.nic(mac="00:50:56:aa:bb:99"),),
            **changes,
        }
    )


def found(vm: VM, **spec: Any) -> dict[str, str]:
    return plans.types(plans.build_one(source.inventory(vm), vm, **spec))


def test_a_healthy_plan_has_no_problems_and_makes_three_objects() -> None:
    vm = source.vm()
    built = plans.build(source.inventory(vm), plans.plan({"name": "web1"}), target=plans.target())
    assert built.problems == ()
    assert not built.blocked
    assert [type(one).__name__ for one in built.objects()] == [
        "PersistentVolumeClaim",
        "DiskTransfer",
        "VirtualMachine",
    ]
    assert built.estimate.capacity_bytes == 8 * GIB


ONE_VM: list[tuple[str, str, VM, dict[str, Any]]] = [
    ("VMStorageNotMapped", CRITICAL, source.vm(disks=(source.disk(datastore="datastore-2"),)), {}),
    ("VMStorageNotSupported", WARN, source.vm(disks=()), {}),
    ("VMNetworksNotMapped", CRITICAL, source.vm(nics=(source.nic(network="network-9"),)), {}),
    (
        "VMMultiplePodNetworkMappings",
        CRITICAL,
        source.vm(nics=(source.nic(), source.nic(4001))),
        {},
    ),
    ("NicNotConnected", ADVISORY, source.vm(nics=(source.nic(network=None),)), {}),
    ("NetMapPreservingIPsOnPodNetwork", WARN, source.vm(), {"preserveStaticIPs": True}),
    ("VMMissingGuestIPs", WARN, source.vm(guest_networks=()), {"preserveStaticIPs": True}),
    ("InvalidDiskSizes", CRITICAL, source.vm(disks=(source.disk(capacity_bytes=0),)), {}),
    ("VMCriticalConcerns", CRITICAL, source.vm(encrypted=True), {}),
    (
        "VMCriticalConcerns",
        CRITICAL,
        source.vm(devices=(Device(kind="VirtualPCIPassthrough", key=1),)),
        {},
    ),
    ("GuestToolsIssue", CRITICAL, source.vm(tools_running=False), {}),
    ("RDMDiskWarning", WARN, source.vm(disks=(source.disk(rdm=True),)), {}),
    (
        "IndependentDiskWarning",
        WARN,
        source.vm(disks=(source.disk(mode=DiskMode.INDEPENDENT_PERSISTENT),)),
        {},
    ),
    ("VMConsolidationNeeded", WARN, source.vm(consolidation_needed=True), {}),
    ("TargetNameNotValid", WARN, source.vm(name="Web_1"), {}),
    ("TargetNameNotValid", CRITICAL, source.vm(), {"entry": {"targetName": "Web_1"}}),
    (
        "LuksAndClevisIncompatibility",
        WARN,
        source.vm(),
        {"entry": {"nbdeClevis": True, "luks": {"name": "keys"}}},
    ),
]


@pytest.mark.parametrize(
    ("kind", "category", "vm", "spec"), ONE_VM, ids=[f"{row[0]}-{row[1]}" for row in ONE_VM]
)
def test_problem_of_a_vm_is_found(kind: str, category: str, vm: VM, spec: dict[str, Any]) -> None:
    assert found(vm, **spec).get(kind) == category


@pytest.mark.parametrize(
    ("vm", "spec", "absent"),
    [
        (source.vm(tools_running=False, power_state=PowerState.OFF), {}, "GuestToolsIssue"),
        (
            source.vm(guest_disks=(replace(source.vm().guest_disks[0], free_bytes=1),)),
            {},
            "VMCriticalConcerns",
        ),
        (
            source.vm(disks=(source.disk(), source.disk(2001, shared=True, datastore="x"))),
            {"migrateSharedDisks": False},
            "VMStorageNotMapped",
        ),
    ],
    ids=["off needs no tools", "free space without conversion", "shared disks left behind"],
)
def test_problem_that_does_not_matter_is_not_raised(
    vm: VM, spec: dict[str, Any], absent: str
) -> None:
    assert absent not in found(vm, **spec)


def test_force_lifts_the_need_for_tools() -> None:
    vm = source.vm(tools_running=False)
    plan = plans.plan({"id": vm.id}, annotations={"mtv.dev/power-off": "force-after=5m"})
    assert "GuestToolsIssue" not in plans.types(plans.build(source.inventory(vm), plan))


@pytest.mark.parametrize(
    ("entry", "kind", "reason"),
    [
        ({"name": "web9"}, "VMNotFound", "NotFound"),
        ({"id": "vm-99"}, "VMNotFound", "NotFound"),
        ({}, "VMRefNotValid", "NotSet"),
        ({"name": "twin"}, "VMRefNotValid", "Ambiguous"),
    ],
    ids=str,
)
def test_a_vm_that_is_not_one_is_named_by_its_field(
    entry: dict[str, str], kind: str, reason: str
) -> None:
    twins = [source.vm(id=Moref(f"vm-{n}"), name="twin", path=f"/DC0/vm/{n}/twin") for n in (1, 2)]
    built = plans.build(source.inventory(*twins), plans.plan({"id": "vm-1"}, entry))
    (problem,) = built.vms[1].problems
    assert (problem.type, problem.reason, problem.field) == (kind, reason, "spec.vms[1]")
    assert built.vms[1].blocked


def test_the_same_vm_twice_is_refused() -> None:
    vm = source.vm()
    built = plans.build(source.inventory(vm), plans.plan({"id": "vm-34"}, {"name": "web1"}))
    assert plans.types(built)["DuplicateVM"] == CRITICAL


def test_two_vms_of_one_name_get_two_target_names() -> None:
    first, second = source.vm(), other(name="web1", path="/DC0/vm/old/web1")
    plan = plans.plan({"id": first.id}, {"id": second.id})
    built = plans.build(source.inventory(first, second), plan)
    names = [vm.target_name for vm in built.vms]
    assert names[0] == "web1"
    assert names[1].startswith("web1-")
    assert plans.types(built.vms[1]) == {"TargetNameNotValid": WARN}
    assert [
        vm.target_name for vm in plans.build(source.inventory(second, first), plan).vms
    ] == names


def test_one_target_name_for_two_vms_is_refused() -> None:
    first, second = source.vm(), other()
    plan = plans.plan({"id": first.id, "targetName": "x"}, {"id": second.id, "targetName": "x"})
    assert (
        plans.types(plans.build(source.inventory(first, second), plan))["DuplicateVM"] == CRITICAL
    )


def test_a_vm_that_is_in_the_target_stands_in_the_way_unless_it_is_ours() -> None:
    vm = source.vm()
    there = plans.target_vm("web1")
    plan = plans.plan({"id": vm.id})
    built = plans.build(source.inventory(vm), plan, target=plans.target(virtual_machines=(there,)))
    assert plans.types(built) == {"VMAlreadyExists": CRITICAL}
    ours = plans.target_vm("web1", metadata={"labels": {"plan": plans.PLAN_UID}})
    again = plans.build(source.inventory(vm), plan, target=plans.target(virtual_machines=(ours,)))
    assert again.problems == ()


def test_a_made_up_name_goes_round_vms_that_are_there() -> None:
    vm = source.vm(name="Web_1")
    target = plans.target(virtual_machines=(plans.target_vm("web-1"),))
    built = plans.build(source.inventory(vm), plans.plan({"id": vm.id}), target=target)
    assert built.vms[0].target_name.startswith("web-1-")
    assert not built.blocked


def test_a_name_given_before_is_kept() -> None:
    vm = source.vm(name="Web_1")
    target = plans.target(names={vm.id: "web-before"})
    built = plans.build(source.inventory(vm), plans.plan({"id": vm.id}), target=target)
    assert built.vms[0].target_name == "web-before"


def test_mac_conflicts_in_the_target_and_in_the_plan() -> None:
    first, second = source.vm(), other(nics=source.vm().nics)
    plan = plans.plan({"id": first.id}, {"id": second.id})
    target = plans.target(virtual_machines=(plans.target_vm("old", macs=["00-50-56-AA-BB-01"]),))
    built = plans.build(source.inventory(first, second), plan)
    assert plans.types(built.vms[0]) == {}
    assert plans.types(built.vms[1]) == {"MacConflicts": CRITICAL}
    against = plans.build(source.inventory(first, second), plan, target=target)
    assert "that of prod/old" in against.vms[0].problems[0].message


def test_a_shared_disk_of_two_vms_of_the_plan_is_copied_once() -> None:
    shared = source.disk(2001, base_file="[ds1] quorum/quorum.vmdk", shared=True)
    first = source.vm(disks=(source.disk(), shared))
    second = other(disks=(*other().disks, shared))
    built = plans.build(
        source.inventory(first, second), plans.plan({"id": first.id}, {"id": second.id})
    )
    assert len(built.vms[0].transfers) == 2
    assert len(built.vms[1].transfers) == 1
    assert built.vms[0].volumes[1].claim_name == built.vms[1].volumes[1].claim_name
    assert len(list(built.objects())) == 8
    assert not built.blocked


def test_a_shared_disk_of_a_running_stranger_blocks() -> None:
    shared = source.disk(2001, base_file="[ds1] quorum/quorum.vmdk", shared=True)
    mine = source.vm(disks=(source.disk(), shared))
    for state, expected in ((PowerState.ON, "SharedDisks"), (PowerState.OFF, "SharedWarnDisks")):
        theirs = other(disks=(*other().disks, shared), power_state=state)
        built = plans.build(source.inventory(mine, theirs), plans.plan({"id": mine.id}))
        assert expected in plans.types(built)


def test_a_foreign_claim_of_the_wanted_name_blocks() -> None:
    vm = source.vm()
    plan = plans.plan({"id": vm.id}, pvcNameTemplate="root", pvcNameTemplateUseGenerateName=False)
    claim = core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(name="root", namespace="prod"),
        spec=core.PersistentVolumeClaimSpec(),
    )
    built = plans.build(source.inventory(vm), plan, target=plans.target(claims=(claim,)))
    assert "claim root exists and is not of this plan" in built.problems[0].message


@pytest.mark.parametrize(
    ("spec", "kind", "category", "field"),
    [
        ({"targetNamespace": ""}, "NamespaceNotValid", CRITICAL, "spec.targetNamespace"),
        ({"targetNamespace": "Prod"}, "NamespaceNotValid", CRITICAL, "spec.targetNamespace"),
        ({"type": "live"}, "MigrationTypeNotValid", CRITICAL, "spec.type"),
        (
            {"transferNetwork": {"name": "fast"}},
            "TransferNetworkNotValid",
            CRITICAL,
            "spec.transferNetwork",
        ),
        (
            {"customizationScripts": {"name": "x"}},
            "FieldNotHonoured",
            ADVISORY,
            "spec.customizationScripts",
        ),
        ({"maxDowntimeSeconds": 9}, "FieldNotHonoured", ADVISORY, "spec.maxDowntimeSeconds"),
        ({"vms": []}, "VMRefNotValid", CRITICAL, "spec.vms"),
    ],
    ids=str,
)
def test_problem_of_the_plan_itself_is_found(
    spec: dict[str, Any], kind: str, category: str, field: str
) -> None:
    vm = source.vm()
    plan = plans.plan({"id": vm.id}, **spec)
    target = plans.target(network_attachments=frozenset({"nets/vlan100"}))
    built = plans.build(source.inventory(vm), plan, target=target)
    (problem,) = built.general if len(built.general) == 1 else built.general[:1]
    assert (problem.type, str(problem.category), problem.field) == (kind, category, field)


def test_type_wins_over_warm() -> None:
    vm = source.vm()
    built = plans.build(source.inventory(vm), plans.plan({"id": vm.id}, type="cold", warm=True))
    assert built.problems == ()


@pytest.mark.parametrize("spec", [{"warm": True}, {"type": "warm"}], ids=str)
def test_warm_plan_is_ready_whatever_is_tracked_and_says_what_it_costs(
    spec: dict[str, Any],
) -> None:
    vm = source.vm()
    built = plans.build(source.inventory(vm), plans.plan({"id": vm.id}, **spec))
    assert built.problems == ()
    alone = source.disk(2001, mode="independent_persistent")
    vm = source.vm(change_tracking=False, disks=(source.disk(), alone))
    built = plans.build(source.inventory(vm), plans.plan({"id": vm.id}, **spec))
    found = {one.type: one for one in built.problems}
    assert not built.blocked
    assert "reads all of [ds1] web1/web1.vmdk (8.0 GiB)" in (
        found["VMMissingChangedBlockTracking"].message
    )
    assert "copied cold when the VM is off" in found["IndependentDiskWarning"].message


def test_missing_maps_are_named() -> None:
    vm = source.vm()
    built = plans.build(
        source.inventory(vm), plans.plan({"id": vm.id}), network_map=None, storage_map=None
    )
    messages = {problem.type: problem.message for problem in built.general}
    assert messages["NetworkMapRefNotValid"] == "there is no map mtv/nets"
    assert messages["StorageRefNotValid"] == "there is no map mtv/disks"


def test_bad_maps_say_which_entry() -> None:
    vm = source.vm()
    built = plans.build(
        source.inventory(vm),
        plans.plan({"id": vm.id}),
        network_map=plans.network_map(plans.POD, {**plans.PROD, "source": {"name": "nope"}}),
        storage_map=plans.storage_map(
            {**plans.DS1, "destination": {"storageClass": "gold"}},
        ),
        target=plans.target(network_attachments=frozenset()),
    )
    text = {problem.type: problem.message for problem in built.general}
    assert text["NetworkMapNotReady"].startswith("spec.map[1].source: there is no network 'nope'")
    assert text["StorageMapNotReady"] == (
        "spec.map[0].destination.storageClass: there is no storage class 'gold'; there are: local"
    )


def test_static_storage_classes_are_refused() -> None:
    vm = source.vm()
    static = core.StorageClass(
        metadata=meta.ObjectMeta(name="local"), provisioner="kubernetes.io/no-provisioner"
    )
    target = plans.target(storage_classes={"local": static})
    built = plans.build(source.inventory(vm), plans.plan({"id": vm.id}), target=target)
    assert "makes no volumes on demand" in built.problems[0].message


def test_bad_power_off_annotation_is_a_problem_of_the_plan() -> None:
    vm = source.vm()
    plan = plans.plan({"id": vm.id}, annotations={"mtv.dev/power-off": "soon"})
    (problem,) = plans.build(source.inventory(vm), plan).problems
    assert problem.field == "metadata.annotations[mtv.dev/power-off]"


def test_hooks_are_refused_honestly() -> None:
    vm = source.vm()
    entry = {"id": vm.id, "hooks": [{"step": "PreHook", "hook": {"name": "h", "namespace": "x"}}]}
    built = plans.build(source.inventory(vm), plans.plan(entry), target=plans.target(hooks={}))
    assert plans.types(built)["HookNotValid"] == CRITICAL


def test_grouped_problems_become_one_condition_each() -> None:
    def one(item: str, message: str, category: Category) -> Problem:
        return Problem(type="T", category=category, reason="R", message=message, item=item)

    (group,) = problems.grouped(
        [one("a", "warned", Category.WARN), one("b", "bad", Category.CRITICAL)]
    )
    assert (group.category, group.message) == (Category.CRITICAL, "bad")
    assert group.items == ("a: warned", "b: bad")
    (same,) = problems.grouped([one("a", "m", Category.WARN), one("b", "m", Category.WARN)])
    assert same.items == ("a", "b")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["web1", "Web_1", "web.1", "x" * 70, "《》"]),
            st.sampled_from([None, "web1", "db", "Bad Name"]),
            st.sampled_from(Firmware),
        ),
        max_size=5,
    )
)
def test_no_plan_makes_two_objects_of_one_name_unless_it_is_blocked(
    rows: list[tuple[str, str | None, Firmware]],
) -> None:
    vms = [
        other(
            id=Moref(f"vm-{index}"),
            name=name,
            firmware=firmware,
            disks=(source.disk(base_file=f"[ds1] {index}/d.vmdk"),),
            nics=(),
        )
        for index, (name, _, firmware) in enumerate(rows)
    ]
    entries = [
        {"id": f"vm-{index}", **({"targetName": target} if target else {})}
        for index, (_, target, _) in enumerate(rows)
    ]
    built = plans.build(source.inventory(*vms), plans.plan(*entries))
    made = [(type(one).__name__, one.metadata.name) for one in built.objects()]
    assert built.blocked or len(set(made)) == len(made)


def test_estimate_shares_what_thin_disks_use() -> None:
    thick = source.disk(thin=False, capacity_bytes=2 * GIB)
    thin = source.disk(2001, capacity_bytes=10 * GIB)
    vm = source.vm(disks=(thick, thin), storage_used_bytes=3 * GIB)
    estimate = plans.build_one(source.inventory(vm), vm).estimate
    assert estimate.capacity_bytes == 12 * GIB
    assert estimate.used_bytes == 3 * GIB
    assert estimate.duration(GIB).total_seconds() == 3
    with pytest.raises(ValueError, match="never ends"):
        estimate.duration(0)


def test_plan_is_json_and_back() -> None:
    plan = plans.plan({"id": "vm-34"}, preserveStaticIPs=True)
    encoded = msgspec.json.encode(plan)
    assert msgspec.json.decode(encoded, type=forklift.Plan) == plan
    assert planning.Target().names == {}
