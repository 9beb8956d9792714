"""What a VM needs, pass by pass."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubevirt_objects import NOW, instance, vm

from mtv.api import kubevirt, meta, well_known
from mtv_operator.virt_controller import new_instance, virtual_machine
from mtv_operator.virt_controller.virtual_machine import Observed, decide

Condition = kubevirt.VirtualMachineInstanceCondition


def _decided(one, found=None):
    return decide(Observed(vm=one, instance=found), NOW)


def _kinds(decision):
    return [type(action).__name__ for action in decision.actions]


def test_new_vm_gets_the_finalizer_before_anything_else():
    assert _kinds(_decided(vm(finalizers=()))) == ["AddFinalizer"]


def test_always_without_instance_creates_one():
    decision = _decided(vm())
    assert _kinds(decision) == ["CreateInstance"]
    assert decision.status.printable_status == "Starting"
    assert decision.status.run_strategy == "Always"
    assert not decision.status.created


def test_instance_has_owner_labels_uuid_and_generation():
    made = new_instance.of(vm(generation=4))
    assert made.metadata.name == "web1"
    assert made.metadata.labels == {"app": "web1"}
    assert made.metadata.finalizers == (well_known.VM_FINALIZER,)
    assert made.metadata.owner_references == (meta.owner_of(vm()),)
    assert made.metadata.annotations[well_known.VM_GENERATION] == "4"
    # uuid v5 of the name in KubeVirt's namespace: the same at every start
    assert made.spec.domain.firmware.uuid == new_instance.of(vm()).spec.domain.firmware.uuid
    assert made.spec.start_strategy is None


def test_paused_start_request_starts_the_guest_paused():
    asked = kubevirt.VirtualMachineStateChangeRequest(action="Start", data={"paused": "true"})
    status = kubevirt.VirtualMachineStatus(state_change_requests=(asked,))
    assert _kinds(_decided(vm(status=status, running=False))) == ["SwitchOn"]
    (create,) = _decided(vm(status=status, running=True)).actions
    assert create.instance.spec.start_strategy == "Paused"


def test_failed_start_is_written_down_before_the_instance_is_deleted():
    one, failed = vm(), instance("Failed")
    first = _decided(one, failed)
    assert first.actions == ()
    assert first.status.start_failure.consecutive_fail_count == 1
    second = _decided(msgspec.structs.replace(one, status=first.status), failed)
    assert _kinds(second) == ["DeleteInstance"]
    third = _decided(msgspec.structs.replace(one, status=second.status))
    assert third.actions == ()
    assert third.status.printable_status == "CrashLoopBackOff"
    assert 10 <= third.requeue_after_s <= 16
    later = decide(
        Observed(vm=msgspec.structs.replace(one, status=third.status)), NOW + timedelta(seconds=20)
    )
    assert _kinds(later) == ["CreateInstance"]


def test_rerun_on_failure_asks_for_the_start_before_it_deletes():
    one = vm(
        runStrategy="RerunOnFailure",
        status=kubevirt.VirtualMachineStatus(run_strategy="RerunOnFailure"),
    )
    failed = instance("Failed", ran=True)
    first = _decided(one, failed)
    assert first.actions == ()
    assert [r.action for r in first.status.state_change_requests] == ["Start"]
    stored = msgspec.structs.replace(one, status=first.status)
    assert _kinds(_decided(stored, failed)) == ["DeleteInstance"]
    assert _kinds(_decided(stored)) == ["CreateInstance"]


def test_switch_to_rerun_on_failure_while_the_old_instance_goes_starts_a_new_one():
    one = vm(
        runStrategy="RerunOnFailure", status=kubevirt.VirtualMachineStatus(run_strategy="Halted")
    )
    for found in (instance("Succeeded", ran=True), instance("Succeeded", ran=True, deleted=True)):
        decision = _decided(one, found)
        one = msgspec.structs.replace(one, status=decision.status)
    assert _kinds(_decided(one)) == ["CreateInstance"]


def test_restart_deletes_waits_and_creates_anew():
    requests = (
        kubevirt.VirtualMachineStateChangeRequest(action="Stop", uid="vmi-uid"),
        kubevirt.VirtualMachineStateChangeRequest(action="Start"),
    )
    one = vm(
        runStrategy="Manual", status=kubevirt.VirtualMachineStatus(state_change_requests=requests)
    )
    assert _kinds(_decided(one, instance())) == ["DeleteInstance"]
    waiting = _decided(one, instance(deleted=True))
    assert waiting.actions == ()
    assert waiting.status.printable_status == "Stopping"
    trimmed = _decided(one)
    assert trimmed.actions == ()
    assert [r.action for r in trimmed.status.state_change_requests] == ["Start"]
    again = msgspec.structs.replace(one, status=trimmed.status)
    assert _kinds(_decided(again)) == ["CreateInstance"]
    done = _decided(again, instance("Pending", uid="new"))
    assert done.status.state_change_requests == ()


def test_ended_instance_that_goes_is_released():
    assert _kinds(_decided(vm(), instance("Succeeded", ran=True, deleted=True))) == [
        "ReleaseInstance"
    ]


def test_deleted_vm_stops_the_instance_and_goes_last():
    one = vm(deleted=True)
    first = _decided(one, instance())
    assert _kinds(first) == ["DeleteInstance"]
    assert first.status.printable_status == "Terminating"
    assert _kinds(_decided(one, instance(deleted=True))) == []
    assert _kinds(_decided(one, instance("Succeeded", deleted=True))) == ["ReleaseInstance"]
    assert _kinds(_decided(one)) == ["RemoveFinalizer"]


def test_orphaning_deletion_leaves_the_instance():
    one = vm(deleted=True, finalizers=(well_known.VM_FINALIZER, "orphan"))
    assert _kinds(_decided(one, instance())) == ["RemoveFinalizer"]


def test_instance_without_owner_is_adopted():
    assert _kinds(_decided(vm(), instance(owned=False))) == ["Adopt"]


def test_instance_of_another_owner_is_left_and_said():
    other = msgspec.structs.replace(
        vm(), metadata=msgspec.structs.replace(vm().metadata, uid="other", name="other")
    )
    decision = _decided(vm(), instance(owner=other))
    assert decision.actions == ()
    failure = next(c for c in decision.status.conditions if c.type == "Failure")
    assert failure.reason == "NameTaken"


def test_changed_template_asks_for_a_restart():
    started = new_instance.of(vm())
    running = msgspec.structs.replace(
        instance(), metadata=msgspec.structs.replace(instance().metadata,
        annotations=started.metadata.annotations)
    )  # fmt: skip
    same = _decided(vm(generation=2), running)
    assert not any(c.type == "RestartRequired" for c in same.status.conditions)
    assert _kinds(same) == ["MarkGeneration"]
    changed = vm(generation=2)
    spec = msgspec.structs.replace(changed.spec.template.spec, hostname="other")
    template = msgspec.structs.replace(changed.spec.template, spec=spec)
    changed = msgspec.structs.replace(
        changed, spec=msgspec.structs.replace(changed.spec, template=template)
    )
    decision = _decided(changed, running)
    assert any(
        c.type == "RestartRequired" and c.status == "True" for c in decision.status.conditions
    )
    assert decision.actions == ()
    assert (decision.status.observed_generation, decision.status.desired_generation) == (1, 2)


def test_conditions_of_the_instance_are_copied_and_taken_away():
    paused = Condition(type="Paused", status="True", reason="PausedByUser")
    ready = Condition(type="Ready", status="True")
    one = _decided(vm(), instance(conditions=(ready, paused)))
    assert one.status.ready
    assert one.status.printable_status == "Paused"
    kinds = [c.type for c in one.status.conditions]
    assert sorted(kinds) == ["Paused", "Ready"]
    stored = vm(status=one.status)
    after = _decided(stored, instance(conditions=(ready,)))
    assert [c.type for c in after.status.conditions] == ["Ready"]
    gone = _decided(vm(status=after.status, running=False))
    (left,) = gone.status.conditions
    assert (left.type, left.status, left.reason) == ("Ready", "False", "VMINotExists")


def _unsynchronized(reason):
    return instance(
        "Pending", conditions=(Condition(type="Synchronized", status="False", reason=reason),)
    )


@pytest.mark.parametrize(
    ("one", "found", "word"),
    [
        (vm(running=False), None, "Stopped"),
        (vm(), instance("Pending"), "Starting"),
        (vm(), instance("Scheduling"), "Starting"),
        (vm(), instance("Scheduled"), "Starting"),
        (vm(), instance("Running"), "Running"),
        (vm(running=False), instance("Running"), "Stopping"),
        (vm(runStrategy="Manual"), instance("Succeeded", ran=True), "Stopped"),
        (vm(), _unsynchronized("FailedPvcNotFound"), "ErrorPvcNotFound"),
        (vm(), _unsynchronized("ErrImagePull"), "ErrImagePull"),
        (vm(), _unsynchronized("ImagePullBackOff"), "ImagePullBackOff"),
        (
            vm(),
            instance(
                "Scheduling",
                conditions=(
                    Condition(type="PodScheduled", status="False", reason="Unschedulable"),
                ),
            ),
            "ErrorUnschedulable",
        ),
        (
            vm(),
            instance(
                migration_state=kubevirt.VirtualMachineInstanceMigrationState(
                    start_timestamp="2026-03-01T11:00:00Z"
                )
            ),
            "Migrating",
        ),
        (vm(), instance("Unknown"), "Unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_printable_status(one, found, word):
    assert _decided(one, found).status.printable_status == word


PHASES = ("", "Pending", "Scheduling", "Scheduled", "Running", "Succeeded", "Failed", "Odd")
STRATEGIES = ("Always", "RerunOnFailure", "Manual", "Halted", "Once", "WaitAsReceiver", "Odd")
REQUESTS = st.builds(
    kubevirt.VirtualMachineStateChangeRequest,
    action=st.sampled_from(["Start", "Stop", "Odd"]),
    uid=st.sampled_from([None, "vmi-uid", "old"]),
)


@given(
    strategy=st.sampled_from(STRATEGIES),
    phase=st.one_of(st.none(), st.sampled_from(PHASES)),
    deleted=st.booleans(),
    ran=st.booleans(),
    vm_deleted=st.booleans(),
    requests=st.lists(REQUESTS, max_size=3),
)
def test_decide_is_total_and_comes_to_rest(strategy, phase, deleted, ran, vm_deleted, requests):
    """Whatever is found, storing the status and looking again leads to no endless writing."""
    found = instance(phase, deleted=deleted, ran=ran) if phase is not None else None
    status = kubevirt.VirtualMachineStatus(state_change_requests=tuple(requests))
    one = vm(runStrategy=strategy, status=status, deleted=vm_deleted)
    for _ in range(6):
        decision = _decided(one, found)
        assert len(decision.actions) <= 1
        if decision.status is None or decision.status == one.status:
            break
        one = msgspec.structs.replace(one, status=decision.status)
    else:
        raise AssertionError("the status changes at every look")
    if any(isinstance(action, virtual_machine.CreateInstance) for action in decision.actions):
        assert found is None
