"""Migrations from Pending to their end, and evacuations: what the controller decides."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from kubevirt_objects import NOW, instance, pod

from mtv.api import kubevirt, meta, well_known
from mtv.api.configuration import DEFAULT, Migrations
from mtv_operator.virt_controller import evacuation, migration, pods
from mtv_operator.virt_controller.launcher_pod import Surroundings
from mtv_operator.virt_controller.launcher_resources import Offers

ABLE = (kubevirt.VirtualMachineInstanceCondition(type="LiveMigratable", status="True"),)
UNABLE = (
    kubevirt.VirtualMachineInstanceCondition(
        type="LiveMigratable", status="False", reason="DisksNotLiveMigratable", message="PVC x"
    ),
)
AROUND = Surroundings(
    image="mtv",
    configuration=DEFAULT,
    offers=Offers(resources=frozenset(), labels=frozenset()),
    claims={},
)


def vmi(*, conditions=ABLE, state=None, **changed):
    found = instance("Running", conditions=conditions, node_name="node1", **changed)
    return msgspec.structs.replace(
        found, status=msgspec.structs.replace(found.status, migration_state=state)
    )


def source():
    return pod(node="node1")


def target(phase="Running", node="node2", **changed):
    found = pod(phase, node=node, **changed)
    metadata = msgspec.structs.replace(
        found.metadata, name="target", uid="target-uid", labels={well_known.MIGRATION_UID: "m-uid"}
    )
    return msgspec.structs.replace(found, metadata=metadata)


def one(phase="", *, deleted=False, since=NOW, **changed):
    passed = kubevirt.VirtualMachineInstanceMigrationPhaseTransitionTimestamp(
        phase=phase, phase_transition_timestamp=since.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    return kubevirt.VirtualMachineInstanceMigration(
        metadata=meta.ObjectMeta(
            name=changed.pop("name", "m"),
            namespace="prod",
            uid=changed.pop("uid", "m-uid"),
            finalizers=(well_known.MIGRATION_FINALIZER,),
            deletion_timestamp="2026-03-01T11:59:59Z" if deleted else None,
            annotations=changed.pop("annotations", {}),
        ),
        spec=kubevirt.VirtualMachineInstanceMigrationSpec(vmi_name="web1"),
        status=kubevirt.VirtualMachineInstanceMigrationStatus(
            phase=phase, phase_transition_timestamps=(passed,), **changed
        ),
    )


def observed(found, running=None, seen=(), **changed):
    running = vmi() if running is None else running
    return migration.Observed(
        migration=found,
        instance=running,
        pods=(source(), *seen),
        around=AROUND,
        settings=changed.pop("settings", Migrations()),
        **changed,
    )


def state(**changed):
    return kubevirt.VirtualMachineInstanceMigrationState(
        migration_uid="m-uid", source_node="node1", target_node="node2", **changed
    )


def kinds(plan):
    return [type(action).__name__ for action in plan.actions]


def test_a_pending_migration_makes_its_pod_on_another_node():
    plan = migration.decide(observed(one("Pending")), NOW)

    (made,) = plan.actions
    (term,) = (
        made.pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
    )
    assert term.topology_key == "kubernetes.io/hostname"
    assert term.label_selector.match_labels == {well_known.CREATED_BY: "vmi-uid"}
    assert made.pod.metadata.labels[well_known.MIGRATION_UID] == "m-uid"
    assert made.pod.metadata.name != source().metadata.name


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param(("node1", "node1"), id="two leave the node already"),
        pytest.param(("a", "b", "c", "d", "e"), id="five in the cluster"),
    ],
)
def test_a_migration_waits_while_there_is_no_room(busy):
    plan = migration.decide(observed(one("Pending"), busy=busy), NOW)
    assert (plan.actions, plan.status) == ((), None)
    assert plan.requeue_after_s


def test_a_vm_that_cannot_migrate_fails_with_the_reason():
    plan = migration.decide(observed(one("Pending"), vmi(conditions=UNABLE)), NOW)
    assert plan.status.phase == "Failed"
    assert "DisksNotLiveMigratable: PVC x" in plan.status.migration_state.failure_reason


def test_a_pod_that_is_up_is_handed_over():
    assert migration.decide(observed(one("Scheduling"), seen=(target(),)), NOW).status.phase == (
        "Scheduled"
    )
    plan = migration.decide(observed(one("Scheduled"), seen=(target(),)), NOW)

    after = plan.actions[0].after
    assert after.metadata.labels[well_known.MIGRATION_TARGET_NODE] == "node2"
    assert after.status.active_pods == {"pod-uid": "node1", "target-uid": "node2"}
    assert after.status.migration_state.target_node == "node2"
    assert after.status.migration_state.migration_configuration.allow_auto_converge is True
    assert after.status.node_name == "node1"


def test_a_pod_that_finds_no_node_is_given_up_after_five_minutes():
    nowhere = target("Pending", node="")
    waits = observed(one("Scheduling"), seen=(nowhere,))
    assert migration.decide(waits, NOW).status is None
    late = observed(one("Scheduling", since=NOW - timedelta(minutes=16)), seen=(nowhere,))
    assert migration.decide(late, NOW).status.phase == "Failed"


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ({}, "PreparingTarget"),
        ({"target_node_address": "10.0.0.2"}, "TargetReady"),
        (
            {"target_node_address": "10.0.0.2", "start_timestamp": "2026-03-01T12:00:00Z"},
            "Running",
        ),
        ({"completed": True}, "Succeeded"),
        ({"completed": True, "failed": True, "failure_reason": "why"}, "Failed"),
    ],
)
def test_the_phase_follows_what_the_handlers_say(said, phase):
    seen = observed(one("Scheduled"), vmi(state=state(**said)), seen=(target(),))
    plan = migration.decide(seen, NOW)
    assert plan.status.phase == phase
    assert plan.status.migration_state.target_node == "node2"


def test_a_deleted_migration_that_runs_is_asked_to_end_and_held_until_it_has():
    runs = state(target_node_address="10.0.0.2", start_timestamp="2026-03-01T12:00:00Z")
    seen = observed(one("Running", deleted=True), vmi(state=runs), seen=(target(),))
    plan = migration.decide(seen, NOW)

    assert plan.actions[0].after.status.migration_state.abort_requested is True
    assert "Release" not in kinds(plan)


def test_a_deleted_migration_that_did_not_begin_takes_its_pod_with_it():
    seen = observed(one("Scheduling", deleted=True), seen=(target("Pending"),))
    assert migration.decide(seen, NOW).status.phase == "Failed"
    ended = observed(one("Failed", deleted=True), seen=(target("Pending"),))
    assert kinds(migration.decide(ended, NOW)) == ["DeletePod", "Release"]


def test_a_target_that_is_lost_before_it_listens_fails_the_migration():
    seen = observed(one("PreparingTarget"), vmi(state=state()), seen=(target("Failed"),))
    changed = migration.decide(seen, NOW).actions[0].after.status.migration_state
    assert (changed.completed, changed.failed) == (True, True)


def test_a_target_that_is_lost_later_is_for_the_source_to_judge():
    ready = state(target_node_address="10.0.0.2")
    seen = observed(one("TargetReady"), vmi(state=ready), seen=(target("Failed"),))
    changed = migration.decide(seen, NOW).actions[0].after.status.migration_state
    assert (changed.completed, changed.abort_requested) == (None, True)


def test_marks_are_taken_off_the_vmi_after_a_failure():
    marked = vmi(state=state(completed=True, failed=True))
    status = msgspec.structs.replace(
        marked.status, active_pods={"pod-uid": "node1", "target-uid": "node2"}
    )
    marked = msgspec.structs.replace(marked, status=status)
    plan = migration.decide(observed(one("Failed"), marked, seen=(target(),)), NOW)

    assert kinds(plan) == ["DeletePod", "ChangeInstance"]
    assert plan.actions[1].after.status.active_pods == {"pod-uid": "node1"}


def test_the_pod_of_an_instance_is_not_a_migrations_target():
    assert pods.of_instance(vmi(), [target(), pod("Succeeded", node="node1")]).metadata.uid == (
        "pod-uid"
    )
    moved = msgspec.structs.replace(
        vmi(), status=msgspec.structs.replace(vmi().status, node_name="node2")
    )
    assert pods.of_instance(moved, [source(), target()]).metadata.uid == "target-uid"
    assert pods.of_instance(vmi(), [target()]) is None


def leaving(node="node1"):
    found = vmi()
    status = msgspec.structs.replace(found.status, evacuation_node_name=node)
    return msgspec.structs.replace(found, status=status)


def test_a_vm_that_shall_leave_is_migrated_once():
    plan = evacuation.decide(evacuation.Observed(instance=leaving()), NOW)
    assert plan.actions[0].migration.metadata.generate_name == "kubevirt-evacuation-"
    busy = evacuation.Observed(instance=leaving(), migrations=(one("Running"),))
    assert evacuation.decide(busy, NOW).actions == ()
    gone = evacuation.Observed(instance=leaving("node9"))
    assert evacuation.decide(gone, NOW).actions == ()


def test_an_evacuation_that_failed_is_tried_again_later():
    ended = kubevirt.VirtualMachineInstanceMigrationState(end_timestamp="2026-03-01T12:00:00Z")
    failed = one(
        "Failed",
        annotations={well_known.EVACUATION_MIGRATION: "node1"},
        migration_state=ended,
    )
    plan = evacuation.decide(evacuation.Observed(instance=leaving(), migrations=(failed,)), NOW)
    assert (plan.actions, plan.requeue_after_s) == ((), 20.0)
