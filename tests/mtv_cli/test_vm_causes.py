"""Why a VM is as it is: the first cause of what was seen."""

from datetime import timedelta

import msgspec
import pytest
from kubevirt_objects import NOW, instance, pod, vm

from mtv.api import core, kubevirt, meta
from mtv.cli import causes, vm_causes

Condition = kubevirt.VirtualMachineInstanceCondition


def event(kind, name, uid, reason, message, *, ago_s=10):
    at = (NOW - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return core.Event(
        metadata=meta.ObjectMeta(name=f"{uid}.{reason}.{ago_s}", namespace="prod"),
        involved_object=meta.ObjectReference(kind=kind, name=name, uid=uid),
        reason=reason,
        message=message,
        type="Warning",
        last_timestamp=at,
    )


def claim(phase="Pending", storage_class="local"):
    spec = core.PersistentVolumeClaimSpec(storage_class_name=storage_class)
    status = core.PersistentVolumeClaimStatus(phase=phase)
    return core.PersistentVolumeClaim(metadata=meta.ObjectMeta(name="c"), spec=spec, status=status)


def storage_class(mode=None):
    metadata = meta.ObjectMeta(name="local")
    return core.StorageClass(metadata=metadata, provisioner="x", volume_binding_mode=mode)


def node(*, ready="True", labels=None, unschedulable=None):
    status = core.NodeStatus(
        allocatable={"cpu": "2", "memory": "4Gi"},
        conditions=(core.NodeCondition(type="Ready", status=ready, message="kubelet is silent"),),
    )
    return core.Node(
        metadata=meta.ObjectMeta(name="node1", labels=labels or {}),
        spec=core.NodeSpec(unschedulable=unschedulable),
        status=status,
    )


def waiting(message):
    found = pod("Pending")
    condition = core.PodCondition(type="PodScheduled", status="False", message=message)
    status = msgspec.structs.replace(found.status, conditions=(condition,))
    return msgspec.structs.replace(found, status=status)


def first(**seen):
    one = vm(status=kubevirt.VirtualMachineStatus(printable_status="Running"))
    found = vm_causes.links(vm_causes.Seen(vm=one, now=NOW, **seen))
    return causes.first_cause(found)


ROOM = "0/1 nodes are available: 1 Insufficient memory."
UNBOUND = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
NOT_DEFINED = Condition(
    type="Synchronized", status="False", reason="SyncFailed", message="Unknown CPU model X"
)
BLOCKED = Condition(type="Paused", status="True", reason="PausedIOError", message="no space")


@pytest.mark.parametrize(
    ("seen", "at", "cause", "remedy"),
    [
        (
            {"claims": {"c": None}},
            "pvc/c",
            "there is no PersistentVolumeClaim c",
            "create it",
        ),
        (
            {
                "instance": instance("Scheduling"),
                "pod": waiting(UNBOUND),
                "claims": {"c": claim(storage_class="nosuch")},
                "classes": {"local": storage_class()},
            },
            "pvc/c",
            "there is no StorageClass nosuch",
            "a class that is there: local",
        ),
        (
            {"instance": instance("Scheduling"), "pod": waiting(ROOM), "nodes": [node()]},
            "pod/",
            "Insufficient memory",
            "free a node or add one",
        ),
        (
            {
                "instance": instance("Scheduling"),
                "pod": waiting("0/1 nodes are available"),
                "nodes": [node(labels={"kubevirt.io/schedulable": "false"})],
            },
            "node/node1",
            "virt-handler",
            "mtv doctor",
        ),
        (
            {"instance": instance("Running"), "pod": pod(), "nodes": [node(ready="Unknown")]},
            "node/node1",
            "kubelet is silent",
            "out-of-service",
        ),
        (
            {"instance": instance("Scheduled", conditions=(NOT_DEFINED,)), "pod": pod()},
            "domain/prod_web1",
            "Unknown CPU model X",
            "host-model",
        ),
        (
            {"instance": instance("Running", conditions=(BLOCKED,)), "pod": pod()},
            "domain/prod_web1",
            "no space",
            "unpause",
        ),
    ],
    ids=[
        "claim missing",
        "class missing",
        "no room",
        "no handler",
        "node lost",
        "libvirt refuses",
        "disk full",
    ],
)
def test_the_first_cause_is_found_with_a_way_out(seen, at, cause, remedy):
    found = first(**seen)
    assert found.object.startswith(at)
    assert cause in found.cause
    assert remedy in found.remedy


def test_a_guest_that_ends_again_and_again_is_said_though_it_runs():
    ends = [
        event("VirtualMachineInstance", "web1", f"old-{n}", "Stopped", "crashed.", ago_s=60 * n)
        for n in (1, 2, 3)
    ]
    found = first(instance=instance("Running"), pod=pod(), events=ends)
    assert found.cause == "its guest ended 3 times in the last 15 minutes"
    assert "virtctl console web1" in found.remedy
    assert len(found.evidence) == 3
    old = [event("VirtualMachineInstance", "web1", "o", "Stopped", "x", ago_s=9000)] * 3
    assert first(instance=instance("Running"), pod=pod(), events=old) is None


def test_events_of_the_object_are_the_evidence():
    said = event("VirtualMachineInstance", "web1", "vmi-uid", "SyncFailed", "Unknown CPU model X")
    seen = instance("Scheduled", conditions=(NOT_DEFINED,))
    found = first(instance=seen, pod=pod(), events=[said])
    assert found.evidence[0].endswith("SyncFailed: Unknown CPU model X")


def test_a_claim_that_waits_for_its_first_pod_is_no_cause():
    classes = {"local": storage_class("WaitForFirstConsumer")}
    assert first(claims={"c": claim()}, classes=classes) is None
