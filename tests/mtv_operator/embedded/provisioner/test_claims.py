"""What happens to claims and volumes, decided without an API server."""

from datetime import UTC, datetime

import msgspec
import pytest

from mtv.api.core import PersistentVolume, PersistentVolumeClaim, Pod
from mtv_operator.embedded.provisioner import claims, classes, volumes
from mtv_operator.embedded.provisioner.claims import (
    AssignClass,
    BindTo,
    Expand,
    Lost,
    Observed,
    Provision,
    Refuse,
    Release,
)
from mtv_operator.embedded.scheduler import fitting

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CLASSES = {one.metadata.name: one for one in classes.built_in()}
OURS = {"pv.kubernetes.io/provisioned-by": classes.LOCAL}


def claim(size="1Gi", *, selected="", deleted=False, status=None, finalizers=(), **spec):
    metadata = {
        "name": "c",
        "namespace": "n",
        "uid": "uid-c",
        "annotations": {fitting.SELECTED_NODE: selected} if selected else {},
        "finalizers": list(finalizers),
    }
    if deleted:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    resources = {"requests": {"storage": size}} if size else {}
    given = {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec}
    document = {"metadata": metadata, "spec": given, "status": status or {}}
    return msgspec.convert(document, PersistentVolumeClaim)


def volume(name="pv", size="1Gi", *, owner=None, phase="Available", annotations=None, **spec):
    given = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local",
        "local": {"path": f"/v/{name}"},
        **spec,
    }
    if owner:
        given["claimRef"] = {"namespace": "n", "name": "c", "uid": owner}
    document = {
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": given,
        "status": {"phase": phase},
    }
    return msgspec.convert(document, PersistentVolume)


def actions(given_claim, **fields):
    known = {"classes": CLASSES, "nodes": ["one"], **fields}
    return claims.decide(Observed(claim=given_claim, **known), NOW).actions


def test_claim_without_class_gets_the_default_one():
    assert actions(claim()) == (AssignClass(name="local"),)


def test_local_claim_waits_until_the_scheduler_has_chosen_a_node():
    assert actions(claim(storageClassName="local")) == ()
    made = actions(claim(storageClassName="local", selected="one"))
    assert made == (
        Provision(
            name="pvc-uid-c",
            storage=CLASSES["local"],
            size_bytes=1 << 30,
            node="one",
            block=False,
        ),
    )


def test_shared_claim_is_made_at_once_and_for_every_node():
    (made,) = actions(
        claim(storageClassName="shared", accessModes=["ReadWriteMany"], volumeMode="Block")
    )
    assert (made.node, made.block) == ("", True)


@pytest.mark.parametrize(
    ("given_claim", "words"),
    [
        (claim(storageClassName="fast"), 'storageclass.storage.k8s.io "fast" not found'),
        (
            claim(storageClassName="local", accessModes=["ReadWriteMany"]),
            "class local cannot do ReadWriteMany",
        ),
        (claim(size=None, storageClassName="local"), "storage: the size is missing"),
        (claim(size="lots", storageClassName="local"), "'lots' is not a quantity"),
    ],
)
def test_claim_that_cannot_be_met_is_refused_with_the_reason(given_claim, words):
    (refused,) = actions(given_claim)
    assert isinstance(refused, Refuse)
    assert words in refused.message


def test_full_disk_refuses_names_the_remedy_and_is_tried_again():
    wish = claim(storageClassName="shared")
    observed = Observed(claim=wish, classes=CLASSES, free_bytes=100 << 20, place="/v")
    decision = claims.decide(observed, NOW)
    (refused,) = decision.actions
    assert "the disk of /v is full: 100 MiB are free" in refused.message
    assert "delete claims or files" in refused.message
    assert decision.requeue_after_s == claims.FULL_AGAIN_S


def test_volume_of_an_administrator_is_taken_before_a_new_one_is_made():
    small, large = volume("small", "1Gi"), volume("large", "5Gi")
    (bound,) = actions(claim(storageClassName="local"), volumes=[large, small])
    assert bound == BindTo(volume=small)
    assert actions(claim("9Gi", storageClassName="local"), volumes=[large]) == ()


def test_volume_that_was_made_before_a_crash_is_found_again():
    ours = volume("pvc-uid-c", owner="uid-c")
    assert actions(claim(storageClassName="local"), volumes=[ours]) == (BindTo(volume=ours),)


def bound_claim(size="1Gi", has="1Gi", **fields):
    return claim(
        size,
        storageClassName="local",
        volumeName="pv",
        finalizers=[claims.PROTECTION],
        status={"phase": "Bound", "capacity": {"storage": has}},
        **fields,
    )


def test_bound_claim_is_left_alone():
    there = volume(owner="uid-c", phase="Bound", annotations=OURS)
    assert actions(bound_claim(), volumes=[there]) == ()


def test_half_done_binding_is_finished():
    there = volume(owner="uid-c", phase="Available", annotations=OURS)
    assert actions(bound_claim(), volumes=[there]) == (BindTo(volume=there),)


def test_claim_that_asks_for_more_is_grown():
    there = volume(owner="uid-c", phase="Bound", annotations=OURS)
    grown = actions(bound_claim("3Gi"), volumes=[there])
    assert grown == (Expand(volume=there, size_bytes=3 << 30),)


def test_claim_whose_volume_is_gone_is_lost():
    assert actions(bound_claim()) == (Lost(),)


def test_deleted_claim_stays_while_a_pod_uses_it():
    doomed = bound_claim(deleted=True)
    pod = msgspec.convert({"metadata": {"name": "p"}}, Pod)
    assert actions(doomed, users=[pod]) == ()
    assert actions(doomed) == (Release(),)


def end(given_volume, given_claim=None, users=()):
    observed = volumes.Observed(volume=given_volume, claim=given_claim, users=users)
    return volumes.decide(observed, NOW).actions


def test_data_is_removed_only_of_a_released_volume():
    policy = {"persistentVolumeReclaimPolicy": "Delete"}
    bound = volume(owner="uid-c", phase="Bound", annotations=OURS, **policy)
    assert end(bound, bound_claim()) == ()
    assert end(bound) == (volumes.SetPhase(phase="Released"),)
    released = volume(owner="uid-c", phase="Released", annotations=OURS, **policy)
    assert end(released, bound_claim()) == ()
    assert end(released, users=["pod"]) == ()
    assert end(released) == (volumes.Destroy(),)


def test_retained_volume_keeps_its_data():
    kept = volume(
        owner="uid-c",
        phase="Released",
        annotations=OURS,
        persistentVolumeReclaimPolicy="Retain",
    )
    assert end(kept) == ()


def test_volume_of_somebody_else_is_never_destroyed():
    theirs = volume(owner="uid-c", phase="Released", persistentVolumeReclaimPolicy="Delete")
    assert end(theirs) == ()


def test_claim_of_the_same_name_but_another_identity_is_another_claim():
    old = volume(owner="uid-old", phase="Bound", annotations=OURS)
    assert end(old, bound_claim()) == (volumes.SetPhase(phase="Released"),)
