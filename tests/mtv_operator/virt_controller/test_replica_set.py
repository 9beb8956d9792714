"""Replica sets: how many instances there are, and which one goes first."""

from datetime import timedelta

import msgspec
import pytest
from kubevirt_objects import NOW, instance, instance_spec

from mtv.api import kubevirt, meta
from mtv_operator.virt_controller import replica_set
from mtv_operator.virt_controller.replica_set import Observed

READY = (kubevirt.VirtualMachineInstanceCondition(type="Ready", status="True"),)


def _set(replicas=2, **spec):
    document = {
        "metadata": {"name": "web", "namespace": "prod", "uid": "set-uid"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": instance_spec()},
            **spec,
        },
    }
    return msgspec.convert(document, replica_set.Set)


def _one(name, phase="Running", *, ready=True, age_s=0, found=None, deleted=False):
    one = instance(phase, deleted=deleted, owned=False, conditions=READY if ready else ())
    owners = (meta.owner_of(found),) if found is not None else ()
    made_at = (NOW - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = msgspec.structs.replace(
        one.metadata,
        name=name,
        uid=name,
        labels={"app": "web"},
        owner_references=owners,
        creation_timestamp=made_at,
    )
    return msgspec.structs.replace(one, metadata=metadata)


def _decided(found, *instances):
    return replica_set.decide(Observed(replica_set=found, instances=instances), NOW)


def test_missing_instances_are_made_with_names_that_repeat():
    first, again = _decided(_set()), _decided(_set())
    names = [one.instance.metadata.name for one in first.actions]
    assert len(set(names)) == 2
    assert names == [one.instance.metadata.name for one in again.actions]
    assert first.actions[0].instance.metadata.owner_references[0].kind == (
        "VirtualMachineInstanceReplicaSet"
    )
    going = _one(names[0], found=_set(), deleted=True)
    others = [one.instance.metadata.name for one in _decided(_set(), going).actions]
    assert names[0] not in others
    assert len(others) == 2


def test_too_many_lose_those_that_are_not_ready_and_then_the_young():
    found = _set(1)
    seen = [
        _one("old", age_s=900, found=found),
        _one("young", age_s=10, found=found),
        _one("unready", age_s=5000, ready=False, found=found),
    ]
    decision = _decided(found, *seen)
    assert [one.name for one in decision.actions] == ["unready", "young"]
    assert (decision.status.replicas, decision.status.ready_replicas) == (3, 2)
    assert decision.status.label_selector == "app=web"


def test_ended_instances_are_replaced():
    found = _set(1)
    decision = _decided(found, _one("done", "Succeeded", found=found))
    assert [type(one).__name__ for one in decision.actions] == ["Delete", "Create"]


def test_a_paused_set_changes_nothing_and_says_so():
    decision = _decided(_set(paused=True))
    assert not decision.actions
    assert decision.status.conditions[0].type == "ReplicaPaused"


def test_orphans_are_adopted_before_anything_is_counted():
    decision = _decided(_set(), _one("alone"))
    assert [type(one).__name__ for one in decision.actions] == ["Adopt"]


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [
        ("In", ("web", "db"), True),
        ("NotIn", ("web",), False),
        ("Exists", (), True),
        ("DoesNotExist", (), False),
    ],
)
def test_expressions_select_labels(operator, values, fits):
    one = meta.LabelSelectorRequirement(key="app", operator=operator, values=values)
    selector = meta.LabelSelector(match_expressions=(one,))
    assert replica_set.matches(selector, {"app": "web"}) is fits
