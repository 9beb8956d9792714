"""An instance from Pending to the hand-over, and from its end to its going."""

from datetime import timedelta
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubevirt_objects import NOW, claim, instance, pod

from mtv.api import configuration, core, json_patch, kubevirt, well_known
from mtv_operator.virt_controller import instance as vmi
from mtv_operator.virt_controller import phases
from mtv_operator.virt_controller.launcher_resources import Offers

CLAIMS = {"web1-root": claim()}


def _decided(found, *pods, claims=CLAIMS, owner_exists=True, node=None, now=NOW):
    observed = vmi.Observed(
        instance=found,
        pods=pods,
        claims=claims,
        configuration=configuration.DEFAULT,
        offers=Offers(),
        image="mtv",
        owner_exists=owner_exists,
        node=node,
    )
    return vmi.decide(observed, now)


def _kinds(decision):
    return [type(action).__name__ for action in decision.actions]


def _condition(decision, kind):
    found = decision.status.status.conditions
    return next((one for one in found if one.type == kind), None)


def _terminated(ago_s=0):
    ended = (NOW - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return core.ContainerState(
        terminated=core.ContainerStateTerminated(exit_code=1, reason="Error", finished_at=ended)
    )


def test_pending_makes_the_pod():
    decision = _decided(instance("Pending"))
    assert _kinds(decision) == ["CreatePod"]
    assert _condition(decision, "Ready").reason == "PodNotExists"


def test_missing_claim_is_said_once():
    first = _decided(instance("Pending"), claims={"web1-root": None})
    assert _kinds(first) == ["Say"]
    said = _condition(first, "Synchronized")
    assert (said.status, said.reason) == ("False", "FailedPvcNotFound")
    assert "prod/web1-root" in said.message
    second = _decided(first.status, claims={"web1-root": None})
    assert second.actions == ()
    assert second.status is None
    found = _decided(first.status)
    assert _kinds(found) == ["CreatePod"]
    assert _condition(found, "Synchronized") is None


def test_pod_that_is_there_means_scheduling():
    decision = _decided(instance("Pending"), pod("Pending", node=""))
    assert decision.status.status.phase == "Scheduling"
    assert decision.status.status.phase_transition_timestamps[-1].phase == "Scheduling"


def test_unschedulable_pod_is_said():
    unschedulable = core.PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes"
    )
    decision = _decided(
        instance("Scheduling"), pod("Pending", node="", conditions=(unschedulable,))
    )
    said = _condition(decision, "PodScheduled")
    assert (said.reason, said.message) == ("Unschedulable", "0/1 nodes")
    placed = _decided(decision.status, pod("Pending"))
    assert _condition(placed, "PodScheduled") is None


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_image_that_cannot_be_pulled_is_said(reason):
    state = core.ContainerState(waiting=core.ContainerStateWaiting(reason=reason, message="no"))
    decision = _decided(instance("Scheduling"), pod("Pending", state=state))
    assert _condition(decision, "Synchronized").reason == reason


def test_launcher_that_is_up_is_handed_over():
    decision = _decided(instance("Scheduling"), pod())
    after = decision.status
    assert after.status.phase == "Scheduled"
    assert after.status.node_name == "node1"
    assert after.metadata.labels[well_known.NODE_NAME] == "node1"
    assert after.status.active_pods == {"pod-uid": "node1"}
    assert after.status.migration_transport == "Unix"
    (volume,) = after.status.volume_status
    info = volume.persistent_volume_claim_info
    assert (info.claim_name, info.volume_mode) == ("web1-root", "Filesystem")
    assert info.capacity == {"storage": "8Gi"}


@pytest.mark.parametrize(
    "pods", [(), (pod("Failed", state=_terminated()),)], ids=["pod gone", "launcher ended"]
)
def test_pod_lost_while_scheduling_fails_the_instance(pods):
    decision = _decided(instance("Scheduling"), *pods)
    assert decision.status.status.phase == "Failed"
    assert _kinds(decision) == ["Say"]


@pytest.mark.parametrize("phase", ["Scheduled", "Running"])
def test_pod_that_vanished_fails_the_instance(phase):
    decision = _decided(instance(phase, node_name="node1"))
    assert decision.status.status.phase == "Failed"
    assert decision.status.status.reason == "PodGone"


def test_launcher_that_ended_is_first_left_to_the_handler():
    recent = _decided(instance(), pod("Succeeded", state=_terminated(ago_s=5)))
    assert recent.status.status.phase == "Running"
    assert recent.requeue_after_s
    late = _decided(instance(), pod("Failed", state=_terminated(ago_s=90)))
    assert late.status.status.phase == "Failed"
    assert late.status.status.reason == "LauncherEnded"


