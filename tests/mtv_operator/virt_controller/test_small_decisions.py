"""Nodes and the installation."""

from datetime import timedelta

import msgspec
from kubevirt_objects import NOW

from mtv.api import core, meta, well_known
from mtv.api import installation as installation_api
from mtv_operator.virt_controller import installation, node


def _node(beat, schedulable="true"):
    return core.Node(
        metadata=meta.ObjectMeta(
            name="node1",
            annotations={well_known.HEARTBEAT: beat} if beat else {},
            labels={well_known.SCHEDULABLE: schedulable},
        )
    )


def test_node_is_closed_when_its_handler_is_silent():
    found = node.decide(node.Observed(node=_node("2026-03-01T11:54:00Z")), NOW)
    assert [type(one).__name__ for one in found.actions] == ["Close"]


def test_node_that_is_heard_is_looked_at_again_in_time():
    found = node.decide(node.Observed(node=_node("2026-03-01T11:59:00Z")), NOW)
    assert found.actions == ()
    assert found.requeue_after_s == timedelta(minutes=4, seconds=1).total_seconds()


def test_closed_node_and_node_without_runtime_are_left():
    for one in (_node("2026-03-01T10:00:00Z", "false"), _node(""), _node("yesterday")):
        assert node.decide(node.Observed(node=one), NOW).actions == ()


def test_kubevirt_is_deployed_and_then_at_rest():
    one = installation_api.KubeVirt(spec=installation_api.KubeVirtSpec())
    found = installation.decide(installation.Observed(kubevirt=one, version="1"), NOW)
    assert found.status.phase == "Deployed"
    assert {c.type: c.status for c in found.status.conditions}["Available"] == "True"
    stored = msgspec.structs.replace(one, status=found.status)
    later = NOW + timedelta(hours=1)
    again = installation.decide(installation.Observed(kubevirt=stored, version="1"), later)
    assert again.status is None
