"""Nodes that fall silent are marked, and nodes that speak again are not."""

from datetime import UTC, datetime, timedelta

import msgspec

from mtv.api.core import Lease, Node, Pod
from mtv_operator.embedded.scheduler import node_health
from mtv_operator.embedded.scheduler.node_health import DeleteOrphan, Mark, Observed

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def node(ready="True", *, tainted=False):
    taints = [{"key": node_health.UNREACHABLE, "effect": "NoSchedule"}] if tainted else []
    return msgspec.convert(
        {
            "metadata": {"name": "one", "creationTimestamp": "2030-01-01T11:00:00Z"},
            "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        },
        Node,
    )


def lease(age_s):
    renewed = (NOW - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return msgspec.convert({"metadata": {"name": "one"}, "spec": {"renewTime": renewed}}, Lease)


def actions(found_node, found_lease, orphans=()):
    observed = Observed(name="one", node=found_node, lease=found_lease, orphans=orphans)
    return node_health.decide(observed, NOW).actions


def test_node_that_renews_its_lease_is_left_alone():
    assert actions(node(), lease(10)) == ()


def test_silent_node_is_marked_once():
    assert actions(node(), lease(41)) == (Mark(reachable=False),)
    assert actions(node("Unknown", tainted=True), lease(41)) == ()


def test_node_that_speaks_again_loses_the_mark():
    assert actions(node("Unknown", tainted=True), lease(1)) == (Mark(reachable=True),)


def test_node_without_lease_has_some_time_to_begin():
    fresh = msgspec.convert(
        {"metadata": {"name": "one", "creationTimestamp": "2030-01-01T11:59:50Z"}}, Node
    )
    assert actions(fresh, None) == ()


def test_pods_of_a_node_that_is_gone_are_removed():
    orphan = msgspec.convert({"metadata": {"name": "p"}, "spec": {"nodeName": "one"}}, Pod)
    assert actions(None, None, [orphan]) == (DeleteOrphan(orphan),)
