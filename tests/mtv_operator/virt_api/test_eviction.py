"""Evictions of launcher pods: who may go, who is told to come again, who is marked to leave."""

from __future__ import annotations

import msgspec
import pytest
from kubevirt_objects import instance, pod

from mtv.api import kubevirt, well_known
from mtv_operator.virt_api import eviction

MOVES = "LiveMigrate"
TRIGGERED = 'Eviction triggered evacuation of VMI "prod/web1"'


def vmi(strategy, *, able=True, **status):
    condition = kubevirt.VirtualMachineInstanceCondition(
        type="LiveMigratable", status="True" if able else "False"
    )
    found = instance("Running", **{"conditions": (condition,), "node_name": "node1", **status})
    spec = msgspec.structs.replace(found.spec, eviction_strategy=strategy)
    return msgspec.structs.replace(found, spec=spec)


@pytest.mark.parametrize(
    ("found", "refusal", "mark"),
    [
        pytest.param(vmi(None), "", "", id="no strategy"),
        pytest.param(vmi("None"), "", "", id="none"),
        pytest.param(vmi(MOVES), TRIGGERED, "node1", id="it can move"),
        pytest.param(
            vmi(MOVES, evacuation_node_name="node1"),
            f"Evacuation in progress: {TRIGGERED}",
            "",
            id="it moves already",
        ),
        pytest.param(
            vmi(MOVES, able=False),
            "VMI web1 is configured with an eviction strategy but is not live-migratable",
            "",
            id="it shall move and cannot",
        ),
        pytest.param(vmi("LiveMigrateIfPossible", able=False), "", "", id="it need not"),
        pytest.param(vmi("External", able=False), TRIGGERED, "node1", id="others move it"),
        pytest.param(vmi(MOVES, node_name="node2"), "", "", id="it has moved"),
        pytest.param(None, "", "", id="it is gone"),
    ],
)
def test_an_eviction_is_answered(found, refusal, mark):
    answer = eviction.judge(pod(node="node1"), found, "")
    assert (answer.refusal, answer.mark) == (refusal, mark)


def test_the_installations_strategy_counts_where_the_vm_has_none():
    assert eviction.judge(pod(node="node1"), vmi(None), MOVES).mark == "node1"


def test_only_launchers_that_run_are_looked_at():
    found = pod(node="node1")
    assert eviction.instance_of(found) == ""
    metadata = msgspec.structs.replace(
        found.metadata,
        labels={well_known.APP: "virt-launcher"},
        annotations={well_known.DOMAIN: "web1"},
    )
    launcher = msgspec.structs.replace(found, metadata=metadata)
    assert eviction.instance_of(launcher) == "web1"
    ended = msgspec.structs.replace(pod("Succeeded"), metadata=metadata)
    assert eviction.instance_of(ended) == ""
