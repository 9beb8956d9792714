"""Which migration is next, and by which policy it is done."""

import msgspec
import pytest

from mtv.api import kubevirt, meta, migrations, well_known
from mtv.api.configuration import Migrations
from mtv_operator.virt_controller import migration_queue as queue

LIMITS = Migrations(parallel_per_cluster=3, parallel_outbound_per_node=1)


def waits(name, node="node1", *, priority=None, evacuates=False, since="2026-03-01T12:00:00Z"):
    annotations = {well_known.EVACUATION_MIGRATION: node} if evacuates else {}
    metadata = meta.ObjectMeta(
        name=name, uid=name, creation_timestamp=since, annotations=annotations
    )
    spec = kubevirt.VirtualMachineInstanceMigrationSpec(vmi_name=name, priority=priority)
    return queue.waiting(
        kubevirt.VirtualMachineInstanceMigration(metadata=metadata, spec=spec), node
    )


@pytest.mark.parametrize(
    ("others", "busy", "begins"),
    [
        ((), (), True),
        ((), ("node1",), False),
        ((), ("node2", "node3"), True),
        ((), ("node2", "node3", "node4"), False),
        ((waits("b", since="2026-03-01T11:00:00Z"),), (), False),
        ((waits("b", since="2026-03-01T13:00:00Z"),), (), True),
        ((waits("b", evacuates=True, since="2026-03-01T13:00:00Z"),), (), False),
        ((waits("b", priority="system-maintenance", since="2026-03-01T11:00:00Z"),), (), True),
        ((waits("b", "node2", priority="system-critical"),), ("node3", "node4"), False),
        ((waits("b", "node3", priority="system-critical"),), ("node3",), True),
    ],
    ids=[
        "nothing else",
        "its node is busy",
        "other nodes are busy",
        "the cluster is full",
        "an older one of its node",
        "a younger one of its node",
        "an evacuation comes first",
        "maintenance comes last",
        "the last place is for the urgent one",
        "one that cannot begin holds up nobody",
    ],
)
def test_one_begins_when_there_is_room_and_nobody_before_it(others, busy, begins):
    assert queue.may_begin(waits("a"), others, busy, LIMITS) is begins


def policy(name, *, of_vmi=None, of_namespace=None, **spec):
    selectors = {"virtualMachineInstanceSelector": of_vmi, "namespaceSelector": of_namespace}
    document = {
        "metadata": {"name": name},
        "spec": {"selectors": {key: value for key, value in selectors.items() if value}, **spec},
    }
    return msgspec.convert(document, migrations.MigrationPolicy)


def test_the_policy_that_asks_for_most_counts():
    found = [
        policy("a", of_namespace={"team": "x"}),
        policy("b", of_vmi={"os": "linux"}),
        policy("c", of_vmi={"os": "linux", "size": "small"}),
        policy("d", of_vmi={"os": "windows"}),
        policy("e"),
    ]
    labels = {"os": "linux", "size": "small"}
    assert queue.policy_of(labels, {}, found).metadata.name == "c"
    assert queue.policy_of({"os": "linux"}, {"team": "x"}, found).metadata.name == "b"
    assert queue.policy_of({}, {"team": "x"}, found).metadata.name == "a"
    assert queue.policy_of({}, {}, found) is None


def test_what_a_policy_says_is_written_for_the_handlers():
    wanted = policy("slow", bandwidthPerMigration="1Mi", allowPostCopy=True)
    settings = queue.with_policy(Migrations(), wanted)
    written = queue.configuration_of(settings)
    assert settings.policy == "slow"
    assert written.bandwidth_per_migration == "1Mi"
    assert written.allow_post_copy
    assert written.allow_workload_disruption
    assert written.completion_timeout_per_gi_b == 150