def test_deleted_instance_deletes_its_pod():
    assert _kinds(_decided(instance(deleted=True), pod())) == ["DeletePod"]
    assert _decided(instance(deleted=True), pod(deleted=True)).actions == ()


def test_deleted_before_any_pod_ends_and_goes():
    first = _decided(instance("Pending", deleted=True))
    assert first.actions == ()
    assert first.status.status.phase == "Failed"
    second = _decided(first.status)
    assert second.status.metadata.finalizers == (well_known.VM_FINALIZER,)


def test_ended_instance_keeps_its_pod_until_it_is_deleted():
    assert _decided(instance("Succeeded"), pod("Succeeded", state=_terminated())).actions == ()
    going = instance("Succeeded", deleted=True)
    first = _decided(going, pod("Succeeded", state=_terminated()))
    assert _kinds(first) == ["DeletePod"]
    assert well_known.VMI_FINALIZER in (first.status or going).metadata.finalizers
    assert _decided(going).status.metadata.finalizers == (well_known.VM_FINALIZER,)


def test_instance_without_vm_releases_itself():
    found = _decided(instance("Failed", deleted=True), owner_exists=False)
    assert found.status.metadata.finalizers == ()


def test_running_guest_opens_the_readiness_gate_once():
    (gate,) = _decided(instance(), pod()).actions
    assert gate.unpaused
    opened = core.PodCondition(type=well_known.UNPAUSED_GATE, status="True")
    assert _decided(instance(), pod(conditions=(opened,))).actions == ()
    paused = instance(
        conditions=(kubevirt.VirtualMachineInstanceCondition(type="Paused", status="True"),)
    )
    gate, said = _decided(paused, pod(conditions=(opened,))).actions
    assert not gate.unpaused
    assert said.reason == "Paused"
    closed = core.PodCondition(type=well_known.UNPAUSED_GATE, status="False")
    gate, said = _decided(instance(), pod(conditions=(closed,))).actions
    assert gate.unpaused
    assert said.reason == "Unpaused"


def test_ready_is_the_pods():
    ready = core.PodCondition(
        type="Ready", status="True", last_transition_time="2026-03-01T11:55:00Z"
    )
    decision = _decided(instance(), pod(conditions=(ready,)))
    found = _condition(decision, "Ready")
    assert (found.status, found.last_transition_time) == ("True", "2026-03-01T11:55:00Z")


@pytest.mark.parametrize(
    ("found", "pods", "reason"),
    [
        (instance("Scheduled", node_name="node1"), (pod(),), "GuestNotRunning"),
        (instance(), (pod(deleted=True),), "PodTerminating"),
        (instance(), (pod(),), "PodConditionMissing"),
        (instance("Pending"), (), "PodNotExists"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_not_ready(found, pods, reason):
    assert _condition(_decided(found, *pods), "Ready").reason == reason


def test_silent_node_makes_its_guests_not_ready():
    beat = "2026-03-01T11:50:00Z"
    node = core.Node(
        metadata=msgspec.structs.replace(
            core.Node().metadata, name="node1", annotations={well_known.HEARTBEAT: beat}
        )
    )
    ready = core.PodCondition(type="Ready", status="True")
    found = _condition(_decided(instance(), pod(conditions=(ready,)), node=node), "Ready")
    assert (found.status, found.reason) == ("False", "NodeUnresponsive")


def test_patch_touches_only_what_the_controller_owns():
    before = instance("Scheduling")
    after = _decided(before, pod()).status
    found = json_patch.changes(msgspec.to_builtins(before), msgspec.to_builtins(after))
    allowed = ("/metadata/labels", "/status/")
    assert all(one["path"].startswith(allowed) for one in found)


class TestTotal:
    PHASES: ClassVar = [*(phase.value for phase in phases.Phase), "Odd"]

    @given(
        phase=st.sampled_from(PHASES),
        deleted=st.booleans(),
        pod_phase=st.sampled_from([None, "Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        pod_deleted=st.booleans(),
        claim_there=st.booleans(),
        owner_exists=st.booleans(),
    )
    def test_decide_is_total_and_comes_to_rest(
        self, phase, deleted, pod_phase, pod_deleted, claim_there, owner_exists
    ):
        pods = (pod(pod_phase, deleted=pod_deleted),) if pod_phase is not None else ()
        claims = {"web1-root": claim() if claim_there else None}
        found = instance(phase, deleted=deleted)
        for _ in range(6):
            decision = _decided(found, *pods, claims=claims, owner_exists=owner_exists)
            if decision.status is None:
                break
            found = decision.status
        else:
            raise AssertionError("the instance changes at every look")
