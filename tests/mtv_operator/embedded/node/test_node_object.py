"""The Node object: what the machine has, and what others wrote is kept."""

import msgspec

from mtv.api.core import Node, NodeCondition, NodeStatus
from mtv.api.meta import ObjectMeta
from mtv_operator.embedded.node import node_object
from mtv_operator.embedded.node.node_object import Machine

MACHINE = Machine(
    cpus=4,
    memory_bytes=8 << 30,
    storage_bytes=100 << 30,
    storage_free_bytes=50 << 30,
    devices=["devices.kubevirt.io/tun"],
)


def build(machine=MACHINE, before=None, now=1000.0):
    return node_object.build(
        "one",
        machine,
        address="10.244.0.1",
        port=10250,
        pod_cidr="10.244.1.0/24",
        now=now,
        before=before,
    )


def condition(node, kind):
    return next(one for one in node.status.conditions if one.type == kind)


def test_node_offers_what_the_machine_has():
    node = build()
    assert node.status.capacity["cpu"] == "4"
    assert node.status.capacity["memory"] == f"{8 << 20}Ki"
    assert node.status.allocatable["memory"] == f"{(8 << 20) - (512 << 10)}Ki"
    assert node.status.allocatable["devices.kubevirt.io/tun"] == "1000"
    assert node.status.allocatable["devices.kubevirt.io/kvm"] == "0"
    assert node.metadata.labels["kubernetes.io/hostname"] == "one"
    assert condition(node, "Ready").status == "True"


def test_what_others_wrote_to_the_node_is_kept():
    status = NodeStatus(
        capacity={"example.com/gpu": "2"},
        conditions=(NodeCondition(type="Theirs", status="True"),),
    )
    before = Node(
        metadata=ObjectMeta(name="one", labels={"kubevirt.io/schedulable": "true"}), status=status
    )
    node = build(before=before)
    assert node.metadata.labels["kubevirt.io/schedulable"] == "true"
    assert node.status.capacity["example.com/gpu"] == "2"
    assert condition(node, "Theirs").status == "True"


def test_full_disk_is_said_with_the_remedy():
    full = build(msgspec_replace(storage_free_bytes=100 << 20))
    found = condition(full, "DiskPressure")
    assert found.status == "True"
    assert "100 MiB are free: delete" in found.message


def msgspec_replace(**fields):
    import dataclasses

    return dataclasses.replace(MACHINE, **fields)


def test_condition_keeps_the_time_of_its_last_change():
    first = build()
    again = build(before=first, now=2000.0)
    changed = condition(first, "Ready").last_transition_time
    assert condition(again, "Ready").last_transition_time == changed
    assert condition(again, "Ready").last_heartbeat_time != changed
    assert msgspec.to_builtins(again)["status"]["daemonEndpoints"] == {
        "kubeletEndpoint": {"Port": 10250}
    }
